use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::*;

const OWNER: u32 = 7;

struct Memory {
    heads: Vec<Mortal>,
    slots: Vec<Mortal>,
    shape: Shape,
    tally: Tally,
}

impl Memory {
    fn new(buckets: usize) -> Memory {
        let shape = Shape { buckets };
        let zeros = |words: usize| (0..words).map(|_| Mortal(AtomicU64::new(0))).collect();
        Memory {
            heads: zeros(shape.head_words()),
            slots: zeros(shape.slot_words(2)),
            shape,
            tally: Tally::default(),
        }
    }

    fn table(&self, owner: u32) -> Table<'_, Mortal, 2> {
        Table::new(&self.heads, &self.slots, self.shape, owner, &self.tally)
    }

    fn put(&self, key: u128, payload: [u64; 2]) -> Upsert {
        self.table(OWNER).upsert(key, |_| Some(payload), |words| Some(words[0]))
    }

    fn corrupt(&self) -> u64 {
        self.tally.corrupt.load(Relaxed)
    }
}

fn held(memory: &Memory, key: u128) -> Option<[u64; 2]> {
    memory.table(OWNER).get(key).map(|found| found.payload)
}

#[test]
fn a_hundred_thousand_keys_find_room_at_their_capacity() {
    let memory = Memory::new(Shape::for_capacity(100_000).buckets);
    for key in 0..100_000_u128 {
        assert_eq!(memory.put((key << 64) | (key * 31), [1, 2]), Upsert::Inserted, "key {key}");
    }
    assert_eq!(memory.table(OWNER).occupied(), 100_000);
}

#[test]
fn an_update_sees_what_the_last_one_wrote() {
    let memory = Memory::new(2);
    let add = |found: Option<Found<2>>| {
        let before = found.map_or([0, 0], |found| found.payload);
        Some([before[0] + 1, before[1] + 7])
    };
    assert_eq!(memory.table(OWNER).upsert(5, add, |_| None), Upsert::Inserted);
    for _ in 0..99 {
        assert_eq!(memory.table(OWNER).upsert(5, add, |_| None), Upsert::Updated);
    }
    assert_eq!(held(&memory, 5), Some([100, 700]));
    assert_eq!(memory.table(OWNER).upsert(5, |_| None, |_| None), Upsert::Declined);
    assert_eq!(memory.table(OWNER).upsert(6, |_| None, |_| None), Upsert::Declined);
    assert_eq!(held(&memory, 6), None);
}

#[test]
fn the_lowest_rank_goes_and_what_is_kept_stays() {
    let memory = Memory::new(2);
    for key in 0..56 {
        assert_eq!(memory.put(key, [100 + key as u64, 0]), Upsert::Inserted);
    }
    assert_eq!(memory.put(1000, [500, 0]), Upsert::Evicted(100));
    assert_eq!((held(&memory, 0), held(&memory, 1000)), (None, Some([500, 0])));
    let keep = |_: &[u64; 2]| None;
    assert_eq!(memory.table(OWNER).upsert(1001, |_| Some([1, 1]), keep), Upsert::Full);
    assert_eq!(memory.table(OWNER).upsert(1000, |_| Some([1, 1]), keep), Upsert::Updated);
    assert_eq!(memory.table(OWNER).remove(1000, |words| words[0] == 2), None, "the condition does not hold");
    assert_eq!(memory.table(OWNER).remove(1000, |words| words[0] == 1), Some([1, 1]));
    assert_eq!(held(&memory, 1000), None);
    assert_eq!(memory.table(OWNER).upsert(1001, |_| Some([1, 1]), keep), Upsert::Inserted);
}

#[test]
fn threads_that_share_buckets_lose_no_update() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 20_000 };
    let memory = Memory::new(2);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let memory = &memory;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = u128::from((round * 7 + thread) % 20);
                    let add = |found: Option<Found<2>>| {
                        let [sum, check] = found.map_or([0, 0], |found| found.payload);
                        assert_eq!(check, sum * 3, "torn");
                        Some([sum + 1, (sum + 1) * 3])
                    };
                    assert!(matches!(
                        memory.table(OWNER).upsert(key, add, |_| None),
                        Upsert::Updated | Upsert::Inserted
                    ));
                    let seen = held(memory, (u128::from(round) * 11) % 20);
                    assert!(seen.is_none_or(|[sum, check]| check == sum * 3), "torn");
                }
            });
        }
    });
    let total: u64 = (0..20).filter_map(|key| held(&memory, key)).map(|[sum, _]| sum).sum();
    assert_eq!(total, THREADS * ROUNDS);
    assert_eq!(memory.corrupt(), 0, "no false alarm");
}

#[test]
fn a_panicking_update_writes_nothing_and_unlocks() {
    let memory = Memory::new(2);
    memory.put(1, [1, 1]);
    for key in [1, 2] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            memory.table(OWNER).upsert(key, |_| panic!("in the caller's code"), |_| None)
        }));
        assert!(panicked.is_err());
    }
    assert_eq!((held(&memory, 1), held(&memory, 2)), (Some([1, 1]), None));
    assert_eq!(memory.put(2, [2, 2]), Upsert::Inserted);
}

#[test]
fn damage_to_any_byte_is_noticed_and_stays_in_its_place() {
    let pristine = || {
        let memory = Memory::new(2);
        for key in 0..40 {
            memory.put(key, [key as u64, 1]);
            memory.put(key, [key as u64, 2]);
        }
        memory
    };
    let sizes = pristine();
    let (heads, slots) = (sizes.heads.len(), sizes.slots.len());
    for place in (0..heads).chain((0..slots).map(|word| heads + word)) {
        for byte in 0..8 {
            let memory = pristine();
            let word = if place < heads { &memory.heads[place] } else { &memory.slots[place - heads] };
            word.0.fetch_xor(0x5A << (8 * byte), Relaxed);
            let table = memory.table(OWNER + 1);
            let mut lost = 0;
            for key in 0..40 {
                match table.get(key) {
                    Some(Found { payload, stale: false }) => assert_eq!(payload, [key as u64, 2]),
                    Some(Found { payload, stale: true }) => {
                        assert!(payload == [key as u64, 1] || payload == [key as u64, 2]);
                        lost += 1;
                    }
                    None => lost += 1,
                }
            }
            assert!(lost <= 1, "one damaged byte cost {lost} keys");
            assert!(lost == 0 || memory.corrupt() > 0, "noticed at word {place} byte {byte}");
            // Afterwards everything works again.
            for key in 0..50 {
                table.upsert(key, |_| Some([key as u64, 3]), |_| None);
                assert_eq!(table.get(key), Some(Found { payload: [key as u64, 3], stale: false }));
            }
        }
    }
}

/// Stops a writer after each of its stores in turn: a process killed there leaves exactly this memory.
#[test]
fn a_crash_after_any_store_keeps_the_old_payload_or_has_the_new_one() {
    for crash_at in 0.. {
        let memory = Memory::new(2);
        for key in 0..56 {
            memory.put(key, [100 + key as u64, 3]);
        }
        let before = memory.tally.corrupt.load(Relaxed);
        let update = dies(&memory, OWNER, crash_at, |table| {
            table.upsert(9, |_| Some([109, 4]), |words| Some(words[0]));
        });
        let evict = dies(&memory, OWNER + 1, crash_at, |table| {
            table.upsert(777, |_| Some([777, 5]), |words| Some(words[0]));
        });
        let remove = dies(&memory, OWNER + 2, crash_at, |table| {
            table.remove(11, |_| true);
        });
        let next = memory.table(OWNER + 3);
        let get = |key| next.get(key).map(|found| (found.payload, found.stale));
        let updated = get(9).expect("an update never loses the key");
        assert!(updated == ([109, 3], false) || updated == ([109, 4], false), "{updated:?} at {crash_at}");
        assert!(update || updated.0 == [109, 4], "acknowledged");
        let (victim, evictor) = (get(0), get(777));
        assert!(victim.is_none() || victim == Some(([100, 3], false)), "{victim:?} at {crash_at}");
        assert!(evictor.is_none() || evictor == Some(([777, 5], false)), "{evictor:?} at {crash_at}");
        assert!(victim.is_none() || evictor.is_none(), "at {crash_at}: one slot");
        assert!(evict || evictor.is_some(), "acknowledged");
        assert!(remove || get(11).is_none(), "acknowledged");
        for key in (1..56).filter(|key| ![9, 11].contains(key)) {
            assert_eq!(get(key), Some(([100 + key as u64, 3], false)), "bystander {key} at {crash_at}");
        }
        // Whatever the crash left, the next opening can write, and finds each key once.
        next.upsert(777, |_| Some([777, 6]), |words| Some(words[0]));
        next.upsert(9, |_| Some([109, 6]), |words| Some(words[0]));
        assert_eq!((get(777), get(9)), (Some(([777, 6], false)), Some(([109, 6], false))));
        let mut keys: Vec<u128> = (0..2).flat_map(|bucket| next.bucket(bucket)).map(|(key, _)| key).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "twice at {crash_at}: {keys:?}");
        assert_eq!(memory.tally.corrupt.load(Relaxed), before, "a crash is not damage, at {crash_at}");
        if !(update || evict || remove) {
            assert!(crash_at > 12, "every store was a crash point");
            return;
        }
    }
}

/// Runs `work` as a process that dies after `budget` stores; true if it did.
fn dies(memory: &Memory, owner: u32, budget: u64, work: impl FnOnce(Table<'_, Mortal, 2>)) -> bool {
    STORES_LEFT.set(budget);
    let outcome = catch_unwind(AssertUnwindSafe(|| work(memory.table(owner))));
    STORES_LEFT.set(u64::MAX);
    outcome.is_err()
}

thread_local! {
    static STORES_LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A word whose writer dies at a given store: that store and every later one never happen.
struct Mortal(AtomicU64);

impl Mortal {
    fn lives(&self) -> bool {
        match STORES_LEFT.get() {
            u64::MAX => true,
            0 if std::thread::panicking() => false,
            0 => resume_unwind(Box::new("died")),
            left => {
                STORES_LEFT.set(left - 1);
                true
            }
        }
    }
}

impl Word for Mortal {
    fn load(&self) -> u64 {
        Word::load(&self.0)
    }

    fn store(&self, value: u64) {
        if self.lives() {
            Word::store(&self.0, value);
        }
    }

    fn publish(&self, value: u64) {
        if self.lives() {
            self.0.publish(value);
        }
    }

    fn swap_if(&self, old: u64, new: u64) -> bool {
        self.lives() && self.0.swap_if(old, new)
    }

    fn acquire() {
        AtomicU64::acquire();
    }

    fn release() {
        AtomicU64::release();
    }

    fn prefetch(&self) {}

    fn relax(round: u32) {
        AtomicU64::relax(round);
    }
}
