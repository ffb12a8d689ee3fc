//! Two base selectors whose arithmetic the vectors cover (`selection/multi_factor.go`,
//! `selection/latency_aware.go`), and the fallback of the selection frame (`extproc/router_selection.go`).

use super::saar::argmax;

/// Weights of `multi_factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Declared quality.
    pub quality: f64,
    /// Latency percentile.
    pub latency: f64,
    /// Prompt price.
    pub cost: f64,
    /// Requests in flight.
    pub load: f64,
}

impl Weights {
    /// Negative weights become 0, the rest sums to 1; all zero becomes a quarter each.
    #[must_use]
    pub fn normalised(self) -> Self {
        let [quality, latency, cost, load] =
            [self.quality, self.latency, self.cost, self.load].map(|w| w.max(0.0));
        let sum = quality + latency + cost + load;
        if sum <= 0.0 {
            return Self { quality: 0.25, latency: 0.25, cost: 0.25, load: 0.25 };
        }
        Self { quality: quality / sum, latency: latency / sum, cost: cost / sum, load: load / sum }
    }
}

/// Ceilings of `multi_factor`; 0 means none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Slo {
    /// Milliseconds per output token.
    pub max_tpot_ms: f64,
    /// Milliseconds to the first token.
    pub max_ttft_ms: f64,
    /// Prompt price.
    pub max_cost_per_1m: f64,
    /// Requests in flight.
    pub max_inflight: i64,
}

/// What to do when no candidate meets the ceilings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnNoCandidates {
    /// The lowest prompt price.
    #[default]
    Cheapest,
    /// The first one.
    First,
    /// An error.
    Fail,
}

/// A candidate's live and declared numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Factors {
    /// Declared quality; 0 when unknown.
    pub quality: f64,
    /// Seconds per output token at the percentile.
    pub tpot_s: Option<f64>,
    /// Seconds to the first token at the percentile.
    pub ttft_s: Option<f64>,
    /// Prompt price; 0 when unknown.
    pub prompt_per_1m: f64,
    /// Requests in flight.
    pub inflight: i64,
}

/// Choice of a selector.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Index of the chosen candidate.
    pub chosen: usize,
    /// Its score.
    pub score: f64,
    /// In [0,1].
    pub confidence: f64,
    /// Scores in input order; `None` for candidates that were dropped.
    pub scores: Vec<Option<f64>>,
}

fn exceeds(slo: &Slo, f: &Factors) -> bool {
    let above = |limit: f64, value: Option<f64>| limit > 0.0 && value.is_some_and(|v| v * 1000.0 > limit);
    above(slo.max_tpot_ms, f.tpot_s)
        || above(slo.max_ttft_ms, f.ttft_s)
        || (slo.max_cost_per_1m > 0.0 && f.prompt_per_1m > slo.max_cost_per_1m)
        || (slo.max_inflight > 0 && f.inflight > slo.max_inflight)
}

/// `multi_factor`; `None` without candidates, or if none is left and the policy is to fail.
pub fn multi_factor(
    weights: Weights,
    slo: &Slo,
    on_none: OnNoCandidates,
    candidates: &[Factors],
) -> Option<Selection> {
    if candidates.is_empty() {
        return None;
    }
    let kept: Vec<usize> = (0..candidates.len()).filter(|i| !exceeds(slo, &candidates[*i])).collect();
    if kept.is_empty() {
        let price = |i: &usize| match candidates[*i].prompt_per_1m {
            price if price > 0.0 => price,
            _ => f64::INFINITY,
        };
        let chosen = match on_none {
            OnNoCandidates::Fail => return None,
            OnNoCandidates::First => 0,
            OnNoCandidates::Cheapest => (0..candidates.len())
                .reduce(|best, i| if price(&i) < price(&best) { i } else { best })
                .unwrap_or(0),
        };
        return Some(Selection { chosen, score: 0.0, confidence: 0.0, scores: vec![None; candidates.len()] });
    }
    let positive = |v: f64| (v > 0.0).then_some(v);
    let values = |f: &Factors| {
        [positive(f.quality), f.tpot_s.or(f.ttft_s), positive(f.prompt_per_1m), Some(f.inflight as f64)]
    };
    let w = weights.normalised();
    let mut scores = vec![0.0; kept.len()];
    let directions = [(w.quality, true), (w.latency, false), (w.cost, false), (w.load, false)];
    for (factor, (weight, higher_is_better)) in directions.into_iter().enumerate() {
        let values: Vec<Option<f64>> = kept.iter().map(|i| values(&candidates[*i])[factor]).collect();
        let known = values.iter().flatten().copied();
        let (min, max) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        for (score, value) in scores.iter_mut().zip(&values) {
            let Some(value) = value else { continue };
            let share = if max > min { (value - min) / (max - min) } else { 0.5 };
            let directed = if max > min && !higher_is_better { 1.0 - share } else { share };
            *score += weight * directed;
        }
    }
    let best = argmax(&scores);
    let second = scores
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != best)
        .map(|(_, s)| *s)
        .fold(f64::NEG_INFINITY, f64::max);
    let confidence = if kept.len() == 1 {
        1.0
    } else if scores[best] > 0.0 {
        ((scores[best] - second).max(0.0) / scores[best] + 0.5).min(1.0)
    } else {
        0.5
    };
    let mut all = vec![None; candidates.len()];
    for (i, score) in kept.iter().zip(&scores) {
        all[*i] = Some(*score);
    }
    Some(Selection { chosen: kept[best], score: scores[best], confidence, scores: all })
}

/// Percentiles of one candidate in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latencies {
    /// Per output token.
    pub tpot_s: Option<f64>,
    /// To the first token.
    pub ttft_s: Option<f64>,
}

/// `latency_aware`: lower scores win. `None` without candidates.
pub fn latency_aware(use_tpot: bool, use_ttft: bool, candidates: &[Latencies]) -> Option<Selection> {
    if candidates.is_empty() {
        return None;
    }
    let usable = |l: &&Latencies| (!use_tpot || l.tpot_s.is_some()) && (!use_ttft || l.ttft_s.is_some());
    let least = |value: fn(&Latencies) -> Option<f64>| {
        let least = candidates.iter().filter(usable).filter_map(value).fold(f64::INFINITY, f64::min);
        if least > 0.0 { least } else { 1.0 }
    };
    let (least_tpot, least_ttft) = (least(|l| l.tpot_s), least(|l| l.ttft_s));
    let score = |l: &Latencies| {
        let tpot = l.tpot_s.filter(|_| use_tpot).map(|v| v / least_tpot);
        let ttft = l.ttft_s.filter(|_| use_ttft).map(|v| v / least_ttft);
        match (tpot, ttft) {
            (Some(a), Some(b)) => (a + b) / 2.0,
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => f64::NAN,
        }
    };
    let scores: Vec<Option<f64>> =
        candidates.iter().map(|l| Some(l).filter(usable).map(score).filter(|s| !s.is_nan())).collect();
    let mut ranked: Vec<(usize, f64)> =
        scores.iter().enumerate().filter_map(|(i, s)| s.map(|s| (i, s))).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    let Some(&(chosen, best)) = ranked.first() else {
        let mut scores = vec![None; candidates.len()];
        scores[0] = Some(1.0);
        return Some(Selection { chosen: 0, score: 1.0, confidence: 0.0, scores });
    };
    let confidence = match ranked.get(1) {
        Some((_, second)) if *second > 0.0 => (second - best).max(0.0) / second,
        _ => 1.0,
    };
    Some(Selection { chosen, score: best, confidence, scores })
}

/// How the frame chose (`method` of the selection result).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameMethod {
    /// The selector's own choice.
    Selector,
    /// There was only one candidate.
    Single,
    /// The selector gave nothing usable: the first candidate with a name.
    Static,
}

/// Which candidate serves, given what the selector returned; `None` if no candidate has a name.
pub fn choose(candidates: &[&str], selector_result: Option<&str>) -> Option<(usize, FrameMethod)> {
    let first = candidates.iter().position(|name| !name.trim().is_empty())?;
    if candidates.len() == 1 {
        return Some((first, FrameMethod::Single));
    }
    match selector_result
        .and_then(|name| candidates.iter().position(|c| *c == name && !name.trim().is_empty()))
    {
        Some(index) => Some((index, FrameMethod::Selector)),
        None => Some((first, FrameMethod::Static)),
    }
}
