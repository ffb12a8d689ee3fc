//! `automix`: the expected value of a cascade that verifies small answers.
//!
//! `value = quality − (cost/10)·tradeoff + reward·(1 − v)` where the reward (discount · escalation reward) is
//! only earned by a model whose verification probability `v` lies below the threshold; the key is
//! `value/(1 + cost·cost_weight)`, a tenth more for a model that verifies. Without feedback `v` is 0.7 for all
//! and no escalation is rewarded, so quality and price decide.

use smallvec::SmallVec;

use super::{Choice, Context, Scores, best, range};
use crate::trace::ScoreReason;

const DEFAULT_QUALITY: f64 = 0.8;
const VERIFICATION: f64 = 0.7;
const VERIFIED_BONUS: f64 = 1.1;

/// Parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Automix {
    pub(crate) threshold: f64,
    pub(crate) tradeoff: f64,
    pub(crate) cost_weight: f64,
}

impl Automix {
    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        let keys: SmallVec<[f64; 8]> = eligible.iter().map(|at| self.key(context, *at)).collect();
        // Keys may be negative or above 1; the order is kept and the scale is the contract's.
        let (min, max) = range(keys.iter().copied()).unwrap_or((0.0, 1.0));
        let (low, high) = (min.min(0.0), max.max(1.0));
        for (at, key) in eligible.iter().zip(&keys) {
            scores[*at].score = (key - low) / (high - low);
            scores[*at].reason = ScoreReason::Cascade(*key);
        }
        Choice { index: best(scores), confidence: VERIFICATION }
    }

    fn key(&self, context: &Context<'_>, at: usize) -> f64 {
        let model = context.model(at);
        let cost = model.pricing.map_or(0.0, |p| p.prompt.get());
        let value = model.quality.unwrap_or(DEFAULT_QUALITY) - cost / 10.0 * self.tradeoff;
        let bonus = if VERIFICATION >= self.threshold { VERIFIED_BONUS } else { 1.0 };
        value / (1.0 + cost * self.cost_weight) * bonus
    }
}
