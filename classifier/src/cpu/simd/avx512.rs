//! AVX-512: floats, bf16 products, and byte products (VNNI).

use std::arch::x86_64::*;

use super::{Dot, Floating, Simd};

/// Sixteen floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

// SAFETY: AVX-512 F, BW and DQ only; loads and stores are of 16 floats, unaligned.
unsafe impl Simd for Avx512 {
    type F = __m512;
    const LANES: usize = 16;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller's pointer is good for 16 floats.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn store(to: *mut f32, x: __m512) {
        // SAFETY: the caller's pointer is good for 16 floats.
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn abs(a: __m512) -> __m512 {
        _mm512_abs_ps(a)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn copysign(a: __m512, sign: __m512) -> __m512 {
        let bit = _mm512_set1_ps(-0.0);
        _mm512_or_ps(_mm512_andnot_ps(bit, a), _mm512_and_ps(bit, sign))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn round(a: __m512) -> __m512 {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn scale2(a: __m512, n: __m512) -> __m512 {
        _mm512_scalef_ps(a, n)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn sum(a: __m512) -> f32 {
        _mm512_reduce_add_ps(a)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    unsafe fn largest(a: __m512) -> f32 {
        _mm512_reduce_max_ps(a)
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const u32) -> __m512i {
    // SAFETY: the caller's pointer is good for 16 lanes.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast(from: *const u32) -> __m512i {
    // SAFETY: the caller's pointer is good for a lane.
    _mm512_set1_epi32(unsafe { from.cast::<i32>().read() })
}

/// Products of `bf16`, two in a lane.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

// SAFETY: AVX-512 F, BW, DQ and BF16 only.
unsafe impl Dot for Bf16 {
    type Lane = Avx512;
    type Packed = __m512i;
    type Sum = __m512;
    const GROUP: usize = 2;
    const SCALED: bool = false;
    const WIDE: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn load(from: *const u32) -> __m512i {
        // SAFETY: as the caller's.
        unsafe { load(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn broadcast(from: *const u32) -> __m512i {
        // SAFETY: as the caller's.
        unsafe { broadcast(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn dot(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: both types are 64 bytes of any content.
        let halves = |x| unsafe { std::mem::transmute::<__m512i, __m512bh>(x) };
        _mm512_dpbf16_ps(sum, halves(a), halves(b))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn float(sum: __m512) -> __m512 {
        sum
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u32) -> f32 {
        // SAFETY: `from` is good for `count` floats and `to` for half as many lanes; `count` is a multiple of 16.
        unsafe {
            for i in (0..count).step_by(16) {
                let narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.add(i)));
                to.add(i / 2).cast::<__m256bh>().write_unaligned(narrow);
            }
        }
        1.0
    }
}

// SAFETY: AVX-512 F, BW, DQ and BF16 only.
unsafe impl Floating for Bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
    unsafe fn interleave(rows: *const u32, stride: usize, count: usize, to: *mut u32) {
        // SAFETY: two rows of `count` halves, a multiple of 16, and `count` lanes at `to`.
        unsafe {
            for i in (0..count).step_by(16) {
                let first = _mm256_loadu_si256(rows.add(i / 2).cast());
                let second = _mm256_loadu_si256(rows.add(stride + i / 2).cast());
                let low = _mm512_cvtepu16_epi32(first);
                let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(second));
                _mm512_storeu_si512(to.add(i).cast(), _mm512_or_si512(low, high));
            }
        }
    }
}

/// Products of bytes, four in a lane: the left operand is unsigned, its values moved up by 128, which
/// [`Packed`](super::super::pack::Packed) takes back.
#[derive(Clone, Copy)]
pub(crate) struct Vnni;

// SAFETY: AVX-512 F, BW, DQ and VNNI only.
unsafe impl Dot for Vnni {
    type Lane = Avx512;
    type Packed = __m512i;
    type Sum = __m512i;
    const GROUP: usize = 4;
    const SCALED: bool = true;
    const WIDE: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
    unsafe fn zero() -> __m512i {
        _mm512_setzero_si512()
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
    unsafe fn load(from: *const u32) -> __m512i {
        // SAFETY: as the caller's.
        unsafe { load(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
    unsafe fn broadcast(from: *const u32) -> __m512i {
        // SAFETY: as the caller's.
        unsafe { broadcast(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
    unsafe fn dot(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sum, a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
    unsafe fn float(sum: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(sum)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u32) -> f32 {
        // SAFETY: `from` is good for `count` floats and `to` for as many bytes; `count` is a multiple of 16.
        unsafe {
            let mut largest = _mm512_set1_ps(f32::MIN_POSITIVE);
            for i in (0..count).step_by(16) {
                largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(from.add(i))));
            }
            let largest = _mm512_reduce_max_ps(largest);
            let inverse = _mm512_set1_ps(127.0 / largest);
            for i in (0..count).step_by(16) {
                let scaled = _mm512_mul_ps(_mm512_loadu_ps(from.add(i)), inverse);
                let moved = _mm512_add_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(128));
                _mm_storeu_si128(to.cast::<u8>().add(i).cast(), _mm512_cvtepi32_epi8(moved));
            }
            largest / 127.0
        }
    }
}
