//! Selection: which of a decision's candidates is best for this request, session aside.
//!
//! Every selector keeps one contract: each candidate gets a score in `[0,1]`, higher is better, with the
//! reason for it; a candidate that cannot serve the request gets 0 and the reason why. Ties go to the
//! candidate that is configured first. (In the compat profile `latency_aware` reports v0.3.0's own scores,
//! where lower is better.)

use pintle_config::Profile;
use smallvec::SmallVec;

use crate::evidence::Unknown;
use crate::facts::Facts;
use crate::ids::Target;
use crate::live::LiveSignals;
use crate::policy::ModelInfo;
use crate::trace::{CandidateScore, INLINE_CANDIDATES, ScoreReason, Unlearned};
use crate::units::{Tokens, UnixMillis};

pub(crate) mod automix;
pub(crate) mod capability;
pub(crate) mod compile;
pub(crate) mod elo;
pub(crate) mod gmtrouter;
pub(crate) mod hybrid;
pub mod latency_aware;
pub mod multi_factor;
pub mod pretrained;
pub(crate) mod rl_driven;
pub(crate) mod router_dc;
#[cfg(test)]
mod tests;

pub(crate) use compile::compile;

/// Scores of all candidates, in configured order.
pub(crate) type Scores = SmallVec<[CandidateScore; INLINE_CANDIDATES]>;

/// A model reference of a decision.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) target: Target,
    pub(crate) reasoning: bool,
    pub(crate) effort: Option<String>,
}

/// How a decision's candidates are scored.
#[derive(Debug, Clone)]
pub(crate) enum Selector {
    /// The configured score of each candidate; where none is configured, their order.
    Static(Option<Vec<f64>>),
    MultiFactor(multi_factor::MultiFactor),
    LatencyAware(latency_aware::LatencyAware),
    Elo(elo::Elo),
    Automix(automix::Automix),
    Hybrid(hybrid::Hybrid),
    RouterDc(router_dc::RouterDc),
    Pretrained(pretrained::Chooser),
    RlDriven(rl_driven::RlDriven),
    GmtRouter(gmtrouter::GmtRouter),
}

impl Selector {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::MultiFactor(_) => "multi_factor",
            Self::LatencyAware(_) => "latency_aware",
            Self::Elo(_) => "elo",
            Self::Automix(_) => "automix",
            Self::Hybrid(_) => "hybrid",
            Self::RouterDc(_) => "router_dc",
            Self::Pretrained(chooser) => chooser.kind.as_str(),
            Self::RlDriven(_) => "rl_driven",
            Self::GmtRouter(_) => "gmtrouter",
        }
    }

    /// The query's embedding is read.
    pub(crate) const fn reads_embedding(&self) -> bool {
        matches!(self, Self::Pretrained(_))
    }

    /// Similarities of the query to descriptions are read.
    pub(crate) const fn reads_similarity(&self) -> bool {
        match self {
            Self::RouterDc(_) => true,
            Self::Hybrid(hybrid) => hybrid.router_dc.is_some(),
            _ => false,
        }
    }

    /// What feedback taught is read.
    pub(crate) const fn reads_experience(&self) -> bool {
        match self {
            Self::Elo(_) | Self::RlDriven(_) | Self::GmtRouter(_) => true,
            Self::Hybrid(hybrid) => hybrid.elo.is_some(),
            _ => false,
        }
    }
}

/// What a selector may look at.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) candidates: &'a [Candidate],
    pub(crate) models: &'a [ModelInfo],
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) tokens: Tokens,
    pub(crate) live: &'a LiveSignals,
    pub(crate) profile: Profile,
    pub(crate) query: Query<'a>,
    /// Name of the decision; empty without one.
    pub(crate) decision: &'a str,
    /// Domain that made it match; empty without one.
    pub(crate) category: &'a str,
    pub(crate) now: UnixMillis,
}

/// What learnt selectors read of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) embedding: Result<&'a [f32], Unknown>,
    /// To each description of the policy.
    pub(crate) similarities: Result<&'a [f64], Unknown>,
    /// Hash of the user's id.
    pub(crate) user: Option<u64>,
}

impl<'a> Context<'a> {
    pub(crate) fn model(&self, at: usize) -> &'a ModelInfo {
        &self.models[self.candidates[at].target.model.index()]
    }

    /// The canonical name of a candidate's target.
    pub(crate) fn name(&self, at: usize) -> &'a str {
        self.model(at).target_name(self.candidates[at].target.lora)
    }
}

/// A selector's choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    /// Position among the candidates; `None` if the selector refuses to choose.
    pub(crate) index: Option<usize>,
    /// In `[0,1]`.
    pub(crate) confidence: f64,
}

/// Scores the candidates and chooses one.
pub(crate) fn select(selector: &Selector, context: &Context<'_>) -> (Scores, Choice) {
    let mut scores: Scores = context
        .candidates
        .iter()
        .map(|candidate| CandidateScore { target: candidate.target, score: 1.0, reason: ScoreReason::Single })
        .collect();
    capability::filter(context, &mut scores);
    let mut eligible = (0..scores.len()).filter(|at| scores[*at].reason.eligible());
    let choice = match (eligible.next(), eligible.next()) {
        (None, _) => Choice { index: None, confidence: 0.0 },
        (Some(only), None) => Choice { index: Some(only), confidence: 1.0 },
        _ => match selector {
            Selector::Static(Some(configured)) => by_score(configured, &mut scores),
            Selector::Static(None) => by_position(&mut scores),
            Selector::MultiFactor(selector) => selector.select(context, &mut scores),
            Selector::LatencyAware(selector) => selector.select(context, &mut scores),
            Selector::Elo(selector) => selector.select(context, &mut scores),
            Selector::Automix(selector) => selector.select(context, &mut scores),
            Selector::Hybrid(selector) => selector.select(context, &mut scores),
            Selector::RouterDc(selector) => selector.select(context, &mut scores),
            Selector::Pretrained(selector) => selector.select(context, &mut scores),
            Selector::RlDriven(selector) => selector.select(context, &mut scores),
            Selector::GmtRouter(selector) => selector.select(context, &mut scores),
        },
    };
    (scores, choice)
}

/// The first is preferred, and each before the next: an operator's order says more than a tie.
fn by_position(scores: &mut Scores) -> Choice {
    let count = scores.len();
    for (at, score) in scores.iter_mut().enumerate().filter(|(_, score)| score.reason.eligible()) {
        score.score = (count - at) as f64 / count as f64;
        score.reason = ScoreReason::Position(at as u16 + 1, count as u16);
    }
    Choice { index: best(scores), confidence: 1.0 }
}

/// As [`by_position`], for want of what a learnt selector needs.
pub(crate) fn unlearned(why: Unlearned, scores: &mut Scores) -> Choice {
    let choice = by_position(scores);
    for score in scores.iter_mut() {
        if let ScoreReason::Position(position, count) = score.reason {
            score.reason = ScoreReason::Unlearned(why, position, count);
        }
    }
    Choice { confidence: 0.0, ..choice }
}

/// Configured scores, scaled so that the best is at most 1.
fn by_score(configured: &[f64], scores: &mut Scores) -> Choice {
    let largest = configured.iter().copied().fold(1.0, f64::max);
    for (score, configured) in scores.iter_mut().zip(configured).filter(|(s, _)| s.reason.eligible()) {
        score.score = (configured / largest).clamp(0.0, 1.0);
        score.reason = ScoreReason::Configured(*configured);
    }
    Choice { index: best(scores), confidence: 1.0 }
}

/// The eligible candidate with the highest score, the first on ties.
pub(crate) fn best(scores: &[CandidateScore]) -> Option<usize> {
    (0..scores.len())
        .filter(|at| scores[*at].reason.eligible())
        .reduce(|best, at| if scores[at].score > scores[best].score { at } else { best })
}

/// Scales to `[0,1]` between the least and the greatest; 0.5 if they are equal.
pub(crate) fn min_max(value: f64, min: f64, max: f64) -> f64 {
    if max > min { (value - min) / (max - min) } else { 0.5 }
}

/// Least and greatest of some numbers, if there are any.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((min, max)) => Some((f64::min(min, value), f64::max(max, value))),
    })
}
