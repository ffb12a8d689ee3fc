//! A response of OpenAI's API as an answer to be judged. Only its texts' tokens come with log probabilities, not those
//! of a tool call's arguments.

use super::{Completion, DEPTH};
use crate::json::blocks::Native;
use crate::json::cursor::Cursor;
use crate::json::members::Row;
use crate::json::spans::Span;
use crate::json::text::string;

/// Reads a response that has ended; `None` if it is none.
pub(super) fn read(body: &str) -> Option<Completion> {
    let top = Row::document(body)?;
    let output = Row::array(body, top.value(body, "output")?)?;
    let status = top.value(body, "status").and_then(|value| string(body, value));
    if matches!(status.as_deref(), Some("queued" | "in_progress" | "cancelled" | "failed")) {
        return None;
    }
    let mut completion = Completion { choice: Span::new(0, body.len()), ..Completion::default() };
    for item in &output.items {
        let Some(item) = Row::object(body, item.value) else { continue };
        let kind = item.value(body, "type").and_then(|value| string(body, value));
        let parts = |name: &str| item.value(body, name).and_then(|value| Row::array(body, value));
        match kind.as_deref() {
            Some("message") => {
                for part in parts("content").iter().flat_map(|parts| &parts.items) {
                    read_part(&mut completion, body, part.value);
                }
            }
            Some("reasoning") => {
                // Open models' servers give the reasoning itself, others a summary of it.
                for part in
                    ["summary", "content"].iter().filter_map(|name| parts(name)).flat_map(|row| row.items)
                {
                    let text = Row::object(body, part.value)
                        .and_then(|part| string(body, part.value(body, "text")?));
                    completion.reasoning.push_str(&text.unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    Some(completion)
}

fn read_part(completion: &mut Completion, body: &str, part: Span) {
    let Some(part) = Row::object(body, part) else { return };
    if let Some(text) = part.value(body, "text").and_then(|value| string(body, value)) {
        completion.content.push_str(&text);
    }
    let Some(tokens) =
        part.value(body, "logprobs").filter(|value| body.as_bytes()[value.range()].starts_with(b"["))
    else {
        return;
    };
    let mut cursor = Cursor::<Native>::at_value(body.as_bytes(), DEPTH, tokens.start as usize);
    // The document is whole: its rows have been read.
    let _ = cursor.elements(|cursor| match cursor.peek() {
        b'{' => completion.read_token(cursor, body),
        _ => cursor.skip(),
    });
}
