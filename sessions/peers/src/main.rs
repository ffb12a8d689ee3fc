//! Session memory beside what one would use instead, in one interleaved run.
//!
//! `cargo run --release --manifest-path sessions/peers/Cargo.toml -- [sessions ...]`; 10,000 and 1,000,000
//! without arguments. Nanoseconds per operation as one thread sees them, medians over the rounds: by the wall clock,
//! and in parentheses by the thread's own CPU clock, which a busy machine disturbs less.
//! DashMap forgets everything at a crash; LMDB and redb run with syncing off, which gives them the same
//! promise as this store: what is committed survives the process, not the machine.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use heed::types::Bytes;
use pintle_sessions::{Options, Record, Store};
use redb::{ReadableDatabase, ReadableTable};

const ROUNDS: usize = 9;
/// On fewer cores the wall clock then tells how threads take turns, and only CPU time what an operation takes.
const MOST_THREADS: usize = 16;
const NOW: u64 = 1_790_000_000_000;
const TABLE: redb::TableDefinition<'static, u128, &'static [u8]> = redb::TableDefinition::new("sessions");

/// A session memory as a router uses it, from any thread.
trait Contender: Sync {
    fn name(&self) -> &'static str;
    /// Operations of a round, all threads together.
    fn operations(&self) -> u64;
    fn lookup(&self, key: u128) -> u32;
    fn commit(&self, key: u128);
}

fn key(index: u64) -> u128 {
    let mix = |word: u64| {
        let word = (word ^ word >> 31).wrapping_mul(0x7FB5_D329_728E_A185);
        (word ^ word >> 27).wrapping_mul(0x81DA_DEF4_BC2D_D44D) ^ word >> 33
    };
    u128::from(mix(index + 1)) << 64 | u128::from(mix(!index))
}

fn next_turn(before: Option<&Record>) -> Record {
    let before = before.copied().unwrap_or_default();
    Record {
        turns: before.turns + 1,
        turns_on_model: before.turns_on_model + 1,
        last_seen_ms: NOW,
        last_prompt_tokens: 1200,
        prompt_tokens: before.prompt_tokens + 1200,
        ..before
    }
}

impl Contender for Store {
    fn name(&self) -> &'static str {
        "pintle"
    }

    fn operations(&self) -> u64 {
        200_000
    }

    fn lookup(&self, key: u128) -> u32 {
        self.get(key, NOW).expect("held").turns
    }

    fn commit(&self, key: u128) {
        assert!(Store::commit(self, key, |before| Some(next_turn(before)), NOW).is_remembered());
    }
}

struct Volatile(dashmap::DashMap<u128, Record>);

impl Contender for Volatile {
    fn name(&self) -> &'static str {
        "dashmap"
    }

    fn operations(&self) -> u64 {
        200_000
    }

    fn lookup(&self, key: u128) -> u32 {
        self.0.get(&key).expect("held").turns
    }

    fn commit(&self, key: u128) {
        let mut record = self.0.entry(key).or_default();
        *record = next_turn(Some(&record));
    }
}

struct Lmdb {
    env: heed::Env,
    table: heed::Database<Bytes, Bytes>,
}

impl Lmdb {
    fn create(dir: &Path) -> Lmdb {
        std::fs::create_dir(dir).expect("new");
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(4 << 30).max_readers(64);
        // SAFETY: the directory is this benchmark's own, and no other process opens it.
        let env = unsafe {
            use heed::EnvFlags as Flags;
            options.flags(Flags::NO_SYNC | Flags::WRITE_MAP | Flags::MAP_ASYNC | Flags::NO_READ_AHEAD);
            options.open(dir).expect("opens")
        };
        let mut transaction = env.write_txn().expect("one writer");
        let table = env.create_database(&mut transaction, None).expect("room");
        transaction.commit().expect("no disk to wait for");
        Lmdb { env, table }
    }

    fn fill(&self, sessions: u64) {
        let mut transaction = self.env.write_txn().expect("one writer");
        for index in 0..sessions {
            self.table
                .put(&mut transaction, &key(index).to_be_bytes(), &bytes(&next_turn(None)))
                .expect("room");
        }
        transaction.commit().expect("no disk to wait for");
    }
}

impl Contender for Lmdb {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn operations(&self) -> u64 {
        40_000
    }

    fn lookup(&self, key: u128) -> u32 {
        let transaction = self.env.read_txn().expect("a reader slot");
        record(self.table.get(&transaction, &key.to_be_bytes()).expect("reads").expect("held")).turns
    }

    fn commit(&self, key: u128) {
        let mut transaction = self.env.write_txn().expect("one writer");
        let before = record(self.table.get(&transaction, &key.to_be_bytes()).expect("reads").expect("held"));
        self.table
            .put(&mut transaction, &key.to_be_bytes(), &bytes(&next_turn(Some(&before))))
            .expect("room");
        transaction.commit().expect("no disk to wait for");
    }
}

struct Redb(redb::Database);

impl Redb {
    fn create(path: &Path) -> Redb {
        Redb(redb::Database::create(path).expect("opens"))
    }

    fn write(&self, work: impl FnOnce(&mut redb::Table<'_, u128, &'static [u8]>)) {
        let mut transaction = self.0.begin_write().expect("one writer");
        transaction.set_durability(redb::Durability::None).expect("allowed");
        work(&mut transaction.open_table(TABLE).expect("opens"));
        transaction.commit().expect("no disk to wait for");
    }

    fn fill(&self, sessions: u64) {
        self.write(|table| {
            for index in 0..sessions {
                table.insert(key(index), &bytes(&next_turn(None))[..]).expect("room");
            }
        });
    }
}

impl Contender for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn operations(&self) -> u64 {
        4_000
    }

    fn lookup(&self, key: u128) -> u32 {
        let table = self.0.begin_read().expect("reads").open_table(TABLE).expect("opens");
        record(table.get(key).expect("reads").expect("held").value()).turns
    }

    fn commit(&self, key: u128) {
        self.write(|table| {
            let before = record(table.get(key).expect("reads").expect("held").value());
            table.insert(key, &bytes(&next_turn(Some(&before)))[..]).expect("room");
        });
    }
}

fn bytes(record: &Record) -> rkyv::util::AlignedVec {
    rkyv::to_bytes::<rkyv::rancor::Error>(record).expect("plain data")
}

fn record(bytes: &[u8]) -> Record {
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::from_bytes::<Record, rkyv::rancor::Error>(&aligned).expect("plain data")
}

fn main() {
    let sizes: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 1_000_000] } else { sizes };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("{cores} cores; ns per operation, median of {ROUNDS} interleaved rounds: wall clock (CPU time)");
    for sessions in sizes {
        let dir = tempfile::tempdir().expect("a directory");
        let store = compare(dir.path(), sessions, cores);
        alone(dir.path(), sessions, store);
    }
}

fn compare(dir: &Path, sessions: u64, cores: usize) -> Store {
    let (store, _) = Store::open(dir, &Options::with_capacity(sessions), NOW).expect("opens");
    let dash = Volatile(dashmap::DashMap::new());
    for index in 0..sessions {
        Contender::commit(&store, key(index));
        Contender::commit(&dash, key(index));
    }
    assert_eq!(store.stats().sessions.evicted, 0);
    let lmdb = Lmdb::create(&dir.join("lmdb"));
    lmdb.fill(sessions);
    let redb = Redb::create(&dir.join("redb"));
    redb.fill(sessions);
    let contenders: [&dyn Contender; 4] = [&store, &dash, &lmdb, &redb];
    println!("\n{sessions} sessions{:>22}{:>22}", "lookup", "lookup + commit");
    let mut threads = 1;
    while threads <= MOST_THREADS.max(cores) {
        let mut times = vec![[Vec::new(), Vec::new()]; contenders.len()];
        for round in 0..ROUNDS {
            for (contender, times) in contenders.iter().zip(&mut times) {
                for (commits, times) in [false, true].into_iter().zip(times) {
                    times.push(measure(*contender, sessions, threads, round as u64, commits));
                }
            }
        }
        for (contender, [lookup, commit]) in contenders.iter().zip(&mut times) {
            println!(
                "{:>2} threads {:<8}{:>25}{:>22}",
                threads,
                contender.name(),
                median(lookup),
                median(commit)
            );
        }
        threads *= 2;
    }
    drop(dash);
    store
}

/// Nanoseconds per operation of one of `threads` threads that share no session.
fn measure(contender: &dyn Contender, sessions: u64, threads: usize, round: u64, commits: bool) -> Time {
    let operations = contender.operations() / threads as u64;
    let barrier = std::sync::Barrier::new(threads);
    let (barrier, share) = (&barrier, sessions / threads as u64);
    let times: Vec<Time> = std::thread::scope(|scope| {
        let work = |thread: u64| {
            move || {
                let mut random = (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ thread << 32 | 1;
                barrier.wait();
                let start = Start::now();
                for _ in 0..operations {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let key = key(random % share * threads as u64 + thread);
                    // A turn looks its session up when it begins and commits when it ends.
                    black_box(contender.lookup(key));
                    if commits {
                        contender.commit(key);
                    }
                }
                start.elapsed(operations)
            }
        };
        let running: Vec<_> = (0..threads as u64).map(|thread| scope.spawn(work(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let mean = |of: fn(&Time) -> f64| times.iter().map(of).sum::<f64>() / times.len() as f64;
    Time { wall: mean(|time| time.wall), cpu: mean(|time| time.cpu) }
}

struct Start {
    wall: Instant,
    cpu: f64,
}

/// Nanoseconds per operation.
#[derive(Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

impl Start {
    fn now() -> Start {
        Start { wall: Instant::now(), cpu: cpu_ns() }
    }

    fn elapsed(&self, operations: u64) -> Time {
        let each = |ns: f64| ns / operations as f64;
        Time { wall: each(self.wall.elapsed().as_nanos() as f64), cpu: each(cpu_ns() - self.cpu) }
    }
}

fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// What has no peer: opening, verifying, hashing, and a full table.
fn alone(dir: &Path, sessions: u64, store: Store) {
    let options = Options::with_capacity(sessions);
    let bytes = options.file_bytes();
    println!("file {bytes} bytes, {:.0} per session", bytes as f64 / sessions as f64);
    drop(store);
    let mut opening = repeat(1, || drop(black_box(Store::open(dir, &options, NOW).expect("opens"))));
    println!("open {} ns", median(&mut opening));
    let (store, _) = Store::open(dir, &options, NOW).expect("opens");
    let start = Instant::now();
    assert_eq!(store.verify_all().damaged, 0);
    println!("verify everything {:.3} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    black_box(store.stats());
    println!("stats {:.3} ms", start.elapsed().as_secs_f64() * 1e3);
    let mut hashing = repeat(100_000, || {
        black_box(store.session_key(b"tenant", black_box(&[7; 32])));
    });
    println!("session key from 32 bytes {} ns", median(&mut hashing));
    let mut index = sessions;
    let mut insert = || {
        index += 1;
        Store::commit(&store, key(index), |before| Some(next_turn(before)), NOW)
    };
    while insert() != pintle_sessions::CommitOutcome::CreatedByEviction {}
    for _ in 0..sessions / 2 {
        insert();
    }
    let mut evicting = repeat(20_000, || {
        black_box(insert());
    });
    println!("new session in a full table {} ns", median(&mut evicting));
}

fn repeat(operations: u64, mut work: impl FnMut()) -> Vec<Time> {
    let round = |_| {
        let start = Start::now();
        for _ in 0..operations {
            work();
        }
        start.elapsed(operations)
    };
    (0..ROUNDS).map(round).collect()
}

fn median(times: &mut [Time]) -> String {
    let mut middle = |of: fn(&Time) -> f64| {
        times.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&times[times.len() / 2])
    };
    format!("{:.0} ({:.0})", middle(|time| time.wall), middle(|time| time.cpu))
}
