//! Items of the Responses API.

use super::super::blocks::Strings;
use super::super::cursor::{Cursor, Scanned};
use super::super::spans::{Message, PartKind, Role, Span, Spans};
use super::messages::{arguments, content, parts_since, push_message, push_part, role};
use super::{ScanLimits, Seen, wrong_type};

/// `input` of the Responses API: a text, which is one user message, or an array of items.
pub(super) fn input<S: Strings>(
    cursor: &mut Cursor<'_, S>,
    limits: &ScanLimits,
    spans: &mut Spans,
) -> Scanned<()> {
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
pub(crate) fn is_client_call(word: &[u8]) -> bool {
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
