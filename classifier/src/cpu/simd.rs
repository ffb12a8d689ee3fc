//! What the kernels ask of an instruction set.
//!
//! Kernels are written once, generic over [`Simd`] (vectors of `f32`) and [`Dot`] (sums of products of narrower
//! numbers), and compiled once per instruction set inside functions that enable it
//! ([`kernels::Table`](super::kernels::Table)). Everything generic is `#[inline(always)]`, so that nothing of it
//! remains outside these functions.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
pub(super) mod portable;

/// Vectors of `f32`.
///
/// # Safety
///
/// Every function may use the instruction set that the implementation names: callers have established that the
/// processor has it. `load` and `store` access [`Self::LANES`] floats at a pointer of any alignment.
pub(super) unsafe trait Simd: Copy {
    /// A vector.
    type F: Copy;
    /// Floats in a vector; divides 16.
    const LANES: usize;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, x: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, fused or not.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `sign`.
    unsafe fn copysign(a: Self::F, sign: Self::F) -> Self::F;
    /// To the nearest integer, for magnitudes below 2^22.
    unsafe fn round(a: Self::F) -> Self::F;
    /// `a * 2^n` for an integral `n` from -126 to 127.
    unsafe fn scale2(a: Self::F, n: Self::F) -> Self::F;
    unsafe fn sum(a: Self::F) -> f32;
    unsafe fn largest(a: Self::F) -> f32;
}

/// Sums of products of numbers that lie [`Self::GROUP`] in a 32-bit lane.
///
/// # Safety
///
/// As for [`Simd`]. `load` reads a vector of lanes, `broadcast` one lane.
pub(super) unsafe trait Dot: Copy {
    /// What results become.
    type Lane: Simd;
    /// A vector of lanes.
    type Packed: Copy;
    /// A vector of sums, one per lane.
    type Sum: Copy;
    /// Numbers in a lane.
    const GROUP: usize;
    /// Whether results must be multiplied by a scale per row and one per column.
    const SCALED: bool;
    /// Vectors side by side in a tile: with 6 rows, its sums must fit the registers.
    const WIDE: usize;

    unsafe fn zero() -> Self::Sum;
    unsafe fn load(from: *const u32) -> Self::Packed;
    unsafe fn broadcast(from: *const u32) -> Self::Packed;
    /// Adds to every sum the products within its lane.
    unsafe fn dot(sum: Self::Sum, a: Self::Packed, b: Self::Packed) -> Self::Sum;
    unsafe fn float(sum: Self::Sum) -> <Self::Lane as Simd>::F;
    /// Narrows `count` floats, a multiple of 16, and returns what their products must be multiplied by.
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u32) -> f32;
}

/// A [`Dot`] whose numbers need no scale, so that attention can be made of it.
///
/// # Safety
///
/// As for [`Dot`].
pub(super) unsafe trait Floating: Dot {
    /// Interleaves [`Dot::GROUP`] narrowed rows of `count` numbers (a multiple of 16), `stride` lanes apart, so that each
    /// lane of the result holds one number of each row.
    unsafe fn interleave(rows: *const u32, stride: usize, count: usize, to: *mut u32);
}
