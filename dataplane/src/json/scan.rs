//! The walk through a request body, by API.

use pintle_routing::facts::Dialect;

use super::blocks::{Native, Strings};
use super::cursor::{Cursor, Scanned};
use super::error::{Fault, ScanError, ScanErrorKind};
use super::spans::{Message, Part, PartKind, Parts, Role, Span, Spans, StringSpan};

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

fn push_part<S: Strings>(
    cursor: &Cursor<'_, S>,
    limits: &ScanLimits,
    spans: &mut Spans,
    kind: PartKind,
    string: Option<StringSpan>,
) -> Scanned<()> {
    if spans.parts.len() >= limits.parts {
        return cursor.fault(ScanErrorKind::TooMany { what: "parts of messages", limit: limits.parts });
    }
    spans.parts.push(Part { kind, string });
    Ok(())
}

fn push_message<S: Strings>(
    cursor: &Cursor<'_, S>,
    limits: &ScanLimits,
    spans: &mut Spans,
    message: Message,
) -> Scanned<()> {
    if spans.messages.len() >= limits.messages {
        return cursor.fault(ScanErrorKind::TooMany { what: "messages", limit: limits.messages });
    }
    spans.messages.push(message);
    Ok(())
}

/// The parts pushed since there were `start`.
fn parts_since(spans: &Spans, start: usize) -> Parts {
    Parts { start: start as u32, end: spans.parts.len() as u32 }
}

fn messages<S: Strings>(cursor: &mut Cursor<'_, S>, limits: &ScanLimits, spans: &mut Spans) -> Scanned<()> {
    if cursor.peek() != b'[' {
        return wrong_type(cursor, "messages", "an array");
    }
    cursor.elements(|cursor| {
        if cursor.peek() != b'{' {
            return wrong_type(cursor, "messages[]", "an object");
        }
        message(cursor, limits, spans)
    })
}

/// One chat or Anthropic message.
fn message<S: Strings>(cursor: &mut Cursor<'_, S>, limits: &ScanLimits, spans: &mut Spans) -> Scanned<()> {
    let (start, first_part) = (cursor.at(), spans.parts.len());
    let (mut seen, mut role_of, mut call_id, mut name_of) = (Seen::default(), Role::Other, None, None);
    cursor.members(|cursor, name| {
        match name {
            b"role" => {
                seen.once(0, "role", cursor)?;
                role_of = role(cursor)?;
            }
            b"content" => {
                seen.once(1, "content", cursor)?;
                content(cursor, limits, spans, PartKind::Text)?;
            }
            b"tool_calls" => {
                seen.once(2, "tool_calls", cursor)?;
                tool_calls(cursor, limits, spans)?;
            }
            b"tool_call_id" => {
                seen.once(3, "tool_call_id", cursor)?;
                call_id = cursor.string_or_skip()?;
            }
            b"name" => {
                seen.once(4, "name", cursor)?;
                name_of = cursor.string_or_skip()?;
            }
            b"function_call" => {
                seen.once(5, "function_call", cursor)?;
                if cursor.peek() == b'{' {
                    push_part(cursor, limits, spans, PartKind::ToolCall, None)?;
                    function(cursor, limits, spans)?;
                } else {
                    cursor.skip()?;
                }
            }
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    if role_of == Role::Tool {
        push_part(cursor, limits, spans, PartKind::ToolResult, call_id)?;
    }
    let parts = parts_since(spans, first_part);
    let span = Span::new(start, cursor.at());
    push_message(cursor, limits, spans, Message { role: role_of, parts, span, name: name_of })
}

fn role<S: Strings>(cursor: &mut Cursor<'_, S>) -> Scanned<Role> {
    let Some(string) = cursor.string_or_skip()? else { return Ok(Role::Other) };
    Ok(match cursor.word(string, &mut [0; _]) {
        b"user" => Role::User,
        b"assistant" => Role::Assistant,
        b"system" => Role::System,
        b"developer" => Role::Developer,
        b"tool" | b"function" => Role::Tool,
        _ => Role::Other,
    })
}

/// The content of a message: a text, or an array of parts. `text_kind` says what its texts are.
fn content<S: Strings>(
    cursor: &mut Cursor<'_, S>,
    limits: &ScanLimits,
    spans: &mut Spans,
    text_kind: PartKind,
) -> Scanned<Parts> {
    let first_part = spans.parts.len();
    match cursor.peek() {
        b'"' => {
            let text = cursor.string()?;
            push_part(cursor, limits, spans, text_kind, Some(text))?;
        }
        b'[' => cursor.elements(|cursor| match cursor.peek() {
            b'{' => part(cursor, limits, spans, text_kind),
            // Some servers take bare strings as text parts.
            b'"' => {
                let text = cursor.string()?;
                push_part(cursor, limits, spans, text_kind, Some(text))
            }
            _ => cursor.skip(),
        })?,
        _ => cursor.skip()?,
    }
    Ok(parts_since(spans, first_part))
}

/// One part of a content array: an OpenAI content part or an Anthropic content block.
fn part<S: Strings>(
    cursor: &mut Cursor<'_, S>,
    limits: &ScanLimits,
    spans: &mut Spans,
    text_kind: PartKind,
) -> Scanned<()> {
    let (mut seen, mut type_of) = (Seen::default(), None);
    let (mut text, mut thinking, mut id, mut call_id, mut arguments) = (None, None, None, None, None);
    cursor.members(|cursor, name| {
        match name {
            b"type" => {
                seen.once(0, "type", cursor)?;
                type_of = cursor.string_or_skip()?;
            }
            b"text" => {
                seen.once(1, "text", cursor)?;
                text = cursor.string_or_skip()?;
            }
            b"thinking" => {
                seen.once(6, "thinking", cursor)?;
                thinking = cursor.string_or_skip()?;
            }
            b"id" => {
                seen.once(2, "id", cursor)?;
                id = cursor.string_or_skip()?;
            }
            b"tool_use_id" => {
                seen.once(3, "tool_use_id", cursor)?;
                call_id = cursor.string_or_skip()?;
            }
            b"input" => {
                seen.once(4, "input", cursor)?;
                arguments = Some(cursor.span()?);
            }
            // Of a tool result. It cannot nest: parts inside are read with this member skipped.
            b"content" if text_kind == PartKind::Text => {
                seen.once(5, "content", cursor)?;
                content(cursor, limits, spans, PartKind::ResultText)?;
            }
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let word = type_of.map(|string| part_type(cursor.word(string, &mut [0; _]))).unwrap_or(PartType::Other);
    let (kind, string) = match word {
        PartType::Text => (text_kind, text),
        PartType::Thinking => (PartKind::Reasoning, thinking.or(text)),
        PartType::Image => (PartKind::Image, None),
        PartType::ToolUse => {
            if let Some(span) = arguments {
                push_part(cursor, limits, spans, PartKind::ArgumentsJson, Some(StringSpan::verbatim(span)))?;
            }
            (PartKind::ToolCall, id)
        }
        PartType::ToolResult => (PartKind::ToolResult, call_id),
        PartType::Other => (PartKind::Other, text),
    };
    push_part(cursor, limits, spans, kind, string)
}

enum PartType {
    Text,
    Thinking,
    Image,
    ToolUse,
    ToolResult,
    Other,
}

fn part_type(word: &[u8]) -> PartType {
    match word {
        b"text" | b"input_text" | b"output_text" => PartType::Text,
        b"thinking" | b"reasoning_text" | b"summary_text" => PartType::Thinking,
        b"image" | b"image_url" | b"input_image" => PartType::Image,
        b"tool_use" => PartType::ToolUse,
        b"tool_result" => PartType::ToolResult,
        _ => PartType::Other,
    }
}

/// `tool_calls` of an assistant message.
fn tool_calls<S: Strings>(cursor: &mut Cursor<'_, S>, limits: &ScanLimits, spans: &mut Spans) -> Scanned<()> {
    if cursor.peek() != b'[' {
        return cursor.skip();
    }
    cursor.elements(|cursor| {
        if cursor.peek() != b'{' {
            return cursor.skip();
        }
        let (mut seen, mut id) = (Seen::default(), None);
        cursor.members(|cursor, name| match name {
            b"id" => {
                seen.once(0, "tool_calls[].id", cursor)?;
                id = cursor.string_or_skip()?;
                Ok(())
            }
            b"function" | b"custom" if cursor.peek() == b'{' => {
                seen.once(1, "tool_calls[].function", cursor)?;
                function(cursor, limits, spans)
            }
            _ => cursor.skip(),
        })?;
        push_part(cursor, limits, spans, PartKind::ToolCall, id)
    })
}

/// The object of a call that holds its arguments.
fn function<S: Strings>(cursor: &mut Cursor<'_, S>, limits: &ScanLimits, spans: &mut Spans) -> Scanned<()> {
    let mut seen = Seen::default();
    cursor.members(|cursor, name| match name {
        b"arguments" | b"input" => {
            seen.once(0, "arguments", cursor)?;
            arguments(cursor, limits, spans)
        }
        _ => cursor.skip(),
    })
}

fn arguments<S: Strings>(cursor: &mut Cursor<'_, S>, limits: &ScanLimits, spans: &mut Spans) -> Scanned<()> {
    if cursor.peek() == b'"' {
        let text = cursor.string()?;
        return push_part(cursor, limits, spans, PartKind::Arguments, Some(text));
    }
    let value = StringSpan::verbatim(cursor.span()?);
    push_part(cursor, limits, spans, PartKind::ArgumentsJson, Some(value))
}

/// `input` of the Responses API: a text, which is one user message, or an array of items.
fn input<S: Strings>(cursor: &mut Cursor<'_, S>, limits: &ScanLimits, spans: &mut Spans) -> Scanned<()> {
    match cursor.peek() {
        b'"' => {
            let first_part = spans.parts.len();
            let text = cursor.string()?;
            push_part(cursor, limits, spans, PartKind::Text, Some(text))?;
            let parts = parts_since(spans, first_part);
            push_message(
                cursor,
                limits,
                spans,
                Message { role: Role::User, parts, span: text.span(), name: None },
            )
        }
        b'[' => cursor.elements(|cursor| {
            if cursor.peek() != b'{' {
                return wrong_type(cursor, "input[]", "an object");
            }
            item(cursor, limits, spans)
        }),
        _ => wrong_type(cursor, "input", "a string or an array"),
    }
}

/// One item of a Responses input.
fn item<S: Strings>(cursor: &mut Cursor<'_, S>, limits: &ScanLimits, spans: &mut Spans) -> Scanned<()> {
    let (start, first_part) = (cursor.at(), spans.parts.len());
    let (mut seen, mut type_of, mut role_of) = (Seen::default(), None, Role::Other);
    let (mut call_id, mut name_of) = (None, None);
    cursor.members(|cursor, name| {
        match name {
            b"type" => {
                seen.once(0, "type", cursor)?;
                type_of = cursor.string_or_skip()?;
            }
            b"role" => {
                seen.once(1, "role", cursor)?;
                role_of = role(cursor)?;
            }
            b"content" => {
                seen.once(2, "content", cursor)?;
                content(cursor, limits, spans, PartKind::Text)?;
            }
            b"call_id" => {
                seen.once(3, "call_id", cursor)?;
                call_id = cursor.string_or_skip()?;
            }
            b"name" => {
                seen.once(4, "name", cursor)?;
                name_of = cursor.string_or_skip()?;
            }
            b"arguments" => {
                seen.once(5, "arguments", cursor)?;
                arguments(cursor, limits, spans)?;
            }
            b"input" => {
                seen.once(7, "input[].input", cursor)?;
                arguments(cursor, limits, spans)?;
            }
            b"action" => {
                seen.once(8, "action", cursor)?;
                arguments(cursor, limits, spans)?;
            }
            b"output" => {
                seen.once(6, "output", cursor)?;
                content(cursor, limits, spans, PartKind::ResultText)?;
            }
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let kind = type_of.map_or(ItemType::Message, |string| item_type(cursor.word(string, &mut [0; _])));
    let role = match kind {
        ItemType::Message => role_of,
        ItemType::Call => {
            push_part(cursor, limits, spans, PartKind::ToolCall, call_id)?;
            Role::Assistant
        }
        ItemType::CallOutput => {
            push_part(cursor, limits, spans, PartKind::ToolResult, call_id)?;
            Role::Tool
        }
        ItemType::OwnWork => Role::Assistant,
        ItemType::Reference => {
            spans.item_references += 1;
            Role::Other
        }
        ItemType::Other => Role::Other,
    };
    let parts = parts_since(spans, first_part);
    let span = Span::new(start, cursor.at());
    push_message(cursor, limits, spans, Message { role, parts, span, name: name_of })
}

enum ItemType {
    Message,
    /// A call that the client has to answer.
    Call,
    CallOutput,
    /// What the provider did itself in the assistant's turn.
    OwnWork,
    Reference,
    Other,
}

fn item_type(word: &[u8]) -> ItemType {
    match word {
        b"message" => ItemType::Message,
        b"function_call" | b"custom_tool_call" | b"local_shell_call" | b"shell_call"
        | b"apply_patch_call" | b"computer_call" => ItemType::Call,
        b"function_call_output"
        | b"custom_tool_call_output"
        | b"local_shell_call_output"
        | b"shell_call_output"
        | b"apply_patch_call_output"
        | b"computer_call_output" => ItemType::CallOutput,
        b"reasoning"
        | b"web_search_call"
        | b"file_search_call"
        | b"code_interpreter_call"
        | b"image_generation_call"
        | b"mcp_call"
        | b"mcp_list_tools" => ItemType::OwnWork,
        b"item_reference" => ItemType::Reference,
        _ => ItemType::Other,
    }
}

/// Types of items in the Responses API by which the model asks the client to run something.
pub(super) fn is_client_call(word: &[u8]) -> bool {
    matches!(
        word,
        b"function_call"
            | b"custom_tool_call"
            | b"local_shell_call"
            | b"shell_call"
            | b"apply_patch_call"
            | b"computer_call"
    )
}
