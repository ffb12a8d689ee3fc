//! Session memory as the admin API shows it.

use serde::Serialize;

/// Most sessions that one listing returns.
pub const MAX_SESSIONS_LISTED: usize = 1000;

/// One session for a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SessionView {
    /// Key in hexadecimal, 32 digits.
    pub key: String,
    /// Target that served the last turn.
    pub model: String,
    /// Decision that chose it; empty when none had matched.
    pub decision: String,
    /// Backend that served the last turn.
    pub backend: String,
    /// Turns committed.
    pub turns: u32,
    /// Turns in a row on `model`.
    pub turns_on_model: u32,
    /// Model changes.
    pub switches: u32,
    /// When the last turn was committed, in milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
    /// Milliseconds since then.
    pub idle_ms: u64,
    /// The lock that holds the session on its model: `tool_loop`, `provider_state`, or none.
    pub lock: Option<&'static str>,
    /// When that lock ends by itself, in milliseconds since the Unix epoch.
    pub locked_until_ms: Option<u64>,
    /// Prompt tokens of all turns.
    pub prompt_tokens: u64,
    /// Of those, served from prefix caches.
    pub cached_tokens: u64,
    /// Completion tokens of all turns.
    pub completion_tokens: u64,
}

/// What the admin API may do with session memory. Answered from a helper thread.
pub trait SessionBook: Send + Sync {
    /// Up to `limit` sessions, in no particular order; `model` narrows to the target of the last turn.
    fn list(&self, limit: usize, model: Option<&str>, now_ms: u64) -> Vec<SessionView>;
    /// One session.
    fn show(&self, key: u128, now_ms: u64) -> Option<SessionView>;
    /// Forgets a session, so that its next turn is routed as a new one; false if it was not known.
    fn unpin(&self, key: u128, now_ms: u64) -> bool;
    /// Capacity, sessions held, and whatever else describes the table.
    fn fill(&self) -> serde_json::Value;
}
