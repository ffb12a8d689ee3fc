//! Facts about a request, from its head and its scanned body.
//!
//! Everything that routing may know is gathered here in one pass over the messages, before any decision.
//! The definitions follow v0.3.0 where it has them (reference: counts, tool facts, texts) with one
//! difference: every fact exists on every API and before selection.

mod conversation;
mod metadata;
mod session;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use pintle_routing::facts::{Dialect, Facts, Identity, Metadata, Needs, ProviderState};
use pintle_routing::units::Tokens;

use crate::http::head::Request;
use crate::json::{PartKind, Spans, StringSpan};

pub(crate) use conversation::without_prefill;
pub use session::tenant;

/// Header that names the user, if identity headers are trusted.
pub const USER_HEADER: &str = "x-authz-user-id";
/// Header that lists the user's groups, comma-separated, if identity headers are trusted.
pub const GROUPS_HEADER: &str = "x-authz-user-groups";

/// What the operator has configured about reading requests.
pub struct Options<'o> {
    /// `global.pintle.session.header`; empty for none.
    pub session_header: &'o str,
    /// Whether identity headers are believed (`global.pintle.trusted_identity`).
    pub trusted_identity: bool,
    /// Turns a tenant (the bytes of [`tenant()`]) and a session key into the address of the session's record.
    pub key: &'o dyn Fn(&[u8], &[u8]) -> u128,
}

/// Everything that routing may know about a request.
///
/// `body` is what [`scan`](crate::json::scan()) returned when it filled `spans`. Texts are decoded only as
/// far as `needs` asks.
pub fn facts<'a>(
    request: Request<'a>,
    body: &'a str,
    spans: &Spans,
    needs: Needs,
    options: &Options<'_>,
) -> Facts<'a> {
    let outline = conversation::outline(body, spans);
    let identity = if options.trusted_identity {
        Identity { user: text_field(request, USER_HEADER), groups: text_field(request, GROUPS_HEADER) }
    } else {
        Identity::default()
    };
    let tools_bytes = spans.tools.map_or(0, |tools| tools.len() as u64);
    Facts {
        dialect: spans.dialect,
        requested_model: spans.model.decode(body),
        stream: spans.stream,
        session: session::identity(request, body, spans, options),
        identity,
        messages: outline.messages,
        tools: outline.tools,
        provider_state: provider_state(body, spans),
        has_image: spans.parts.iter().any(|part| part.kind == PartKind::Image),
        texts: conversation::texts(body, spans, needs, &outline),
        metadata: if needs.metadata { metadata::metadata(body, spans) } else { Metadata::default() },
        envelope_bytes: outline.message_bytes + tools_bytes,
        compat_context_bytes: outline.compat_context_bytes,
        history_bytes: outline.history_bytes,
        max_completion: spans.max_completion().map(Tokens),
    }
}

/// `previous_response_id` means the same wherever it is sent. `conversation` names state at the provider
/// only in the Responses API; elsewhere it is a client's own word for its session.
fn provider_state<'a>(body: &'a str, spans: &Spans) -> Option<ProviderState<'a>> {
    let previous = non_empty(body, spans.previous_response_id).map(ProviderState::PreviousResponse);
    if previous.is_some() || spans.dialect != Dialect::OpenAiResponses {
        return previous;
    }
    non_empty(body, spans.conversation).map(ProviderState::Conversation)
}

fn non_empty(body: &str, string: Option<StringSpan>) -> Option<Cow<'_, str>> {
    string.map(|string| string.decode(body)).filter(|text| !text.is_empty())
}

fn text_field<'a>(request: Request<'a>, name: &str) -> &'a str {
    request.field(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}
