//! Which bytes of a block are quotes, backslashes and so on, as bit masks.
//!
//! Three implementations of one small interface: AVX2 where the processor has it, SSE2, which every x86-64
//! has, and portable arithmetic on 64-bit words. Bit *i* of a mask belongs to byte *i*. Everything above this
//! module is the same for all, and property tests compare them. All unsafe code of this crate's parsers is here.

use super::error::Fault;
use super::strings::{StringEnd, rest_of_string};

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
    /// Masks of 64 bytes.
    fn block(bytes: &[u8; BLOCK]) -> Masks;
    /// Bytes equal to `wanted`.
    fn equal(bytes: &[u8; BLOCK], wanted: u8) -> u64;
    /// Hexadecimal digits.
    fn hex_digits(bytes: &[u8; BLOCK]) -> u64;
}

/// Reads strings: what a [`Cursor`](super::cursor::Cursor) needs to know of all this.
pub(super) trait Strings {
    /// Masks of 16 bytes; the upper bits are zero.
    fn short(bytes: &[u8; SHORT]) -> Masks;
    /// See [`rest_of_string`].
    fn rest_of_string(body: &[u8], from: usize) -> Result<StringEnd, Fault>;
}

#[cfg(target_arch = "x86_64")]
pub(super) type Native = x86::Best;
/// What needs no look at the processor.
#[cfg(target_arch = "x86_64")]
pub(super) type Baseline = x86::Sse2;
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Native = portable::Portable;
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Baseline = portable::Portable;

#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) mod portable {
    use super::{BLOCK, Blocks, Fault, Masks, SHORT, StringEnd, Strings, rest_of_string};

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

    impl Strings for Portable {
        fn rest_of_string(body: &[u8], from: usize) -> Result<StringEnd, Fault> {
            rest_of_string::<Portable>(body, from)
        }

        #[inline]
        fn short(bytes: &[u8; SHORT]) -> Masks {
            Masks { quote: equal(bytes, b'"'), backslash: equal(bytes, b'\\'), control: control(bytes) }
        }
    }

    impl Blocks for Portable {
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
