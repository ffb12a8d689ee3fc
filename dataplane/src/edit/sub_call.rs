//! What a request becomes when it is one of several that lead to one answer.

use super::system::string;
use super::{Draft, Fate};
use crate::json::members::Row;
use crate::json::text::quote_into;

/// What such a call asks for beyond its model.
///
/// The whole answer is read before anything is passed on, so streaming is off, and it is one choice.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SubCall<'a> {
    /// At least so many `top_logprobs`; `None` leaves it to the client whether there are log probabilities.
    pub top_logprobs: Option<u8>,
    /// Replaces the client's.
    pub temperature: Option<f64>,
    /// Takes the place of the last message, as a user's.
    pub prompt: Option<&'a str>,
}

pub(super) fn edit(draft: &mut Draft<'_>, sub_call: &SubCall<'_>) {
    for name in ["stream_options", "n"] {
        draft.drop_all(name);
    }
    if draft.find("stream").is_some() {
        draft.set("stream", b"false");
    }
    if let Some(wanted) = sub_call.top_logprobs {
        let own = draft.value("top_logprobs").and_then(|value| draft.body.get(value.range())?.parse().ok());
        let most = own.unwrap_or(0u8).max(wanted);
        draft.set("logprobs", b"true");
        draft.set("top_logprobs", itoa::Buffer::new().format(most).as_bytes());
    }
    if let Some(temperature) = sub_call.temperature.filter(|temperature| temperature.is_finite()) {
        draft.set("temperature", temperature.to_string().as_bytes());
    }
    if let Some(prompt) = sub_call.prompt {
        ask(draft, prompt);
    }
}

/// Puts a user's message in the place of the last one, or behind it where that one instructs.
fn ask(draft: &mut Draft<'_>, prompt: &str) {
    let Some(at) = draft.only("messages") else { return };
    let Some(messages) = Row::array(draft.body, draft.top.items[at].value) else { return };
    draft.fates[at] = Fate::Set;
    let mut message = b"{\"role\":\"user\",\"content\":".to_vec();
    quote_into(prompt, &mut message);
    message.push(b'}');
    let last = messages.items.last().map(|last| last.value);
    let role = last.and_then(|last| {
        let members = Row::object(draft.body, last)?;
        string(draft.body, members.value(draft.body, "role")?)
    });
    match (last, role.as_deref()) {
        // A system prompt of the decision may be put into it.
        (_, Some("system" | "developer")) | (None, _) => {
            messages.rewrite(draft.patch, |_| true, b"", &message);
        }
        (Some(last), _) => draft.patch.replace(last, |out| out.extend_from_slice(&message)),
    }
}
