//! The walk through a request body, by API.

mod items;
mod messages;

use pintle_routing::facts::Dialect;

use super::blocks::{Native, Strings};
use super::cursor::{Cursor, Scanned};
use super::error::{Fault, ScanError, ScanErrorKind};
use super::spans::{PartKind, Span, Spans, StringSpan};
use items::input;
pub(crate) use items::is_client_call;
use messages::{content, messages};

/// Bounds on what one body may make the scan do and remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// Deepest nesting of objects and arrays; at most 1024.
    pub depth: u32,
    /// Most messages, or items of a Responses input.
    pub messages: usize,
    /// Most parts over all messages; each takes 16 bytes of memory.
    pub parts: usize,
}

impl Default for ScanLimits {
    fn default() -> Self {
        ScanLimits { depth: 128, messages: 65_536, parts: 262_144 }
    }
}

/// Checks that `body` is a request of `dialect` and notes where its interesting values lie.
///
/// Returns the body as text, which it has proved to be UTF-8.
///
/// # Errors
/// [`ScanError`] if the body is no JSON object, or `model` is missing or no string, or `stream` is no
/// boolean, or the conversation is missing or no array, or an interesting member is given twice in one object,
/// or a limit is exceeded. Parameters that only the upstream understands are not judged.
pub fn scan<'b>(
    body: &'b [u8],
    dialect: Dialect,
    limits: &ScanLimits,
    spans: &mut Spans,
) -> Result<&'b str, ScanError> {
    scan_with::<Native>(body, dialect, limits, spans)
}

pub(super) fn scan_with<'b, S: Strings>(
    body: &'b [u8],
    dialect: Dialect,
    limits: &ScanLimits,
    spans: &mut Spans,
) -> Result<&'b str, ScanError> {
    spans.clear();
    spans.dialect = dialect;
    if u32::try_from(body.len()).is_err() {
        let kind = ScanErrorKind::TooLarge;
        return Err(ScanError { kind, offset: 0, line: 1, column: 1 });
    }
    let text = match simdutf8::basic::from_utf8(body) {
        Ok(text) => text,
        Err(_) => {
            // The fast check does not say where; the slower one does.
            let offset = std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len);
            return Err(ScanError::locate(Fault { kind: ScanErrorKind::Utf8, offset }, body));
        }
    };
    let mut scan = Scan { cursor: Cursor::<S>::new(body, limits.depth), limits, spans };
    match scan.document() {
        Ok(()) => Ok(text),
        Err(fault) => {
            let error = ScanError::locate(fault, body);
            scan.spans.clear();
            Err(error)
        }
    }
}

/// Members already seen in one object.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    /// Notes that the `index`-th known member is here.
    #[inline(always)]
    fn once<S: Strings>(&mut self, index: u32, key: &'static str, cursor: &Cursor<'_, S>) -> Scanned<()> {
        if self.0 >> index & 1 == 1 {
            return cursor.fault(ScanErrorKind::Duplicate { key });
        }
        self.0 |= 1 << index;
        Ok(())
    }

    fn has(&self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }
}

struct Scan<'s, 'b, S> {
    cursor: Cursor<'b, S>,
    limits: &'s ScanLimits,
    spans: &'s mut Spans,
}

const MODEL: u32 = 0;
const CONVERSATION: u32 = 1;

impl<S: Strings> Scan<'_, '_, S> {
    fn document(&mut self) -> Scanned<()> {
        let Scan { cursor, limits, spans } = self;
        cursor.white_space();
        let start = cursor.at();
        if cursor.peek() != b'{' {
            return cursor.fault(ScanErrorKind::NotAnObject);
        }
        let mut seen = Seen::default();
        let responses = spans.dialect == Dialect::OpenAiResponses;
        let anthropic = spans.dialect == Dialect::AnthropicMessages;
        cursor.members(|cursor, name| {
            match name {
                b"model" => {
                    seen.once(MODEL, "model", cursor)?;
                    spans.model = model(cursor)?;
                }
                b"messages" if !responses => {
                    seen.once(CONVERSATION, "messages", cursor)?;
                    messages(cursor, limits, spans)?;
                }
                b"input" if responses => {
                    seen.once(CONVERSATION, "input", cursor)?;
                    input(cursor, limits, spans)?;
                }
                b"system" if anthropic => {
                    seen.once(2, "system", cursor)?;
                    spans.system = Some(content(cursor, limits, spans, PartKind::Text)?);
                }
                b"instructions" if responses => {
                    seen.once(2, "instructions", cursor)?;
                    spans.system = Some(content(cursor, limits, spans, PartKind::Text)?);
                }
                b"stream" => {
                    seen.once(3, "stream", cursor)?;
                    spans.stream = stream(cursor)?;
                }
                b"tools" => {
                    seen.once(4, "tools", cursor)?;
                    spans.tools = definitions(cursor, spans)?;
                }
                b"functions" => {
                    seen.once(5, "functions", cursor)?;
                    definitions(cursor, spans)?;
                }
                b"tool_choice" => {
                    seen.once(6, "tool_choice", cursor)?;
                    spans.tool_choice = Some(cursor.span()?);
                }
                b"user" => {
                    seen.once(7, "user", cursor)?;
                    spans.user = cursor.string_or_skip()?;
                }
                b"prompt_cache_key" => {
                    seen.once(8, "prompt_cache_key", cursor)?;
                    spans.prompt_cache_key = cursor.string_or_skip()?;
                }
                b"conversation" => {
                    seen.once(9, "conversation", cursor)?;
                    spans.conversation = string_or_member(cursor, b"id", "conversation.id")?;
                }
                b"previous_response_id" => {
                    seen.once(10, "previous_response_id", cursor)?;
                    spans.previous_response_id = cursor.string_or_skip()?;
                }
                b"metadata" => {
                    seen.once(11, "metadata", cursor)?;
                    let (start, object) = (cursor.at(), cursor.peek() == b'{');
                    let user_id = string_or_member(cursor, b"user_id", "metadata.user_id")?;
                    if object {
                        spans.metadata = Some(Span::new(start, cursor.at()));
                        spans.metadata_user_id = user_id;
                    }
                }
                b"max_tokens" => {
                    seen.once(12, "max_tokens", cursor)?;
                    spans.max_tokens = cursor.integer_or_skip()?;
                }
                b"max_completion_tokens" if !responses => {
                    seen.once(13, "max_completion_tokens", cursor)?;
                    spans.max_completion_tokens = cursor.integer_or_skip()?;
                }
                b"max_output_tokens" if responses => {
                    seen.once(13, "max_output_tokens", cursor)?;
                    spans.max_completion_tokens = cursor.integer_or_skip()?;
                }
                b"n" => {
                    seen.once(14, "n", cursor)?;
                    spans.n = cursor.integer_or_skip()?;
                }
                b"store" => {
                    seen.once(16, "store", cursor)?;
                    spans.unstored = cursor.peek() == b'f';
                    cursor.skip()?;
                }
                b"stream_options" => {
                    seen.once(15, "stream_options", cursor)?;
                    stream_options(cursor, spans)?;
                }
                _ => cursor.skip()?,
            }
            Ok(())
        })?;
        cursor.end()?;
        let missing = |key| Err(Fault { kind: ScanErrorKind::Missing { key }, offset: start });
        if !seen.has(MODEL) {
            return missing("model");
        }
        if !seen.has(CONVERSATION) {
            return missing(if responses { "input" } else { "messages" });
        }
        Ok(())
    }
}

fn wrong_type<T, S: Strings>(
    cursor: &Cursor<'_, S>,
    key: &'static str,
    expected: &'static str,
) -> Scanned<T> {
    cursor.fault(ScanErrorKind::Type { key, expected })
}

fn model<S: Strings>(cursor: &mut Cursor<'_, S>) -> Scanned<StringSpan> {
    const EXPECTED: &str = "a string that is not empty";
    if cursor.peek() != b'"' {
        return wrong_type(cursor, "model", EXPECTED);
    }
    let start = cursor.at();
    let model = cursor.string()?;
    if model.inner().is_empty() {
        let kind = ScanErrorKind::Type { key: "model", expected: EXPECTED };
        return Err(Fault { kind, offset: start });
    }
    Ok(model)
}

fn stream<S: Strings>(cursor: &mut Cursor<'_, S>) -> Scanned<bool> {
    let first = cursor.peek();
    if !matches!(first, b't' | b'f' | b'n') {
        return wrong_type(cursor, "stream", "true or false");
    }
    cursor.skip()?;
    Ok(first == b't')
}

/// A string, or the string at `member` of an object; any other value is skipped.
fn string_or_member<S: Strings>(
    cursor: &mut Cursor<'_, S>,
    member: &[u8],
    key: &'static str,
) -> Scanned<Option<StringSpan>> {
    if cursor.peek() != b'{' {
        return cursor.string_or_skip();
    }
    let (mut seen, mut found) = (Seen::default(), None);
    cursor.members(|cursor, name| {
        if name != member {
            return cursor.skip();
        }
        seen.once(0, key, cursor)?;
        found = cursor.string_or_skip()?;
        Ok(())
    })?;
    Ok(found)
}

fn stream_options<S: Strings>(cursor: &mut Cursor<'_, S>, spans: &mut Spans) -> Scanned<()> {
    let start = cursor.at();
    if cursor.peek() != b'{' {
        cursor.skip()?;
    } else {
        let mut seen = Seen::default();
        cursor.members(|cursor, name| {
            if name != b"include_usage" {
                return cursor.skip();
            }
            seen.once(0, "stream_options.include_usage", cursor)?;
            spans.include_usage = cursor.peek() == b't';
            cursor.skip()
        })?;
    }
    spans.stream_options = Some(Span::new(start, cursor.at()));
    Ok(())
}

/// Counts the elements of an array of tools; any other value is skipped.
fn definitions<S: Strings>(cursor: &mut Cursor<'_, S>, spans: &mut Spans) -> Scanned<Option<Span>> {
    let start = cursor.at();
    if cursor.peek() != b'[' {
        cursor.skip()?;
        return Ok(None);
    }
    cursor.elements(|cursor| {
        spans.tool_definitions += 1;
        cursor.skip()
    })?;
    Ok(Some(Span::new(start, cursor.at())))
}
