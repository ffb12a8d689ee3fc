//! `elo`: expected win rate from ratings.
//!
//! `P_i = 10^(R_i/400) / Σ_j 10^(R_j/400)`; with cost scaling, a priced candidate's `P_i` is multiplied by
//! `1 + (1 − n_i)·cost_weight·cost_scaling_factor`, `n_i` its price scaled between the cheapest and the dearest.
//! Ratings begin at `1000 + 1000·score` where the decision's domain configures a score, else at
//! `initial_rating`.

use smallvec::SmallVec;

use super::{Choice, Context, Scores, best, min_max, range};
use crate::trace::ScoreReason;

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Elo {
    /// One per candidate.
    pub(crate) ratings: Vec<f64>,
    /// Comparisons behind the ratings.
    pub(crate) comparisons: u32,
    pub(crate) min_comparisons: f64,
    pub(crate) cost_scaling_factor: f64,
    pub(crate) cost_weight: f64,
}

/// Win probabilities of players with these ratings against each other.
pub(crate) fn win_rates(ratings: &[f64]) -> SmallVec<[f64; 8]> {
    let strongest = ratings.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let strengths: SmallVec<[f64; 8]> = ratings.iter().map(|r| 10f64.powf((r - strongest) / 400.0)).collect();
    let sum: f64 = strengths.iter().sum();
    strengths.iter().map(|strength| strength / sum).collect()
}

impl Elo {
    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        let ratings: SmallVec<[f64; 8]> = eligible.iter().map(|at| self.ratings[*at]).collect();
        let prices = range(eligible.iter().filter_map(|at| price(context, *at)));
        let boost = self.cost_weight * self.cost_scaling_factor;
        for (at, rate) in eligible.iter().zip(win_rates(&ratings)) {
            let scaled = match (price(context, *at), prices) {
                (Some(price), Some((min, max))) if boost > 0.0 && max > min => {
                    rate * (1.0 + (1.0 - min_max(price, min, max)) * boost) / (1.0 + boost)
                }
                _ => rate,
            };
            scores[*at].score = scaled.clamp(0.0, 1.0);
            scores[*at].reason = ScoreReason::Rating(self.ratings[*at]);
        }
        let experience = f64::from(self.comparisons) - self.min_comparisons;
        Choice { index: best(scores), confidence: 1.0 / (1.0 + (-0.2 * experience).exp()) }
    }
}

fn price(context: &Context<'_>, at: usize) -> Option<f64> {
    context.model(at).pricing.map(|p| p.prompt.get())
}
