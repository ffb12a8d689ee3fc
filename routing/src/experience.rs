//! What feedback has taught about models: state of `elo`, `rl_driven` and `gmtrouter`.
//!
//! The rules by which it changes are functions of the state, one piece of [`Feedback`] and what the policy
//! configures ([`Policy::lesson`](crate::policy::Policy::lesson)); a decision reads it as part of
//! [`LiveSignals`](crate::live::LiveSignals), and what it read is recorded with it. Users and sessions are kept by
//! hash, and only so many: the one that was longest silent is forgotten first.
//!
//! Models are known by the canonical names of their targets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::units::UnixMillis;

mod lesson;
mod preference;
#[cfg(test)]
mod tests;

pub use lesson::Lesson;
pub use preference::{Interaction, Learner};

/// Users that are remembered.
pub const MAX_LEARNERS: usize = 4096;
/// Sessions that are remembered.
pub const MAX_SESSIONS: usize = 4096;

/// Change of a rating by feedback on one model alone, as a share of K.
const LONE_SHARE: f64 = 0.1;
const USER_SEED: u64 = 0x7573_6572;

/// Ratings, beliefs and preferences.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Experience {
    /// Of all decisions together.
    #[serde(skip_serializing_if = "Record::is_empty")]
    pub overall: Record,
    /// By decision.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub decisions: BTreeMap<String, Record>,
    /// By the hash of a user's id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub learners: BTreeMap<u64, Learner>,
    /// By the hash of a session's key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sessions: BTreeMap<u64, Successes>,
}

/// Ratings and beliefs, by model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Elo.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ratings: BTreeMap<String, Rating>,
    /// Success of a model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub beliefs: BTreeMap<String, Belief>,
}

impl Record {
    fn is_empty(&self) -> bool {
        self.ratings.is_empty() && self.beliefs.is_empty()
    }
}

/// A rating; the fields are those of v0.3's rating files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rating {
    /// Elo points.
    pub rating: f64,
    /// Pieces of feedback.
    pub comparisons: u32,
    /// Won.
    pub wins: u32,
    /// Lost.
    pub losses: u32,
    /// Neither.
    pub ties: u32,
}

/// A Beta distribution over the probability that a model succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Belief {
    /// Weight of successes, and the prior's.
    pub alpha: f64,
    /// Weight of failures, and the prior's.
    pub beta: f64,
    /// Pieces of feedback.
    pub trials: u32,
}

/// Successes of models within one session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Successes {
    /// By model: successes and trials.
    pub models: BTreeMap<String, (u32, u32)>,
    /// Time of the last feedback.
    pub at: UnixMillis,
}

/// What somebody said about answers. At least one of `winner` and `loser` is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feedback<'a> {
    /// The model that did better or well; empty if unknown.
    pub winner: &'a str,
    /// The model that did worse or badly; empty if unknown.
    pub loser: &'a str,
    /// Both did equally well.
    pub tie: bool,
    /// The decision under which they served; empty if none.
    pub decision: &'a str,
    /// Hash of the user's id, if there is one.
    pub user: Option<u64>,
    /// Hash of the session's key, if there is one.
    pub session: Option<u64>,
    /// 1 for a statement; for what was only inferred, the configured weight times the confidence of the inference.
    pub weight: f64,
    /// When.
    pub at: UnixMillis,
}

/// What the configuration says about learning; see [`Policy::lesson`](crate::policy::Policy::lesson).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// Largest change of a rating by one comparison.
    pub k_factor: f64,
    /// Rating of a model of which nothing is configured.
    pub initial_rating: f64,
    /// Ratings are also kept by decision.
    pub by_decision: bool,
    /// Interactions that are kept of a user.
    pub max_interactions: usize,
}

impl Default for Learning {
    fn default() -> Self {
        Self { k_factor: 32.0, initial_rating: 1500.0, by_decision: false, max_interactions: 100 }
    }
}

impl Default for Belief {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 1.0, trials: 0 }
    }
}

impl Belief {
    /// The prior of a model with a configured score in `[0,1]`.
    pub fn of_score(score: f64) -> Self {
        Self { alpha: 1.0 + 10.0 * score, beta: 1.0 + 10.0 * (1.0 - score), trials: 0 }
    }

    /// `(1 − share)·self + share·other` in both parameters.
    #[must_use]
    pub fn blend(self, other: Self, share: f64) -> Self {
        Self {
            alpha: (1.0 - share) * self.alpha + share * other.alpha,
            beta: (1.0 - share) * self.beta + share * other.beta,
            trials: self.trials.saturating_add(other.trials),
        }
    }

    /// The expected probability.
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// The variance of the probability.
    pub fn variance(self) -> f64 {
        let sum = self.alpha + self.beta;
        self.alpha * self.beta / (sum * sum * (sum + 1.0))
    }

    fn learn(&mut self, won: bool, tie: bool, weight: f64) {
        let (success, failure) = match (tie, won) {
            (true, _) => (0.5, 0.5),
            (false, true) => (1.0, 0.0),
            (false, false) => (0.0, 1.0),
        };
        self.alpha += success * weight;
        self.beta += failure * weight;
        self.trials = self.trials.saturating_add(1);
    }
}

impl Experience {
    /// Takes one piece of feedback in.
    ///
    /// `seed` gives a model's first rating, and `prior` its first belief under the decision, where the
    /// configuration has a score.
    pub fn learn(
        &mut self,
        feedback: &Feedback<'_>,
        learning: &Learning,
        seed: impl Fn(&str) -> f64,
        prior: impl Fn(&str) -> Belief,
    ) {
        let weight = if feedback.weight.is_finite() { feedback.weight.clamp(0.0, 1.0) } else { 0.0 };
        self.overall.rate(feedback, learning.k_factor, &seed);
        self.overall.believe(feedback, weight, |_| Belief::default());
        if !feedback.decision.is_empty() {
            let record = self.decisions.entry(feedback.decision.to_owned()).or_default();
            if learning.by_decision {
                record.rate(feedback, learning.k_factor, &seed);
            }
            record.believe(feedback, weight, prior);
        }
        if let Some(user) = feedback.user {
            make_room(&mut self.learners, user, MAX_LEARNERS, |learner| learner.at);
            self.learners.entry(user).or_default().learn(feedback, weight, learning.max_interactions);
            self.settle_preferences(user, feedback.at);
        }
        if let Some(session) = feedback.session {
            make_room(&mut self.sessions, session, MAX_SESSIONS, |session| session.at);
            let session = self.sessions.entry(session).or_default();
            session.at = feedback.at;
            for (model, won) in named(feedback) {
                let (successes, trials) = session.models.entry(model.to_owned()).or_default();
                *trials = trials.saturating_add(1);
                *successes = successes.saturating_add(u32::from(won && !feedback.tie));
            }
        }
    }

    /// What a decision about these models may read, and nothing else.
    #[must_use]
    pub fn excerpt(&self, decision: &str, user: Option<u64>, session: Option<u64>, models: &[&str]) -> Self {
        fn only<T: Clone>(of: &BTreeMap<String, T>, models: &[&str]) -> BTreeMap<String, T> {
            let known = of.iter().filter(|(name, _)| models.contains(&name.as_str()));
            known.map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        let record = |record: &Record| Record {
            ratings: only(&record.ratings, models),
            beliefs: only(&record.beliefs, models),
        };
        let learner = user.and_then(|user| self.learners.get_key_value(&user));
        let session = session.and_then(|session| self.sessions.get_key_value(&session));
        Self {
            overall: record(&self.overall),
            decisions: self
                .decisions
                .get_key_value(decision)
                .map(|(name, of)| (name.clone(), record(of)))
                .into_iter()
                .collect(),
            learners: learner
                .map(|(user, of)| (*user, Learner { interactions: Vec::new(), ..of.clone() }))
                .into_iter()
                .collect(),
            sessions: session
                .map(|(key, of)| (*key, Successes { models: only(&of.models, models), at: of.at }))
                .into_iter()
                .collect(),
        }
    }

    /// Nothing was learnt.
    pub fn is_empty(&self) -> bool {
        self.overall.is_empty()
            && self.decisions.is_empty()
            && self.learners.is_empty()
            && self.sessions.is_empty()
    }
}

impl Record {
    fn rate(&mut self, feedback: &Feedback<'_>, k: f64, seed: &impl Fn(&str) -> f64) {
        let rating = |of: &Self, model: &str| {
            of.ratings
                .get(model)
                .copied()
                .unwrap_or_else(|| Rating { rating: seed(model), ..Rating::default() })
        };
        let (winner, loser) = (feedback.winner, feedback.loser);
        let (mut won, mut lost) = (rating(self, winner), rating(self, loser));
        match (winner.is_empty(), loser.is_empty()) {
            (true, true) => return,
            (false, true) => won.rating += LONE_SHARE * k,
            (true, false) => lost.rating -= LONE_SHARE * k,
            (false, false) => {
                let expected = 1.0 / (1.0 + 10f64.powf((lost.rating - won.rating) / 400.0));
                let scored = if feedback.tie { 0.5 } else { 1.0 };
                won.rating += k * (scored - expected);
                lost.rating += k * ((1.0 - scored) - (1.0 - expected));
            }
        }
        let tie = feedback.tie && !winner.is_empty() && !loser.is_empty();
        for (name, rating, wins) in [(winner, &mut won, true), (loser, &mut lost, false)] {
            if name.is_empty() {
                continue;
            }
            rating.comparisons = rating.comparisons.saturating_add(1);
            let count = match (tie, wins) {
                (true, _) => &mut rating.ties,
                (false, true) => &mut rating.wins,
                (false, false) => &mut rating.losses,
            };
            *count = count.saturating_add(1);
            self.ratings.insert(name.to_owned(), *rating);
        }
    }

    fn believe(&mut self, feedback: &Feedback<'_>, weight: f64, prior: impl Fn(&str) -> Belief) {
        for (model, won) in named(feedback) {
            let belief = self.beliefs.entry(model.to_owned()).or_insert_with(|| prior(model));
            belief.learn(won, feedback.tie, weight);
        }
    }
}

/// By which a user is known: ids are not kept.
pub fn user_hash(id: &str) -> u64 {
    xxh3_64_with_seed(id.as_bytes(), USER_SEED)
}

/// By which a session is known.
pub const fn session_hash(key: u128) -> u64 {
    key as u64 ^ (key >> 64) as u64
}

/// The models that feedback names, and whether each won.
fn named<'a>(feedback: &Feedback<'a>) -> impl Iterator<Item = (&'a str, bool)> {
    [(feedback.winner, true), (feedback.loser, false)].into_iter().filter(|(model, _)| !model.is_empty())
}

fn make_room<T>(map: &mut BTreeMap<u64, T>, key: u64, room: usize, at: impl Fn(&T) -> UnixMillis) {
    if map.len() < room || map.contains_key(&key) {
        return;
    }
    let silent = map.iter().min_by_key(|(key, value)| (at(value).get(), **key)).map(|(key, _)| *key);
    if let Some(silent) = silent {
        map.remove(&silent);
    }
}
