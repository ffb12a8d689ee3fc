//! What feedback changes, and what a decision may have read of it.

use super::{Decision, Inputs, Policy};
use crate::experience::{Belief, Experience, Feedback, Learning, Lesson, session_hash};
use crate::outcome::Outcome;
use crate::selection::Selector;
use crate::selection::elo::Elo;
use crate::selection::rl_driven::DEFAULT_IMPLICIT_WEIGHT;

/// Feedback that cannot be taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// Neither a winner nor a loser.
    #[error("feedback names no model")]
    NoModel,
    /// A model that the policy does not have.
    #[error("feedback names the model {0:?}, which is not configured")]
    UnknownModel(String),
    /// A decision that the policy does not have.
    #[error("feedback names the decision {0:?}, which is not configured")]
    UnknownDecision(String),
    /// The winner is the loser.
    #[error("feedback compares a model with itself")]
    SameModel,
}

impl Policy {
    /// Takes feedback into `experience`: its [`lesson`](Self::lesson).
    ///
    /// # Errors
    /// [`FeedbackError`]; nothing has changed then.
    pub fn learn(&self, experience: &mut Experience, feedback: &Feedback<'_>) -> Result<(), FeedbackError> {
        self.lesson(feedback)?.apply(experience);
        Ok(())
    }

    /// What feedback teaches, by the rules of the decision under which the models served.
    ///
    /// Models are named canonically ([`Policy::target_name`]). Credit belongs to the turn that was answered: a
    /// caller who learns of it on the next turn names the model and decision of the turn before.
    ///
    /// # Errors
    /// [`FeedbackError`].
    pub fn lesson(&self, feedback: &Feedback<'_>) -> Result<Lesson, FeedbackError> {
        let (winner, loser) = (feedback.winner, feedback.loser);
        if winner.is_empty() && loser.is_empty() {
            return Err(FeedbackError::NoModel);
        }
        if winner == loser {
            return Err(FeedbackError::SameModel);
        }
        for model in [winner, loser].into_iter().filter(|model| !model.is_empty()) {
            if self.target(model).is_none() {
                return Err(FeedbackError::UnknownModel(model.to_owned()));
            }
        }
        let decision = self.decisions.iter().find(|decision| decision.name == feedback.decision);
        if decision.is_none() && !feedback.decision.is_empty() {
            return Err(FeedbackError::UnknownDecision(feedback.decision.to_owned()));
        }
        let candidate = |model: &str| {
            let decision = decision?;
            let at = decision.candidates.iter().position(|c| self.target_name(c.target) == model)?;
            Some((decision, at))
        };
        let elo = decision.and_then(Decision::elo);
        let mut learning = Learning::default();
        if let Some(elo) = elo {
            learning.k_factor = elo.k_factor;
            learning.initial_rating = elo.initial;
            learning.by_decision = elo.by_decision;
        }
        if let Some(Selector::GmtRouter(gmtrouter)) = decision.map(|decision| &decision.selector) {
            learning.max_interactions = gmtrouter.max_interactions;
        }
        let seed = |model: &str| {
            let own = candidate(model).and_then(|(_, at)| elo?.ratings.get(at).copied());
            own.unwrap_or(learning.initial_rating)
        };
        let prior = |model: &str| {
            let own = candidate(model).and_then(|(decision, at)| match &decision.selector {
                Selector::RlDriven(selector) => selector.priors[at],
                _ => None,
            });
            own.unwrap_or_default()
        };
        Ok(Lesson::new(feedback, learning, seed, prior))
    }

    /// Weight of feedback under a decision that was inferred and not stated.
    pub fn implicit_weight(&self, decision: &str) -> f64 {
        match self.decisions.iter().find(|known| known.name == decision).map(|known| &known.selector) {
            Some(Selector::RlDriven(selector)) => selector.implicit_weight,
            _ => DEFAULT_IMPLICIT_WEIGHT,
        }
    }

    /// Whether any decision reads what feedback has taught.
    pub fn reads_experience(&self) -> bool {
        let default = self.default.iter().map(|default| &default.selector);
        self.decisions
            .iter()
            .map(|decision| &decision.selector)
            .chain(default)
            .any(Selector::reads_experience)
    }

    /// As much of the experience as the chosen decision's selector may have read.
    pub(super) fn experience_read(&self, inputs: &Inputs<'_>, outcome: &Outcome) -> Experience {
        let chosen = outcome.trace.chosen.map(|chosen| &self.decisions[chosen.index()]);
        let Some(decision) = chosen.filter(|decision| decision.selector.reads_experience()) else {
            return Experience::default();
        };
        let names: Vec<&str> = match decision.selector {
            // How often it explores depends on all that was ever learnt.
            Selector::RlDriven(_) => {
                self.models.iter().flat_map(|model| model.target_names.iter().map(String::as_str)).collect()
            }
            _ => decision.candidates.iter().map(|candidate| self.target_name(candidate.target)).collect(),
        };
        let user = outcome.trace.query.as_ref().and_then(|query| query.user);
        let session = inputs.facts.session.map(|session| session_hash(session.key));
        inputs.live.experience.excerpt(&decision.name, user, session, &names)
    }
}

impl Decision {
    fn elo(&self) -> Option<&Elo> {
        match &self.selector {
            Selector::Elo(elo) => Some(elo),
            Selector::Hybrid(hybrid) => hybrid.elo.as_ref().map(|(_, elo)| elo),
            _ => None,
        }
    }
}

impl Selector {
    /// Beliefs by configured score, as `rl_driven` begins with them.
    pub(crate) fn priors(scores: &[Option<f64>]) -> Vec<Option<Belief>> {
        scores.iter().map(|score| score.map(|score| Belief::of_score(score.clamp(0.0, 1.0)))).collect()
    }
}
