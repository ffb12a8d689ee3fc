//! The protocol under loom: every interleaving of two or three threads, with C11's weak memory.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

use super::slot::{Content, Slot, slot_words};
use super::*;

impl Word for AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::Relaxed)
    }

    fn store(&self, value: u64) {
        AtomicU64::store(self, value, Ordering::Relaxed);
    }

    fn publish(&self, value: u64) {
        AtomicU64::store(self, value, Ordering::Release);
    }

    fn swap_if(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn acquire() {
        fence(Ordering::Acquire);
    }

    fn release() {
        fence(Ordering::Release);
    }

    fn prefetch(&self) {}

    fn relax(_round: u32) {
        thread::yield_now();
    }
}

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn model(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(check);
}

/// A payload that is whole only if both words come from one update.
fn payload(turn: u64) -> [u64; 2] {
    [turn, turn * 31 + 5]
}

#[test]
fn a_reader_sees_whole_payloads_in_order() {
    model(3, || {
        let memory = Arc::new(words(slot_words(2)));
        Slot::<_, 2>::new(&memory).insert(9, &payload(1));
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                for turn in 2..=3 {
                    Slot::<_, 2>::new(&memory).update(9, &payload(turn));
                }
            })
        };
        let mut last = 0;
        for _ in 0..2 {
            match Slot::<_, 2>::new(&memory).read() {
                Content::Held { key: 9, payload: seen } => {
                    assert_eq!(seen, payload(seen[0]), "torn");
                    assert!(seen[0] >= last, "went back from {last} to {}", seen[0]);
                    last = seen[0];
                }
                other => panic!("{other:?}"),
            }
        }
        writer.join().expect("no panic");
        assert_eq!(Slot::<_, 2>::new(&memory).read(), Content::Held { key: 9, payload: payload(3) });
    });
}

#[test]
fn a_reader_never_mixes_two_keys() {
    model(3, || {
        let memory = Arc::new(words(slot_words(2)));
        Slot::<_, 2>::new(&memory).insert(9, &payload(1));
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || Slot::<_, 2>::new(&memory).insert(1 << 64 | 8, &payload(2)))
        };
        match Slot::<_, 2>::new(&memory).read() {
            Content::Held { key, payload: seen } => {
                assert_eq!(seen, payload(if key == 9 { 1 } else { 2 }));
                assert!(key == 9 || key == 1 << 64 | 8);
            }
            Content::Free => {}
            other => panic!("{other:?}"),
        }
        writer.join().expect("no panic");
    });
}

/// A table of two buckets, so that every key may be anywhere.
struct Memory {
    heads: Vec<AtomicU64>,
    slots: Vec<AtomicU64>,
    tally: Tally,
}

const SHAPE: Shape = Shape { buckets: 2 };

impl Memory {
    fn new() -> Arc<Memory> {
        Arc::new(Memory {
            heads: words(SHAPE.head_words()),
            slots: words(SHAPE.slot_words(1)),
            tally: Tally::default(),
        })
    }

    fn table(&self) -> Table<'_, AtomicU64, 1> {
        Table::new(&self.heads, &self.slots, SHAPE, 7, &self.tally)
    }

    fn add(&self, key: u128, amount: u64) -> Upsert {
        let sum = |found: Option<Found<1>>| Some([found.map_or(0, |found| found.payload[0]) + amount]);
        self.table().upsert(key, sum, |_| None)
    }
}

#[test]
fn two_writers_of_a_new_key_share_one_slot_and_lose_nothing() {
    model(2, || {
        let memory = Memory::new();
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.add(5, 1))
        };
        let mine = memory.add(5, 10);
        let theirs = other.join().expect("no panic");
        assert!(matches!(
            (mine, theirs),
            (Upsert::Inserted, Upsert::Updated) | (Upsert::Updated, Upsert::Inserted)
        ));
        assert_eq!(memory.table().get(5), Some(Found { payload: [11], stale: false }));
        assert_eq!(memory.table().occupied(), 1);
    });
}

#[test]
fn a_held_key_is_found_while_its_neighbours_come_and_go() {
    model(2, || {
        let memory = Memory::new();
        memory.add(5, 1);
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                memory.add(6, 1);
                memory.table().remove(6, |_| true)
            })
        };
        assert_eq!(memory.table().get(5), Some(Found { payload: [1], stale: false }));
        assert_eq!(other.join().expect("no panic"), Some([1]));
        assert_eq!(memory.table().get(6), None);
        assert_eq!(memory.tally.corrupt.load(std::sync::atomic::Ordering::Relaxed), 0, "no false alarm");
    });
}

#[test]
fn a_removed_key_stays_removed() {
    model(2, || {
        let memory = Memory::new();
        memory.add(5, 1);
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.table().remove(5, |_| true))
        };
        let seen = memory.table().get(5);
        assert!(seen.is_none() || seen == Some(Found { payload: [1], stale: false }));
        assert_eq!(other.join().expect("no panic"), Some([1]));
        assert_eq!(memory.table().get(5), None);
    });
}
