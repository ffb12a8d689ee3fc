//! Changing values in a body without copying the body.
//!
//! A patched body is a list of slices: what lies before a changed value, the new value, what lies behind.
//! They go out in one vectored write. Every byte outside the replaced spans is the client's own.

use smallvec::SmallVec;

use super::Span;

/// Most slices a body with one replacement has; more replacements go to the heap.
const INLINE_SLICES: usize = 3;

/// A JSON value, ready to be put in place of another: for a model name, computed once per configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonValue(Box<[u8]>);

impl JsonValue {
    /// `text` as a JSON string. Escapes what RFC 8259 requires and nothing else.
    pub fn string(text: &str) -> JsonValue {
        let mut out = Vec::with_capacity(text.len() + 2);
        escape_into(text, &mut out);
        JsonValue(out.into_boxed_slice())
    }

    /// The value as it goes out, quotes included.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Appends `text` to `out` as a JSON string with its quotes.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
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
    out.push(b'"');
}

/// Why replacements do not fit a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A span reaches beyond the body.
    #[error("a replaced span lies outside the body")]
    Outside,
    /// Spans overlap, or are not in ascending order.
    #[error("replaced spans overlap or are out of order")]
    Order,
}

/// A body with some values replaced, as slices in the order they go out. Empty slices are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patched<'a> {
    slices: SmallVec<[&'a [u8]; INLINE_SLICES]>,
    len: u64,
}

impl<'a> Patched<'a> {
    /// `body` with each span replaced by the bytes beside it. Spans ascend and do not overlap.
    ///
    /// # Errors
    /// [`PatchError`] if they do not, or do not lie in `body`.
    pub fn new(body: &'a [u8], replacements: &[(Span, &'a [u8])]) -> Result<Patched<'a>, PatchError> {
        let mut patched = Patched { slices: SmallVec::new(), len: 0 };
        let mut from = 0;
        for &(span, replacement) in replacements {
            let range = span.range();
            if range.end > body.len() {
                return Err(PatchError::Outside);
            }
            if range.start < from || range.end < range.start {
                return Err(PatchError::Order);
            }
            patched.push(&body[from..range.start]);
            patched.push(replacement);
            from = range.end;
        }
        patched.push(&body[from..]);
        Ok(patched)
    }

    fn push(&mut self, slice: &'a [u8]) {
        if !slice.is_empty() {
            self.len += slice.len() as u64;
            self.slices.push(slice);
        }
    }

    /// The slices, to be sent one after the other.
    pub fn slices(&self) -> &[&'a [u8]] {
        &self.slices
    }

    /// Length of the whole, for `Content-Length`.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is left of the body.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}
