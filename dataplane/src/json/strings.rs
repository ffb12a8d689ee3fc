//! The inside of a JSON string, a block of bytes at a time.

use super::blocks::{BLOCK, Blocks};
use super::error::{Fault, ScanErrorKind};

/// Where a string ends and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StringEnd {
    /// Behind the closing quote.
    pub(super) end: usize,
    /// Escapes passed on the way.
    pub(super) escapes: u32,
    /// Whether one of them was a `\u`.
    pub(super) unicode: bool,
}

/// Reads on in a string from `from`, which is a place in it that no escape straddles, to its end.
///
/// # Errors
/// A control character, an escape that JSON does not have, or the end of the body.
#[inline(always)]
pub(super) fn rest_of_string<B: Blocks>(body: &[u8], mut from: usize) -> Result<StringEnd, Fault> {
    // Whether the block's first byte is escaped by the last one of the block before it.
    let mut carry = 0u64;
    // Bytes of the block that must be hexadecimal digits because of a `\u` in the block before it.
    let mut digits_due = 0u64;
    let (mut escapes, mut unicode) = (0u32, false);
    let mut padded = [0; BLOCK];
    loop {
        let rest = body.get(from..).unwrap_or_default();
        let (block, live) = match rest.first_chunk::<BLOCK>() {
            Some(block) => (block, !0),
            None => {
                padded[..rest.len()].copy_from_slice(rest);
                (&padded, (1 << rest.len()) - 1)
            }
        };
        let masks = B::block(block);
        let fault = |kind, bits: u64| Err(Fault { kind, offset: from + bits.trailing_zeros() as usize });
        // One branch that is hard to predict for each block, not several.
        if masks.backslash | carry | digits_due == 0 {
            let stop = (masks.quote | masks.control) & live;
            if stop != 0 {
                if masks.quote & stop & stop.wrapping_neg() == 0 {
                    return fault(ScanErrorKind::ControlCharacter, stop);
                }
                return Ok(StringEnd { end: from + stop.trailing_zeros() as usize + 1, escapes, unicode });
            }
        } else {
            let escaped = escaped(masks.backslash, &mut carry);
            let end = masks.quote & !escaped & live;
            // Bits below the closing quote; all of them if it is not in this block.
            let inside = if end == 0 { live } else { (end & end.wrapping_neg()) - 1 };
            if masks.control & inside != 0 {
                return fault(ScanErrorKind::ControlCharacter, masks.control & inside);
            }
            let escaped = escaped & inside;
            escapes += escaped.count_ones();
            let letters = escaped & !(masks.quote | masks.backslash);
            // Prose has one letter in most blocks that have any, and it is `n`.
            let plain = match letters {
                0 => true,
                _ if letters & (letters - 1) == 0 => block[letters.trailing_zeros() as usize % BLOCK] == b'n',
                _ => false,
            };
            if !plain || digits_due != 0 {
                let hex = B::equal(block, b'u') & letters;
                let unknown = letters & !(hex | B::equal(block, b'n') | B::equal(block, b't'));
                if let Some(bad) = not_an_escape(block, unknown) {
                    return fault(ScanErrorKind::Escape, 1 << bad);
                }
                // The closing quote counts too: a digit due there is missing.
                let due = (hex << 1 | hex << 2 | hex << 3 | hex << 4 | digits_due) & (inside << 1 | 1) & live;
                if due != 0 && due & !B::hex_digits(block) != 0 {
                    return fault(ScanErrorKind::UnicodeEscape, due & !B::hex_digits(block));
                }
                digits_due = hex >> 63 | hex >> 62 | hex >> 61 | hex >> 60;
                unicode |= hex != 0;
            }
            if end != 0 {
                return Ok(StringEnd { end: from + end.trailing_zeros() as usize + 1, escapes, unicode });
            }
        }
        if live != !0 {
            let kind = ScanErrorKind::UnexpectedEnd { expected: "'\"'" };
            return Err(Fault { kind, offset: body.len() });
        }
        from += BLOCK;
    }
}

/// How many bytes shorter a string is than it looks because of its `\\u` escapes, their backslashes not counted.
///
/// `raw` is what lies between the quotes of a string that has been scanned. A pair of surrogates counts as the
/// one character it stands for, a lone one as U+FFFD.
pub(super) fn unicode_shrinkage<B: Blocks>(raw: &[u8]) -> usize {
    let mut carry = 0u64;
    let mut shrinkage = 0;
    // Where a low surrogate would complete a pair.
    let mut awaits_low = usize::MAX;
    let mut padded = [0; BLOCK];
    for (index, bytes) in raw.chunks(BLOCK).enumerate() {
        let block = match bytes.first_chunk::<BLOCK>() {
            Some(block) => block,
            None => {
                padded[..bytes.len()].copy_from_slice(bytes);
                &padded
            }
        };
        let masks = B::block(block);
        if masks.backslash | carry == 0 {
            continue;
        }
        let mut letters = escaped(masks.backslash, &mut carry) & B::equal(block, b'u');
        while letters != 0 {
            let at = index * BLOCK + letters.trailing_zeros() as usize;
            letters &= letters - 1;
            let Some(digits) = raw.get(at + 1..).and_then(|rest| rest.first_chunk::<4>()) else { break };
            let unit = digits.iter().fold(0, |unit, &digit| unit << 4 | nibble(digit));
            let completes_pair = at == awaits_low && unit & 0xfc00 == 0xdc00;
            let utf8 = 1 + usize::from(unit >= 0x80) + usize::from(unit >= 0x800);
            // The high half has been counted as the three bytes of U+FFFD; the whole takes four.
            shrinkage += 5 - if completes_pair { 1 } else { utf8 };
            awaits_low = if unit & 0xfc00 == 0xd800 { at + 6 } else { usize::MAX };
        }
    }
    shrinkage
}

/// The value of a hexadecimal digit: letters have bit 6 set, and their low bits count from 1.
#[inline(always)]
fn nibble(digit: u8) -> u32 {
    u32::from(digit & 15) + 9 * u32::from(digit >> 6)
}

/// The first of `letters` (bits of `block`) that ends no escape; quote, backslash, `u`, `n` and `t` are settled.
#[inline(always)]
fn not_an_escape(block: &[u8; BLOCK], mut letters: u64) -> Option<u32> {
    while letters != 0 {
        let at = letters.trailing_zeros();
        if !matches!(block[at as usize % BLOCK], b'r' | b'/' | b'b' | b'f') {
            return Some(at);
        }
        letters &= letters - 1;
    }
    None
}

/// Which bytes follow a backslash that is not itself escaped, from the positions of all backslashes.
///
/// The method is simdjson's (Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019, section
/// 3.1.1, in the form of its later releases): in a run of backslashes every other one escapes, and a
/// subtraction carries that parity through the run.
#[inline(always)]
fn escaped(backslash: u64, carry: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let starts = backslash & !*carry;
    let codes = ((starts << 1 | ODD).wrapping_sub(starts)) ^ ODD;
    let escaped = codes ^ (backslash | *carry);
    *carry = (codes & backslash) >> 63;
    escaped
}
