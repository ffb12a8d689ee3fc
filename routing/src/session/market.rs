//! The candidates of a decision as tiers with prices.

use smallvec::SmallVec;

use super::economics::{self, INLINE_MODELS};
use super::{Candidate, Pricing};
use crate::units::UsdPerMillion;

/// Prompt price of the lowest tier, its factor from tier to tier, and the other prices relative to the prompt's,
/// for candidates of which not all declare a price: models a tier apart usually cost some times as much.
const NOMINAL_PROMPT: f64 = 0.10;
const NOMINAL_STEP: f64 = 4.0;
const NOMINAL_COMPLETION: f64 = 4.0;
const NOMINAL_CACHED: f64 = 0.2;
/// A favourite by a hair stays inside its tier's range of demand by this share of it.
const INNER: f64 = 0.02;

/// Candidates in tier order: cheapest first, then lower quality first, then as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Market {
    /// Candidate index of every tier.
    pub order: SmallVec<[usize; INLINE_MODELS]>,
    /// Prices by tier; nominal ones for all if any candidate declares none.
    pub prices: SmallVec<[Pricing; INLINE_MODELS]>,
    /// Demand from which a tier above the lowest is asked for; one fewer than tiers.
    pub thresholds: SmallVec<[f64; INLINE_MODELS]>,
}

fn nominal(tier: usize) -> Pricing {
    let prompt = NOMINAL_PROMPT * NOMINAL_STEP.powi(tier as i32);
    Pricing {
        prompt: UsdPerMillion(prompt),
        cached: UsdPerMillion(prompt * NOMINAL_CACHED),
        completion: UsdPerMillion(prompt * NOMINAL_COMPLETION),
    }
}

impl Market {
    /// Orders candidates into tiers.
    ///
    /// `thresholds` are used if there are enough of them; else [0,1] is divided evenly.
    pub fn of(candidates: &[Candidate<'_>], thresholds: &[f64]) -> Self {
        let n = candidates.len();
        let priced = candidates.iter().all(|c| c.pricing.is_some_and(|p| p.prompt.get() > 0.0));
        let cost = |i: usize| match candidates[i].pricing {
            Some(pricing) if priced => economics::typical_cost(&pricing),
            _ => 0.0,
        };
        let quality = |i: usize| candidates[i].quality.unwrap_or(0.0);
        let mut order: SmallVec<[usize; INLINE_MODELS]> = (0..n).collect();
        order.sort_by(|a, b| {
            cost(*a).total_cmp(&cost(*b)).then(quality(*a).total_cmp(&quality(*b))).then(a.cmp(b))
        });
        let prices = order
            .iter()
            .enumerate()
            .map(|(tier, i)| candidates[*i].pricing.filter(|_| priced).unwrap_or_else(|| nominal(tier)))
            .collect();
        let between = n.saturating_sub(1);
        let thresholds = if thresholds.len() >= between {
            SmallVec::from_slice(&thresholds[..between])
        } else {
            (1..n).map(|k| k as f64 / n as f64).collect()
        };
        Self { order, prices, thresholds }
    }

    /// Tier of a candidate.
    pub fn tier_of(&self, candidate: usize) -> Option<usize> {
        self.order.iter().position(|i| *i == candidate)
    }

    /// Tier that a demand asks for.
    pub fn tier(&self, demand: f64) -> usize {
        self.thresholds.iter().filter(|threshold| demand >= **threshold).count()
    }

    /// Demand as the base selector sees it.
    ///
    /// Its favourite names the tier. Within the range of that tier the demand lies towards the neighbour whose
    /// score comes closer: in the middle if both are equally far, at an edge if one is level with the favourite.
    pub fn demand(&self, candidates: &[Candidate<'_>], favourite: usize) -> f64 {
        let tier = self.tier_of(favourite).unwrap_or(0);
        let low = if tier == 0 { 0.0 } else { self.thresholds[tier - 1] };
        let high = self.thresholds.get(tier).copied().unwrap_or(1.0);
        let best = candidates[favourite].base_score;
        let closeness = |neighbour: Option<&usize>| {
            neighbour.map_or(0.0, |i| 1.0 - (best - candidates[*i].base_score).clamp(0.0, 1.0))
        };
        let upper = closeness(self.order.get(tier + 1));
        let lower = closeness(tier.checked_sub(1).and_then(|t| self.order.get(t)));
        let within = (0.5 + 0.5 * (upper - lower)).clamp(INNER, 1.0 - INNER);
        low + (high - low) * within
    }
}
