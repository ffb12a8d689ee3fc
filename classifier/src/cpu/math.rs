//! Elementary functions on vectors.

use super::simd::Simd;

/// 2^x for x of at most 127. Below -126 it is 2^-126.
///
/// `2^r = e^(r ln 2)` on |r| <= 1/2 by its Taylor polynomial: the first term left out is below 2e-7 of the result.
#[inline(always)]
pub(super) unsafe fn exp2<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's: the processor has what `S` uses.
    unsafe {
        let x = S::max(x, S::splat(-126.0));
        let n = S::round(x);
        let r = S::sub(x, n);
        let mut p = S::splat(1.540_353e-4);
        for c in [1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, 6.931_472e-1, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::scale2(p, n)
    }
}

#[inline(always)]
unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe { exp2::<S>(S::min(S::mul(x, S::splat(std::f32::consts::LOG2_E)), S::splat(126.0))) }
}

/// x Φ(x), within 2e-7 max(1, |x|).
///
/// erf by Abramowitz and Stegun 7.1.26.
#[inline(always)]
pub(super) unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe {
        let z = S::abs(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
        let one = S::splat(1.0);
        let t = S::div(one, S::fma(z, S::splat(0.327_591_1), one));
        let mut p = S::splat(1.061_405_4);
        for c in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
            p = S::fma(p, t, S::splat(c));
        }
        let tail = S::mul(S::mul(p, t), exp::<S>(S::mul(S::sub(S::splat(0.0), z), z)));
        let erf = S::copysign(S::sub(one, tail), x);
        let half = S::mul(x, S::splat(0.5));
        S::fma(half, erf, half)
    }
}

/// x Φ(x), within 1.7e-4: for results that are narrowed to fewer bits anyway.
///
/// erf(x / √2) / x as a polynomial in x² on |x| <= 4, fitted for the least largest error of the product.
#[inline(always)]
pub(super) unsafe fn gelu_coarse<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe {
        let z = S::max(S::min(x, S::splat(4.0)), S::splat(-4.0));
        let s = S::mul(z, z);
        let mut p = S::splat(-2.602_494_9e-9);
        for c in [
            2.083_890_3e-7,
            -7.314_315_6e-6,
            1.497_141_2e-4,
            -2.013_068_9e-3,
            1.901_184_8e-2,
            -1.317_837_5e-1,
            7.973_971e-1,
        ] {
            p = S::fma(p, s, S::splat(c));
        }
        let one = S::splat(1.0);
        let erf = S::max(S::min(S::mul(p, z), one), S::sub(S::splat(0.0), one));
        let half = S::mul(x, S::splat(0.5));
        S::fma(half, erf, half)
    }
}

/// 1 / (1 + e^-x).
#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// The approximation of x Φ(x) by tanh, as `x sigmoid(2 √(2/π) (x + 0.044715 x³))`.
#[inline(always)]
pub(super) unsafe fn gelu_tanh<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe {
        let cubic = S::fma(S::mul(S::mul(x, x), x), S::splat(0.044_715), x);
        S::mul(x, sigmoid::<S>(S::mul(cubic, S::splat(1.595_769))))
    }
}

#[inline(always)]
pub(super) unsafe fn silu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe { S::mul(x, sigmoid::<S>(x)) }
}

#[inline(always)]
pub(super) unsafe fn relu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe { S::max(x, S::splat(0.0)) }
}

#[inline(always)]
pub(super) unsafe fn tanh<S: Simd>(x: S::F) -> S::F {
    // SAFETY: as the caller's.
    unsafe {
        let twice = sigmoid::<S>(S::add(x, x));
        S::sub(S::add(twice, twice), S::splat(1.0))
    }
}
