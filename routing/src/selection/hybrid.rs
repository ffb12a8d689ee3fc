//! `hybrid`: a weighted blend of `elo`, `automix` and `router_dc`.
//!
//! Each component's scores are scaled to `[0,1]` between its least and greatest (0.5 if all are equal) where
//! `normalize_scores` is set, blended by weight, and multiplied by `1 + (1 − n)·decision cost weight·cost_weight`
//! for priced candidates. `router_dc` takes part where a block gives it weight and a candidate has a description;
//! a turn without similarities gives its weight to the others, as v0.3.0 does when it fails. The cache affinity that v0.3.0 adds
//! here belongs to the session and is weighed there, once.

use smallvec::SmallVec;

use super::automix::Automix;
use super::elo::Elo;
use super::router_dc::RouterDc;
use super::{Choice, Context, Scores, best, min_max, range};
use crate::trace::ScoreReason;

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hybrid {
    pub(crate) elo: Option<(f64, Elo)>,
    pub(crate) automix: Option<(f64, Automix)>,
    pub(crate) router_dc: Option<(f64, RouterDc)>,
    /// The decision's own weight of cost times the blend's.
    pub(crate) cost_boost: f64,
    pub(crate) normalise: bool,
}

impl Hybrid {
    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        let mut components: SmallVec<[(f64, Scores, Choice); 3]> = SmallVec::new();
        if let Some((weight, elo)) = &self.elo {
            let mut own = scores.clone();
            let choice = elo.select(context, &mut own);
            components.push((*weight, own, choice));
        }
        if let Some((weight, automix)) = &self.automix {
            let mut own = scores.clone();
            let choice = automix.select(context, &mut own);
            components.push((*weight, own, choice));
        }
        if let Some((weight, router_dc)) =
            self.router_dc.as_ref().filter(|_| context.query.similarities.is_ok())
        {
            let mut own = scores.clone();
            let choice = router_dc.select(context, &mut own);
            components.push((*weight, own, choice));
        }
        let total: f64 = components.iter().map(|(weight, ..)| weight).sum();
        let prices = range(eligible.iter().filter_map(|at| price(context, *at)));
        let mut greatest = 1.0f64;
        for at in &eligible {
            let mut blend = if components.is_empty() { 1.0 / eligible.len() as f64 } else { 0.0 };
            for (weight, own, _) in &components {
                let score = own[*at].score;
                let bounds = range(eligible.iter().map(|at| own[*at].score));
                let scaled = match bounds {
                    Some((min, max)) if self.normalise => min_max(score, min, max),
                    _ => score,
                };
                blend += weight / total * scaled;
            }
            if let (Some(price), Some((min, max)), true) =
                (price(context, *at), prices, self.cost_boost > 0.0)
            {
                blend *= 1.0 + (1.0 - min_max(price, min, max)) * self.cost_boost;
            }
            greatest = greatest.max(blend);
            scores[*at].score = blend;
            scores[*at].reason = ScoreReason::Blend(blend);
        }
        for at in &eligible {
            scores[*at].score /= greatest;
        }
        let index = best(scores);
        let confidence = if components.is_empty() {
            0.5
        } else {
            let count = components.len() as f64;
            let agreeing = components.iter().filter(|(_, _, choice)| choice.index == index).count() as f64;
            let sure: f64 = components.iter().map(|(_, _, choice)| choice.confidence).sum();
            (agreeing / count + sure / count) / 2.0
        };
        Choice { index, confidence }
    }
}

fn price(context: &Context<'_>, at: usize) -> Option<f64> {
    context.model(at).pricing.map(|p| p.prompt.get())
}
