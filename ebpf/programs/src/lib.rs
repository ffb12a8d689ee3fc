//! What the programs share. Everything here is inlined into them.

#![no_std]
// core has no read-modify-write atomics for the bpfel target; the instruction exists.
#![feature(asm_experimental_arch, core_intrinsics)]
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

/// Gives `value` back, of which `MASK` must keep all. Ends a branch so that LLVM does not make one load with a
/// computed place of two that end two branches: the verifier wants places known beforehand. `MASK` must differ
/// between the branches.
#[inline(always)]
pub fn keep_apart<const MASK: u32>(value: u16) -> u16 {
    let mut wide = u64::from(value);
    // SAFETY: one instruction on one register.
    unsafe { core::arch::asm!("{} &= {}", inout(reg) wide, const MASK, options(nostack, preserves_flags)) };
    wide as u16
}

/// A zero that LLVM does not know to be one. Known ones it would fill in by calling a loop, which takes
/// CAP_PERFMON.
#[inline(always)]
pub fn zero() -> u32 {
    let zero: u64;
    // SAFETY: one instruction on one register.
    unsafe { core::arch::asm!("{} = 0", out(reg) zero, options(pure, nomem, nostack, preserves_flags)) };
    zero as u32
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
