//! What the numbers in a record stand for.
//!
//! A worker records indexes. A legend has the names, rule trees and orders that they index, and nothing that
//! decides: kept beside records, it turns them into flow documents when somebody asks, under whatever policy and by
//! whatever version that happens.

use pintle_config::Profile;
use serde::{Deserialize, Serialize};

use super::order::{Match, Order};
use super::{Decision, Policy};
use crate::flow::record::{Decided, FlowRecord};
use crate::ids::{DecisionId, SignalId, Target};
use crate::outcome::{Outcome, Verdict};
use crate::rules::{MAX_DEPTH, Rule};
use crate::trace::DecisionResult;

/// The names of one policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Legend {
    /// Digest of the policy, as 16 hexadecimal digits.
    pub(super) digest: String,
    compat: bool,
    by_confidence: bool,
    /// Per model, the canonical names of itself and of its adapters.
    pub(super) targets: Vec<Vec<String>>,
    /// `type:name`
    pub(super) signals: Vec<String>,
    /// Signals that count as something while they are unknown.
    pub(super) assumed: Vec<SignalId>,
    /// Knowledge base and metric.
    pub(super) kb_metrics: Vec<(String, String)>,
    pub(super) decisions: Vec<DecisionLegend>,
}

/// What is known of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct DecisionLegend {
    pub(super) name: String,
    pub(super) priority: i64,
    pub(super) tier: i64,
    name_rank: u32,
    #[serde(default)]
    pub(super) guard: bool,
    pub(super) rules: Rule,
    /// It has candidates of its own.
    pub(super) selects: bool,
    /// The selector's name.
    pub(super) method: String,
    /// As configured.
    pub(super) algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// A record that was not made with this legend, or a damaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record names something that its legend does not have")]
pub struct Mismatch;

impl DecisionLegend {
    fn of(decision: &Decision) -> Self {
        Self {
            name: decision.name.clone(),
            priority: decision.priority,
            tier: decision.tier,
            name_rank: decision.name_rank,
            guard: decision.guard,
            rules: decision.rules.clone(),
            selects: !decision.candidates.is_empty(),
            method: decision.selector.name().to_owned(),
            algorithm: decision.algorithm.clone(),
            note: decision.note.clone(),
        }
    }
}

impl Legend {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            digest: policy.digest_hex(),
            compat: policy.profile == Profile::Compat,
            by_confidence: policy.order.by_confidence,
            targets: policy.models.iter().map(|model| model.target_names.clone()).collect(),
            signals: policy.defs.iter().map(|def| def.key.clone()).collect(),
            assumed: policy.assumed.iter().map(|(signal, _)| *signal).collect(),
            kb_metrics: policy.projections.kb_metrics().to_vec(),
            decisions: policy.decisions.iter().map(DecisionLegend::of).collect(),
        }
    }

    /// Digest of the policy, as 16 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub(super) fn profile(&self) -> Profile {
        if self.compat { Profile::Compat } else { Profile::Pintle }
    }

    pub(super) fn order(&self) -> Order {
        Order { by_confidence: self.by_confidence, profile: self.profile() }
    }

    pub(super) fn view(&self, at: usize, result: &DecisionResult) -> Match {
        let DecisionLegend { priority, tier, name_rank, .. } = self.decisions[at];
        Match { priority, tier, name_rank, confidence: super::assume::match_confidence(result) }
    }

    pub(super) fn matches(&self, at: usize, result: &DecisionResult) -> bool {
        result.truth.is_true() || result.truth.is_unknown() && self.decisions[at].guard
    }

    pub(super) fn target_name(&self, target: Target) -> &str {
        &self.targets[target.model.index()][target.lora.map_or(0, |lora| lora.index() + 1)]
    }

    pub(super) fn decision_name(&self, decision: DecisionId) -> &str {
        &self.decisions[decision.index()].name
    }

    /// The part of a signal's key behind its type.
    pub(super) fn signal_name(&self, signal: SignalId) -> &str {
        let key = &self.signals[signal.index()];
        key.split_once(':').map_or(key, |(_, name)| name)
    }

    /// Whether a legend that was read from somewhere holds together: what its rules name exists.
    ///
    /// # Errors
    /// [`Mismatch`]
    pub fn check(&self) -> Result<(), Mismatch> {
        let mut known = true;
        for decision in &self.decisions {
            if decision.rules.depth() > MAX_DEPTH {
                return Err(Mismatch);
            }
            decision.rules.leaves(&mut |id| known &= id.index() < self.signals.len());
        }
        let named = self.targets.iter().all(|names| !names.is_empty());
        if known && named { Ok(()) } else { Err(Mismatch) }
    }

    /// Whether everything that a record names by number exists here; a document can be made of it then.
    pub(crate) fn fits(&self, record: &FlowRecord) -> Result<(), Mismatch> {
        let Some(decided) = &record.decided else { return Ok(()) };
        let fits = self.fits_outcome(&decided.outcome) && self.fits_live(decided);
        if fits { Ok(()) } else { Err(Mismatch) }
    }

    fn fits_live(&self, decided: &Decided) -> bool {
        decided.live.models.iter().all(|(model, _)| model.index() < self.targets.len())
    }

    fn fits_outcome(&self, outcome: &Outcome) -> bool {
        let trace = &outcome.trace;
        let target = |target: Target| {
            let names = self.targets.get(target.model.index());
            names.is_some_and(|names| target.lora.is_none_or(|lora| lora.index() + 1 < names.len()))
        };
        let decision = |decision: DecisionId| decision.index() < self.decisions.len();
        let signal = |signal: SignalId| signal.index() < self.signals.len();
        let verdict = match &outcome.verdict {
            Verdict::Route(route) => {
                target(route.target)
                    && route.alternatives.iter().copied().all(target)
                    && route.decision.is_none_or(decision)
                    && route.category.is_none_or(signal)
            }
            Verdict::Answer(answer) => decision(answer.decision),
            Verdict::Refuse(_) => true,
        };
        verdict
            && [0, self.signals.len()].contains(&trace.base.len())
            // Rules are read with the values of their signals.
            && (!trace.weighed || !trace.base.is_empty() || self.signals.is_empty())
            && trace.chosen.is_none_or(decision)
            && trace.candidates.iter().all(|candidate| target(candidate.target))
            && trace.base_choice.is_none_or(|at| at < trace.candidates.len())
    }
}
