//! The decision's text in the system message.

use pintle_routing::edits::SystemPrompt;
use pintle_routing::facts::Dialect;

use super::{Draft, Fate};
use crate::json::Span;
use crate::json::members::Row;
use crate::json::text::{escape_into, quote_into, string};

/// Between the decision's text and the client's.
const BLANK_LINE: &[u8] = b"\\n\\n";

pub(super) fn edit(draft: &mut Draft<'_>, dialect: Dialect, prompt: &SystemPrompt) {
    let (done, place) = match dialect {
        Dialect::OpenAiChat => (in_messages(draft, prompt), "the system message"),
        Dialect::AnthropicMessages => (in_member(draft, "system", prompt), "system"),
        Dialect::OpenAiResponses => (in_member(draft, "instructions", prompt), "instructions"),
    };
    let bytes = prompt.text.len();
    draft.remark(match done {
        Done::Added => format!("system_prompt: {bytes} bytes added as {place}"),
        Done::Inserted => format!("system_prompt: {bytes} bytes inserted before {place}"),
        Done::Replaced => format!("system_prompt: {bytes} bytes in place of {place}"),
        Done::Nothing => format!("system_prompt: {place} is no text; left as it is"),
    });
}

enum Done {
    Added,
    Inserted,
    Replaced,
    Nothing,
}

/// In a chat: the first message by `system` or `developer`, or else a new first message.
fn in_messages(draft: &mut Draft<'_>, prompt: &SystemPrompt) -> Done {
    let Some(messages) = draft.value("messages").and_then(|value| Row::array(draft.body, value)) else {
        return Done::Nothing;
    };
    let system = messages.items.iter().find_map(|message| {
        let members = Row::object(draft.body, message.value)?;
        let role = string(draft.body, members.value(draft.body, "role")?)?;
        matches!(role.as_ref(), "system" | "developer").then_some(members)
    });
    let Some(system) = system else {
        let mut message = b"{\"role\":\"system\",\"content\":".to_vec();
        quote_into(&prompt.text, &mut message);
        message.push(b'}');
        messages.rewrite(draft.patch, |_| true, &message, b"");
        return Done::Added;
    };
    match system.value(draft.body, "content") {
        Some(content) => in_value(draft, content, prompt),
        None => {
            let mut content = b"\"content\":".to_vec();
            quote_into(&prompt.text, &mut content);
            system.rewrite(draft.patch, |_| true, b"", &content);
            Done::Added
        }
    }
}

fn in_member(draft: &mut Draft<'_>, name: &str, prompt: &SystemPrompt) -> Done {
    match draft.find(name) {
        Some(at) => {
            draft.fates[at] = Fate::Set;
            in_value(draft, draft.top.items[at].value, prompt)
        }
        None => {
            let mut text = Vec::new();
            quote_into(&prompt.text, &mut text);
            draft.add(name, &text);
            Done::Added
        }
    }
}

/// In a text, or in an array of text parts.
fn in_value(draft: &mut Draft<'_>, value: Span, prompt: &SystemPrompt) -> Done {
    let kind = draft.body.as_bytes().get(value.start as usize).copied();
    let null = kind == Some(b'n');
    if prompt.replace || null {
        draft.patch.replace(value, |out| quote_into(&prompt.text, out));
        return if null { Done::Added } else { Done::Replaced };
    }
    match kind {
        Some(b'"') => {
            let gap: &[u8] = if value.len() > 2 { BLANK_LINE } else { b"" };
            draft.patch.insert(value.start + 1, |out| {
                escape_into(&prompt.text, out);
                out.extend_from_slice(gap);
            });
            Done::Inserted
        }
        Some(b'[') => {
            let Some(parts) = Row::array(draft.body, value) else { return Done::Nothing };
            let mut part = b"{\"type\":\"text\",\"text\":".to_vec();
            quote_into(&prompt.text, &mut part);
            part.push(b'}');
            parts.rewrite(draft.patch, |_| true, &part, b"");
            Done::Inserted
        }
        _ => Done::Nothing,
    }
}
