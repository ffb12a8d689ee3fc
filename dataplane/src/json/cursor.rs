//! The JSON grammar (RFC 8259), one value at a time.
//!
//! Nothing recurses over what the client nests: values of no interest are skipped in a loop, with one bit
//! per open container, and the walk into interesting ones is as deep as the APIs are.

use std::marker::PhantomData;

use super::blocks::{SHORT, Strings};
use super::error::{Fault, ScanErrorKind};
use super::spans::{Span, StringSpan};
use super::strings::StringEnd;

/// Deepest nesting that can be configured.
pub(super) const MAX_DEPTH: u32 = 1024;
/// Longest member name, decoded, that is compared with anything; longer than every name the APIs use.
const LONGEST_NAME: usize = 32;

pub(super) type Scanned<T> = Result<T, Fault>;

/// A place in a body, moving forward.
pub(super) struct Cursor<'b, S> {
    body: &'b [u8],
    at: usize,
    depth: u32,
    limit: u32,
    strings: PhantomData<S>,
}

impl<'b, S: Strings> Cursor<'b, S> {
    pub(super) fn new(body: &'b [u8], depth_limit: u32) -> Cursor<'b, S> {
        Cursor { body, at: 0, depth: 0, limit: depth_limit.min(MAX_DEPTH), strings: PhantomData }
    }

    /// At a value inside a body.
    pub(super) fn at_value(body: &'b [u8], depth_limit: u32, at: usize) -> Cursor<'b, S> {
        Cursor { at, ..Cursor::new(body, depth_limit) }
    }

    /// Bytes before the next one.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[cold]
    pub(super) fn fault<T>(&self, kind: ScanErrorKind) -> Scanned<T> {
        Err(Fault { kind, offset: self.at })
    }

    /// Nothing that matters is here: an error that says what was wanted.
    #[cold]
    pub(super) fn expected<T>(&self, expected: &'static str) -> Scanned<T> {
        self.fault(match self.body.get(self.at) {
            Some(_) => ScanErrorKind::Unexpected { expected },
            None => ScanErrorKind::UnexpectedEnd { expected },
        })
    }

    /// The next byte; 0, which no grammar rule accepts, at the end.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.body.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn white_space(&mut self) {
        while let Some(&byte) = self.body.get(self.at) {
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                break;
            }
            self.at += 1;
        }
    }

    /// White space up to the end of the body.
    pub(super) fn end(&mut self) -> Scanned<()> {
        self.white_space();
        if self.at < self.body.len() { self.fault(ScanErrorKind::Trailing) } else { Ok(()) }
    }

    /// Skips one value of any kind.
    #[inline]
    pub(super) fn skip(&mut self) -> Scanned<()> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_container(),
            _ => self.scalar(),
        }
    }

    /// Skips one value and tells where it was.
    #[inline]
    pub(super) fn span(&mut self) -> Scanned<Span> {
        let start = self.at;
        self.skip()?;
        Ok(Span::new(start, self.at))
    }

    /// A string, or nothing if the value (which is skipped) is of another kind.
    #[inline]
    pub(super) fn string_or_skip(&mut self) -> Scanned<Option<StringSpan>> {
        if self.peek() == b'"' { self.string().map(Some) } else { self.skip().map(|()| None) }
    }

    /// A whole number that fits 64 bits, or nothing if the value (which is skipped) is something else.
    pub(super) fn integer_or_skip(&mut self) -> Scanned<Option<u64>> {
        let span = self.span()?;
        Ok(std::str::from_utf8(span.of(self.body)).ok().and_then(|digits| digits.parse().ok()))
    }

    /// Walks an object; `member` gets each name, decoded, with the cursor at its value.
    #[inline(always)]
    pub(super) fn members(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Scanned<()>) -> Scanned<()> {
        self.named_members(|cursor, name| {
            let mut decoded = [0; LONGEST_NAME];
            let name = if name.escapes() == 0 {
                name.inner().of(cursor.body)
            } else {
                decode_name(name.inner().of(cursor.body), &mut decoded)
            };
            member(cursor, name)
        })
    }

    /// Walks an object; `member` gets each name as it stands, with the cursor at its value.
    #[inline(always)]
    pub(super) fn named_members(
        &mut self,
        mut member: impl FnMut(&mut Self, StringSpan) -> Scanned<()>,
    ) -> Scanned<()> {
        self.open()?;
        if self.peek() == b'}' {
            return self.close();
        }
        loop {
            let name = self.name()?;
            member(self, name)?;
            self.white_space();
            match self.peek() {
                b',' => {
                    self.at += 1;
                    self.white_space();
                }
                b'}' => return self.close(),
                _ => return self.expected("',' or '}'"),
            }
        }
    }

    /// Walks an array; `element` is called with the cursor at each element.
    #[inline(always)]
    pub(super) fn elements(&mut self, mut element: impl FnMut(&mut Self) -> Scanned<()>) -> Scanned<()> {
        self.open()?;
        if self.peek() == b']' {
            return self.close();
        }
        loop {
            element(self)?;
            self.white_space();
            match self.peek() {
                b',' => {
                    self.at += 1;
                    self.white_space();
                }
                b']' => return self.close(),
                _ => return self.expected("',' or ']'"),
            }
        }
    }

    /// What lies between a string's quotes.
    pub(super) fn raw(&self, string: StringSpan) -> &'b [u8] {
        string.inner().of(self.body)
    }

    /// A string's text for comparison with a short word; longer ones compare as empty.
    pub(super) fn word<'w>(&self, string: StringSpan, decoded: &'w mut [u8; LONGEST_NAME]) -> &'w [u8]
    where
        'b: 'w,
    {
        let raw = string.inner().of(self.body);
        if string.escapes() == 0 { raw } else { decode_name(raw, decoded) }
    }

    #[inline(always)]
    fn open(&mut self) -> Scanned<()> {
        if self.depth >= self.limit {
            return self.fault(ScanErrorKind::Depth { limit: self.limit });
        }
        self.depth += 1;
        self.at += 1;
        self.white_space();
        Ok(())
    }

    #[inline(always)]
    fn close(&mut self) -> Scanned<()> {
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    /// A member name and its colon; stops at the value.
    #[inline(always)]
    fn name(&mut self) -> Scanned<StringSpan> {
        if self.peek() != b'"' {
            return self.expected("a member name in double quotes");
        }
        let name = self.string()?;
        self.white_space();
        if self.peek() != b':' {
            return self.expected("':'");
        }
        self.at += 1;
        self.white_space();
        Ok(name)
    }

    fn skip_container(&mut self) -> Scanned<()> {
        let mut open = Open::default();
        let outer = self.depth;
        loop {
            match self.peek() {
                byte @ (b'{' | b'[') => {
                    self.open()?;
                    let object = byte == b'{';
                    open.set(self.depth, object);
                    // `}` and `]` are two after their opening counterparts in ASCII.
                    if self.peek() == byte + 2 {
                        self.close()?;
                    } else {
                        if object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b'"' => {
                    self.string()?;
                }
                _ => self.scalar()?,
            }
            // A value is complete: close what ends here, up to the next value.
            loop {
                if self.depth == outer {
                    return Ok(());
                }
                self.white_space();
                let object = open.is_object(self.depth);
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        self.white_space();
                        if object {
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if object => self.close()?,
                    b']' if !object => self.close()?,
                    _ => return self.expected(if object { "',' or '}'" } else { "',' or ']'" }),
                }
            }
        }
    }

    fn scalar(&mut self) -> Scanned<()> {
        match self.peek() {
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.expected("a value"),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Scanned<()> {
        for &letter in word {
            if self.peek() != letter {
                return self.expected("true, false or null");
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Scanned<()> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Scanned<()> {
        if !self.peek().is_ascii_digit() {
            return self.expected("a digit");
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// A string, the cursor at its opening quote. Checks control characters and escapes.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Scanned<StringSpan> {
        let start = self.at;
        let mut from = start + 1;
        // Member names, roles and ids mostly end within 16 bytes.
        if let Some(bytes) = self.body.get(from..).and_then(|rest| rest.first_chunk::<SHORT>()) {
            let masks = S::short(bytes);
            let first = (masks.quote | masks.backslash | masks.control).trailing_zeros() as usize;
            if first < SHORT && masks.quote >> first & 1 == 1 {
                self.at = from + first + 1;
                return Ok(StringSpan::new(Span::new(start, self.at), 0, false));
            }
            from += first.min(SHORT);
        }
        let StringEnd { end, escapes, unicode } = S::rest_of_string(self.body, from)?;
        self.at = end;
        Ok(StringSpan::new(Span::new(start, end), escapes, unicode))
    }
}

/// Which open containers are objects: one bit per level.
#[derive(Default)]
struct Open {
    bits: [u64; MAX_DEPTH as usize / 64],
}

impl Open {
    #[inline(always)]
    fn set(&mut self, depth: u32, object: bool) {
        let level = depth.wrapping_sub(1) as usize % MAX_DEPTH as usize;
        let word = &mut self.bits[level / 64];
        *word = *word & !(1 << (level % 64)) | u64::from(object) << (level % 64);
    }

    #[inline(always)]
    fn is_object(&self, depth: u32) -> bool {
        let level = depth.wrapping_sub(1) as usize % MAX_DEPTH as usize;
        self.bits[level / 64] >> (level % 64) & 1 == 1
    }
}

/// Decodes an escaped member name, so that `"m\u006fdel"` is `model`. One that does not fit, or holds what
/// no known name holds, comes out empty.
#[cold]
fn decode_name<'n>(raw: &[u8], decoded: &'n mut [u8; LONGEST_NAME]) -> &'n [u8] {
    let name = std::str::from_utf8(raw).map(super::text::decode).unwrap_or_default();
    match decoded.get_mut(..name.len()) {
        Some(place) => {
            place.copy_from_slice(name.as_bytes());
            place
        }
        None => &[],
    }
}
