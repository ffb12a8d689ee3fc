//! From a decision's `algorithm` to a selector.
//!
//! In the Pintle profile a decision's own block configures it, then the global block, then the documented
//! defaults. v0.3.0 reads `hybrid` and `automix` from the global block only, where an absent value is zero; the
//! compat profile does the same.

use pintle_config::{
    Algorithm, AutomixSelection, Config, Decision, EloSelection, HybridSelection, ModelSelection, Profile,
};

use super::automix::Automix;
use super::elo::Elo;
use super::hybrid::Hybrid;
use super::latency_aware::LatencyAware;
use super::multi_factor::MultiFactor;
use super::{Candidate, Selector};
use crate::policy::ModelInfo;

const DEFAULT_COST_WEIGHT: f64 = 0.5;
const DEFAULT_RATING: f64 = 1500.0;
const DEFAULT_MIN_COMPARISONS: f64 = 5.0;

/// A compiled algorithm.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub(crate) selector: Selector,
    /// The decision asks for `session_aware`.
    pub(crate) session_aware: bool,
    /// What an operator should know about it.
    pub(crate) note: Option<String>,
}

/// Compiles the algorithm of a decision. `category` is a domain that its rules name.
pub(crate) fn compile(
    decision: &Decision,
    category: Option<&str>,
    candidates: &[Candidate],
    models: &[ModelInfo],
    config: &Config,
    profile: Profile,
) -> Compiled {
    let default = Algorithm::default();
    let algorithm = decision.algorithm.as_ref().unwrap_or(&default);
    let parts = Parts {
        algorithm,
        global: &config.global.router.model_selection,
        scores: configured_scores(decision, category, candidates, models, config, profile),
        candidates,
        models,
        profile,
    };
    let kind = algorithm.kind.trim().to_ascii_lowercase();
    if kind != "session_aware" {
        let (selector, note) = parts.selector(&kind);
        return Compiled { selector, session_aware: false, note };
    }
    let own =
        algorithm.session_aware.as_ref().map(|block| block.base_method.trim()).filter(|m| !m.is_empty());
    let global = parts.global.session_aware.base_method.trim();
    let base = match own.unwrap_or(global).to_ascii_lowercase().as_str() {
        "" | "session_aware" => "hybrid".to_owned(),
        base => base.to_owned(),
    };
    let (selector, note) = parts.selector(&base);
    Compiled { selector, session_aware: true, note }
}

/// `model_scores` of the domain that is called like the decision (as v0.3.0 looks them up), or in the Pintle
/// profile of the domain that its rules name. `None` where nothing is configured.
fn configured_scores(
    decision: &Decision,
    category: Option<&str>,
    candidates: &[Candidate],
    models: &[ModelInfo],
    config: &Config,
    profile: Profile,
) -> Vec<Option<f64>> {
    let named = |name: &str| config.routing.signals.domains.iter().find(|domain| domain.name == name);
    let domain = named(&decision.name).or_else(|| match profile {
        Profile::Pintle => category.and_then(named),
        Profile::Compat => None,
    });
    let score = |candidate: &Candidate| {
        let name = &models[candidate.target.model.index()].name;
        let entry = domain?.model_scores.iter().find(|entry| entry.model == *name)?;
        Some(entry.score)
    };
    candidates.iter().map(score).collect()
}

struct Parts<'a> {
    algorithm: &'a Algorithm,
    global: &'a ModelSelection,
    scores: Vec<Option<f64>>,
    candidates: &'a [Candidate],
    models: &'a [ModelInfo],
    profile: Profile,
}

impl Parts<'_> {
    fn selector(&self, kind: &str) -> (Selector, Option<String>) {
        let selector = match kind {
            "" | "static" => self.statically(),
            "multi_factor" => {
                let block = self.algorithm.multi_factor.clone().unwrap_or_default();
                Selector::MultiFactor(MultiFactor::from(&block))
            }
            "latency_aware" => {
                let block = self.algorithm.latency_aware.clone().unwrap_or_default();
                Selector::LatencyAware(LatencyAware::from(&block))
            }
            "elo" => Selector::Elo(self.elo()),
            "automix" => Selector::Automix(self.automix()),
            "hybrid" => Selector::Hybrid(self.hybrid()),
            "confidence" | "ratings" | "remom" => {
                let note = format!(
                    "{kind} asks several models per request, which this version does not: \
                                    candidates are scored as by static"
                );
                return (self.statically(), Some(note));
            }
            "router_dc" | "knn" | "kmeans" | "svm" | "mlp" | "rl_driven" | "gmtrouter" => {
                let note = format!(
                    "{kind} needs learned parameters, which this version does not read: \
                                    candidates are scored as by static"
                );
                return (self.statically(), Some(note));
            }
            other => {
                let note = format!("unknown algorithm {other:?}: candidates are scored as by static");
                return (self.statically(), Some(note));
            }
        };
        (selector, None)
    }

    /// v0.3.0 scores a model without a configured score 1, and takes the first candidate if the best has
    /// exactly 1.
    fn statically(&self) -> Selector {
        if self.profile == Profile::Pintle && self.scores.iter().all(Option::is_none) {
            return Selector::Static(None);
        }
        let scores: Vec<f64> = self.scores.iter().map(|score| score.unwrap_or(1.0)).collect();
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let tied = self.profile == Profile::Compat && best == 1.0;
        Selector::Static(Some(if tied { vec![1.0; scores.len()] } else { scores }))
    }

    fn cost_weight(&self) -> f64 {
        let automix = self.algorithm.automix.as_ref().map(|block| block.cost_quality_tradeoff);
        let hybrid = self.algorithm.hybrid.as_ref().map(|block| block.cost_weight);
        automix.or(hybrid).filter(|weight| *weight > 0.0).unwrap_or(DEFAULT_COST_WEIGHT)
    }

    fn elo(&self) -> Elo {
        let block = self.block(self.algorithm.elo.as_ref(), &self.global.elo, EloSelection::default());
        let initial = if block.initial_rating > 0.0 { block.initial_rating } else { DEFAULT_RATING };
        let quality = |at: usize| match self.profile {
            Profile::Pintle => self.models[self.candidates[at].target.model.index()].quality,
            Profile::Compat => None,
        };
        let rating = |(at, score): (usize, &Option<f64>)| {
            score.or_else(|| quality(at)).map_or(initial, |score| 1000.0 + 1000.0 * score)
        };
        Elo {
            ratings: self.scores.iter().enumerate().map(rating).collect(),
            comparisons: 0,
            min_comparisons: match block.min_comparisons {
                count if count > 0 => count as f64,
                _ => DEFAULT_MIN_COMPARISONS,
            },
            cost_scaling_factor: block.cost_scaling_factor.max(0.0),
            cost_weight: self.cost_weight(),
        }
    }

    fn automix(&self) -> Automix {
        let own = match self.profile {
            Profile::Pintle => self.algorithm.automix.as_ref(),
            Profile::Compat => None,
        };
        let defaults = AutomixSelection {
            verification_threshold: 0.7,
            cost_quality_tradeoff: 0.3,
            discount_factor: 0.95,
            ..AutomixSelection::default()
        };
        let block = self.block(own, &self.global.automix, defaults);
        Automix {
            threshold: block.verification_threshold,
            tradeoff: block.cost_quality_tradeoff,
            cost_weight: self.cost_weight(),
        }
    }

    fn hybrid(&self) -> Hybrid {
        let own = match self.profile {
            Profile::Pintle => self.algorithm.hybrid.as_ref(),
            Profile::Compat => None,
        };
        let defaults = HybridSelection {
            elo_weight: 0.3,
            router_dc_weight: 0.3,
            automix_weight: 0.2,
            cost_weight: 0.2,
            quality_gap_threshold: 0.1,
            normalize_scores: true,
        };
        let block = self.block(own, &self.global.hybrid, defaults);
        let boost = if block.cost_weight > 0.0 { self.cost_weight() * block.cost_weight } else { 0.0 };
        Hybrid {
            elo: (block.elo_weight > 0.0).then(|| (block.elo_weight, self.elo())),
            automix: (block.automix_weight > 0.0).then(|| (block.automix_weight, self.automix())),
            cost_boost: boost,
            normalise: block.normalize_scores,
        }
    }

    /// The decision's block, else the global one; one without any value stands for the defaults, except in
    /// the compat profile, where it stands for zeros.
    fn block<T: Clone + Default + PartialEq>(&self, own: Option<&T>, global: &T, defaults: T) -> T {
        match (own, self.profile) {
            (Some(block), _) => block.clone(),
            (None, Profile::Pintle) if *global == T::default() => defaults,
            (None, _) => global.clone(),
        }
    }
}
