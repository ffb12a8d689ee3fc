//! The chunked transfer coding (RFC 9112 section 7.1).
//!
//! One state machine serves both directions. Request bodies are decoded into one contiguous buffer, because
//! they must be read before they are routed. Response bodies pass as they came; a [`Tracker`] only follows
//! where the payload lies and where the message ends.
//!
//! The machine is strict: sizes are bare hexadecimal digits, lines end in CR LF, nothing else will do. What
//! is skipped (chunk extensions, trailers) is bounded.

use std::ops::Range;

/// Most hexadecimal digits of a chunk size, leading zeros included: what fits 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;
/// Most bytes of chunk extensions in one body.
pub const MAX_EXTENSION_BYTES: usize = 4096;
/// Most bytes of the trailer section.
pub const MAX_TRAILER_BYTES: usize = 8192;

/// Why a chunked body cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No hexadecimal digit where a chunk size begins, or one too many, or something else after it.
    #[error("malformed chunk size")]
    Size,
    /// A line or chunk that does not end in CR LF.
    #[error("chunk does not end in CR LF")]
    LineEnd,
    /// Control characters in, or too many bytes of, chunk extensions.
    #[error("chunk extensions are malformed or longer than {MAX_EXTENSION_BYTES} bytes")]
    Extension,
    /// Control characters in, or too many bytes of, trailers.
    #[error("trailers are malformed or longer than {MAX_TRAILER_BYTES} bytes")]
    Trailer,
    /// The decoded body is over its limit.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl ChunkError {
    /// The status that answers a request whose body is wrong in this way.
    pub const fn status(self) -> u16 {
        match self {
            ChunkError::TooLarge { .. } => 413,
            ChunkError::Size | ChunkError::LineEnd | ChunkError::Extension | ChunkError::Trailer => 400,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Follows chunked framing over any split of the message, without copying it.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    state: State,
    digits: u8,
    /// Payload bytes that the current chunk still owes.
    left: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

impl Tracker {
    /// At the first byte of a chunked body.
    pub fn new() -> Tracker {
        Tracker::default()
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Finds the next run of payload in `input` at or after `*at`, and moves `*at` behind it.
    ///
    /// `None` means that there is no more: the body has ended before `*at` (see [`is_done`](Self::is_done)),
    /// or all of `input` is used up. A chunk that straddles two inputs is reported in two runs; no run is empty.
    ///
    /// # Errors
    /// [`ChunkError`]; the tracker must not be used after it.
    pub fn next_payload(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Range<usize>>, ChunkError> {
        while let Some(&byte) = input.get(*at) {
            match self.state {
                State::Size => self.size(byte)?,
                State::Extension => {
                    self.extension_bytes += 1;
                    match byte {
                        b'\r' => self.state = State::SizeLf,
                        _ if !is_text(byte) || self.extension_bytes > MAX_EXTENSION_BYTES => {
                            return Err(ChunkError::Extension);
                        }
                        _ => {}
                    }
                }
                State::SizeLf => {
                    let next = if self.left == 0 { State::TrailerStart } else { State::Data };
                    self.line_feed(byte, next)?;
                    self.digits = 0;
                }
                State::Data => {
                    let here = input.len() - *at;
                    let run = usize::try_from(self.left).map_or(here, |left| left.min(here));
                    self.left -= run as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    let start = *at;
                    *at += run;
                    return Ok(Some(start..*at));
                }
                State::DataCr if byte == b'\r' => self.state = State::DataLf,
                State::DataCr => return Err(ChunkError::LineEnd),
                State::DataLf => self.line_feed(byte, State::Size)?,
                State::TrailerStart if byte == b'\r' => self.state = State::EndLf,
                State::TrailerStart | State::Trailer => self.trailer(byte)?,
                State::TrailerLf => self.line_feed(byte, State::TrailerStart)?,
                State::EndLf => self.line_feed(byte, State::Done)?,
                State::Done => return Ok(None),
            }
            *at += 1;
        }
        Ok(None)
    }

    fn size(&mut self, byte: u8) -> Result<(), ChunkError> {
        match (byte as char).to_digit(16) {
            Some(digit) if self.digits < MAX_SIZE_DIGITS => {
                self.left = self.left << 4 | u64::from(digit);
                self.digits += 1;
                return Ok(());
            }
            Some(_) => return Err(ChunkError::Size),
            None if self.digits == 0 => return Err(ChunkError::Size),
            None => {}
        }
        self.state = match byte {
            b';' => State::Extension,
            b'\r' => State::SizeLf,
            _ => return Err(ChunkError::Size),
        };
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.trailer_bytes += 1;
        self.state = match byte {
            b'\r' => State::TrailerLf,
            _ if !is_text(byte) || self.trailer_bytes > MAX_TRAILER_BYTES => return Err(ChunkError::Trailer),
            _ => State::Trailer,
        };
        Ok(())
    }

    fn line_feed(&mut self, byte: u8, next: State) -> Result<(), ChunkError> {
        if byte != b'\n' {
            return Err(ChunkError::LineEnd);
        }
        self.state = next;
        Ok(())
    }
}

/// Visible characters, space, tab and obs-text.
const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Decodes a chunked request body into one buffer. Trailers are read and dropped.
#[derive(Debug, Clone)]
pub struct Decoder {
    tracker: Tracker,
    limit: usize,
    decoded: usize,
}

impl Decoder {
    /// For a body of at most `limit` payload bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder { tracker: Tracker::new(), limit, decoded: 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.tracker.is_done()
    }

    /// Appends the payload in `input` to `body` and returns how many bytes of `input` belonged to the message:
    /// all of them, unless the body has ended.
    ///
    /// # Errors
    /// [`ChunkError`]; the connection cannot be used any further.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<usize, ChunkError> {
        let mut at = 0;
        while let Some(run) = self.tracker.next_payload(input, &mut at)? {
            // Refused as soon as the size is known, not when the bytes have come.
            let promised = usize::try_from(self.tracker.left).unwrap_or(usize::MAX);
            let total = self.decoded.saturating_add(run.len());
            if total.saturating_add(promised) > self.limit {
                return Err(ChunkError::TooLarge { limit: self.limit });
            }
            self.decoded = total;
            body.extend_from_slice(&input[run]);
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests;
