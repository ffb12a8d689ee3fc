//! The memory operations that the table protocol is built from.
//!
//! The protocol touches shared memory only through these six operations, so that the same code runs on
//! the mapped file and under loom's model checker.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// One 64-bit cell of shared memory.
pub(crate) trait Word {
    /// Relaxed load.
    fn load(&self) -> u64;
    /// Relaxed store.
    fn store(&self, value: u64);
    /// Store that makes every earlier write of this thread visible to whoever reads `value`.
    fn publish(&self, value: u64);
    /// Replaces `old` by `new` with acquire ordering; true if it did.
    fn swap_if(&self, old: u64, new: u64) -> bool;
    /// Orders earlier loads before everything that follows.
    fn acquire();
    /// Orders everything earlier before the stores that follow.
    fn release();
    /// Starts to bring the cell's cache line closer, for reading soon.
    fn prefetch(&self);
    /// Lets another thread make progress; `round` counts the calls of one wait.
    fn relax(round: u32);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::Relaxed)
    }

    #[inline]
    fn store(&self, value: u64) {
        AtomicU64::store(self, value, Ordering::Relaxed);
    }

    #[inline]
    fn publish(&self, value: u64) {
        AtomicU64::store(self, value, Ordering::Release);
    }

    #[inline]
    fn swap_if(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    fn acquire() {
        fence(Ordering::Acquire);
    }

    #[inline]
    fn release() {
        fence(Ordering::Release);
    }

    #[inline]
    fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: prefetching never faults, whatever the address; SSE is part of x86-64.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(self).cast());
        }
    }

    #[inline]
    fn relax(round: u32) {
        // A lock is held for about 100 ns; a wait longer than this means that its holder was preempted.
        if round < 64 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}
