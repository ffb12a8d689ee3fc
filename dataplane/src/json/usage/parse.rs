//! The walk through a response or an event.

use super::super::blocks::Strings;
use super::super::cursor::{Cursor, Scanned};
use super::super::spans::StringSpan;
use super::super::text;
use super::{Finish, MAX_CALL_IDS, MAX_TEXT, ReportedError, Summary, Usage};

/// One whole document.
pub(super) fn document<S: Strings>(cursor: &mut Cursor<'_, S>, summary: &mut Summary) -> Scanned<()> {
    cursor.white_space();
    envelope(cursor, summary, 0)?;
    cursor.end()
}

/// Envelopes inside envelopes: `message` of Anthropic's first event, `response` of Responses events.
const MAX_ENVELOPES: u32 = 2;

/// A response object, a chunk of one, or an event.
fn envelope<S: Strings>(cursor: &mut Cursor<'_, S>, summary: &mut Summary, level: u32) -> Scanned<()> {
    if cursor.peek() != b'{' {
        return cursor.expected("an object");
    }
    let (mut type_of, mut object_of, mut code, mut status, mut message) = (None, None, None, None, None);
    let mut incomplete = None;
    cursor.members(|cursor, name| {
        match name {
            b"id" => keep_first(cursor, &mut summary.id)?,
            b"model" => keep_first(cursor, &mut summary.model)?,
            b"type" => type_of = cursor.string_or_skip()?,
            b"object" => object_of = cursor.string_or_skip()?,
            b"code" => code = cursor.string_or_skip()?,
            b"status" => status = cursor.string_or_skip()?,
            b"choices" if cursor.peek() == b'[' => cursor.elements(|cursor| choice(cursor, summary))?,
            b"usage" if cursor.peek() == b'{' => usage(cursor, &mut summary.usage)?,
            b"error" if cursor.peek() == b'{' => error(cursor, summary)?,
            b"error" => {
                if let Some(message) = cursor.string_or_skip()? {
                    report(summary, String::new(), text_of(cursor, message));
                }
            }
            b"message" | b"response" if cursor.peek() == b'{' && level < MAX_ENVELOPES => {
                envelope(cursor, summary, level + 1)?;
            }
            b"message" => message = cursor.string_or_skip()?,
            b"stop_reason" => finish(cursor, summary)?,
            b"delta" if cursor.peek() == b'{' => cursor.members(|cursor, name| match name {
                b"stop_reason" => finish(cursor, summary),
                _ => cursor.skip(),
            })?,
            b"content_block" | b"item" if cursor.peek() == b'{' => output(cursor, summary)?,
            b"content" | b"output" if cursor.peek() == b'[' => {
                cursor.elements(|cursor| match cursor.peek() {
                    b'{' => output(cursor, summary),
                    _ => cursor.skip(),
                })?;
            }
            b"incomplete_details" if cursor.peek() == b'{' => cursor.members(|cursor, name| {
                if name == b"reason" {
                    incomplete = cursor.string_or_skip()?;
                    return Ok(());
                }
                cursor.skip()
            })?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let word = |string: Option<StringSpan>| string.map(|string| text_of(cursor, string)).unwrap_or_default();
    match word(type_of).as_str() {
        "message_stop"
        | "response.completed"
        | "response.incomplete"
        | "response.failed"
        | "response.cancelled" => summary.ended = true,
        // An error event of the Responses API, which is flat; Anthropic's has an `error` object.
        "error" if summary.error.is_none() => report(summary, word(code), word(message)),
        // vLLM's older error body: `{"object": "error", "message": .., "type": ..}`.
        kind if word(object_of) == "error" => report(summary, kind.to_owned(), word(message)),
        _ => {}
    }
    if word(object_of) == "response" {
        match word(status).as_str() {
            "completed" => finished(summary, "completed"),
            "incomplete" => finished(summary, &word(incomplete)),
            _ => {}
        }
    }
    Ok(())
}

/// One element of `choices`.
fn choice<S: Strings>(cursor: &mut Cursor<'_, S>, summary: &mut Summary) -> Scanned<()> {
    if cursor.peek() != b'{' {
        return cursor.skip();
    }
    cursor.members(|cursor, name| match name {
        b"finish_reason" => finish(cursor, summary),
        b"message" | b"delta" if cursor.peek() == b'{' => cursor.members(|cursor, name| {
            match name {
                b"tool_calls" if cursor.peek() == b'[' => {
                    cursor.elements(|cursor| {
                        summary.tool_calls = true;
                        match cursor.peek() {
                            b'{' => cursor.members(|cursor, name| match name {
                                b"id" => call_id(cursor, summary),
                                _ => cursor.skip(),
                            }),
                            _ => cursor.skip(),
                        }
                    })?;
                }
                b"function_call" if cursor.peek() == b'{' => {
                    summary.tool_calls = true;
                    cursor.skip()?;
                }
                _ => cursor.skip()?,
            }
            Ok(())
        }),
        _ => cursor.skip(),
    })
}

/// A content block (Anthropic) or an output item (Responses): only tool calls for the client matter.
fn output<S: Strings>(cursor: &mut Cursor<'_, S>, summary: &mut Summary) -> Scanned<()> {
    let (mut kind, mut id, mut call) = (None, None, None);
    cursor.members(|cursor, name| {
        match name {
            b"type" => kind = cursor.string_or_skip()?,
            b"id" => id = cursor.string_or_skip()?,
            b"call_id" => call = cursor.string_or_skip()?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let Some(kind) = kind.map(|kind| text_of(cursor, kind)) else { return Ok(()) };
    if kind == "tool_use" || crate::json::is_client_call(kind.as_bytes()) {
        summary.tool_calls = true;
        if let Some(id) = call.or(id) {
            let id = text_of(cursor, id);
            keep_call(summary, id);
        }
    }
    Ok(())
}

fn call_id<S: Strings>(cursor: &mut Cursor<'_, S>, summary: &mut Summary) -> Scanned<()> {
    if let Some(id) = cursor.string_or_skip()? {
        let id = text_of(cursor, id);
        keep_call(summary, id);
    }
    Ok(())
}

/// Some backends repeat the id in every delta of a call.
fn keep_call(summary: &mut Summary, id: String) {
    let calls = &mut summary.tool_call_ids;
    if !id.is_empty() && calls.len() < MAX_CALL_IDS && !calls.contains(&id) {
        calls.push(id);
    }
}

fn usage<S: Strings>(cursor: &mut Cursor<'_, S>, usage: &mut Usage) -> Scanned<()> {
    // Later counts replace earlier ones; what a later event leaves out stays.
    fn update<S: Strings>(cursor: &mut Cursor<'_, S>, count: &mut Option<u64>) -> Scanned<()> {
        if let Some(number) = cursor.integer_or_skip()? {
            *count = Some(number);
        }
        Ok(())
    }
    cursor.members(|cursor, name| match name {
        b"prompt_tokens" | b"input_tokens" => update(cursor, &mut usage.input),
        b"completion_tokens" | b"output_tokens" => update(cursor, &mut usage.output),
        b"total_tokens" => update(cursor, &mut usage.total),
        b"cache_read_input_tokens" => update(cursor, &mut usage.cache_read),
        b"cache_creation_input_tokens" => update(cursor, &mut usage.cache_creation),
        b"prompt_tokens_details" | b"input_tokens_details" if cursor.peek() == b'{' => {
            cursor.members(|cursor, name| match name {
                b"cached_tokens" => update(cursor, &mut usage.cached_within),
                _ => cursor.skip(),
            })
        }
        b"completion_tokens_details" | b"output_tokens_details" if cursor.peek() == b'{' => {
            cursor.members(|cursor, name| match name {
                b"reasoning_tokens" => update(cursor, &mut usage.reasoning),
                _ => cursor.skip(),
            })
        }
        _ => cursor.skip(),
    })
}

fn error<S: Strings>(cursor: &mut Cursor<'_, S>, summary: &mut Summary) -> Scanned<()> {
    let (mut kind, mut code, mut message) = (None, None, None);
    cursor.members(|cursor, name| {
        match name {
            b"type" => kind = cursor.string_or_skip()?,
            b"code" => code = cursor.string_or_skip()?,
            b"message" => message = cursor.string_or_skip()?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let word = |string: Option<StringSpan>| string.map(|string| text_of(cursor, string)).unwrap_or_default();
    let kind = word(kind.or(code));
    report(summary, kind, word(message));
    Ok(())
}

/// The first error is the one that matters; what follows is often its echo.
fn report(summary: &mut Summary, kind: String, message: String) {
    summary.error.get_or_insert(ReportedError { kind, message });
}

fn finish<S: Strings>(cursor: &mut Cursor<'_, S>, summary: &mut Summary) -> Scanned<()> {
    if let Some(reason) = cursor.string_or_skip()? {
        let reason = text_of(cursor, reason);
        finished(summary, &reason);
    }
    Ok(())
}

fn finished(summary: &mut Summary, reason: &str) {
    let finish = match reason {
        "stop" | "end_turn" | "stop_sequence" | "completed" => Finish::Stop,
        "length" | "max_tokens" | "max_output_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        "content_filter" | "refusal" => Finish::ContentFilter,
        _ => Finish::Other,
    };
    if summary.finish.is_none() || finish == Finish::ToolCalls {
        summary.finish = Some(finish);
        summary.finish_reason.clear();
        summary.finish_reason.push_str(reason);
    }
}

/// Keeps a string that comes again in every chunk only once.
fn keep_first<S: Strings>(cursor: &mut Cursor<'_, S>, kept: &mut String) -> Scanned<()> {
    if let Some(string) = cursor.string_or_skip()?
        && kept.is_empty()
    {
        kept.push_str(&text_of(cursor, string));
    }
    Ok(())
}

/// A string's text, cut to what is kept. Bodies are not checked for UTF-8 here: what is not is dropped.
fn text_of<S: Strings>(cursor: &Cursor<'_, S>, string: StringSpan) -> String {
    let raw = cursor.raw(string);
    let raw = &raw[..raw.len().min(MAX_TEXT)];
    match std::str::from_utf8(raw) {
        Ok(raw) => text::decode(raw).into_owned(),
        Err(error) => std::str::from_utf8(&raw[..error.valid_up_to()])
            .map(text::decode)
            .unwrap_or_default()
            .into_owned(),
    }
}
