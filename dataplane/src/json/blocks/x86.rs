//! SSE2 and AVX2.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi8, _mm_sub_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
    _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_sub_epi8,
};

use super::{BLOCK, Blocks, Fault, Masks, SHORT, StringEnd, Strings, rest_of_string};

/// The best that the processor has.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Best;

/// The x86-64 baseline.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Sse2;

/// Processors since 2013. Its methods may run only in code that is compiled for, and runs on, one with AVX2:
/// what [`avx2_rest_of_string`] inlines.
#[derive(Debug, Clone, Copy)]
struct Avx2;

impl Strings for Best {
    #[inline(always)]
    fn short(bytes: &[u8; SHORT]) -> Masks {
        Sse2::short(bytes)
    }

    #[inline]
    fn rest_of_string(body: &[u8], from: usize) -> Result<StringEnd, Fault> {
        if has_avx2() {
            // SAFETY: the processor has just been found to have these features.
            unsafe { avx2_rest_of_string(body, from) }
        } else {
            Sse2::rest_of_string(body, from)
        }
    }
}

impl Strings for Sse2 {
    #[inline(always)]
    fn short(bytes: &[u8; SHORT]) -> Masks {
        let vector = Narrow::load(bytes);
        Masks {
            quote: vector.equal(b'"').mask(),
            backslash: vector.equal(b'\\').mask(),
            control: vector.at_most(0x1f).mask(),
        }
    }

    fn rest_of_string(body: &[u8], from: usize) -> Result<StringEnd, Fault> {
        rest_of_string::<Sse2>(body, from)
    }
}

/// Whether [`avx2_rest_of_string`] may run. The answer is cached by the standard library.
#[inline(always)]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("popcnt")
}

/// [`rest_of_string`] compiled for AVX2.
///
/// # Safety
/// The processor must have AVX2, BMI1 and POPCNT.
#[target_feature(enable = "avx2,bmi1,popcnt")]
unsafe fn avx2_rest_of_string(body: &[u8], from: usize) -> Result<StringEnd, Fault> {
    rest_of_string::<Avx2>(body, from)
}

/// Bytes in a register.
trait Vector: Copy {
    /// 0xff in each byte that equals `byte`.
    fn equal(self, byte: u8) -> Self;
    /// The lesser of each two bytes, unsigned.
    fn min(self, other: Self) -> Self;
    /// 0xff in each byte that is `limit` or less.
    fn at_most(self, limit: u8) -> Self;
    fn minus(self, byte: u8) -> Self;
    fn or(self, other: Self) -> Self;
    fn or_byte(self, byte: u8) -> Self;
    /// The top bit of each byte.
    fn mask(self) -> u64;

    #[inline(always)]
    fn hex_digits(self) -> Self {
        self.minus(b'0').at_most(9).or(self.or_byte(0x20).minus(b'a').at_most(5))
    }
}

/// A register type with its instructions. `$bytes` is the size of the register.
macro_rules! vector {
    (
        $(#[$doc:meta])* $name:ident($register:ty; $bytes:expr), mask $lanes:ty: $mask:ident,
        $load:ident, $splat:ident, $equal:ident, $min:ident, $minus:ident, $or:ident
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $name($register);

        impl $name {
            #[inline(always)]
            fn load(bytes: &[u8; $bytes]) -> $name {
                // SAFETY: as many readable bytes as the register holds; the load needs no alignment. The
                // processor has the instruction, see the type.
                $name(unsafe { $load(bytes.as_ptr().cast()) })
            }

            #[inline(always)]
            fn splat(byte: u8) -> $name {
                // SAFETY: the processor has the instruction, see the type.
                $name(unsafe { $splat(byte as i8) })
            }
        }

        impl Vector for $name {
            #[inline(always)]
            fn equal(self, byte: u8) -> $name {
                // SAFETY: the processor has the instruction, see the type.
                $name(unsafe { $equal(self.0, $name::splat(byte).0) })
            }

            #[inline(always)]
            fn min(self, other: $name) -> $name {
                // SAFETY: the processor has the instruction, see the type.
                $name(unsafe { $min(self.0, other.0) })
            }

            #[inline(always)]
            fn at_most(self, limit: u8) -> $name {
                // SAFETY: the processor has the instruction, see the type.
                $name(unsafe { $equal(self.min($name::splat(limit)).0, self.0) })
            }

            #[inline(always)]
            fn minus(self, byte: u8) -> $name {
                // SAFETY: the processor has the instruction, see the type.
                $name(unsafe { $minus(self.0, $name::splat(byte).0) })
            }

            #[inline(always)]
            fn or(self, other: $name) -> $name {
                // SAFETY: the processor has the instruction, see the type.
                $name(unsafe { $or(self.0, other.0) })
            }

            #[inline(always)]
            fn or_byte(self, byte: u8) -> $name {
                self.or($name::splat(byte))
            }

            #[inline(always)]
            fn mask(self) -> u64 {
                // SAFETY: the processor has the instruction, see the type.
                u64::from(unsafe { $mask(self.0) } as $lanes)
            }
        }
    };
}

vector!(
    /// Sixteen bytes. Every x86-64 has SSE2.
    Narrow(__m128i; 16), mask u32: _mm_movemask_epi8,
    _mm_loadu_si128, _mm_set1_epi8, _mm_cmpeq_epi8, _mm_min_epu8, _mm_sub_epi8, _mm_or_si128
);
vector!(
    /// Thirty-two bytes. Only [`Avx2`] makes one, and that runs only in [`avx2_rest_of_string`].
    Wide(__m256i; 32), mask u32: _mm256_movemask_epi8,
    _mm256_loadu_si256, _mm256_set1_epi8, _mm256_cmpeq_epi8, _mm256_min_epu8, _mm256_sub_epi8, _mm256_or_si256
);

/// One mask bit for each byte of a block for which `test` holds.
#[inline(always)]
fn narrow_mask(bytes: &[u8; BLOCK], test: impl Fn(Narrow) -> Narrow) -> u64 {
    let quarters = bytes.as_chunks::<16>().0;
    let mask = |quarter: usize| test(Narrow::load(&quarters[quarter])).mask() << (16 * quarter);
    mask(0) | mask(1) | mask(2) | mask(3)
}

impl Blocks for Sse2 {
    #[inline(always)]
    fn block(bytes: &[u8; BLOCK]) -> Masks {
        let quarters = bytes.as_chunks::<16>().0;
        let load = |quarter: usize| Narrow::load(&quarters[quarter]);
        // Control characters are almost never there: one test for all of the block tells.
        let lowest = load(0).min(load(1)).min(load(2).min(load(3)));
        let none = lowest.at_most(0x1f).mask() == 0;
        Masks {
            quote: Sse2::equal(bytes, b'"'),
            backslash: Sse2::equal(bytes, b'\\'),
            control: if none { 0 } else { narrow_mask(bytes, |vector| vector.at_most(0x1f)) },
        }
    }

    #[inline(always)]
    fn equal(bytes: &[u8; BLOCK], wanted: u8) -> u64 {
        narrow_mask(bytes, |vector| vector.equal(wanted))
    }

    #[inline(always)]
    fn hex_digits(bytes: &[u8; BLOCK]) -> u64 {
        narrow_mask(bytes, Vector::hex_digits)
    }
}

/// No closures here: one that is not inlined is compiled without AVX2 and costs ten times as much.
impl Blocks for Avx2 {
    #[inline(always)]
    fn block(bytes: &[u8; BLOCK]) -> Masks {
        let [low, high] = halves(bytes);
        Masks {
            quote: Avx2::equal(bytes, b'"'),
            backslash: Avx2::equal(bytes, b'\\'),
            control: low.at_most(0x1f).mask() | high.at_most(0x1f).mask() << 32,
        }
    }

    #[inline(always)]
    fn equal(bytes: &[u8; BLOCK], wanted: u8) -> u64 {
        let [low, high] = halves(bytes);
        low.equal(wanted).mask() | high.equal(wanted).mask() << 32
    }

    #[inline(always)]
    fn hex_digits(bytes: &[u8; BLOCK]) -> u64 {
        let [low, high] = halves(bytes);
        low.hex_digits().mask() | high.hex_digits().mask() << 32
    }
}

#[inline(always)]
fn halves(bytes: &[u8; BLOCK]) -> [Wide; 2] {
    let halves = bytes.as_chunks::<32>().0;
    [Wide::load(&halves[0]), Wide::load(&halves[1])]
}

/// All masks of a block, as the AVX2 code sees them; `None` without AVX2.
#[cfg(test)]
pub(in super::super) fn avx2_masks(bytes: &[u8; BLOCK], wanted: u8) -> Option<(Masks, u64, u64)> {
    #[target_feature(enable = "avx2,bmi1,popcnt")]
    unsafe fn masks(bytes: &[u8; BLOCK], wanted: u8) -> (Masks, u64, u64) {
        (Avx2::block(bytes), Avx2::equal(bytes, wanted), Avx2::hex_digits(bytes))
    }
    // SAFETY: called only where the processor has these features.
    has_avx2().then(|| unsafe { masks(bytes, wanted) })
}
