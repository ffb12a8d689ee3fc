//! `gmtrouter`: what this user preferred before.
//!
//! v0.3.0 names a graph network and has none: it blends a model's declared quality with a preference that it works
//! out of the user's rated answers, and so does this. `0.3·quality + 0.7·preference`, or `0.9·quality` for a model
//! that the user has not rated; quality alone until there are `min_interactions_for_personalization`. The terms
//! that v0.3.0 adds for embeddings of descriptions and answers are left out: the first is the same for every model,
//! the second needs answers to be stored.

use pintle_config::GmtRouterSelection;
use smallvec::SmallVec;

use super::{Choice, Context, Scores, best};
use crate::trace::ScoreReason;

const DEFAULT_QUALITY: f64 = 0.5;
const OWN_SHARE: f64 = 0.7;
const UNRATED: f64 = 0.9;
const KEPT: usize = 100;
/// However many are configured.
const MAX_KEPT: usize = 1000;

/// Parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GmtRouter {
    personal: bool,
    min_interactions: u32,
    /// Interactions that are kept of a user.
    pub(crate) max_interactions: usize,
}

impl GmtRouter {
    pub(crate) fn new(block: Option<&GmtRouterSelection>) -> Self {
        let least = block.map_or(0, |block| block.min_interactions_for_personalization);
        let most = block.and_then(|block| usize::try_from(block.max_interactions_per_user).ok());
        Self {
            personal: block.is_none_or(|block| block.enable_personalization),
            min_interactions: if least > 0 { u32::try_from(least).unwrap_or(u32::MAX) } else { 3 },
            max_interactions: most.filter(|most| *most > 0).unwrap_or(KEPT).min(MAX_KEPT),
        }
    }

    pub(super) fn select(self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let learner = context.query.user.and_then(|user| context.live.experience.learners.get(&user));
        let learner = learner.filter(|learner| self.personal && learner.total >= self.min_interactions);
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        for at in &eligible {
            let quality = context.model(*at).quality.unwrap_or(DEFAULT_QUALITY).clamp(0.0, 1.0);
            let preference = learner.map(|learner| learner.preferences.get(context.name(*at)).copied());
            (scores[*at].score, scores[*at].reason) = match preference {
                None => (quality, ScoreReason::Quality(quality)),
                Some(None) => (UNRATED * quality, ScoreReason::Quality(quality)),
                Some(Some(preference)) => (
                    (1.0 - OWN_SHARE) * quality + OWN_SHARE * preference,
                    ScoreReason::Preferred { preference, quality },
                ),
            };
        }
        let index = best(scores);
        let second = eligible.iter().filter(|at| Some(**at) != index).map(|at| scores[*at].score);
        let second = second.fold(f64::NEG_INFINITY, f64::max);
        let margin = index.map_or(0.0, |at| scores[at].score - second);
        Choice { index, confidence: (0.5 + 0.5 * margin).clamp(0.1, 0.95) }
    }
}
