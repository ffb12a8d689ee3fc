//! kill -9 at random moments: nothing acknowledged is lost, nothing is torn, nothing comes back.
//!
//! A child process commits from several threads as fast as it can. Before each operation it notes its
//! intent in a shared page, after it the acknowledgement. The parent kills it when a random number of
//! operations is through, opens the store and compares: a key is at its acknowledged state or at the
//! intended one, never anywhere else. Locked sessions are never missing; others may have been evicted, and
//! then stay gone until the next commit.
//!
//! `PINTLE_CRASH_KILLS` sets the number of kills; 100 without it.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use memmap2::{MmapOptions, MmapRaw};
use pintle_sessions::{Options, Record, Store};

const NOW: u64 = 1_790_000_000_000;
const THREADS: usize = 3;
/// More keys than slots: eviction goes on all the time.
const KEYS: usize = 600;
const LOCKED: usize = 60;
const CAPACITY: u64 = 200;
/// Every so many states of a key, it is removed instead of committed.
const REMOVAL: u64 = 16;

/// What parent and child share: intents, acknowledgements, and three words about the child.
struct Board {
    map: MmapRaw,
}

impl Board {
    fn open(dir: &Path) -> Board {
        let path = dir.join("board");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.expect("opens");
        file.set_len((KEYS * 2 + 3) as u64 * 8).expect("grows");
        Board { map: MmapOptions::new().map_raw(&file).expect("maps") }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.map.len() / 8);
        // SAFETY: within the mapping, aligned, and reached through atomics only, by both processes.
        unsafe { &*self.map.as_mut_ptr().cast::<AtomicU64>().add(index) }
    }

    fn intent(&self, key: usize) -> &AtomicU64 {
        self.word(2 * key)
    }

    fn acknowledged(&self, key: usize) -> &AtomicU64 {
        self.word(2 * key + 1)
    }

    fn operations(&self) -> &AtomicU64 {
        self.word(2 * KEYS)
    }

    fn complaints(&self) -> &AtomicU64 {
        self.word(2 * KEYS + 1)
    }

    fn round(&self) -> &AtomicU64 {
        self.word(2 * KEYS + 2)
    }
}

fn options() -> Options {
    Options::with_capacity(CAPACITY)
}

fn key(index: usize) -> u128 {
    (index as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

/// The record of a key in a state: every field follows from the two, so that a torn one shows.
fn record(store: &Store, index: usize, state: u64, round: u64) -> Record {
    let locked = index < LOCKED;
    Record {
        last_seen_ms: NOW + state,
        tool_loop_until_ms: if locked { u64::MAX } else { 0 },
        provider_state_until_ms: state * 3,
        prompt_tokens: state * 5,
        cached_tokens: state * 7,
        completion_tokens: state * 11 + index as u64,
        model: store.intern(&format!("model-{}", round % 1000)).expect("room"),
        turns: state as u32,
        switches: round as u32,
        turns_on_model: !(state as u32),
        last_prompt_tokens: index as u32,
        last_cached_tokens: state as u32 ^ index as u32,
        last_completion_tokens: state as u32 + index as u32,
        turn_sequence: state as u32,
        flags: if locked { Record::OPEN_TOOL_LOOP } else { 0 },
        demand: state as f32,
        policy: [index as u32, !(state as u32)],
        ..Record::default()
    }
}

/// The state that a whole record is in; `None` for a torn one.
fn state_of(store: &Store, index: usize, found: &Record) -> Option<u64> {
    let state = found.last_seen_ms - NOW;
    (*found == record(store, index, state, u64::from(found.switches))).then_some(state)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What a child may have to say against the store.
#[derive(Clone, Copy)]
enum Complaint {
    LockedNotFound,
    OtherState,
    CameBack,
    Refused,
    LockedEvicted,
}

#[test]
#[ignore = "started by crash_1000"]
#[expect(clippy::disallowed_methods, reason = "how a test tells its own child where to work")]
fn child() {
    let Some(dir) = std::env::var_os("PINTLE_CRASH_DIR") else { return };
    let dir = Path::new(&dir);
    let board = Board::open(dir);
    let (store, _) = Store::open(dir, &options(), NOW).expect("opens");
    let round = board.round().load(SeqCst);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (board, store) = (&board, &store);
            scope.spawn(move || commit_for_ever(board, store, thread, round));
        }
    });
}

fn commit_for_ever(board: &Board, store: &Store, thread: usize, round: u64) {
    let mut random = Random((round + 1).wrapping_mul(0x2545_F491_4F6C_DD1D) + thread as u64);
    let mut evicted = [false; KEYS];
    loop {
        // Each key has one thread, its bucket has all of them.
        let index = random.below((KEYS / THREADS) as u64) as usize * THREADS + thread;
        let state = board.intent(index).load(SeqCst) + 1;
        board.intent(index).store(state, SeqCst);
        let complain = |complaint: Complaint| board.complaints().fetch_or(1 << complaint as u64, SeqCst);
        let outcome = if state.is_multiple_of(REMOVAL) {
            if store.remove(key(index)).is_none() && index < LOCKED && state != REMOVAL {
                complain(Complaint::LockedNotFound);
            }
            None
        } else {
            let fresh = record(store, index, state, round);
            let update = |held: Option<&Record>| {
                let before = held.map(|held| state_of(store, index, held));
                if before.is_some_and(|before| before != Some(state - 1)) {
                    complain(Complaint::OtherState);
                }
                if evicted[index] && before.is_some() {
                    complain(Complaint::CameBack);
                }
                Some(fresh)
            };
            Some(store.commit(key(index), update, NOW))
        };
        board.acknowledged(index).store(state, SeqCst);
        if outcome.is_some_and(|outcome| !outcome.is_remembered()) {
            complain(Complaint::Refused);
        }
        evicted[index] = store.get(key(index), NOW).is_none();
        if evicted[index] && index < LOCKED && outcome.is_some() {
            complain(Complaint::LockedEvicted);
        }
        board.operations().fetch_add(1, SeqCst);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the number of kills is the caller's choice")]
fn crash_1000() {
    let kills =
        std::env::var("PINTLE_CRASH_KILLS").ok().map_or(100, |kills| kills.parse().expect("a number"));
    let dir = tempfile::tempdir().expect("a directory");
    let board = Board::open(dir.path());
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    let (mut unsettled, mut repaired, mut operations) = (0, 0, 0);
    // The state each key was left in, and whether it was there.
    let mut left = vec![(0, true); KEYS];
    for round in 0..kills {
        board.round().store(round, SeqCst);
        board.operations().store(0, SeqCst);
        let child = start(dir.path());
        // Some die while they open the file, most in full flight.
        let wanted = if random.below(10) == 0 { 0 } else { random.below(1000) };
        kill(child, || board.operations().load(SeqCst) >= wanted);
        operations += board.operations().load(SeqCst);
        let complaints = board.complaints().load(SeqCst);
        assert_eq!(complaints, 0, "bits of `Complaint`, from the child of round {round}");

        let (store, report) = Store::open(dir.path(), &options(), NOW).expect("opens");
        assert!(report.set_aside.is_none() && report.verified.is_none() && report.damaged_names == 0);
        for (index, left) in left.iter_mut().enumerate() {
            let (intent, acknowledged) =
                (board.intent(index).load(SeqCst), board.acknowledged(index).load(SeqCst));
            assert!(intent == acknowledged || intent == acknowledged + 1);
            unsettled += u64::from(intent != acknowledged);
            let found = store.get(key(index), NOW);
            let state = found.map(|found| state_of(&store, index, &found).expect("torn"));
            let possible = |state: u64| state == acknowledged || state == intent;
            match state {
                Some(state) => {
                    assert!(possible(state), "key {index} is at {state}, not {acknowledged} or {intent}");
                    assert!(!state.is_multiple_of(REMOVAL), "key {index} was removed at {state}");
                    assert!(*left != (state, false), "key {index} came back without a commit");
                }
                None => {
                    let removed = [acknowledged, intent].iter().any(|state| state.is_multiple_of(REMOVAL));
                    assert!(removed || index >= LOCKED, "locked key {index} is lost at {acknowledged}");
                }
            }
            // What was under way is decided now; the next child goes on from here.
            let gone = if acknowledged.is_multiple_of(REMOVAL) { acknowledged } else { intent };
            let settled = state.unwrap_or(gone);
            board.intent(index).store(settled, SeqCst);
            board.acknowledged(index).store(settled, SeqCst);
            *left = (settled, state.is_some());
        }
        let keys: Vec<u128> = store.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a key has two slots");
        let stats = store.stats().sessions;
        assert_eq!((stats.corrupt, stats.stale), (0, 0), "a kill is not damage");
        if round % 2 == 1 {
            store.verify_all();
        }
        repaired += store.stats().sessions.recovered;
    }
    println!(
        "{kills} kills, {operations} operations: {unsettled} under way at death, {repaired} buckets repaired; \
         none lost, torn or back"
    );
    assert!(kills < 100 || unsettled > kills / 2, "most kills hit an operation");
}

fn start(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("known"));
    child.args(["child", "--exact", "--ignored", "--nocapture"]).env("PINTLE_CRASH_DIR", dir);
    child.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("starts")
}

fn kill(mut child: Child, due: impl Fn() -> bool) {
    while !due() {
        assert!(child.try_wait().expect("a child").is_none(), "the child ended by itself");
        std::thread::yield_now();
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
}
