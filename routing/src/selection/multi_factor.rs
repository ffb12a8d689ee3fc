//! `multi_factor`: weighted quality, latency, cost and load, under service level bounds.
//!
//! Each factor is scaled to `[0,1]` between the least and the greatest value among the candidates that meet
//! the bounds (0.5 if all are equal), turned round for latency, cost and load, and summed by weight.
//!
//! v0.3.0 gives a candidate without a measure the worst value and takes a price of zero for no price. Pintle
//! gives an unmeasured latency the best value, so that the model is tried and measured; an unknown quality or
//! price gets the middle; and zero is a price.

use pintle_config::{MultiFactorSelection, Profile};
use smallvec::SmallVec;

use super::{Choice, Context, Scores, best, min_max, range};
use crate::trace::{ScoreReason, SloBound};

/// Percentile of observed latencies where none is configured.
const DEFAULT_PERCENTILE: f64 = 95.0;
/// Percentile that service level bounds are held against.
const SLO_PERCENTILE: f64 = 95.0;

/// What remains when no candidate meets the bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnNoCandidates {
    /// The lowest prompt price; a candidate without a price counts as dearest.
    #[default]
    Cheapest,
    /// The first.
    First,
    /// Refuse.
    Fail,
}

/// Parameters, normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiFactor {
    /// Quality, latency, cost, load; they sum to 1.
    pub weights: [f64; 4],
    /// Percentile of observed latencies, 1 to 100.
    pub percentile: f64,
    /// 0 is no bound.
    pub max_tpot_ms: f64,
    /// 0 is no bound.
    pub max_ttft_ms: f64,
    /// Prompt price; 0 is no bound.
    pub max_cost_per_1m: f64,
    /// 0 is no bound.
    pub max_inflight: u64,
    /// What remains when nothing meets the bounds.
    pub on_no_candidates: OnNoCandidates,
}

/// What is known of one candidate; `None` where it is not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measures {
    /// Declared quality.
    pub quality: Option<f64>,
    /// Time per output token in milliseconds at the configured percentile, else time to first token.
    pub latency: Option<f64>,
    /// Prompt price per million tokens.
    pub cost: Option<f64>,
    /// Requests in flight.
    pub load: Option<f64>,
}

impl From<&MultiFactorSelection> for MultiFactor {
    fn from(config: &MultiFactorSelection) -> Self {
        let configured = config.weights.clone().unwrap_or_default();
        let slo = config.slo.clone().unwrap_or_default();
        let weights = [configured.quality, configured.latency, configured.cost, configured.load];
        Self {
            weights: normalise(weights),
            percentile: match config.latency_percentile {
                percent @ 1..=100 => percent as f64,
                _ => DEFAULT_PERCENTILE,
            },
            max_tpot_ms: slo.max_tpot_ms,
            max_ttft_ms: slo.max_ttft_ms,
            max_cost_per_1m: slo.max_cost_per_1m,
            max_inflight: u64::try_from(slo.max_inflight).unwrap_or(0),
            on_no_candidates: match config.on_no_candidates.as_str() {
                "first" => OnNoCandidates::First,
                "fail" => OnNoCandidates::Fail,
                _ => OnNoCandidates::Cheapest,
            },
        }
    }
}

/// Negative weights count as 0; the rest is scaled to sum 1; all zero is an even split.
fn normalise(weights: [f64; 4]) -> [f64; 4] {
    let weights = weights.map(|w| w.max(0.0));
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 { weights.map(|w| w / sum) } else { [0.25; 4] }
}

/// Scaled factors of one candidate, each higher is better; `None` where no candidate has the measure.
pub type Factors = [Option<f64>; 4];

/// Scales the measures of all candidates and sums them by weight: the score and the factors of each.
pub fn weigh(weights: &[f64; 4], measures: &[Measures], profile: Profile) -> Vec<(f64, Factors)> {
    let columns: [fn(&Measures) -> Option<f64>; 4] = [|m| m.quality, |m| m.latency, |m| m.cost, |m| m.load];
    let ranges = columns.map(|column| range(measures.iter().filter_map(column)));
    let scaled = |m: &Measures| -> Factors {
        let mut factors = [None; 4];
        for (at, column) in columns.iter().enumerate() {
            let Some((min, max)) = ranges[at] else { continue };
            let missing = match (profile, at) {
                (Profile::Compat, _) => 0.0,
                (Profile::Pintle, 1) => 1.0,
                (Profile::Pintle, _) => 0.5,
            };
            factors[at] = Some(column(m).map_or(missing, |value| {
                let n = min_max(value, min, max);
                if at == 0 || max <= min { n } else { 1.0 - n }
            }));
        }
        factors
    };
    let sum = |factors: &Factors| weights.iter().zip(factors).filter_map(|(w, f)| Some(w * (*f)?)).sum();
    measures.iter().map(scaled).map(|factors| (sum(&factors), factors)).collect()
}

impl MultiFactor {
    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let before = scores.clone();
        self.hold_against_bounds(context, scores);
        let kept: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        if kept.is_empty() {
            return self.without_candidates(context, &before, scores);
        }
        let measures: SmallVec<[Measures; 8]> = kept.iter().map(|at| self.measure(context, *at)).collect();
        for (at, (score, [quality, latency, cost, load])) in
            kept.iter().zip(weigh(&self.weights, &measures, context.profile))
        {
            scores[*at].score = score.clamp(0.0, 1.0);
            scores[*at].reason = ScoreReason::Factors { quality, latency, cost, load };
        }
        let index = best(scores);
        let top = index.map_or(0.0, |at| scores[at].score);
        let second =
            kept.iter().filter(|at| Some(**at) != index).map(|at| scores[*at].score).reduce(f64::max);
        let confidence = match second {
            None => 1.0,
            Some(second) if top > 0.0 => ((top - second) / top + 0.5).min(1.0),
            Some(_) => 0.5,
        };
        Choice { index, confidence }
    }

    fn measure(&self, context: &Context<'_>, at: usize) -> Measures {
        let model = context.model(at);
        let live = context.live.of(context.candidates[at].target.model);
        let priced = |price: f64| context.profile == Profile::Pintle || price > 0.0;
        Measures {
            quality: model.quality,
            latency: live.tpot.or(live.ttft).map(|latency| latency.percentile(self.percentile)),
            cost: model.pricing.map(|p| p.prompt.get()).filter(|price| priced(*price)),
            load: Some(f64::from(live.in_flight)),
        }
    }

    fn hold_against_bounds(&self, context: &Context<'_>, scores: &mut Scores) {
        for at in 0..scores.len() {
            let live = context.live.of(context.candidates[at].target.model);
            let price = context.model(at).pricing.map(|p| p.prompt.get());
            let p95 = |latency: Option<crate::live::Latency>| latency.map(|l| l.percentile(SLO_PERCENTILE));
            let exceeds = |bound: f64, value: Option<f64>| bound > 0.0 && value.is_some_and(|v| v > bound);
            let broken = if exceeds(self.max_tpot_ms, p95(live.tpot)) {
                Some(SloBound::Tpot)
            } else if exceeds(self.max_ttft_ms, p95(live.ttft)) {
                Some(SloBound::Ttft)
            } else if exceeds(self.max_cost_per_1m, price) {
                Some(SloBound::Cost)
            } else if exceeds(self.max_inflight as f64, Some(f64::from(live.in_flight))) {
                Some(SloBound::InFlight)
            } else {
                None
            };
            if let (Some(bound), true) = (broken, scores[at].reason.eligible()) {
                scores[at].score = 0.0;
                scores[at].reason = ScoreReason::Slo(bound);
            }
        }
    }

    /// The choice falls among those that were eligible `before` the bounds.
    fn without_candidates(&self, context: &Context<'_>, before: &Scores, scores: &mut Scores) -> Choice {
        let price = |at: usize| {
            let price = context.model(at).pricing.map(|p| p.prompt.get());
            price.filter(|p| context.profile == Profile::Pintle || *p > 0.0).unwrap_or(f64::INFINITY)
        };
        let mut left = (0..scores.len()).filter(|at| before[*at].reason.eligible());
        let index = match (self.on_no_candidates, context.profile) {
            (OnNoCandidates::Cheapest, _) => left.reduce(|a, b| if price(b) < price(a) { b } else { a }),
            (OnNoCandidates::Fail, Profile::Pintle) => None,
            _ => left.next(),
        };
        if let Some(at) = index
            && let ScoreReason::Slo(bound) = scores[at].reason
        {
            scores[at].reason = ScoreReason::DespiteSlo(bound);
        }
        Choice { index, confidence: 0.0 }
    }
}
