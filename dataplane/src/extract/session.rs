//! Which session a request belongs to.

use pintle_routing::facts::{Dialect, SessionIdentity, SessionSource};

use super::Options;
use super::conversation;
use crate::http::head::Request;
use crate::json::{Message, Role, Spans, StringSpan};

/// Headers that name a session, in order of trust, behind the configured one.
const HEADERS: [(&str, SessionSource); 4] = [
    ("x-session-id", SessionSource::XSessionId),
    ("x-claude-code-session-id", SessionSource::ClaudeCodeHeader),
    ("session_id", SessionSource::SessionIdHeader),
    ("x-session-affinity", SessionSource::SessionAffinityHeader),
];

/// Begins the material of a fingerprint. A header value cannot contain it, so that no client reaches a
/// fingerprinted session by naming it in a header.
const FINGERPRINT: &[u8] = b"\0fingerprint\0";

/// The credential that a request came with: sessions of different credentials never meet.
///
/// The token of `Authorization: Bearer`, another `Authorization` whole, else `x-api-key`, else `api-key`; empty
/// without any. It is a secret: hash it, never keep or log it.
pub fn tenant<'a>(request: Request<'a>) -> &'a [u8] {
    const BEARER: &[u8] = b"bearer ";
    match request.field("authorization") {
        Some(value) if value.len() > BEARER.len() && value[..BEARER.len()].eq_ignore_ascii_case(BEARER) => {
            value[BEARER.len()..].trim_ascii()
        }
        Some(value) if !value.is_empty() => value,
        _ => request.field("x-api-key").or_else(|| request.field("api-key")).unwrap_or_default(),
    }
}

/// The session, by the first place that names one; else by what the conversation begins with.
pub(super) fn identity(
    request: Request<'_>,
    body: &str,
    spans: &Spans,
    options: &Options<'_>,
) -> Option<SessionIdentity> {
    let tenant = tenant(request);
    let identity = |key: &[u8], source| SessionIdentity { key: (options.key)(tenant, key), source };
    let configured = (options.session_header, SessionSource::ConfiguredHeader);
    for (header, source) in [configured].into_iter().chain(HEADERS).filter(|(header, _)| !header.is_empty()) {
        if let Some(value) = request.field(header).filter(|value| !value.is_empty()) {
            return Some(identity(value, source));
        }
    }
    // OpenAI's metadata is free-form: its user_id, if any, says nothing about sessions.
    let user_id = spans.metadata_user_id.filter(|_| spans.dialect == Dialect::AnthropicMessages);
    let members: [(Option<StringSpan>, SessionSource); 4] = [
        (spans.prompt_cache_key, SessionSource::PromptCacheKey),
        (spans.conversation, SessionSource::Conversation),
        (spans.previous_response_id, SessionSource::PreviousResponseId),
        (user_id, SessionSource::AnthropicUserId),
    ];
    for (member, source) in members {
        if let Some(value) = super::non_empty(body, member) {
            return Some(identity(value.as_bytes(), source));
        }
    }
    fingerprint(body, spans).map(|material| identity(&material, SessionSource::Fingerprint))
}

/// What stays the same through a conversation: its system prompt and its first user turn.
fn fingerprint(body: &str, spans: &Spans) -> Option<Vec<u8>> {
    let is_user = |message: &Message| message.role == Role::User;
    let first_user = spans.messages.iter().position(is_user).unwrap_or(spans.messages.len());
    let (preamble, rest) = spans.messages.split_at(first_user);
    let instructions =
        preamble.iter().filter(|message| matches!(message.role, Role::System | Role::Developer));
    let system = spans.system.into_iter().chain(instructions.map(|message| message.parts));
    let user = rest.first().map(|message| message.parts);

    let mut material = FINGERPRINT.to_vec();
    for parts in system {
        material.extend_from_slice(conversation::text(body, spans.parts_of(parts)).as_bytes());
        material.push(0);
    }
    // Without a user turn, everyone who shares the system prompt would share a session.
    let user = conversation::text(body, spans.parts_of(user?));
    if user.is_empty() {
        return None;
    }
    material.push(0);
    material.extend_from_slice(user.as_bytes());
    Some(material)
}
