//! Server-sent events, split out of a stream that passes by (WHATWG HTML, section 9.2.6).
//!
//! The splitter looks at payload bytes on their way to the client and hands out the data of each event. It
//! copies only what straddles two reads. An event over the limit is passed over, not an error: the stream
//! itself is not ours to judge.

use std::ops::Range;

/// Longest field prefix of a data line.
const DATA_PREFIX: usize = "data: ".len();
/// The byte order mark that may begin a stream.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Splits a stream of server-sent events, whatever pieces it arrives in.
#[derive(Debug, Clone)]
pub struct Splitter {
    limit: usize,
    /// Beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The line in progress is over the limit; it is not kept.
    long_line: bool,
    /// Data lines of the event in progress, as far as they had to be copied.
    data: Vec<u8>,
    has_data: bool,
    /// The event in progress is over the limit.
    passing_over: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    passed_over: u64,
}

impl Splitter {
    /// Hands out events of at most `limit` bytes of data. Memory use is at most about twice that.
    pub fn new(limit: usize) -> Splitter {
        Splitter {
            limit,
            line: Vec::new(),
            long_line: false,
            data: Vec::new(),
            has_data: false,
            passing_over: false,
            after_cr: false,
            started: false,
            passed_over: 0,
        }
    }

    /// Events that were larger than the limit so far.
    pub const fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Takes the next bytes of the stream and calls `event` with the data of each event they complete.
    pub fn feed(&mut self, input: &[u8], mut event: impl FnMut(&[u8])) {
        // The first data line of an event stays in the input until it is known that more belongs to it.
        let mut held: Option<Range<usize>> = None;
        let mut at = 0;
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            at = usize::from(input[0] == b'\n');
        }
        while let Some(len) = memchr::memchr2(b'\n', b'\r', &input[at..]) {
            let line = at..at + len;
            at = line.end + 1;
            if input[line.end] == b'\r' {
                match input.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if self.line.is_empty() && !self.long_line {
                self.end_line(input, line, &mut held, &mut event);
            } else {
                // It began in an earlier input, so nothing of this input is held yet.
                self.extend_line(&input[line]);
                self.end_kept_line(&mut event);
            }
        }
        self.keep(input, held);
        self.extend_line(&input[at..]);
    }

    /// The stream has ended: hands out the event that lacks only its empty line.
    ///
    /// The standard discards it; servers that forget the last line break are common enough.
    pub fn finish(&mut self, mut event: impl FnMut(&[u8])) {
        if !self.line.is_empty() || self.long_line {
            self.end_kept_line(&mut event);
        }
        self.end_event(&[], &mut None, &mut event);
    }

    /// Handles the line that was put together from several inputs.
    fn end_kept_line(&mut self, event: &mut impl FnMut(&[u8])) {
        let mut line = std::mem::take(&mut self.line);
        let mut held = None;
        self.end_line(&line, 0..line.len(), &mut held, event);
        self.keep(&line, held);
        line.clear();
        self.line = line;
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        if self.long_line || self.line.len().saturating_add(bytes.len()) > self.longest_line() {
            self.long_line |= !bytes.is_empty();
            self.line.clear();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    /// The longest line that can hold data within the limit.
    const fn longest_line(&self) -> usize {
        self.limit.saturating_add(DATA_PREFIX + BYTE_ORDER_MARK.len())
    }

    /// Handles one whole line, which is `input[line]`.
    fn end_line(
        &mut self,
        input: &[u8],
        mut line: Range<usize>,
        held: &mut Option<Range<usize>>,
        event: &mut impl FnMut(&[u8]),
    ) {
        if std::mem::take(&mut self.long_line) || line.len() > self.longest_line() {
            // Of a line put together from pieces nothing is left to tell data from a comment, so both count.
            self.pass_over(held);
            self.started = true;
            return;
        }
        if !std::mem::replace(&mut self.started, true) && input[line.clone()].starts_with(BYTE_ORDER_MARK) {
            line.start += BYTE_ORDER_MARK.len();
        }
        if line.is_empty() {
            self.end_event(input, held, event);
            return;
        }
        let Some(value) = data_value(&input[line.clone()]) else { return };
        let value = line.end - value.len()..line.end;
        if self.passing_over {
            return;
        }
        let first = held.is_none() && !self.has_data;
        if first && value.len() <= self.limit {
            *held = Some(value);
        } else {
            self.keep(input, held.take());
            self.append(&input[value]);
        }
    }

    fn end_event(&mut self, input: &[u8], held: &mut Option<Range<usize>>, event: &mut impl FnMut(&[u8])) {
        if let Some(held) = held.take() {
            event(&input[held]);
        } else if self.has_data {
            event(&self.data);
        }
        self.data.clear();
        self.has_data = false;
        self.passing_over = false;
    }

    /// Copies what was held, because the input goes away or more data follows.
    fn keep(&mut self, input: &[u8], held: Option<Range<usize>>) {
        if let Some(held) = held {
            self.append(&input[held]);
        }
    }

    /// Adds a data line to the event.
    fn append(&mut self, value: &[u8]) {
        let separator = usize::from(self.has_data);
        if self.passing_over {
            return;
        }
        if self.data.len() + separator + value.len() > self.limit {
            self.pass_over(&mut None);
            return;
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
    }

    fn pass_over(&mut self, held: &mut Option<Range<usize>>) {
        *held = None;
        self.data.clear();
        self.has_data = false;
        if !std::mem::replace(&mut self.passing_over, true) {
            self.passed_over += 1;
        }
    }
}

/// The value of a data line; `None` for a comment or another field.
fn data_value(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
