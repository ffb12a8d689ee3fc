//! v0.3.0's process-local stores as values; the caller passes the time in (`sessiontelemetry/`).

use std::collections::{BTreeMap, HashMap};

use super::warmth::cache_probability;

/// Seconds after which a last model is forgotten.
pub const LAST_MODEL_TTL_SECONDS: f64 = 3600.0;
/// Sessions that the last-model store keeps.
pub const LAST_MODEL_CAP: usize = 50_000;
/// Seconds after which router memory forgets a session.
pub const ROUTER_MEMORY_TTL_SECONDS: f64 = 86_400.0;
/// Transitions kept per session.
pub const TRANSITIONS_PER_SESSION: usize = 200;

/// Last model per session (`last_model.go`).
#[derive(Debug, Clone)]
pub struct LastModels {
    ttl_seconds: f64,
    cap: usize,
    entries: HashMap<String, (String, f64)>,
}

impl Default for LastModels {
    fn default() -> Self {
        Self::new(LAST_MODEL_TTL_SECONDS, LAST_MODEL_CAP)
    }
}

impl LastModels {
    /// A store with other limits than upstream's.
    pub fn new(ttl_seconds: f64, cap: usize) -> Self {
        Self { ttl_seconds, cap, entries: HashMap::new() }
    }

    /// Remembers a model; empty arguments are ignored. The oldest entry makes room.
    pub fn record(&mut self, session: &str, model: &str, now: f64) {
        if session.is_empty() || model.is_empty() {
            return;
        }
        self.entries.insert(session.to_owned(), (model.to_owned(), now));
        while self.entries.len() > self.cap {
            let oldest =
                self.entries.iter().min_by(|a, b| a.1.1.total_cmp(&b.1.1).then_with(|| a.0.cmp(b.0)));
            let Some(oldest) = oldest.map(|(session, _)| session.clone()) else { break };
            self.entries.remove(&oldest);
        }
    }

    /// The model, unless it is older than the TTL.
    pub fn get(&self, session: &str, now: f64) -> Option<&str> {
        let (model, at) = self.entries.get(session)?;
        (now - at <= self.ttl_seconds).then_some(model.as_str())
    }

    /// Sessions held, expired ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No session is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A change of model seen at the first token (`transition.go`).
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Session.
    pub session_id: String,
    /// Turn of the change.
    pub turn_index: i64,
    /// Model left.
    pub from_model: String,
    /// Model gone to.
    pub to_model: String,
    /// Time to first token in milliseconds.
    pub ttft_ms: f64,
    /// Probability that the prefix was cached.
    pub cache_warmth_estimate: f64,
    /// Referenced response.
    pub previous_response_id: String,
}

/// What is known when the first token arrives.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstToken<'a> {
    /// Session; empty when unknown.
    pub session_id: &'a str,
    /// Turn.
    pub turn_index: i64,
    /// Model that serves.
    pub request_model: &'a str,
    /// Model of the turn before.
    pub previous_model: &'a str,
    /// Referenced response.
    pub previous_response_id: &'a str,
    /// Seconds to the first token.
    pub ttft_seconds: f64,
    /// Recent times to first token of the serving model, seconds.
    pub ttft_history: &'a [f64],
}

/// The transition of a turn; `None` if it changed no model or its session is unknown.
pub fn transition(at: &FirstToken<'_>) -> Option<Transition> {
    let known = !at.session_id.is_empty() && !at.request_model.is_empty() && !at.previous_model.is_empty();
    (known && at.request_model != at.previous_model).then(|| Transition {
        session_id: at.session_id.to_owned(),
        turn_index: at.turn_index,
        from_model: at.previous_model.to_owned(),
        to_model: at.request_model.to_owned(),
        ttft_ms: at.ttft_seconds * 1000.0,
        cache_warmth_estimate: cache_probability(at.request_model, at.ttft_seconds, at.ttft_history, 0.0),
        previous_response_id: at.previous_response_id.to_owned(),
    })
}

/// Transitions per session, newest last (`transition.go`).
#[derive(Debug, Clone, Default)]
pub struct Transitions(HashMap<String, Vec<Transition>>);

impl Transitions {
    /// Keeps an event; the oldest of its session makes room. Without a session it is dropped.
    pub fn record(&mut self, event: Transition) {
        if event.session_id.is_empty() {
            return;
        }
        let events = self.0.entry(event.session_id.clone()).or_default();
        if events.len() == TRANSITIONS_PER_SESSION {
            events.remove(0);
        }
        events.push(event);
    }

    /// Events of a session, oldest first.
    pub fn get(&self, session: &str) -> &[Transition] {
        self.0.get(session).map_or(&[], Vec::as_slice)
    }
}

/// One session of router memory (`router_memory.go`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Model of the last decision.
    pub current_model: String,
    /// Seconds.
    pub last_seen: f64,
    /// Turns decided.
    pub turn_count: i64,
    /// Changes of model.
    pub switch_count: i64,
    /// Turns per model.
    pub model_turns: BTreeMap<String, i64>,
    /// Last decision.
    pub last_decision_name: String,
    /// Sum over all turns.
    pub prompt_tokens: i64,
    /// Sum over all turns.
    pub cached_tokens: i64,
    /// Sum over all turns.
    pub estimated_cached_tokens: i64,
    /// Sum over all turns.
    pub completion_tokens: i64,
    /// Dollars over all turns.
    pub cost: f64,
    /// Turns whose usage was recorded.
    pub usage_turns: i64,
}

/// Usage of a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Prompt tokens.
    pub prompt_tokens: i64,
    /// Reported cached tokens.
    pub cached_tokens: i64,
    /// Cached tokens that the router only believes in.
    pub estimated_cached_tokens: i64,
    /// Completion tokens.
    pub completion_tokens: i64,
    /// Dollars.
    pub cost: f64,
}

/// Router memory: sessions, swept by age on every write.
#[derive(Debug, Clone)]
pub struct RouterMemory {
    ttl_seconds: f64,
    sessions: HashMap<String, Memory>,
}

impl Default for RouterMemory {
    fn default() -> Self {
        Self::new(ROUTER_MEMORY_TTL_SECONDS)
    }
}

impl RouterMemory {
    /// A memory that forgets after `ttl_seconds`.
    pub fn new(ttl_seconds: f64) -> Self {
        Self { ttl_seconds, sessions: HashMap::new() }
    }

    fn touch(&mut self, session: &str, now: f64) -> &mut Memory {
        let ttl = self.ttl_seconds;
        self.sessions.retain(|_, memory| now - memory.last_seen <= ttl);
        let memory = self.sessions.entry(session.to_owned()).or_default();
        memory.last_seen = now;
        memory
    }

    /// What v0.3.0 records at selection, before the upstream is asked.
    pub fn record_decision(
        &mut self,
        session: &str,
        turn_index: i64,
        previous_model: &str,
        selected: &str,
        decision: &str,
        now: f64,
    ) {
        if session.is_empty() || selected.is_empty() {
            return;
        }
        let memory = self.touch(session, now);
        let previous =
            if memory.current_model.is_empty() { previous_model } else { memory.current_model.as_str() };
        if !previous.is_empty() && previous != selected {
            memory.switch_count += 1;
        }
        memory.turn_count = (turn_index + 1).max(memory.turn_count + 1);
        *memory.model_turns.entry(selected.to_owned()).or_default() += 1;
        memory.current_model = selected.to_owned();
        memory.last_decision_name = decision.to_owned();
    }

    /// What it records at the response.
    pub fn record_usage(&mut self, session: &str, model: &str, usage: &Usage, now: f64) {
        if session.is_empty() {
            return;
        }
        let memory = self.touch(session, now);
        if !model.is_empty() {
            memory.current_model = model.to_owned();
        }
        memory.usage_turns += 1;
        memory.prompt_tokens += usage.prompt_tokens;
        memory.cached_tokens += usage.cached_tokens;
        memory.estimated_cached_tokens += usage.estimated_cached_tokens;
        memory.completion_tokens += usage.completion_tokens;
        memory.cost += usage.cost;
    }

    /// A session, unless it is older than the TTL.
    pub fn get(&self, session: &str, now: f64) -> Option<&Memory> {
        self.sessions.get(session).filter(|memory| now - memory.last_seen <= self.ttl_seconds)
    }

    /// Sessions held.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// No session is held.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}
