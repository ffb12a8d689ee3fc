//! One user's preferences among models, as `gmtrouter` and `rl_driven` read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Belief, Experience, Feedback, named};
use crate::units::UnixMillis;

/// Hours after which an interaction counts half.
const HALF_LIFE_HOURS: f64 = 168.0;
const MS_PER_HOUR: f64 = 3_600_000.0;
/// Weight of what similar users prefer.
const NEIGHBOUR_WEIGHT: f64 = 0.1;
/// Users less similar than this do not count.
const LEAST_SIMILARITY: f64 = 0.3;

/// A user, known by the hash of an id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learner {
    /// Last interactions, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interactions: Vec<Interaction>,
    /// All interactions, also those that are no longer kept.
    pub total: u32,
    /// By model, in `[0,1]`.
    pub preferences: BTreeMap<String, f64>,
    /// By model.
    pub beliefs: BTreeMap<String, Belief>,
    /// Time of the last feedback.
    pub at: UnixMillis,
}

/// One rated answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// The model that gave it.
    pub model: String,
    /// In `[0,1]`.
    pub rating: f64,
    /// When.
    pub at: UnixMillis,
}

impl Learner {
    pub(super) fn learn(&mut self, feedback: &Feedback<'_>, weight: f64, keep: usize) {
        self.at = feedback.at;
        for (model, won) in named(feedback) {
            self.beliefs.entry(model.to_owned()).or_default().learn(won, feedback.tie, weight);
            // v0.3.0 does not record the loser of a tie.
            if won || !feedback.tie {
                self.total = self.total.saturating_add(1);
                let rating = f64::from(u8::from(won));
                self.interactions.push(Interaction { model: model.to_owned(), rating, at: feedback.at });
            }
        }
        let excess = self.interactions.len().saturating_sub(keep.max(1));
        self.interactions.drain(..excess);
    }

    /// `mean·1/(1 + variance)` of the ratings, each halved per week of age.
    fn own_preferences(&self, now: UnixMillis) -> BTreeMap<String, f64> {
        let mut rated: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for interaction in &self.interactions {
            let hours = now.since(interaction.at) as f64 / MS_PER_HOUR;
            let message = interaction.rating * 0.5f64.powf(hours / HALF_LIFE_HOURS);
            rated.entry(&interaction.model).or_default().push(message);
        }
        let preference = |messages: &[f64]| {
            let count = messages.len() as f64;
            let mean = messages.iter().sum::<f64>() / count;
            let squares: f64 = messages.iter().map(|message| (message - mean).powi(2)).sum();
            let variance = if messages.len() > 1 { squares / (count - 1.0) } else { squares };
            mean / (1.0 + variance)
        };
        rated.into_iter().map(|(model, messages)| (model.to_owned(), preference(&messages))).collect()
    }

    fn similarity(&self, other: &Self) -> f64 {
        let norm = |of: &Self| of.preferences.values().map(|p| p * p).sum::<f64>().sqrt();
        let shared = self.preferences.iter().filter_map(|(model, p)| Some(p * other.preferences.get(model)?));
        let (a, b) = (norm(self), norm(other));
        if a == 0.0 || b == 0.0 { 0.0 } else { shared.sum::<f64>() / (a * b) }
    }
}

impl Experience {
    /// Works a user's preferences out anew, with a tenth of what similar users prefer on average.
    pub(super) fn settle_preferences(&mut self, user: u64, now: UnixMillis) {
        let Some(learner) = self.learners.get(&user) else { return };
        let mut preferences = learner.own_preferences(now);
        let others = self.learners.iter().filter(|(other, _)| **other != user);
        let similar: Vec<(f64, &Learner)> = others
            .map(|(_, other)| (learner.similarity(other), other))
            .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
            .collect();
        for (model, preference) in &mut preferences {
            let influences = similar.iter().filter_map(|(s, other)| Some(s * other.preferences.get(model)?));
            let (sum, count) = influences.fold((0.0, 0u32), |(sum, count), one| (sum + one, count + 1));
            if count > 0 {
                *preference += NEIGHBOUR_WEIGHT * sum / f64::from(count);
            }
            *preference = preference.clamp(0.0, 1.0);
        }
        if let Some(learner) = self.learners.get_mut(&user) {
            // What was preferred once and is no longer among the interactions stays, as in v0.3.0.
            learner.preferences.extend(preferences);
        }
    }
}
