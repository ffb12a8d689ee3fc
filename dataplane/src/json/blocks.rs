//! Which bytes of a block are quotes, backslashes and so on, as bit masks.
//!
//! Two implementations of one small interface: SSE2, which every x86-64 has, and portable arithmetic on
//! 64-bit words. Bit *i* of a mask belongs to byte *i*. Everything above this module is the same for both,
//! and a property test compares them.

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;
/// Bytes in a short block.
pub(super) const SHORT: usize = 16;

/// The bytes that matter inside a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Masks {
    /// `"`
    pub(super) quote: u64,
    /// `\`
    pub(super) backslash: u64,
    /// Below 0x20.
    pub(super) control: u64,
}

/// Classifies blocks of bytes.
pub(super) trait Blocks {
    /// Masks of 16 bytes; the upper bits are zero.
    fn short(bytes: &[u8; SHORT]) -> Masks;
    /// Masks of 64 bytes.
    fn block(bytes: &[u8; BLOCK]) -> Masks;
    /// Bytes equal to `wanted`.
    fn equal(bytes: &[u8; BLOCK], wanted: u8) -> u64;
    /// Hexadecimal digits.
    fn hex_digits(bytes: &[u8; BLOCK]) -> u64;
}

#[cfg(target_arch = "x86_64")]
pub(super) type Native = sse2::Sse2;
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Native = portable::Portable;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8, _mm_sub_epi8,
    };

    use super::{BLOCK, Blocks, Masks, SHORT};

    /// The x86-64 baseline.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Sse2;

    /// Sixteen bytes in a register. Its methods hold all the unsafe code of this crate's parsers.
    #[derive(Clone, Copy)]
    struct Vector(__m128i);

    impl Vector {
        #[inline(always)]
        fn load(bytes: &[u8; SHORT]) -> Vector {
            // SAFETY: `bytes` is 16 readable bytes, the load needs no alignment, and every x86-64 has SSE2.
            Vector(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        }

        #[inline(always)]
        fn splat(byte: u8) -> Vector {
            // SAFETY: every x86-64 has SSE2.
            Vector(unsafe { _mm_set1_epi8(byte as i8) })
        }

        /// 0xff in each byte that equals `byte`.
        #[inline(always)]
        fn equal(self, byte: u8) -> Vector {
            // SAFETY: every x86-64 has SSE2.
            Vector(unsafe { _mm_cmpeq_epi8(self.0, Vector::splat(byte).0) })
        }

        #[inline(always)]
        fn min(self, other: Vector) -> Vector {
            // SAFETY: every x86-64 has SSE2.
            Vector(unsafe { _mm_min_epu8(self.0, other.0) })
        }

        /// 0xff in each byte that is `limit` or less.
        #[inline(always)]
        fn at_most(self, limit: u8) -> Vector {
            // SAFETY: every x86-64 has SSE2.
            Vector(unsafe { _mm_cmpeq_epi8(self.min(Vector::splat(limit)).0, self.0) })
        }

        #[inline(always)]
        fn minus(self, byte: u8) -> Vector {
            // SAFETY: every x86-64 has SSE2.
            Vector(unsafe { _mm_sub_epi8(self.0, Vector::splat(byte).0) })
        }

        #[inline(always)]
        fn or(self, other: Vector) -> Vector {
            // SAFETY: every x86-64 has SSE2.
            Vector(unsafe { _mm_or_si128(self.0, other.0) })
        }

        /// The top bit of each byte.
        #[inline(always)]
        fn mask(self) -> u64 {
            // SAFETY: every x86-64 has SSE2.
            u64::from(unsafe { _mm_movemask_epi8(self.0) } as u32)
        }
    }

    #[inline(always)]
    fn quarters(bytes: &[u8; BLOCK]) -> [Vector; 4] {
        let quarters = bytes.as_chunks::<SHORT>().0;
        [
            Vector::load(&quarters[0]),
            Vector::load(&quarters[1]),
            Vector::load(&quarters[2]),
            Vector::load(&quarters[3]),
        ]
    }

    /// One mask bit for each byte of the block for which `test` holds.
    #[inline(always)]
    fn each([a, b, c, d]: [Vector; 4], test: impl Fn(Vector) -> Vector) -> u64 {
        test(a).mask() | test(b).mask() << 16 | test(c).mask() << 32 | test(d).mask() << 48
    }

    impl Blocks for Sse2 {
        #[inline(always)]
        fn short(bytes: &[u8; SHORT]) -> Masks {
            let vector = Vector::load(bytes);
            Masks {
                quote: vector.equal(b'"').mask(),
                backslash: vector.equal(b'\\').mask(),
                control: vector.at_most(0x1f).mask(),
            }
        }

        #[inline(always)]
        fn block(bytes: &[u8; BLOCK]) -> Masks {
            let block = quarters(bytes);
            // Control characters are almost never there: one test for all four vectors tells.
            let lowest = block[0].min(block[1]).min(block[2].min(block[3]));
            let control =
                if lowest.at_most(0x1f).mask() == 0 { 0 } else { each(block, |vector| vector.at_most(0x1f)) };
            Masks {
                quote: each(block, |vector| vector.equal(b'"')),
                backslash: each(block, |vector| vector.equal(b'\\')),
                control,
            }
        }

        #[inline(always)]
        fn equal(bytes: &[u8; BLOCK], wanted: u8) -> u64 {
            each(quarters(bytes), |vector| vector.equal(wanted))
        }

        #[inline(always)]
        fn hex_digits(bytes: &[u8; BLOCK]) -> u64 {
            let case = Vector::splat(0x20);
            each(quarters(bytes), |vector| {
                vector.minus(b'0').at_most(9).or(vector.or(case).minus(b'a').at_most(5))
            })
        }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) mod portable {
    use super::{BLOCK, Blocks, Masks, SHORT};

    /// Eight bytes at a time, in ordinary registers.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Portable;

    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;

    /// The top bit of each byte that is zero; exact, unlike the shorter form that borrows across bytes.
    #[inline(always)]
    fn zero_bytes(word: u64) -> u64 {
        !(((word & !HIGHS) + !HIGHS) | word | !HIGHS)
    }

    /// Gathers the top bit of each byte into the low eight bits.
    #[inline(always)]
    fn gather(tops: u64) -> u64 {
        ((tops >> 7).wrapping_mul(0x0102_0408_1020_4080)) >> 56
    }

    #[inline(always)]
    fn each(bytes: &[u8], test: impl Fn(u64) -> u64) -> u64 {
        bytes
            .as_chunks::<8>()
            .0
            .iter()
            .rev()
            .fold(0, |mask, chunk| mask << 8 | gather(test(u64::from_le_bytes(*chunk))))
    }

    #[inline(always)]
    fn equal(bytes: &[u8], wanted: u8) -> u64 {
        each(bytes, |word| zero_bytes(word ^ (ONES * u64::from(wanted))))
    }

    /// Bytes below 0x20 have their upper three bits clear.
    #[inline(always)]
    fn control(bytes: &[u8]) -> u64 {
        each(bytes, |word| zero_bytes(word & (ONES * 0xe0)))
    }

    impl Blocks for Portable {
        #[inline]
        fn short(bytes: &[u8; SHORT]) -> Masks {
            Masks { quote: equal(bytes, b'"'), backslash: equal(bytes, b'\\'), control: control(bytes) }
        }

        #[inline]
        fn block(bytes: &[u8; BLOCK]) -> Masks {
            Masks { quote: equal(bytes, b'"'), backslash: equal(bytes, b'\\'), control: control(bytes) }
        }

        #[inline]
        fn equal(bytes: &[u8; BLOCK], wanted: u8) -> u64 {
            equal(bytes, wanted)
        }

        #[inline]
        fn hex_digits(bytes: &[u8; BLOCK]) -> u64 {
            bytes.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(byte.is_ascii_hexdigit()))
        }
    }
}
