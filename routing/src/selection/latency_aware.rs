//! `latency_aware`: the fastest by observed percentiles.
//!
//! A candidate's relative latency is the mean, over the configured metrics, of its percentile divided by
//! the least among the candidates: 1 for one that is fastest in everything. v0.3.0 takes the lowest and drops
//! candidates without measurements, so that an unmeasured model never gets any. Pintle scores `1/relative`,
//! in `(0,1]`, and scores the unmeasured as fastest: they are tried and then measured.

use pintle_config::{LatencyAwareAlgorithm, Profile};
use smallvec::SmallVec;

use super::{Choice, Context, Scores, best};
use crate::live::ModelLive;
use crate::trace::ScoreReason;

/// Which percentiles count; `None` is unused.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LatencyAware {
    /// Percentile of time per output token, 1 to 100.
    pub tpot_percentile: Option<f64>,
    /// Percentile of time to first token, 1 to 100.
    pub ttft_percentile: Option<f64>,
}

impl From<&LatencyAwareAlgorithm> for LatencyAware {
    fn from(config: &LatencyAwareAlgorithm) -> Self {
        let percentile = |percent: i64| (1..=100).contains(&percent).then_some(percent as f64);
        Self {
            tpot_percentile: percentile(config.tpot_percentile),
            ttft_percentile: percentile(config.ttft_percentile),
        }
    }
}

/// Mean over the metrics of `value / least value`; `None` for a candidate that lacks a metric. Each row is
/// one candidate; all rows have the same number of metrics.
pub fn relative(rows: &[SmallVec<[Option<f64>; 2]>]) -> Vec<Option<f64>> {
    let complete = |row: &&SmallVec<[Option<f64>; 2]>| row.iter().all(Option::is_some) && !row.is_empty();
    let metrics = rows.first().map_or(0, SmallVec::len);
    let least: Vec<f64> = (0..metrics)
        .map(|m| rows.iter().filter(complete).filter_map(|row| row[m]).fold(f64::INFINITY, f64::min))
        .collect();
    let ratio = |value: f64, least: f64| if least > 0.0 { value / least } else { 1.0 };
    let mean = |row: &SmallVec<[Option<f64>; 2]>| {
        let ratios = row.iter().zip(&least).map(|(value, least)| ratio(value.unwrap_or(0.0), *least));
        ratios.sum::<f64>() / metrics as f64
    };
    rows.iter().map(|row| complete(&row).then(|| mean(row))).collect()
}

impl LatencyAware {
    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        let rows: Vec<_> = eligible
            .iter()
            .map(|at| self.metrics(&context.live.of(context.candidates[*at].target.model)))
            .collect();
        let relative = relative(&rows);
        let compat = context.profile == Profile::Compat;
        for (at, relative) in eligible.iter().zip(&relative) {
            let (score, reason) = match relative {
                Some(relative) if compat => (*relative, ScoreReason::RelativeLatency(*relative)),
                Some(relative) => (1.0 / relative, ScoreReason::RelativeLatency(*relative)),
                None if compat => (0.0, ScoreReason::Unmeasured),
                None => (1.0, ScoreReason::Unmeasured),
            };
            scores[*at].score = score;
            scores[*at].reason = reason;
        }
        let measured = || relative.iter().enumerate().filter_map(|(i, r)| Some((eligible[i], (*r)?)));
        let fastest = measured().reduce(|a, b| if b.1 < a.1 { b } else { a });
        let Some((fastest, least)) = fastest else {
            return Choice { index: eligible.first().copied(), confidence: 0.0 };
        };
        let second = measured().filter(|(at, _)| *at != fastest).map(|(_, r)| r).reduce(f64::min);
        let confidence = second.map_or(1.0, |second| ((second - least) / least).clamp(0.0, 1.0));
        let index = if compat { Some(fastest) } else { best(scores) };
        Choice { index, confidence: if index == Some(fastest) { confidence } else { 0.0 } }
    }

    fn metrics(&self, live: &ModelLive) -> SmallVec<[Option<f64>; 2]> {
        let metric = |percentile: Option<f64>, latency: Option<crate::live::Latency>| {
            percentile.map(|percent| latency.map(|latency| latency.percentile(percent)))
        };
        metric(self.tpot_percentile, live.tpot)
            .into_iter()
            .chain(metric(self.ttft_percentile, live.ttft))
            .collect()
    }
}
