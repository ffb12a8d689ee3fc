//! JSON strings to text and back.

use std::borrow::Cow;

use super::blocks::Baseline;
use super::spans::{Span, StringSpan};
use super::strings::unicode_shrinkage;

/// Stands for an unpaired surrogate, which no text can hold.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

impl StringSpan {
    /// The string's text; borrowed from `body` unless it has escapes. Lone surrogates become U+FFFD.
    ///
    /// `body` is what [`scan`](super::scan()) returned; of any other text some slice comes out, or nothing.
    pub fn decode(self, body: &str) -> Cow<'_, str> {
        let raw = body.get(self.inner().range()).unwrap_or_default();
        if self.escapes() == 0 { Cow::Borrowed(raw) } else { decode(raw) }
    }

    /// Length of [`decode`](Self::decode)'s result in bytes, without making it.
    pub fn decoded_len(self, body: &str) -> usize {
        let plain = self.inner().len().saturating_sub(self.escapes() as usize);
        if !self.has_unicode_escape() {
            return plain;
        }
        let raw = body.get(self.inner().range()).unwrap_or_default();
        plain.saturating_sub(unicode_shrinkage::<Baseline>(raw.as_bytes()))
    }

    /// Appends the string's text to `out`.
    pub fn decode_into(self, body: &str, out: &mut String) {
        let raw = body.get(self.inner().range()).unwrap_or_default();
        if self.escapes() == 0 { out.push_str(raw) } else { decode_into(raw, out) }
    }
}

/// Appends `text` as a JSON string with its quotes. Escapes what RFC 8259 requires and nothing else.
pub fn quote_into(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape_into(text, out);
    out.push(b'"');
}

/// Appends what stands between the quotes of `text` as a JSON string.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
            _ => out.push(byte),
        }
    }
}

/// The text of the JSON string that lies at `value` of a document; `None` if something else lies there.
pub fn string(body: &str, value: Span) -> Option<Cow<'_, str>> {
    let raw = body.get(value.range())?.strip_prefix('"')?.strip_suffix('"')?;
    Some(decode(raw))
}

/// Decodes what lies between the quotes of a JSON string. Total: a malformed escape, which the scan does
/// not let through, becomes U+FFFD.
pub fn decode(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    decode_into(raw, &mut text);
    Cow::Owned(text)
}

fn decode_into(raw: &str, out: &mut String) {
    walk(raw, |piece| match piece {
        Piece::Plain(text) => out.push_str(text),
        Piece::Escape(character) => out.push(character),
    });
}

/// A stretch of a string.
enum Piece<'r> {
    /// Without escapes.
    Plain(&'r str),
    /// What one escape stands for.
    Escape(char),
}

/// Hands each stretch of a string to `visit`, in order.
fn walk<'r>(mut raw: &'r str, mut visit: impl FnMut(Piece<'r>)) {
    while let Some(at) = next_backslash(raw.as_bytes()) {
        if at > 0 {
            visit(Piece::Plain(&raw[..at]));
        }
        let (character, len) = escape(&raw.as_bytes()[at..]);
        visit(Piece::Escape(character));
        // An escape is ASCII, and so is as much of a malformed one as is taken.
        raw = &raw[at + len..];
    }
    if !raw.is_empty() {
        visit(Piece::Plain(raw));
    }
}

/// Where the next backslash is. In text that is full of them a call for each would cost more than the
/// search, so the first few bytes are looked at here.
#[inline]
fn next_backslash(bytes: &[u8]) -> Option<usize> {
    const WORD: usize = size_of::<u64>();
    const ONES: u64 = u64::from_ne_bytes([1; WORD]);
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    while at < 2 * WORD
        && let Some(chunk) = bytes[at..].first_chunk::<WORD>()
    {
        let word = u64::from_le_bytes(*chunk) ^ (ONES * b'\\' as u64);
        // The lowest bit set here belongs to the first zero byte; borrows can only spoil bits above it.
        let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += WORD;
    }
    memchr::memchr(b'\\', &bytes[at..]).map(|found| at + found)
}

/// The character that an escape at the start of `bytes` stands for, and the escape's length.
fn escape(bytes: &[u8]) -> (char, usize) {
    let simple = match bytes.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes),
        _ => return (REPLACEMENT, 1),
    };
    (simple, 2)
}

/// `\uXXXX`, or two of them that make a surrogate pair.
fn unicode_escape(bytes: &[u8]) -> (char, usize) {
    let Some(unit) = code_unit(bytes) else { return (REPLACEMENT, 2) };
    if let Some(character) = char::from_u32(unit) {
        return (character, 6);
    }
    let low = bytes.get(6..).and_then(code_unit).filter(|low| (0xdc00..0xe000).contains(low));
    match low {
        Some(low) if unit < 0xdc00 => {
            let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(scalar).unwrap_or(REPLACEMENT), 12)
        }
        _ => (REPLACEMENT, 6),
    }
}

/// The UTF-16 code unit of a `\uXXXX` at the start of `bytes`.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes else { return None };
    digits.get(..4)?.iter().try_fold(0, |unit, &digit| Some(unit << 4 | (digit as char).to_digit(16)?))
}
