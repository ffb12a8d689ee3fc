//! From a decision's `algorithm` to a selector.
//!
//! In the Pintle profile a decision's own block configures it, then the global block, then the documented
//! defaults. v0.3.0 reads `hybrid` and `automix` from the global block only, where an absent value is zero; the
//! compat profile does the same.

use pintle_config::{
    Algorithm, AutomixSelection, Config, Decision, EloSelection, HybridSelection, ModelCard, ModelSelection,
    Profile, RouterDcSelection,
};

use super::automix::Automix;
use super::elo::Elo;
use super::gmtrouter::GmtRouter;
use super::hybrid::Hybrid;
use super::latency_aware::LatencyAware;
use super::multi_factor::MultiFactor;
use super::pretrained::{Chooser, Pretrained, Trained};
use super::rl_driven::RlDriven;
use super::router_dc::{RouterDc, description};
use super::{Candidate, Selector};
use crate::policy::ModelInfo;

const DEFAULT_COST_WEIGHT: f64 = 0.5;
const DEFAULT_RATING: f64 = 1500.0;
const DEFAULT_K_FACTOR: f64 = 32.0;
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
    learnt: &mut LearntParts<'_>,
) -> Compiled {
    let default = Algorithm::default();
    let algorithm = decision.algorithm.as_ref().unwrap_or(&default);
    let mut parts = Parts {
        learnt,
        cards: &config.routing.model_cards,
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

/// What compiling every decision's selector shares.
pub(crate) struct LearntParts<'a> {
    /// Files that were read.
    pub(crate) pretrained: &'a Pretrained,
    /// Texts that stand for models, each once.
    pub(crate) descriptions: Vec<String>,
}

struct Parts<'a, 'l> {
    learnt: &'a mut LearntParts<'l>,
    cards: &'a [ModelCard],
    algorithm: &'a Algorithm,
    global: &'a ModelSelection,
    scores: Vec<Option<f64>>,
    candidates: &'a [Candidate],
    models: &'a [ModelInfo],
    profile: Profile,
}

impl Parts<'_, '_> {
    fn selector(&mut self, kind: &str) -> (Selector, Option<String>) {
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
            // Several are asked; who serves the turns that go to one alone is chosen as by static.
            "confidence" | "ratings" | "remom" => self.statically(),
            "router_dc" => {
                let block = self.router_dc_block();
                let descriptions = self.descriptions(block.use_capabilities);
                let missing = descriptions.iter().filter(|text| text.is_none()).count();
                let note = (missing > 0).then(|| {
                    format!(
                        "{missing} of the candidates have no description, and router_dc never chooses them"
                    )
                });
                return (Selector::RouterDc(RouterDc::new(&block, descriptions)), note);
            }
            "knn" | "kmeans" | "svm" | "mlp" => return self.pretrained(kind),
            "rl_driven" => {
                let priors = Selector::priors(&self.scores);
                Selector::RlDriven(RlDriven::new(self.algorithm.rl_driven.as_ref(), priors))
            }
            "gmtrouter" => Selector::GmtRouter(GmtRouter::new(self.algorithm.gmtrouter.as_ref())),
            other => {
                let note = format!("unknown algorithm {other:?}: candidates are scored as by static");
                return (self.statically(), Some(note));
            }
        };
        (selector, None)
    }

    /// One that was trained elsewhere; without its file, as static.
    fn pretrained(&self, kind: &str) -> (Selector, Option<String>) {
        let no_file = format!("no file of a trained {kind} was read: candidates are scored as by static");
        let kind = Trained::ALL.into_iter().find(|trained| trained.as_str() == kind);
        let Some((kind, model)) = kind.and_then(|kind| Some((kind, self.learnt.pretrained.get(kind)?)))
        else {
            return (self.statically(), Some(no_file));
        };
        let names = self.candidates.iter().map(|candidate| {
            let info = &self.models[candidate.target.model.index()];
            candidate.target.lora.map_or(&*info.name, |lora| &*info.loras[lora.index()])
        });
        (Selector::Pretrained(Chooser::new(kind, model, names)), None)
    }

    /// By candidate: where its model's description lies among those of the policy.
    fn descriptions(&mut self, with_capabilities: bool) -> Vec<Option<usize>> {
        let texts: Vec<String> = self
            .candidates
            .iter()
            .map(|candidate| description(&self.cards[candidate.target.model.index()], with_capabilities))
            .collect();
        let known = &mut self.learnt.descriptions;
        let place = |text: String| {
            if text.is_empty() {
                return None;
            }
            let at = known.iter().position(|known| *known == text);
            Some(at.unwrap_or_else(|| {
                known.push(text);
                known.len() - 1
            }))
        };
        texts.into_iter().map(place).collect()
    }

    fn router_dc_block(&self) -> RouterDcSelection {
        self.algorithm.router_dc.clone().unwrap_or_else(|| self.global.router_dc.clone())
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
            by_decision: block.category_weighted,
            k_factor: if block.k_factor > 0.0 { block.k_factor } else { DEFAULT_K_FACTOR },
            initial,
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

    fn hybrid(&mut self) -> Hybrid {
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
        // What nobody asked for is not worth an embedding per request.
        let asked = own.is_some() || self.global.hybrid != HybridSelection::default();
        let router_dc = (asked && block.router_dc_weight > 0.0).then(|| {
            let own = self.router_dc_block();
            let descriptions = self.descriptions(own.use_capabilities);
            (block.router_dc_weight, RouterDc::new(&own, descriptions))
        });
        let router_dc = router_dc.filter(|(_, selector)| selector.knows_any());
        Hybrid {
            elo: (block.elo_weight > 0.0).then(|| (block.elo_weight, self.elo())),
            automix: (block.automix_weight > 0.0).then(|| (block.automix_weight, self.automix())),
            router_dc,
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
