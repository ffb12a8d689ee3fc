//! `elo`: expected win rate from ratings.
//!
//! `P_i = 10^(R_i/400) / Σ_j 10^(R_j/400)`; with cost scaling, a priced candidate's `P_i` is multiplied by
//! `1 + (1 − n_i)·cost_weight·cost_scaling_factor`, `n_i` its price scaled between the cheapest and the dearest.
//! Ratings begin at `1000 + 1000·score` where the decision's domain configures a score, else at
//! `initial_rating`, and change by feedback ([`Experience`](crate::experience::Experience)): with
//! `category_weighted` those of the decision are read, else those of all decisions together.

use smallvec::SmallVec;

use super::{Choice, Context, Scores, best, min_max, range};
use crate::experience::Rating;
use crate::trace::ScoreReason;

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Elo {
    /// Where each candidate begins.
    pub(crate) ratings: Vec<f64>,
    /// Ratings under the decision count before those of all decisions.
    pub(crate) by_decision: bool,
    /// Largest change of a rating by one comparison.
    pub(crate) k_factor: f64,
    /// Rating of a model of which nothing is configured.
    pub(crate) initial: f64,
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
        let ratings: SmallVec<[f64; 8]> =
            eligible.iter().map(|at| self.rating(context, *at).rating).collect();
        let prices = range(eligible.iter().filter_map(|at| price(context, *at)));
        let boost = self.cost_weight * self.cost_scaling_factor;
        for ((at, rating), rate) in eligible.iter().zip(&ratings).zip(win_rates(&ratings)) {
            let scaled = match (price(context, *at), prices) {
                (Some(price), Some((min, max))) if boost > 0.0 && max > min => {
                    rate * (1.0 + (1.0 - min_max(price, min, max)) * boost) / (1.0 + boost)
                }
                _ => rate,
            };
            scores[*at].score = scaled.clamp(0.0, 1.0);
            scores[*at].reason = ScoreReason::Rating(*rating);
        }
        let index = best(scores);
        let comparisons = index.map_or(0, |at| self.rating(context, at).comparisons);
        let experience = f64::from(comparisons) - self.min_comparisons;
        Choice { index, confidence: 1.0 / (1.0 + (-0.2 * experience).exp()) }
    }

    fn rating(&self, context: &Context<'_>, at: usize) -> Rating {
        let name = context.name(at);
        let experience = &context.live.experience;
        let own = experience.decisions.get(context.decision).and_then(|of| of.ratings.get(name));
        let known = own.filter(|_| self.by_decision).or_else(|| experience.overall.ratings.get(name));
        known.copied().unwrap_or_else(|| Rating { rating: self.ratings[at], ..Rating::default() })
    }
}

fn price(context: &Context<'_>, at: usize) -> Option<f64> {
    context.model(at).pricing.map(|p| p.prompt.get())
}
