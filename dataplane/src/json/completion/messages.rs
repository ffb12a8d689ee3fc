//! A message of Anthropic's API as an answer to be judged. It has no log probabilities.

use super::Completion;
use crate::json::members::Row;
use crate::json::spans::Span;
use crate::json::text::string;

/// Reads a message; `None` if it is none.
pub(super) fn read(body: &str) -> Option<Completion> {
    let top = Row::document(body)?;
    let content = Row::array(body, top.value(body, "content")?)?;
    let mut completion = Completion { choice: Span::new(0, body.len()), ..Completion::default() };
    for block in &content.items {
        let Some(block) = Row::object(body, block.value) else { continue };
        let text = |name: &str| string(body, block.value(body, name)?);
        match text("type").as_deref() {
            Some("text") => completion.content.push_str(&text("text").unwrap_or_default()),
            Some("thinking") => completion.reasoning.push_str(&text("thinking").unwrap_or_default()),
            _ => {}
        }
    }
    Some(completion)
}
