//! What a stand-in has seen and done.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// Requests kept for inspection; older ones are forgotten.
pub const SEEN_KEPT: usize = 256;

/// Bytes of a body that are kept for inspection.
pub const BODY_KEPT: usize = 16 << 10;

/// Counters since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The model played.
    pub model: String,
    /// Connections accepted.
    pub connections: u64,
    /// Model requests received (every `POST` on an API path).
    pub requests: u64,
    /// Answers sent to their end.
    pub completed: u64,
    /// Answers that the client gave up on before their end.
    pub aborted: u64,
    /// Failures injected.
    pub faults: u64,
    /// Requests refused as malformed, or for another model.
    pub refused: u64,
    /// Tool results and response ids that belong to another model.
    pub violations: u64,
    /// Tool calls made.
    pub tool_calls: u64,
    /// Answers in progress.
    pub in_flight: u64,
    /// Most answers in progress at one time.
    pub max_in_flight: u64,
    /// Prompt tokens reported.
    pub prompt_tokens: u64,
    /// Of those, tokens found in the simulated prefix cache.
    pub cached_tokens: u64,
    /// Completion tokens reported.
    pub completion_tokens: u64,
}

/// One request as it arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Number of the request, from 1.
    pub number: u64,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header names (lower case) and values in order; bytes outside UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// Length of the body in bytes.
    pub body_bytes: u64,
    /// The first [`BODY_KEPT`] bytes of the body; bytes outside UTF-8 are replaced.
    pub body: String,
    /// XXH3-64 of the body, 16 hexadecimal digits.
    pub body_xxh3: String,
    /// The `model` that the body names, if it parsed.
    pub model: String,
}

impl Seen {
    /// Value of the first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Debug, Default)]
struct Inner {
    stats: Stats,
    seen: VecDeque<Seen>,
}

/// The counters, shared by every connection.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Inner>);

impl Ledger {
    pub(crate) fn new(model: &str) -> Self {
        let stats = Stats { model: model.to_owned(), ..Stats::default() };
        Self(Mutex::new(Inner { stats, seen: VecDeque::with_capacity(SEEN_KEPT) }))
    }

    pub(crate) fn stats(&self) -> Stats {
        self.with(|s| s.clone())
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Stats) -> T) -> T {
        change(&mut self.lock().stats)
    }

    pub(crate) fn remember(&self, seen: Seen) {
        let mut inner = self.lock();
        if inner.seen.len() == SEEN_KEPT {
            inner.seen.pop_front();
        }
        inner.seen.push_back(seen);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Counters stay meaningful after a panic elsewhere, and a test wants to read them then.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
