//! Cache warmth guessed from time to first token (`latency/warmth.go`, `extproc/model_switch_gate.go`).

use super::clamp01;

const PRIOR: f64 = 0.5;
const COUNT_START: f64 = 5.0;
const COUNT_FULL: f64 = 50.0;
const TARGET_RELATIVE_SPREAD: f64 = 0.15;
const HALF_LIFE_SECONDS: f64 = 60.0;
const MIN_RELATIVE_SCALE: f64 = 0.1;

/// `2^(-age/60 s)`; a negative age counts as none.
pub fn freshness(age_seconds: f64) -> f64 {
    (-std::f64::consts::LN_2 * age_seconds.max(0.0) / HALF_LIFE_SECONDS).exp()
}

/// Warmth by the age of the last first token of a model, from any session; `None` when it has none.
pub fn ambient_warmth(model: &str, seconds_since_last_ttft: Option<f64>) -> Option<f64> {
    if model.trim().is_empty() { None } else { seconds_since_last_ttft.map(freshness) }
}

/// Linear interpolation at `percent/100 * (n-1)` over sorted values; `None` without values.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (percent / 100.0 * last as f64).clamp(0.0, last as f64);
    let (low, share) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(last);
    Some(sorted[low] + (sorted[high] - sorted[low]) * share)
}

/// Probability in [0,1] that a prefix was cached, judged by one time to first token against the model's own
/// recent ones. 0.5 wherever nothing can be said.
pub fn cache_probability(model: &str, ttft_seconds: f64, history: &[f64], age_seconds: f64) -> f64 {
    if model.trim().is_empty() || !ttft_seconds.is_finite() || ttft_seconds <= 0.0 {
        return PRIOR;
    }
    let mut sorted = history.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(p20), Some(p50), Some(p80)) =
        (percentile(&sorted, 20.0), percentile(&sorted, 50.0), percentile(&sorted, 80.0))
    else {
        return PRIOR;
    };
    let scale = (p80 - p20).max(MIN_RELATIVE_SCALE * p50);
    if !scale.is_finite() || scale <= 0.0 || p50 <= 0.0 {
        return PRIOR;
    }
    let raw = clamp01((p80 - ttft_seconds) / scale);
    let enough = clamp01((sorted.len() as f64 - COUNT_START) / (COUNT_FULL - COUNT_START));
    let spread = clamp01((p80 - p20) / p50 / TARGET_RELATIVE_SPREAD);
    let reliability = enough * spread * freshness(age_seconds);
    reliability * raw + (1.0 - reliability) * PRIOR
}
