//! `rl_driven`: the model that feedback favours.
//!
//! What is believed of a candidate is a Beta distribution of its success: of all feedback, blended half with that
//! of the decision, or for a known user `personalization_blend` with the user's and then 0.3 with the decision's.
//! Its score is the mean (or a sample), raised for cheap models by `1 + (1 − n)·cost_weight` and blended with the
//! share of successes in the session.
//!
//! Exploration is off unless it is configured (`use_thompson_sampling`, else `exploration_rate`), is told in the
//! reason, and is drawn from the request itself: a decision that is taken again explores alike.

use pintle_config::RlDrivenSelection;
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use super::{Choice, Context, Scores, best, min_max, range};
use crate::experience::{Belief, session_hash};
use crate::trace::ScoreReason;

mod draw;

use draw::Draw;

const DECISION_SHARE: f64 = 0.5;
const DECISION_SHARE_OF_USER: f64 = 0.3;
/// Selections per step of the exploration rate's decay.
const DECAY_PER: f64 = 100.0;

pub(crate) const DEFAULT_IMPLICIT_WEIGHT: f64 = 0.5;

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RlDriven {
    /// Beliefs under the decision by configured score.
    pub(crate) priors: Vec<Option<Belief>>,
    pub(crate) explore: Explore,
    /// `None` without personalisation.
    pub(crate) user_share: Option<f64>,
    pub(crate) session_share: f64,
    pub(crate) cost_weight: f64,
    /// Of feedback that was inferred, against what somebody has said.
    pub(crate) implicit_weight: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Explore {
    Never,
    /// Thompson sampling.
    Sample,
    /// Now and then any candidate, ever less often.
    Sometimes {
        rate: f64,
        decay: f64,
        least: f64,
    },
}

impl RlDriven {
    pub(crate) fn new(block: Option<&RlDrivenSelection>, priors: Vec<Option<Belief>>) -> Self {
        let or = |value: f64, default: f64| if value > 0.0 { value } else { default };
        let Some(block) = block else {
            return Self {
                priors,
                explore: Explore::Never,
                user_share: Some(0.7),
                session_share: 0.3,
                cost_weight: 0.2,
                implicit_weight: DEFAULT_IMPLICIT_WEIGHT,
            };
        };
        let explore = match (block.use_thompson_sampling, block.exploration_rate > 0.0) {
            (true, _) => Explore::Sample,
            (false, true) => Explore::Sometimes {
                rate: block.exploration_rate.min(1.0),
                decay: or(block.exploration_decay, 0.99).min(1.0),
                least: or(block.min_exploration, 0.05).min(1.0),
            },
            (false, false) => Explore::Never,
        };
        Self {
            priors,
            explore,
            user_share: block.enable_personalization.then(|| or(block.personalization_blend, 0.7).min(1.0)),
            session_share: or(block.session_context_weight, 0.3).min(1.0),
            cost_weight: if block.cost_awareness { or(block.cost_weight, 0.2) } else { 0.0 },
            implicit_weight: or(block.implicit_feedback_weight, DEFAULT_IMPLICIT_WEIGHT).min(1.0),
        }
    }

    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        let mut draw = Draw::new(seed(context));
        let beliefs: SmallVec<[Belief; 8]> = eligible.iter().map(|at| self.belief(context, *at)).collect();
        let trials: u32 = context.live.experience.overall.beliefs.values().map(|belief| belief.trials).sum();
        let adventurous = match self.explore {
            Explore::Sometimes { rate, decay, least } => {
                let rate = (rate * decay.powf(f64::from(trials) / DECAY_PER)).max(least);
                (draw.unit() < rate).then(|| draw.below(eligible.len()))
            }
            _ => None,
        };
        let prices = range(context.models.iter().filter_map(|m| m.pricing.map(|p| p.prompt.get())));
        for (nth, (at, belief)) in eligible.iter().zip(&beliefs).enumerate() {
            let sampled = self.explore == Explore::Sample;
            let value = if sampled { draw.beta(belief.alpha, belief.beta) } else { belief.mean() };
            let value = self.adjusted(context, *at, value, prices);
            scores[*at].score = if adventurous == Some(nth) { 1.0 } else { value };
            scores[*at].reason = match adventurous {
                Some(chosen) if chosen == nth => ScoreReason::Explored,
                _ if sampled => ScoreReason::Sampled { value, alpha: belief.alpha, beta: belief.beta },
                _ => ScoreReason::Believed { alpha: belief.alpha, beta: belief.beta },
            };
        }
        let index = best(scores);
        let belief =
            index.and_then(|index| eligible.iter().position(|at| *at == index)).map(|nth| beliefs[nth]);
        Choice { index, confidence: belief.map_or(0.5, confidence) }
    }

    fn belief(&self, context: &Context<'_>, at: usize) -> Belief {
        let name = context.name(at);
        let experience = &context.live.experience;
        let overall = experience.overall.beliefs.get(name).copied().unwrap_or_default();
        let decision =
            experience.decisions.get(context.decision).and_then(|of| of.beliefs.get(name)).copied();
        let decision = decision.or(self.priors[at]);
        let blend = |belief: Belief, share| decision.map_or(belief, |decision| belief.blend(decision, share));
        match (self.user_share, context.query.user) {
            (Some(share), Some(user)) => {
                let own = experience.learners.get(&user).and_then(|of| of.beliefs.get(name)).copied();
                blend(overall.blend(own.unwrap_or(overall), share), DECISION_SHARE_OF_USER)
            }
            _ => blend(overall, DECISION_SHARE),
        }
    }

    /// Price and session weighed in, still in `[0,1]`.
    fn adjusted(&self, context: &Context<'_>, at: usize, value: f64, prices: Option<(f64, f64)>) -> f64 {
        let mut value = value;
        if self.cost_weight > 0.0 {
            let price = context.model(at).pricing.map(|p| p.prompt.get());
            if let (Some(price), Some((min, max))) = (price, prices.filter(|(min, max)| max > min)) {
                value *= 1.0 + (1.0 - min_max(price, min, max)) * self.cost_weight;
            }
            value /= 1.0 + self.cost_weight;
        }
        let session = context.facts.session.map(|session| session_hash(session.key));
        let successes = session.and_then(|key| context.live.experience.sessions.get(&key));
        match successes.and_then(|of| of.models.get(context.name(at))) {
            Some((successes, trials)) if *trials > 0 => {
                let rate = f64::from(*successes) / f64::from(*trials);
                (1.0 - self.session_share) * value + self.session_share * rate
            }
            _ => value,
        }
    }
}

/// Half how narrow the distribution is, half how much feedback there was.
fn confidence(belief: Belief) -> f64 {
    let narrow = 1.0 - 4.0 * belief.variance();
    let seen = 1.0 / (1.0 + (-0.1 * (f64::from(belief.trials) - 10.0)).exp());
    f64::midpoint(narrow, seen).clamp(0.0, 1.0)
}

fn seed(context: &Context<'_>) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&context.now.get().to_le_bytes());
    hasher.update(&context.facts.envelope_bytes.to_le_bytes());
    hasher.update(&context.facts.session.map_or(0, |session| session.key).to_le_bytes());
    hasher.update(context.decision.as_bytes());
    hasher.digest()
}
