//! Guards, and what an unknown signal counts as: `global.pintle.decisions` and `global.pintle.signals`.
//!
//! Without them an unknown signal satisfies neither a condition nor its negation, so an allowing decision fails
//! closed by itself. A decision that *blocks* does not: it would be passed over. Marked as a guard, it counts as
//! matching, with full confidence, while it cannot be told whether its rules hold.
//!
//! The compat profile has no unknown, so neither has an effect there.

use pintle_config::{Config, OnError, Profile};

use super::order::Match;
use super::{Decision, Policy};
use crate::evidence::{Evidence, Truth};
use crate::ids::SignalId;
use crate::signals::{CompileError, SignalKind, SignalNames};
use crate::trace::DecisionResult;

/// Marks guards, and finds the signals that are named. A name of nothing is an error: a guard that is misspelt
/// would guard nothing.
pub(super) fn compile(
    config: &Config,
    profile: Profile,
    names: &SignalNames,
    decisions: &mut [Decision],
    errors: &mut Vec<CompileError>,
) -> Vec<(SignalId, bool)> {
    if profile == Profile::Compat {
        return Vec::new();
    }
    for settings in &config.global.pintle.decisions {
        let mut named = decisions.iter_mut().filter(|decision| decision.name == settings.name).peekable();
        if named.peek().is_none() {
            let what = format!("no decision is called {:?}", settings.name);
            errors.push(CompileError { at: "global.pintle.decisions".into(), what });
        }
        named.for_each(|decision| decision.guard = settings.guard);
    }
    let mut assumed = Vec::new();
    for settings in &config.global.pintle.signals {
        let named = settings.signal.split_once(':').and_then(|(kind, name)| {
            let kind = SignalKind::parse(kind).filter(|kind| *kind != SignalKind::Projection)?;
            names.get(kind, name)
        });
        match (named, settings.on_error) {
            (None, _) => {
                let what = format!("no signal is called {:?}; signals are named type:name", settings.signal);
                errors.push(CompileError { at: "global.pintle.signals".into(), what });
            }
            (Some(_), OnError::Unknown) => {}
            (Some(id), on_error) => assumed.push((id, on_error == OnError::Match)),
        }
    }
    assumed
}

/// How surely a decision matches that counts as matching.
pub(super) fn match_confidence(result: &DecisionResult) -> f64 {
    if result.truth.is_unknown() { 1.0 } else { result.confidence }
}

impl Policy {
    /// Gives unknown signals the value that they count as.
    pub(super) fn assume(&self, table: &mut [Evidence]) {
        for (id, holds) in &self.assumed {
            let evidence = &mut table[id.index()];
            if evidence.truth.is_unknown() {
                evidence.truth = Truth::from(*holds);
            }
        }
    }

    /// Whether a decision applies by what its rules came to.
    pub(super) fn matches(&self, at: usize, truth: Truth) -> bool {
        truth.is_true() || truth.is_unknown() && self.decisions[at].guard
    }

    /// A matching decision as the order among decisions sees it.
    pub(super) fn view(&self, at: usize, result: &DecisionResult) -> Match {
        let Decision { priority, tier, name_rank, .. } = self.decisions[at];
        Match { priority, tier, name_rank, confidence: match_confidence(result) }
    }
}
