//! What a request becomes when it is one of several that lead to one answer.

use std::borrow::Cow;

use pintle_routing::facts::Dialect;

use super::{Draft, Fate};
use crate::json::members::Row;
use crate::json::text::{quote_into, string};

/// What a Responses request includes to get log probabilities.
pub(crate) const LOGPROBS: &str = "message.output_text.logprobs";
/// Anthropic's API knows no higher temperature.
const HOTTEST_MESSAGE: f64 = 1.0;

/// What such a call asks for beyond its model.
///
/// The whole answer is read before anything is passed on, so streaming is off, and it is one choice.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SubCall<'a> {
    /// At least so many `top_logprobs`; `None` leaves it to the client whether there are log probabilities. Without
    /// effect in an API that has none.
    pub top_logprobs: Option<u8>,
    /// Replaces the client's.
    pub temperature: Option<f64>,
    /// Takes the place of the last message, as a user's.
    pub prompt: Option<&'a str>,
}

pub(super) fn edit(draft: &mut Draft<'_>, dialect: Dialect, sub_call: &SubCall<'_>) {
    for name in ["stream_options", "n"] {
        draft.drop_all(name);
    }
    if draft.find("stream").is_some() {
        draft.set("stream", b"false");
    }
    if let Some(wanted) = sub_call.top_logprobs.filter(|_| dialect != Dialect::AnthropicMessages) {
        let own = draft.value("top_logprobs").and_then(|value| draft.body.get(value.range())?.parse().ok());
        let most = own.unwrap_or(0u8).max(wanted);
        match dialect {
            Dialect::OpenAiResponses => include_logprobs(draft),
            _ => draft.set("logprobs", b"true"),
        }
        draft.set("top_logprobs", itoa::Buffer::new().format(most).as_bytes());
    }
    if let Some(temperature) = sub_call.temperature.filter(|temperature| temperature.is_finite()) {
        let temperature = match dialect {
            // A model that thinks has its own.
            Dialect::AnthropicMessages if thinks(draft) => None,
            Dialect::AnthropicMessages => Some(temperature.min(HOTTEST_MESSAGE)),
            _ => Some(temperature),
        };
        if let Some(temperature) = temperature {
            draft.set("temperature", temperature.to_string().as_bytes());
        }
    }
    if let Some(prompt) = sub_call.prompt {
        ask(draft, dialect, prompt);
    }
}

/// Adds the log probabilities to what else the client wants included.
fn include_logprobs(draft: &mut Draft<'_>) {
    let mut name = Vec::new();
    quote_into(LOGPROBS, &mut name);
    let row =
        draft.only("include").and_then(|at| Some((at, Row::array(draft.body, draft.top.items[at].value)?)));
    let Some((at, row)) = row else {
        return draft.set("include", &[b"[", &name[..], b"]"].concat());
    };
    draft.fates[at] = Fate::Set;
    if !includes(draft.body, &row) {
        row.rewrite(draft.patch, |_| true, b"", &name);
    }
}

/// Whether log probabilities are among what is included.
pub(crate) fn includes(body: &str, include: &Row) -> bool {
    include.items.iter().any(|item| string(body, item.value).as_deref() == Some(LOGPROBS))
}

fn thinks(draft: &Draft<'_>) -> bool {
    let kind = draft.value("thinking").and_then(|value| {
        let row = Row::object(draft.body, value)?;
        string(draft.body, row.value(draft.body, "type")?)
    });
    kind.is_some_and(|kind| kind != "disabled")
}

/// Puts a user's message in the place of the last one, or behind it where that one instructs.
fn ask(draft: &mut Draft<'_>, dialect: Dialect, prompt: &str) {
    let list = if dialect == Dialect::OpenAiResponses { "input" } else { "messages" };
    let Some(at) = draft.only(list) else { return };
    draft.fates[at] = Fate::Set;
    let value = draft.top.items[at].value;
    let Some(messages) = Row::array(draft.body, value) else {
        // An input that is a text is the user's one message.
        return draft.patch.replace(value, |out| quote_into(prompt, out));
    };
    let mut message = b"{\"role\":\"user\",\"content\":".to_vec();
    quote_into(prompt, &mut message);
    message.push(b'}');
    let last = messages.items.last().map(|last| last.value);
    let role = last.and_then(|last| {
        let members = Row::object(draft.body, last)?;
        string(draft.body, members.value(draft.body, "role")?).map(Cow::into_owned)
    });
    match (last, role.as_deref()) {
        // A system prompt of the decision may be put into it.
        (_, Some("system" | "developer")) | (None, _) => {
            messages.rewrite(draft.patch, |_| true, b"", &message);
        }
        (Some(last), _) => draft.patch.replace(last, |out| out.extend_from_slice(&message)),
    }
}
