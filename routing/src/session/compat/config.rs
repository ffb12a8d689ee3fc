//! Parameters of `session_aware` (`selection/session_aware.go`).

use serde::{Deserialize, Serialize};

/// The `session_aware` block with every field resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaarConfig {
    /// Selector that scores the candidates first.
    pub base_method: String,
    /// Seconds without a turn after which a session counts as idle; 0 disables.
    pub idle_timeout_seconds: i64,
    /// Turns that a session must have before a switch is considered.
    pub min_turns_before_switch: i64,
    /// Score that a switch must win by.
    pub switch_margin: f64,
    /// Score added to the current model.
    pub stay_bias: f64,
    /// Whether a tool loop holds the model.
    pub tool_loop_hard_lock: bool,
    /// Whether provider state holds the model.
    pub context_portability_hard_lock: bool,
    /// Whether another decision than last time is a reset.
    pub decision_drift_reset: bool,
    /// Score for staying inside a tool loop.
    pub tool_loop_stay_bias: f64,
    /// Weight of the prefix cache term.
    pub prefix_cache_weight: f64,
    /// Weight of the handoff term.
    pub handoff_penalty_weight: f64,
    /// Handoff of a pair that has no entry.
    pub default_handoff_penalty: f64,
    /// Weight of the quality gap.
    pub quality_gap_multiplier: f64,
    /// Largest factor that the dearest model puts on the prefix cache term; at least 1.
    pub max_cache_cost_multiplier: f64,
    /// Penalty of a session that has switched eight times or more.
    pub switch_history_weight: f64,
    /// Weight of the remaining-turn prior.
    pub remaining_turn_prior_weight: f64,
    /// Turns at which the prior saturates.
    pub remaining_turn_prior_horizon: i64,
    /// Samples below which a replay-derived prior is rejected.
    pub min_remaining_turn_prior_samples: i64,
}

impl Default for SaarConfig {
    fn default() -> Self {
        Self {
            base_method: "hybrid".to_owned(),
            idle_timeout_seconds: 300,
            min_turns_before_switch: 1,
            switch_margin: 0.05,
            stay_bias: 0.10,
            tool_loop_hard_lock: true,
            context_portability_hard_lock: true,
            decision_drift_reset: true,
            tool_loop_stay_bias: 0.35,
            prefix_cache_weight: 0.20,
            handoff_penalty_weight: 1.0,
            default_handoff_penalty: 0.05,
            quality_gap_multiplier: 1.0,
            max_cache_cost_multiplier: 2.5,
            switch_history_weight: 0.04,
            remaining_turn_prior_weight: 1.0,
            remaining_turn_prior_horizon: 8,
            min_remaining_turn_prior_samples: 3,
        }
    }
}

impl SaarConfig {
    /// Replaces values that v0.3.0 holds for invalid by its defaults; explicit zeros stay where zero is valid.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        let default = Self::default();
        if self.base_method.is_empty() || self.base_method == "session_aware" {
            self.base_method = default.base_method;
        }
        let int = |value: &mut i64, fallback: i64, valid: bool| {
            if !valid {
                *value = fallback;
            }
        };
        let valid = self.idle_timeout_seconds >= 0;
        int(&mut self.idle_timeout_seconds, default.idle_timeout_seconds, valid);
        let valid = self.min_turns_before_switch >= 0;
        int(&mut self.min_turns_before_switch, default.min_turns_before_switch, valid);
        let valid = self.remaining_turn_prior_horizon > 0;
        int(&mut self.remaining_turn_prior_horizon, default.remaining_turn_prior_horizon, valid);
        let valid = self.min_remaining_turn_prior_samples >= 0;
        int(&mut self.min_remaining_turn_prior_samples, default.min_remaining_turn_prior_samples, valid);
        for (value, fallback) in [
            (&mut self.switch_margin, default.switch_margin),
            (&mut self.stay_bias, default.stay_bias),
            (&mut self.tool_loop_stay_bias, default.tool_loop_stay_bias),
            (&mut self.prefix_cache_weight, default.prefix_cache_weight),
            (&mut self.handoff_penalty_weight, default.handoff_penalty_weight),
            (&mut self.default_handoff_penalty, default.default_handoff_penalty),
            (&mut self.switch_history_weight, default.switch_history_weight),
            (&mut self.remaining_turn_prior_weight, default.remaining_turn_prior_weight),
        ] {
            if *value < 0.0 {
                *value = fallback;
            }
        }
        if self.quality_gap_multiplier <= 0.0 {
            self.quality_gap_multiplier = default.quality_gap_multiplier;
        }
        if self.max_cache_cost_multiplier < 1.0 {
            self.max_cache_cost_multiplier = default.max_cache_cost_multiplier;
        }
        self
    }
}
