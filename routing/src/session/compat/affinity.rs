//! Cache affinity of the hybrid selector (`selection/cache_affinity.go`).

use super::clamp01;

const MAX_LAMBDA: f64 = 0.14;
const GAP_THRESHOLD: f64 = 0.20;
const HISTORY_MASS_NORM: f64 = 4096.0;
const TURN_DEPTH_NORM: f64 = 4.0;
const PREVIOUS_RESPONSE_FLOOR: f64 = 0.15;

/// Session facts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AffinityContext<'a> {
    /// Earlier turns.
    pub turn_index: i64,
    /// Tokens of earlier turns.
    pub history_tokens: i64,
    /// Tokens of the whole context.
    pub context_tokens: i64,
    /// Model of the turn before; empty when unknown.
    pub previous_model: &'a str,
    /// Referenced response; empty for none.
    pub previous_response_id: &'a str,
}

/// A candidate of the hybrid selector.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AffinityCandidate<'a> {
    /// Model name.
    pub name: &'a str,
    /// Blended score before the adjustment.
    pub base_score: f64,
    /// Context window in tokens; 0 when unknown.
    pub window: i64,
}

/// Adjustments in [-0.14, 0.14].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Affinity {
    /// How strongly the request continues a session, in [0,1].
    pub w_req: f64,
    /// Factor on every adjustment.
    pub lambda_req: f64,
    /// One entry per candidate; empty when nothing is adjusted.
    pub adjustments: Vec<f64>,
}

/// How well a context fits a window: 1, 0.7, 0.3 or 0; 0.5 when the window is unknown.
pub fn context_fit(context_tokens: i64, window: i64) -> f64 {
    if window <= 0 {
        return 0.5;
    }
    let (context, window) = (context_tokens as f64, window as f64);
    [(0.50, 1.0), (0.75, 0.7), (1.00, 0.3)]
        .into_iter()
        .find(|(share, _)| context <= share * window)
        .map_or(0.0, |(_, fit)| fit)
}

/// Best score minus second best; 0 with fewer than two scores.
pub fn gap12(scores: impl IntoIterator<Item = f64>) -> f64 {
    let mut best = f64::NEG_INFINITY;
    let mut second = f64::NEG_INFINITY;
    for score in scores {
        if score > best {
            (best, second) = (score, best);
        } else if score > second {
            second = score;
        }
    }
    if second == f64::NEG_INFINITY { 0.0 } else { best - second }
}

/// Score adjustments for every candidate.
pub fn adjust(context: &AffinityContext<'_>, candidates: &[AffinityCandidate<'_>]) -> Affinity {
    let continues =
        context.turn_index > 0 || context.history_tokens > 0 || !context.previous_response_id.is_empty();
    if candidates.len() < 2 || !continues {
        return Affinity::default();
    }
    let history = context.history_tokens as f64;
    let reuse = clamp01(history / context.context_tokens.max(1) as f64);
    let mass = clamp01(history / HISTORY_MASS_NORM);
    let turn = clamp01(context.turn_index as f64 / TURN_DEPTH_NORM);
    let mut w_req = clamp01(0.45 * reuse + 0.30 * mass + 0.25 * turn);
    if !context.previous_response_id.is_empty() {
        w_req = w_req.max(PREVIOUS_RESPONSE_FLOOR);
    }
    let ambiguity = clamp01(1.0 - gap12(candidates.iter().map(|c| c.base_score)) / GAP_THRESHOLD);
    let lambda_req = MAX_LAMBDA * w_req * ambiguity;
    if lambda_req == 0.0 {
        return Affinity { w_req, lambda_req, adjustments: Vec::new() };
    }
    let has_previous = !context.previous_model.is_empty();
    let adjustments = candidates
        .iter()
        .map(|candidate| {
            let fit = context_fit(context.context_tokens, candidate.window);
            let effect = if has_previous && candidate.name == context.previous_model {
                0.50 + 0.35 * reuse + 0.15 * turn
            } else {
                -0.35 * w_req
            } + 0.15 * (fit - 0.5);
            let evidence = 0.15 + 0.35 * reuse + 0.20 * mass + 0.15 * turn + 0.15 * fit;
            let confidence = if has_previous { clamp01(evidence + 0.15) } else { 0.6 * clamp01(evidence) };
            lambda_req * confidence * effect.tanh()
        })
        .collect();
    Affinity { w_req, lambda_req, adjustments }
}
