//! AVX2 with FMA.

use std::arch::x86_64::*;

use super::{Dot, Simd};

/// Eight floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

// SAFETY: AVX2 and FMA only; loads and stores are of 8 floats, unaligned.
unsafe impl Simd for Avx2 {
    type F = __m256;
    const LANES: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's pointer is good for 8 floats.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store(to: *mut f32, x: __m256) {
        // SAFETY: the caller's pointer is good for 8 floats.
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn abs(a: __m256) -> __m256 {
        _mm256_andnot_ps(_mm256_set1_ps(-0.0), a)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn copysign(a: __m256, sign: __m256) -> __m256 {
        let bit = _mm256_set1_ps(-0.0);
        _mm256_or_ps(_mm256_andnot_ps(bit, a), _mm256_and_ps(bit, sign))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn round(a: __m256) -> __m256 {
        _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn scale2(a: __m256, n: __m256) -> __m256 {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn sum(a: __m256) -> f32 {
        let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn largest(a: __m256) -> f32 {
        let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
    }
}

/// Products of `i16`, two in a lane, whose values are those of `i8`: AVX2 multiplies bytes only with saturation.
#[derive(Clone, Copy)]
pub(crate) struct Words;

// SAFETY: AVX2 only.
unsafe impl Dot for Words {
    type Lane = Avx2;
    type Packed = __m256i;
    type Sum = __m256i;
    const GROUP: usize = 2;
    const SCALED: bool = true;
    const WIDE: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn zero() -> __m256i {
        _mm256_setzero_si256()
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(from: *const u32) -> __m256i {
        // SAFETY: the caller's pointer is good for 8 lanes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn broadcast(from: *const u32) -> __m256i {
        // SAFETY: the caller's pointer is good for a lane.
        _mm256_set1_epi32(unsafe { from.cast::<i32>().read() })
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn dot(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn float(sum: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(sum)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u32) -> f32 {
        // SAFETY: `from` is good for `count` floats and `to` for as many i16; `count` is a multiple of 16.
        unsafe {
            let mut largest = Avx2::splat(f32::MIN_POSITIVE);
            for i in (0..count).step_by(8) {
                largest = Avx2::max(largest, Avx2::abs(Avx2::load(from.add(i))));
            }
            let largest = Avx2::largest(largest);
            let inverse = Avx2::splat(127.0 / largest);
            let quantised = |i| _mm256_cvtps_epi32(Avx2::mul(Avx2::load(from.add(i)), inverse));
            for i in (0..count).step_by(16) {
                // Packing works within halves of the register; the permutation puts quarters in order.
                let packed = _mm256_packs_epi32(quantised(i), quantised(i + 8));
                let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
                _mm256_storeu_si256(to.cast::<i16>().add(i).cast(), ordered);
            }
            largest / 127.0
        }
    }
}
