//! `algorithm`: one type, at most one block, and that block's numbers.

use super::{Context, list};
use crate::codes;
use crate::contract::{Algorithm, SessionAwareSelection};

/// Algorithm types; those with a block of settings of the same name come first.
pub(crate) const ALGORITHMS: &[&str] = &[
    "confidence",
    "ratings",
    "remom",
    "elo",
    "router_dc",
    "automix",
    "hybrid",
    "rl_driven",
    "gmtrouter",
    "latency_aware",
    "multi_factor",
    "session_aware",
    "static",
    "knn",
    "kmeans",
    "svm",
    "mlp",
];

fn blocks(algorithm: &Algorithm) -> Vec<&'static str> {
    let present = [
        algorithm.confidence.is_some(),
        algorithm.ratings.is_some(),
        algorithm.remom.is_some(),
        algorithm.elo.is_some(),
        algorithm.router_dc.is_some(),
        algorithm.automix.is_some(),
        algorithm.hybrid.is_some(),
        algorithm.rl_driven.is_some(),
        algorithm.gmtrouter.is_some(),
        algorithm.latency_aware.is_some(),
        algorithm.multi_factor.is_some(),
        algorithm.session_aware.is_some(),
    ];
    ALGORITHMS.iter().zip(present).filter(|(_, present)| *present).map(|(name, _)| *name).collect()
}

pub(super) fn check(cx: &mut Context<'_>, base: &str, decision: &str, algorithm: &Algorithm) {
    let kind = algorithm.kind.trim().to_lowercase();
    let path = format!("{base}.algorithm");
    let found = blocks(algorithm);
    match found.as_slice() {
        [] => {}
        [only] if **only == kind => {}
        [only] => {
            cx.fail(
                codes::ALGORITHM,
                format!("{path}.{only}"),
                format!(
                    "decision `{decision}`: algorithm `{}` cannot be used with the block {only}",
                    algorithm.kind
                ),
            )
            .help(format!("write `type: {only}`, or remove the block"));
        }
        several => {
            cx.fail(
                codes::ALGORITHM,
                &*path,
                format!(
                    "decision `{decision}`: more than one algorithm block: {}",
                    list(several.iter().copied())
                ),
            );
        }
    }
    if kind == "latency_aware" {
        check_latency(cx, &path, decision, algorithm);
    }
    if let Some(settings) = &algorithm.session_aware {
        check_session(cx, &format!("{path}.session_aware"), settings);
    }
}

fn check_latency(cx: &mut Context<'_>, path: &str, decision: &str, algorithm: &Algorithm) {
    let Some(block) = &algorithm.latency_aware else {
        cx.fail(
            codes::ALGORITHM,
            path,
            format!("decision `{decision}`: latency_aware needs its block of settings"),
        );
        return;
    };
    let percentiles =
        [("tpot_percentile", block.tpot_percentile), ("ttft_percentile", block.ttft_percentile)];
    if percentiles.iter().all(|(_, value)| *value <= 0) {
        cx.fail(
            codes::ALGORITHM,
            format!("{path}.latency_aware"),
            format!(
                "decision `{decision}`: latency_aware needs tpot_percentile or ttft_percentile from 1 to 100"
            ),
        );
    }
    for (name, value) in percentiles {
        if value != 0 && !(1..=100).contains(&value) {
            cx.fail(
                codes::ALGORITHM,
                format!("{path}.latency_aware.{name}"),
                format!("decision `{decision}`: {name} is {value}, not from 1 to 100"),
            );
        }
    }
}

/// Bounds of session-aware numbers; the same under a decision and under `global`.
pub(super) fn check_session(cx: &mut Context<'_>, path: &str, settings: &SessionAwareSelection) {
    let whole = |value: Option<i64>| value.map(|value| value as f64);
    let numbers = [
        ("idle_timeout_seconds", whole(settings.idle_timeout_seconds), 0.0),
        ("min_turns_before_switch", whole(settings.min_turns_before_switch), 0.0),
        ("switch_margin", settings.switch_margin, 0.0),
        ("stay_bias", settings.stay_bias, 0.0),
        ("tool_loop_stay_bias", settings.tool_loop_stay_bias, 0.0),
        ("prefix_cache_weight", settings.prefix_cache_weight, 0.0),
        ("handoff_penalty_weight", settings.handoff_penalty_weight, 0.0),
        ("default_handoff_penalty", settings.default_handoff_penalty, 0.0),
        ("quality_gap_multiplier", settings.quality_gap_multiplier, 0.0),
        ("max_cache_cost_multiplier", settings.max_cache_cost_multiplier, 1.0),
        ("switch_history_weight", settings.switch_history_weight, 0.0),
        ("remaining_turn_prior_weight", settings.remaining_turn_prior_weight, 0.0),
        ("remaining_turn_prior_horizon", whole(settings.remaining_turn_prior_horizon), 1.0),
        ("min_remaining_turn_prior_samples", whole(settings.min_remaining_turn_prior_samples), 0.0),
    ];
    for (name, value, least) in numbers {
        if let Some(value) = value.filter(|value| *value < least) {
            cx.fail(
                codes::ALGORITHM,
                format!("{path}.{name}"),
                format!("session_aware: {name} is {value}, below {least}"),
            );
        }
    }
}
