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
