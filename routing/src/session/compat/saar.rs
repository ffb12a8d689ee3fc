//! `session_aware` (trace name `agentic_continuity_routing`): `selection/session_aware.go`,
//! `selection/session_aware_scoring.go`.

use serde::{Deserialize, Serialize};

use super::clamp01;
pub use super::config::SaarConfig;
use super::lookup::LookupTable;

const HISTORY_NORM: f64 = 8192.0;
const TURN_NORM: f64 = 8.0;
const PREVIOUS_RESPONSE_REUSE: f64 = 0.15;
const UNKNOWN_WARMTH: f64 = 0.5;
const RESET_WARMTH_FACTOR: f64 = 0.2;
const UNKNOWN_PRESSURE: f64 = 0.5;

/// A candidate as v0.3.0 sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SaarCandidate<'a> {
    /// Model or adapter name.
    pub name: &'a str,
    /// Base selector's score, if it gave one.
    pub base_score: Option<f64>,
    /// The model's `model_params` entry.
    pub params: ModelParams,
}

/// Prices and quality of a model, dollars per million tokens; 0 means not declared.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModelParams {
    /// Prompt price.
    pub prompt_per_1m: f64,
    /// Price of cached prompt tokens.
    pub cached_input_per_1m: f64,
    /// Declared quality.
    pub quality_score: f64,
}

impl ModelParams {
    /// What a cold prompt token costs above a cached one.
    fn prefix_cost(&self) -> f64 {
        let saved = self.prompt_per_1m - self.cached_input_per_1m.max(0.0);
        if saved > 0.0 { saved } else { self.prompt_per_1m }
    }
}

/// Session facts at selection.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SaarSession<'a> {
    /// Turn index of the request.
    pub turn_index: i64,
    /// Turns in router memory.
    pub memory_turn_count: i64,
    /// Switches in router memory.
    pub memory_switch_count: i64,
    /// The session's model; blank when unknown.
    pub previous_model: &'a str,
    /// Referenced response; blank for none.
    pub previous_response_id: &'a str,
    /// Tokens of earlier turns.
    pub history_tokens: i64,
    /// Tokens of the whole context.
    pub context_tokens: i64,
    /// Cache warmth in [0,1], when known.
    pub cache_warmth: Option<f64>,
    /// Seconds since the last turn, when known.
    pub idle_seconds: Option<f64>,
    /// Decision of the last turn; blank when unknown.
    pub last_decision_name: &'a str,
    /// Whether the turn is inside a tool loop.
    pub active_tool_loop: bool,
    /// Whether the context cannot move.
    pub has_non_portable_context: bool,
    /// Why it cannot.
    pub non_portable_context_reason: &'a str,
}

/// Continuation mass and the prior behind it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Continuation {
    /// How much of the session is expected to be reused, in [0,1].
    pub mass: f64,
    /// Expected turns of a session of this family; 0 when unknown.
    pub prior: f64,
    /// Whether the prior was used.
    pub prior_ok: bool,
    /// Turns expected to follow.
    pub remaining: f64,
    /// Source of the prior; empty when there is none.
    pub source: String,
    /// Samples behind it.
    pub samples: u64,
    /// Why it was rejected; empty when it was not.
    pub rejected: String,
}

/// One candidate's terms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SaarCandidateTrace {
    /// Whether it is the session's model.
    pub current: bool,
    /// Base selector's score.
    pub base_score: f64,
    /// Score after all terms.
    pub final_score: f64,
    /// Base score minus the current model's.
    pub selector_delta: f64,
    /// Measured quality gap.
    pub quality_gap: f64,
    /// Handoff before its weight.
    pub handoff_penalty: f64,
    /// Credited to the current model.
    pub prefix_cache_benefit: f64,
    /// Charged to a candidate.
    pub prefix_cache_penalty: f64,
    /// Charged to a candidate inside a tool loop.
    pub tool_loop_penalty: f64,
    /// Charged to a candidate of a session that has switched before.
    pub switch_history_penalty: f64,
    /// Factor on the prefix cache term.
    pub frontier_cost_multiplier: f64,
    /// Final score minus the current model's.
    pub net_switch_advantage: f64,
}

/// v0.3.0's `session_policy` trace, as far as it is derived here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SaarTrace {
    /// A hard lock decided.
    pub hard_locked: bool,
    /// `hard_lock=…`; empty without a lock.
    pub hard_lock_reason: String,
    /// Idle for at least the timeout.
    pub idle_expired: bool,
    /// Another decision than last time.
    pub decision_drift: bool,
    /// Facts that were missing.
    pub missing_signals: Vec<String>,
    /// Absent without a session.
    pub continuation: Option<Continuation>,
    /// Why the model was chosen.
    pub decision_reason: String,
    /// One entry per candidate in input order; empty unless scores were adjusted.
    pub candidates: Vec<SaarCandidateTrace>,
}

/// Result of [`select`].
#[derive(Debug, Clone, PartialEq)]
pub struct SaarSelection {
    /// Index of the chosen candidate.
    pub chosen: usize,
    /// Its final score.
    pub score: f64,
    /// In [0,1]; `None` where v0.3.0 passes the base selector's confidence on.
    pub confidence: Option<f64>,
    /// Final scores in input order.
    pub final_scores: Vec<f64>,
    /// The reasons.
    pub trace: SaarTrace,
}

/// Turns of the session: the larger of memory and request.
fn turns(session: &SaarSession<'_>) -> f64 {
    session.memory_turn_count.max(session.turn_index).max(0) as f64
}

/// Continuation mass M.
pub fn continuation(
    config: &SaarConfig,
    session: &SaarSession<'_>,
    families: [&str; 2],
    lookup: &LookupTable,
) -> Continuation {
    let history = session.history_tokens.max(0) as f64;
    let mut reuse = clamp01(history / session.context_tokens.max(1) as f64);
    if !session.previous_response_id.is_empty() {
        reuse = reuse.max(PREVIOUS_RESPONSE_REUSE);
    }
    let turns = turns(session);
    let mut out = Continuation {
        mass: clamp01(
            0.45 * reuse + 0.35 * clamp01(history / HISTORY_NORM) + 0.20 * clamp01(turns / TURN_NORM),
        ),
        ..Continuation::default()
    };
    for family in families.into_iter().filter(|family| !family.is_empty()) {
        let Some(entry) = lookup.remaining_turn_prior(family) else { continue };
        out.prior = entry.value;
        out.source = entry.source.as_str().to_owned();
        out.samples = entry.sample_count;
        let replayed = entry.source == super::lookup::EntrySource::ReplayDerived;
        if replayed && (entry.sample_count as i64) < config.min_remaining_turn_prior_samples {
            out.rejected = "low_sample_count".to_owned();
            continue;
        }
        out.rejected = String::new();
        out.prior_ok = true;
        break;
    }
    if out.prior_ok {
        out.remaining = (out.prior - turns).max(0.0);
        if config.remaining_turn_prior_weight > 0.0 {
            let expected = clamp01(out.remaining / config.remaining_turn_prior_horizon.max(1) as f64);
            let lift = (expected - out.mass).max(0.0) * clamp01(config.remaining_turn_prior_weight);
            out.mass = clamp01(out.mass + lift);
        }
    }
    out
}

/// Cost pressure of every candidate: its prefix cost over the dearest's.
///
/// `max_prefix_cost` spans every model of the configuration, not only the candidates.
pub fn cost_pressure(model: &ModelParams, max_prefix_cost: f64) -> f64 {
    let cost = model.prefix_cost();
    if cost > 0.0 && max_prefix_cost > 0.0 {
        clamp01(cost / max_prefix_cost)
    } else if model.quality_score > 0.0 {
        clamp01(model.quality_score)
    } else {
        UNKNOWN_PRESSURE
    }
}

/// The dearest prefix cost among `models`.
pub fn max_prefix_cost<'a>(models: impl IntoIterator<Item = &'a ModelParams>) -> f64 {
    models.into_iter().map(ModelParams::prefix_cost).fold(0.0, f64::max)
}

/// Factor in `[1, max_cache_cost_multiplier]` on the prefix cache term of a pair.
pub fn cache_cost_multiplier(config: &SaarConfig, pressure_a: f64, pressure_b: f64) -> f64 {
    1.0 + (config.max_cache_cost_multiplier - 1.0) * pressure_a.max(pressure_b)
}

/// Warmth after the reset factor.
pub fn effective_warmth(session: &SaarSession<'_>, reset: bool) -> f64 {
    let warmth = session.cache_warmth.map_or(UNKNOWN_WARMTH, clamp01);
    if reset { warmth * RESET_WARMTH_FACTOR } else { warmth }
}

/// Prefix cache penalty of leaving a model.
pub fn prefix_penalty(config: &SaarConfig, mass: f64, warmth: f64, multiplier: f64) -> f64 {
    config.prefix_cache_weight * mass * warmth * multiplier
}

/// Penalty of a session that has switched before.
pub fn switch_history_penalty(config: &SaarConfig, switches: i64) -> f64 {
    config.switch_history_weight * clamp01(switches as f64 / TURN_NORM)
}

/// Everything that [`select`] reads.
#[derive(Debug, Clone, Copy)]
pub struct SaarInput<'a> {
    /// Normalised parameters.
    pub config: &'a SaarConfig,
    /// Candidates in configured order.
    pub candidates: &'a [SaarCandidate<'a>],
    /// Dearest prefix cost over the whole configuration.
    pub max_prefix_cost: f64,
    /// Base selector's choice.
    pub base_choice: usize,
    /// Base selector's score of its choice.
    pub base_score: f64,
    /// `None` when the request carries no session.
    pub session: Option<SaarSession<'a>>,
    /// Matched decision.
    pub decision: &'a str,
    /// Category of the decision.
    pub category: &'a str,
    /// Measured pairs and priors.
    pub lookup: &'a LookupTable,
}

/// `SessionAwareSelector.Select` after the base selector.
///
/// # Panics
/// If `base_choice` is not an index into `candidates`.
pub fn select(input: &SaarInput<'_>) -> SaarSelection {
    let SaarInput { config, candidates, .. } = *input;
    let mut scores: Vec<f64> = candidates
        .iter()
        .enumerate()
        .map(|(i, c)| match c.base_score {
            Some(score) => score,
            None if i == input.base_choice => input.base_score,
            None => -0.001 * i as f64,
        })
        .collect();
    let mut trace = SaarTrace::default();
    let base = |scores: Vec<f64>, mut trace: SaarTrace, signal: &str, reason: &str| {
        trace.missing_signals.push(signal.to_owned());
        trace.decision_reason = reason.to_owned();
        SaarSelection {
            chosen: input.base_choice,
            score: scores[input.base_choice],
            confidence: None,
            final_scores: scores,
            trace,
        }
    };
    let Some(session) = input.session else {
        return base(scores, trace, "session_context", "missing_session_context");
    };
    let reset = Reset::of(config, &session, input.decision);
    trace.idle_expired = reset.idle;
    trace.decision_drift = reset.drift;
    let families = [input.category, input.decision];
    let continuation = continuation(config, &session, families, input.lookup);
    let mass = continuation.mass;
    trace.continuation = Some(continuation);

    let current_name = session.previous_model.trim();
    if current_name.is_empty() {
        return base(scores, trace, "previous_model", "missing_previous_model");
    }
    let Some(current) = candidates.iter().position(|c| c.name == current_name) else {
        let word = "previous_model_not_in_candidates";
        return base(scores, trace, word, word);
    };
    if let Some(reason) = hard_lock(config, &session, reset.any()) {
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        scores[current] = scores[current].max(best + config.tool_loop_stay_bias + config.stay_bias);
        trace.hard_locked = true;
        trace.hard_lock_reason.clone_from(&reason);
        trace.decision_reason = reason;
        return SaarSelection {
            chosen: current,
            score: scores[current],
            confidence: Some(1.0),
            final_scores: scores,
            trace,
        };
    }

    trace.candidates = adjust(input, &session, reset.any(), mass, current, &scores);
    let finals: Vec<f64> = trace.candidates.iter().map(|c| c.final_score).collect();
    let chosen = argmax(&finals);
    let second =
        finals.iter().enumerate().filter(|(i, _)| *i != chosen).map(|(_, s)| *s).fold(f64::NAN, f64::max);
    let margin = if second.is_nan() { 0.0 } else { finals[chosen] - second };
    trace.decision_reason =
        if chosen == current { "stay_has_best_adjusted_score" } else { "switch_allowed" }.to_owned();
    SaarSelection {
        chosen,
        score: finals[chosen],
        confidence: Some(clamp01(0.5 + margin.clamp(0.0, 0.5))),
        final_scores: finals,
        trace,
    }
}

#[derive(Clone, Copy)]
struct Reset {
    idle: bool,
    drift: bool,
}

impl Reset {
    fn of(config: &SaarConfig, session: &SaarSession<'_>, decision: &str) -> Self {
        let timeout = config.idle_timeout_seconds;
        Self {
            idle: timeout > 0 && session.idle_seconds.is_some_and(|idle| idle >= timeout as f64),
            drift: config.decision_drift_reset
                && !session.last_decision_name.is_empty()
                && !decision.is_empty()
                && session.last_decision_name != decision,
        }
    }

    fn any(self) -> bool {
        self.idle || self.drift
    }
}

fn hard_lock(config: &SaarConfig, session: &SaarSession<'_>, reset: bool) -> Option<String> {
    if session.active_tool_loop && config.tool_loop_hard_lock {
        Some("hard_lock=tool_loop".to_owned())
    } else if session.has_non_portable_context && config.context_portability_hard_lock {
        let reason = session.non_portable_context_reason.trim();
        let colon = if reason.is_empty() { "" } else { ":" };
        Some(format!("hard_lock=context_portability{colon}{reason}"))
    } else if turns(session) < config.min_turns_before_switch as f64 && !reset {
        Some("hard_lock=min_turns".to_owned())
    } else {
        None
    }
}

fn adjust(
    input: &SaarInput<'_>,
    session: &SaarSession<'_>,
    reset: bool,
    mass: f64,
    current: usize,
    scores: &[f64],
) -> Vec<SaarCandidateTrace> {
    let SaarInput { config, candidates, lookup, .. } = *input;
    let pressure = |i: usize| cost_pressure(&candidates[i].params, input.max_prefix_cost);
    let loop_bias = if session.active_tool_loop { config.tool_loop_stay_bias } else { 0.0 };
    let warmth = effective_warmth(session, false);
    let current_multiplier = cache_cost_multiplier(config, pressure(current), pressure(current));
    let benefit = if reset { 0.0 } else { prefix_penalty(config, mass, warmth, current_multiplier) };
    let stay_bias = if reset { 0.0 } else { config.stay_bias };
    let current_score = scores[current] + stay_bias + benefit + loop_bias;
    let from = candidates[current].name;

    candidates
        .iter()
        .enumerate()
        .map(|(i, candidate)| {
            if i == current {
                return SaarCandidateTrace {
                    current: true,
                    base_score: scores[i],
                    final_score: current_score,
                    prefix_cache_benefit: benefit,
                    frontier_cost_multiplier: current_multiplier,
                    ..SaarCandidateTrace::default()
                };
            }
            let gap =
                lookup.quality_gap([input.category, input.decision], from, candidate.name).unwrap_or(0.0);
            let multiplier = cache_cost_multiplier(config, pressure(current), pressure(i));
            let mut t = SaarCandidateTrace {
                base_score: scores[i],
                selector_delta: scores[i] - scores[current],
                quality_gap: gap,
                tool_loop_penalty: loop_bias,
                frontier_cost_multiplier: multiplier,
                ..SaarCandidateTrace::default()
            };
            let mut margin = 0.0;
            let mut extra = 0.0;
            if !reset {
                let handoff = lookup.handoff_penalty(from, candidate.name);
                t.handoff_penalty = handoff.unwrap_or(config.default_handoff_penalty);
                t.prefix_cache_penalty =
                    prefix_penalty(config, mass, effective_warmth(session, reset), multiplier);
                t.switch_history_penalty = switch_history_penalty(config, session.memory_switch_count);
                margin = config.switch_margin;
                if t.selector_delta <= 0.0 && gap <= 0.0 {
                    extra = config.stay_bias;
                }
            }
            t.final_score = scores[i] + config.quality_gap_multiplier * gap
                - config.handoff_penalty_weight * t.handoff_penalty
                - t.prefix_cache_penalty
                - t.tool_loop_penalty
                - t.switch_history_penalty
                - margin
                - extra;
            t.net_switch_advantage = t.final_score - current_score;
            t
        })
        .collect()
}

/// First index of the largest score.
pub(crate) fn argmax(scores: &[f64]) -> usize {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate().skip(1) {
        if *score > scores[best] {
            best = i;
        }
    }
    best
}
