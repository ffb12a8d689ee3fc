//! Without any instruction set: what runs anywhere, and under Miri.

use super::{Dot, Floating, Simd};

const LANES: usize = 8;

/// Eight floats that the compiler may or may not put into vectors.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type F8 = [f32; LANES];

#[inline(always)]
fn zip(a: F8, b: F8, f: impl Fn(f32, f32) -> f32) -> F8 {
    std::array::from_fn(|i| f(a[i], b[i]))
}

// SAFETY: no instruction set is used; loads and stores are of `LANES` floats, unaligned.
unsafe impl Simd for Portable {
    type F = F8;
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F8 {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> F8 {
        // SAFETY: the caller's pointer is good for `LANES` floats.
        unsafe { from.cast::<F8>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: F8) {
        // SAFETY: the caller's pointer is good for `LANES` floats.
        unsafe { to.cast::<F8>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn add(a: F8, b: F8) -> F8 {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: F8, b: F8) -> F8 {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: F8, b: F8) -> F8 {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: F8, b: F8) -> F8 {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: F8, b: F8, c: F8) -> F8 {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: F8, b: F8) -> F8 {
        zip(a, b, f32::max)
    }
    #[inline(always)]
    unsafe fn min(a: F8, b: F8) -> F8 {
        zip(a, b, f32::min)
    }
    #[inline(always)]
    unsafe fn abs(a: F8) -> F8 {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn copysign(a: F8, sign: F8) -> F8 {
        zip(a, sign, f32::copysign)
    }
    #[inline(always)]
    unsafe fn round(a: F8) -> F8 {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn scale2(a: F8, n: F8) -> F8 {
        zip(a, n, |a, n| a * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(a: F8) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    unsafe fn largest(a: F8) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Products of `f32`, on any [`Simd`].
#[derive(Clone, Copy)]
pub(crate) struct Floats<S>(std::marker::PhantomData<S>);

// SAFETY: uses what `S` uses; a lane is a float of the same size.
unsafe impl<S: Simd> Dot for Floats<S> {
    type Lane = S;
    type Packed = S::F;
    type Sum = S::F;
    const GROUP: usize = 1;
    const SCALED: bool = false;
    const WIDE: usize = if S::LANES == 16 { 4 } else { 2 };

    #[inline(always)]
    unsafe fn zero() -> S::F {
        // SAFETY: as the caller's.
        unsafe { S::splat(0.0) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> S::F {
        // SAFETY: as the caller's.
        unsafe { S::load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const u32) -> S::F {
        // SAFETY: as the caller's.
        unsafe { S::splat(from.cast::<f32>().read()) }
    }
    #[inline(always)]
    unsafe fn dot(sum: S::F, a: S::F, b: S::F) -> S::F {
        // SAFETY: as the caller's.
        unsafe { S::fma(a, b, sum) }
    }
    #[inline(always)]
    unsafe fn float(sum: S::F) -> S::F {
        sum
    }
    #[inline(always)]
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u32) -> f32 {
        // SAFETY: both are good for `count` lanes and do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.cast(), to, count) };
        1.0
    }
}

// SAFETY: a group is one row.
unsafe impl<S: Simd> Floating for Floats<S> {
    #[inline(always)]
    unsafe fn interleave(rows: *const u32, _stride: usize, count: usize, to: *mut u32) {
        // SAFETY: both are good for `count` lanes and do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(rows, to, count) };
    }
}

/// Products of `i8`, four in a lane.
#[derive(Clone, Copy)]
pub(crate) struct Bytes;

// SAFETY: no instruction set is used.
unsafe impl Dot for Bytes {
    type Lane = Portable;
    type Packed = [[i8; 4]; LANES];
    type Sum = [i32; LANES];
    const GROUP: usize = 4;
    const SCALED: bool = true;
    const WIDE: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::Sum {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::Packed {
        // SAFETY: the caller's pointer is good for `LANES` lanes.
        unsafe { from.cast::<Self::Packed>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const u32) -> Self::Packed {
        // SAFETY: the caller's pointer is good for a lane.
        [unsafe { from.cast::<[i8; 4]>().read() }; LANES]
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, a: Self::Packed, b: Self::Packed) -> Self::Sum {
        std::array::from_fn(|i| (0..4).fold(sum[i], |sum, j| sum + i32::from(a[i][j]) * i32::from(b[i][j])))
    }
    #[inline(always)]
    unsafe fn float(sum: Self::Sum) -> F8 {
        sum.map(|sum| sum as f32)
    }
    #[inline(always)]
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u32) -> f32 {
        // SAFETY: `from` is good for `count` floats, `to` for as many bytes, and they do not overlap.
        let (from, to) = unsafe {
            (std::slice::from_raw_parts(from, count), std::slice::from_raw_parts_mut(to.cast::<i8>(), count))
        };
        let largest = from.iter().fold(0f32, |m, x| m.max(x.abs())).max(f32::MIN_POSITIVE);
        let inverse = 127.0 / largest;
        for (to, from) in to.iter_mut().zip(from) {
            *to = (from * inverse).round_ties_even() as i8;
        }
        largest / 127.0
    }
}
