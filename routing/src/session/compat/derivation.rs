//! Session facts of a request (`extproc/session_transition.go`, `sessiontelemetry/derive.go`).

use sha2::{Digest, Sha256};

/// Cap on history tokens.
pub const HISTORY_TOKEN_CAP: i64 = 8192;
const SEED_BYTES: usize = 100;
const DIGEST_BYTES: usize = 8;

/// A chat message, text only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Role.
    pub role: &'a str,
    /// Text.
    pub content: &'a str,
}

/// A stored response of the Responses API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredResponse<'a> {
    /// Model that made it.
    pub model: &'a str,
    /// Input and output tokens as the backend reported them.
    pub usage: Option<(i64, i64)>,
    /// Texts of its input items.
    pub input_texts: &'a [&'a str],
    /// Its output text.
    pub output_text: &'a str,
    /// Texts of its output items, counted if it has no output text.
    pub output_items: &'a [&'a str],
}

/// Where v0.3.0 looks for a session id, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdSources<'a> {
    /// Conversation of the Responses API.
    pub conversation_id: &'a str,
    /// `x-session-id`
    pub x_session_id: &'a str,
    /// `x-claude-code-session-id`
    pub claude_code_session_id: &'a str,
    /// Anthropic `metadata.user_id`.
    pub metadata_user_id: &'a str,
    /// `x-authz-user-id`
    pub user_id: &'a str,
    /// Messages of the request.
    pub messages: &'a [Message<'a>],
    /// Request id; last resort.
    pub request_id: &'a str,
}

/// `floor(bytes / 4)`
pub fn estimate_tokens(text: &str) -> i64 {
    (text.len() / 4) as i64
}

/// Messages of the assistant before this turn; the turn number is one more.
pub fn turn_index(messages: &[Message<'_>]) -> i64 {
    messages.iter().filter(|m| m.role == "assistant").count() as i64
}

/// Tokens of all messages but a trailing user message, capped.
pub fn chat_history_tokens(messages: &[Message<'_>]) -> i64 {
    let earlier = match messages {
        [earlier @ .., last] if last.role == "user" => earlier,
        all => all,
    };
    earlier.iter().map(|m| estimate_tokens(m.content)).sum::<i64>().min(HISTORY_TOKEN_CAP)
}

/// Tokens of stored responses, capped: usage where reported, else estimated from the texts.
pub fn stored_history_tokens<'a>(history: impl IntoIterator<Item = &'a StoredResponse<'a>>) -> i64 {
    let tokens = |response: &StoredResponse<'_>| match response.usage {
        Some((input, output)) if input + output > 0 => input + output,
        _ => {
            let texts = |items: &[&str]| items.iter().map(|text| estimate_tokens(text)).sum::<i64>();
            let output = match estimate_tokens(response.output_text) {
                0 => texts(response.output_items),
                tokens => tokens,
            };
            texts(response.input_texts) + output
        }
    };
    history.into_iter().map(tokens).sum::<i64>().min(HISTORY_TOKEN_CAP)
}

/// The session id of a request; empty when nothing identifies it.
pub fn session_id(sources: &IdSources<'_>) -> String {
    for (prefix, value) in [
        ("", sources.conversation_id),
        ("", sources.x_session_id),
        ("", sources.claude_code_session_id),
        ("ant-md-", sources.metadata_user_id),
    ] {
        if !value.trim().is_empty() {
            return format!("{prefix}{}", value.trim());
        }
    }
    if sources.messages.is_empty() {
        return match sources.request_id {
            "" => String::new(),
            id => format!("rid-{}", hex16(&[b"rid:", id.as_bytes()])),
        };
    }
    if sources.user_id.is_empty() {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(sources.messages.len() * 4);
        for message in sources.messages {
            if !parts.is_empty() {
                parts.push(b"|");
            }
            parts.extend([message.role.as_bytes(), b":", seed(message.content)]);
        }
        return format!("cc-full-{}", hex16(&parts));
    }
    let first = sources.messages.iter().find(|m| m.role == "user").map_or("", |m| m.content);
    format!("cc-{}", hex16(&[sources.user_id.as_bytes(), b":", seed(first)]))
}

fn seed(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(SEED_BYTES)]
}

fn hex16(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Tool and context facts of a request as v0.3.0 reads them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgenticFacts<'a> {
    /// Tool calls of the assistant in the whole history.
    pub assistant_tool_calls: i64,
    /// Tool results in the whole history.
    pub tool_results: i64,
    /// Role of the last message.
    pub last_message_role: &'a str,
    /// The last message is a tool result.
    pub last_message_is_tool_result: bool,
    /// The last message is a user turn right after a tool result.
    pub last_user_after_tool_result: bool,
    /// Referenced response.
    pub previous_response_id: &'a str,
}

impl AgenticFacts<'_> {
    /// An abandoned call keeps this true for good.
    pub fn active_tool_loop(&self) -> bool {
        self.last_message_is_tool_result
            || self.last_message_role == "tool"
            || self.last_user_after_tool_result
            || self.assistant_tool_calls > self.tool_results
    }

    /// Reason why the context cannot move, if it cannot.
    pub fn non_portable_reason(&self) -> Option<&'static str> {
        (!self.previous_response_id.trim().is_empty()).then_some("previous_response_id")
    }

    /// `tool_loop`, `provider_state` or `user_turn`.
    pub fn phase(&self) -> &'static str {
        if self.active_tool_loop() {
            "tool_loop"
        } else if self.non_portable_reason().is_some() {
            "provider_state"
        } else {
            "user_turn"
        }
    }
}
