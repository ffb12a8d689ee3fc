//! A warm session takes no memory from the system.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pintle_classifier::cpu::{CpuEncoder, Precision};
use pintle_classifier::encoder::{Batch, Encoded, Encoder, Want};

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is left to the system's allocator; the counter is this thread's and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: as the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_session_allocates_nothing() {
    for name in common::TINY {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let encoder = CpuEncoder::new(common::tiny(name), precision);
            let mut session = encoder.session();
            let (mut batch, mut out) = (Batch::default(), Encoded::default());
            let want = Want {
                sequence: encoder.info().sequence_labels() > 0,
                token: encoder.info().token_labels() > 0,
                ..Want::EMBEDDING
            };
            let fill = |batch: &mut Batch, lengths: &[usize]| {
                batch.clear();
                lengths.iter().for_each(|length| batch.push(&vec![7; *length]).unwrap());
            };
            fill(&mut batch, &[128, 100, 128, 64, 128]);
            session.encode(&batch, want, &mut out).unwrap();
            for lengths in [&[128, 128][..], &[1, 127, 90, 128, 7], &[128, 100, 128, 64, 128]] {
                fill(&mut batch, lengths);
                let before = TAKEN.with(Cell::get);
                session.encode(&batch, want, &mut out).unwrap();
                let taken = TAKEN.with(Cell::get) - before;
                assert_eq!(taken, 0, "{name} as {precision} on texts of {lengths:?}");
            }
        }
    }
}
