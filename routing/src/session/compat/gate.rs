//! The model switch gate (`selection/model_switch_gate.go`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::clamp01;
use super::lookup::LookupTable;

/// Whether the gate only reports or also overrules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GateMode {
    /// Report only.
    #[default]
    Shadow,
    /// Keep the current model unless a switch pays.
    Enforce,
}

/// `model_switch_gate` block.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GateConfig {
    /// Whether the gate runs.
    pub enabled: bool,
    /// What it may do.
    pub mode: GateMode,
    /// A switch must win by more than this.
    pub min_switch_advantage: f64,
    /// Handoff of a pair without an entry.
    pub default_handoff_penalty: f64,
    /// Weight of the current model's warmth.
    pub cache_warmth_weight: f64,
}

/// What the gate reads.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// Parameters.
    pub config: GateConfig,
    /// False where upstream passes no selection context.
    pub has_selection_context: bool,
    /// Session id; empty when unknown.
    pub session_id: &'a str,
    /// Matched decision.
    pub decision: &'a str,
    /// Its category.
    pub category: &'a str,
    /// Candidate names.
    pub candidates: &'a [&'a str],
    /// The session's model; empty when unknown.
    pub current_model: &'a str,
    /// The selector's choice; empty when it made none.
    pub candidate_model: &'a str,
    /// Selector's score of the current model.
    pub current_score: Option<f64>,
    /// Selector's score of its choice.
    pub candidate_score: Option<f64>,
    /// Warmth of the current model, when known.
    pub cache_warmth: Option<f64>,
    /// Measured pairs.
    pub lookup: &'a LookupTable,
}

/// The gate's auditable verdict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GateDecision {
    /// A switch pays.
    pub would_switch: bool,
    /// The current model was kept against the selector.
    pub enforced_stay: bool,
    /// Model that serves.
    pub final_model: String,
    /// Facts that were missing; those that blocked come first.
    pub missing_signals: Vec<Cow<'static, str>>,
    /// The advantage is a comparison and not a fallback.
    pub net_switch_advantage_ok: bool,
    /// Clamped warmth.
    pub cache_warmth: f64,
    /// Candidate's score minus the current model's.
    pub selector_score_delta: f64,
    /// Measured gap, 0 when unknown.
    pub quality_gap: f64,
    /// Handoff of the pair.
    pub handoff_penalty: f64,
    /// Weighted warmth.
    pub cache_warmth_penalty: f64,
    /// Benefit minus penalties.
    pub net_switch_advantage: f64,
    /// In [0,1].
    pub stay_cost_estimate: f64,
    /// In [0,1].
    pub switch_cost_estimate: f64,
    /// Stable word.
    pub reason: Cow<'static, str>,
}

impl GateDecision {
    fn unevaluated(mut self, blocking: Option<&'static str>, noted: Vec<Cow<'static, str>>) -> Self {
        self.missing_signals.extend(blocking.map(Cow::Borrowed));
        self.missing_signals.extend(noted);
        self.reason = "missing_signal_audit_only".into();
        self
    }
}

/// Weighs a switch that the selector proposes.
pub fn evaluate(input: &GateInput<'_>) -> GateDecision {
    let mut out = GateDecision {
        final_model: input.candidate_model.to_owned(),
        cache_warmth: clamp01(input.cache_warmth.unwrap_or(0.0)),
        ..GateDecision::default()
    };
    if !input.config.enabled {
        out.reason = "disabled".into();
        return out;
    }
    let mut noted: Vec<Cow<'static, str>> = Vec::new();
    if !input.has_selection_context {
        out.missing_signals.push("selection_context".into());
    } else if input.session_id.is_empty() {
        noted.push("session_id".into());
    }
    if input.current_model.is_empty() {
        out.missing_signals.push("previous_model".into());
    }
    if input.candidate_model.is_empty() {
        out.missing_signals.push("candidate_model".into());
    }
    if !out.missing_signals.is_empty() {
        return out.unevaluated(None, noted);
    }
    if input.current_model == input.candidate_model {
        out.missing_signals = noted;
        out.reason = "candidate_is_current_model".into();
        return out;
    }
    if !input.candidates.contains(&input.current_model) {
        return out.unevaluated(Some("previous_model_not_in_candidates"), noted);
    }
    let finite = |score: Option<f64>| score.filter(|s| s.is_finite());
    let scores = finite(input.current_score).zip(finite(input.candidate_score));
    let families = [input.category, input.decision];
    let gap = input.lookup.quality_gap(families, input.current_model, input.candidate_model);
    let Some(benefit) = gap.or(scores.map(|(current, candidate)| candidate - current)) else {
        return out.unevaluated(Some("selector_score_or_quality_gap"), noted);
    };

    let handoff = input.lookup.handoff_penalty(input.current_model, input.candidate_model);
    if handoff.is_none() {
        noted.push("handoff_penalty".into());
    }
    if input.cache_warmth.is_none() {
        noted.push("cache_warmth".into());
    }
    out.missing_signals = noted;
    out.handoff_penalty = handoff.unwrap_or(input.config.default_handoff_penalty);
    out.quality_gap = gap.unwrap_or(0.0);
    out.cache_warmth_penalty = out.cache_warmth * input.config.cache_warmth_weight;
    out.net_switch_advantage = benefit - out.handoff_penalty - out.cache_warmth_penalty;
    out.net_switch_advantage_ok = true;
    let mut candidate_cost = 0.0;
    if let Some((current, candidate)) = scores {
        out.selector_score_delta = candidate - current;
        out.stay_cost_estimate = 1.0 - clamp01(current);
        candidate_cost = 1.0 - clamp01(candidate);
    }
    out.switch_cost_estimate = clamp01(candidate_cost + out.handoff_penalty + out.cache_warmth_penalty);
    out.would_switch = out.net_switch_advantage > input.config.min_switch_advantage;
    if out.would_switch {
        out.reason = "switch_advantage_exceeds_threshold".into();
    } else {
        out.reason = "stay_cost_not_exceeded".into();
        if input.config.mode == GateMode::Enforce {
            out.enforced_stay = true;
            out.final_model = input.current_model.to_owned();
        }
    }
    out
}
