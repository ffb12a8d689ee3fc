//! Which of several matching decisions is taken.
//!
//! A total order, so that neither the order of declaration nor of evaluation matters (declaration breaks the
//! tie between two decisions of the same name only):
//!
//! | | first | then | then | then |
//! |---|---|---|---|---|
//! | any matching decision has a tier | tier, lowest first | confidence | priority | name |
//! | strategy `confidence` | confidence | priority | name | |
//! | otherwise | priority | confidence | name | |
//!
//! With tiers in play, a decision without one comes last; in the compat profile it comes first, as its tier
//! is 0.

use std::cmp::{Ordering, Reverse};

use pintle_config::Profile;

#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) by_confidence: bool,
    pub(super) profile: Profile,
}

/// A decision that matches, and how surely.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    pub(super) priority: i64,
    pub(super) tier: i64,
    /// Position among all decisions sorted by name.
    pub(super) name_rank: u32,
    pub(super) confidence: f64,
}

impl Order {
    /// `Less` if `a` is preferred. `tiered` says whether any matching decision has a tier.
    pub(super) fn compare(self, a: &Match, b: &Match, tiered: bool) -> Ordering {
        let confidence = b.confidence.total_cmp(&a.confidence);
        let priority = b.priority.cmp(&a.priority);
        let first = if tiered {
            self.tier(a).cmp(&self.tier(b)).then(confidence).then(priority)
        } else if self.by_confidence {
            confidence.then(priority)
        } else {
            priority.then(confidence)
        };
        first.then(a.name_rank.cmp(&b.name_rank))
    }

    fn tier(self, matched: &Match) -> (Reverse<bool>, i64) {
        let tier = matched.tier;
        (Reverse(self.profile == Profile::Compat || tier > 0), tier)
    }
}
