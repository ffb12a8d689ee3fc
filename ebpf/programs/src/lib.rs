//! What the programs share. Everything here is inlined into them.

#![no_std]
// core has no read-modify-write atomics for the bpfel target; the instruction exists.
#![feature(core_intrinsics)]
#![allow(internal_features)]

pub mod packet;

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Reads a word that others write.
///
/// # Safety
/// `at` is valid and aligned.
#[inline(always)]
pub unsafe fn read<T: Copy>(at: *const T) -> T {
    // SAFETY: by the caller.
    unsafe { core::ptr::read_volatile(at) }
}

/// Adds to a counter that other CPUs add to as well.
///
/// # Safety
/// `at` is valid and aligned, and points into a map's value.
#[inline(always)]
pub unsafe fn add(at: *mut u64, n: u64) {
    // SAFETY: by the caller.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(at, n);
    }
}

/// What every object needs besides its programs.
#[macro_export]
macro_rules! object {
    () => {
        #[cfg(not(test))]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            // No panic is left in a program that the verifier accepted.
            loop {}
        }

        /// Some helpers are for programs under a licence that the kernel counts as compatible.
        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
    };
}
