//! Sequence words that cannot be mistaken for one another.
//!
//! A stamp is a 48-bit sequence number and a 16-bit mark that depends on it. Changing one byte of a
//! stamp, in whichever half, gives neither a valid nor a void stamp, so that a damaged sequence number
//! is never taken for an older or a newer one. All zero bits, a fresh file, is the void stamp of zero.

const SEQUENCE_BITS: u32 = 48;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
/// Both bytes differ from zero, so that no single byte turns a void stamp into a valid one.
const VALID_MARK: u64 = 0xA5C3;

/// What a sequence word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// The copy is complete; a higher number is newer.
    Valid(u64),
    /// The copy is being written or was given up.
    Void(u64),
    /// The word is damaged.
    Bad,
}

/// The highest number either sequence word shows; zero where neither can be read.
pub(crate) fn highest(a: Stamp, b: Stamp) -> u64 {
    a.number().max(b.number())
}

impl Stamp {
    /// The number, or zero for a damaged word.
    pub(crate) const fn number(self) -> u64 {
        match self {
            Stamp::Valid(n) | Stamp::Void(n) => n,
            Stamp::Bad => 0,
        }
    }

    /// The number of a complete copy.
    pub(crate) const fn valid(self) -> Option<u64> {
        match self {
            Stamp::Valid(n) => Some(n),
            Stamp::Void(_) | Stamp::Bad => None,
        }
    }

    #[inline]
    pub(crate) const fn encode(self) -> u64 {
        match self {
            Stamp::Valid(n) => pack(n, VALID_MARK),
            Stamp::Void(n) => pack(n, 0),
            // Never written on purpose: reads back as `Bad`.
            Stamp::Bad => pack(0, !VALID_MARK & 0xFFFF),
        }
    }

    #[inline]
    pub(crate) const fn decode(word: u64) -> Stamp {
        let number = word & SEQUENCE_MASK;
        let mark = (word >> SEQUENCE_BITS) ^ fold(number);
        match mark {
            VALID_MARK => Stamp::Valid(number),
            0 => Stamp::Void(number),
            _ => Stamp::Bad,
        }
    }
}

const fn pack(number: u64, mark: u64) -> u64 {
    let number = number & SEQUENCE_MASK;
    number | (fold(number) ^ mark) << SEQUENCE_BITS
}

const fn fold(number: u64) -> u64 {
    (number ^ number >> 16 ^ number >> 32) & 0xFFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stamp_reads_back() {
        for n in [0, 1, 2, 0xFFFF, 0x1_0000, 0x1234_5678_9ABC, SEQUENCE_MASK] {
            assert_eq!(Stamp::decode(Stamp::Valid(n).encode()), Stamp::Valid(n));
            assert_eq!(Stamp::decode(Stamp::Void(n).encode()), Stamp::Void(n));
        }
        assert_eq!(Stamp::decode(Stamp::Bad.encode()), Stamp::Bad);
        assert_eq!(Stamp::Void(0).encode(), 0);
    }

    #[test]
    fn any_damaged_byte_is_noticed() {
        for n in [0, 1, 7, 255, 256, 0xFFFF_FFFF, SEQUENCE_MASK] {
            for stamp in [Stamp::Valid(n), Stamp::Void(n)] {
                for byte in 0..8 {
                    for flip in 1..=255_u64 {
                        let damaged = stamp.encode() ^ flip << (8 * byte);
                        assert_eq!(Stamp::decode(damaged), Stamp::Bad, "{stamp:?} byte {byte} flip {flip}");
                    }
                }
            }
        }
    }
}
