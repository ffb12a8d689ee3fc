//! Messages of chats and of Anthropic's API, and what items of the Responses API share with them.

use super::super::blocks::Strings;
use super::super::cursor::{Cursor, Scanned};
use super::super::error::ScanErrorKind;
use super::super::spans::{Message, Part, PartKind, Parts, Role, Span, Spans, StringSpan};
use super::{ScanLimits, Seen, wrong_type};

pub(super) fn push_part<S: Strings>(
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

pub(super) fn push_message<S: Strings>(
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
pub(super) fn parts_since(spans: &Spans, start: usize) -> Parts {
    Parts { start: start as u32, end: spans.parts.len() as u32 }
}

pub(super) fn messages<S: Strings>(
    cursor: &mut Cursor<'_, S>,
    limits: &ScanLimits,
    spans: &mut Spans,
) -> Scanned<()> {
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

pub(super) fn role<S: Strings>(cursor: &mut Cursor<'_, S>) -> Scanned<Role> {
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
pub(super) fn content<S: Strings>(
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

pub(super) fn arguments<S: Strings>(
    cursor: &mut Cursor<'_, S>,
    limits: &ScanLimits,
    spans: &mut Spans,
) -> Scanned<()> {
    if cursor.peek() == b'"' {
        let text = cursor.string()?;
        return push_part(cursor, limits, spans, PartKind::Arguments, Some(text));
    }
    let value = StringSpan::verbatim(cursor.span()?);
    push_part(cursor, limits, spans, PartKind::ArgumentsJson, Some(value))
}
