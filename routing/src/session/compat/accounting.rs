//! Cache accounting after the response (`extproc/session_telemetry.go`).

use super::clamp01;

const IDLE_BOUNDARY_SECONDS: f64 = 300.0;
const UNKNOWN_WARMTH: f64 = 0.5;

/// Prices in dollars per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    /// Prompt tokens.
    pub prompt_per_1m: f64,
    /// Cached prompt tokens.
    pub cached_input_per_1m: f64,
    /// Completion tokens.
    pub completion_per_1m: f64,
}

/// Usage of one turn and what was known of its session.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AccountingInput<'a> {
    /// Session id; empty when unknown.
    pub session_id: &'a str,
    /// Model that served; empty when unknown.
    pub request_model: &'a str,
    /// Model of the turn before; empty when unknown.
    pub previous_model: &'a str,
    /// Seconds since that turn, when known.
    pub idle_seconds: Option<f64>,
    /// Tokens of earlier turns.
    pub history_tokens: i64,
    /// Warmth, when known.
    pub cache_warmth: Option<f64>,
    /// Prompt tokens.
    pub prompt_tokens: i64,
    /// Cached tokens, if the backend reported them.
    pub cached_tokens: Option<i64>,
    /// Completion tokens.
    pub completion_tokens: i64,
}

/// Where the cached tokens of a turn come from, and what they saved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accounting {
    /// Stable word.
    pub source: &'static str,
    /// Tokens that the router believes were cached though nobody reported it.
    pub estimated_cached_tokens: i64,
    /// In [0,1].
    pub confidence: f64,
    /// Dollars.
    pub estimated_savings: f64,
}

/// Accounts for one turn.
pub fn account(input: &AccountingInput<'_>, prices: &Prices) -> Accounting {
    let plain = |source, confidence| Accounting {
        source,
        estimated_cached_tokens: 0,
        confidence,
        estimated_savings: 0.0,
    };
    if input.prompt_tokens <= 0 {
        return plain("no_prompt_tokens", 0.0);
    }
    if input.cached_tokens.is_some() {
        return plain("backend_reported", 1.0);
    }
    if input.session_id.is_empty() {
        return plain("missing_session", 0.0);
    }
    if input.request_model.is_empty() {
        return plain("missing_request_model", 0.0);
    }
    if input.previous_model.is_empty() {
        return plain("missing_previous_model", 0.0);
    }
    if input.previous_model != input.request_model {
        return plain("switch_checkout", 1.0);
    }
    if input.idle_seconds.is_some_and(|idle| idle >= IDLE_BOUNDARY_SECONDS) {
        return plain("idle_boundary", 0.8);
    }
    if input.history_tokens <= 0 {
        return plain("no_history", 0.0);
    }
    let (warmth, confidence) =
        input.cache_warmth.map_or((UNKNOWN_WARMTH, 0.35), |warmth| (clamp01(warmth), 0.65));
    let reusable = input.prompt_tokens.min(input.history_tokens);
    let tokens = (reusable as f64 * warmth).round() as i64;
    let saved = (prices.prompt_per_1m - prices.cached_input_per_1m).max(0.0);
    Accounting {
        source: "router_estimated",
        estimated_cached_tokens: tokens,
        confidence,
        estimated_savings: tokens as f64 * saved / 1e6,
    }
}

/// Dollars of one turn: only tokens that the backend reported as cached get the cached price.
pub fn turn_cost(prompt: i64, cached: i64, completion: i64, prices: &Prices) -> f64 {
    let cached = cached.clamp(0, prompt.max(0));
    ((prompt - cached) as f64 * prices.prompt_per_1m
        + cached as f64 * prices.cached_input_per_1m
        + completion as f64 * prices.completion_per_1m)
        / 1e6
}
