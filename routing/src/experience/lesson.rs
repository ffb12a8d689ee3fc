//! Feedback that can be learnt again.

use serde::{Deserialize, Serialize};

use super::{Belief, Experience, Feedback, Learning};
use crate::units::UnixMillis;

/// Feedback together with all that the configuration had to say about it: learning it comes to the same under any
/// other configuration, so that what was learnt can be rebuilt from a record of lessons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    winner: String,
    loser: String,
    #[serde(default)]
    tie: bool,
    #[serde(default)]
    decision: String,
    #[serde(default)]
    user: Option<u64>,
    #[serde(default)]
    session: Option<u64>,
    weight: f64,
    at: UnixMillis,
    learning: Learning,
    /// First ratings of winner and loser.
    seeds: [f64; 2],
    /// Their first beliefs under the decision.
    priors: [Belief; 2],
}

impl Lesson {
    pub(crate) fn new(
        feedback: &Feedback<'_>,
        learning: Learning,
        seed: impl Fn(&str) -> f64,
        prior: impl Fn(&str) -> Belief,
    ) -> Self {
        let models = [feedback.winner, feedback.loser];
        Self {
            winner: feedback.winner.to_owned(),
            loser: feedback.loser.to_owned(),
            tie: feedback.tie,
            decision: feedback.decision.to_owned(),
            user: feedback.user,
            session: feedback.session,
            weight: feedback.weight,
            at: feedback.at,
            learning,
            seeds: models.map(seed),
            priors: models.map(prior),
        }
    }

    /// Takes it in.
    pub fn apply(&self, experience: &mut Experience) {
        let feedback = Feedback {
            winner: &self.winner,
            loser: &self.loser,
            tie: self.tie,
            decision: &self.decision,
            user: self.user,
            session: self.session,
            weight: self.weight,
            at: self.at,
        };
        let of = |model: &str| usize::from(model != self.winner);
        experience.learn(
            &feedback,
            &self.learning,
            |model| self.seeds[of(model)],
            |model| self.priors[of(model)],
        );
    }
}
