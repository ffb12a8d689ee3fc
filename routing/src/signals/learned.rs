//! Families whose evidence a classifier measures: what the measurements mean.
//!
//! Each family is unknown where nothing was measured. In the Pintle profile four of them also have a side
//! that needs no classifier and can only say "true": literal attack patterns, well-formed personal data, image
//! keywords and verbatim repetition. Their silence proves nothing, so it leaves the signal unknown.

use pintle_config::{Config, Profile};

use super::scanner::Hits;
use super::unknown_all as all_unknown;
use super::{Compiler, EvidenceTable, SignalKind, Used};
use crate::evidence::{Evidence, Unknown};
use crate::facts::Facts;
use crate::learned::{Learned, Reading};

mod complexity;
mod domain;
mod guard;
mod kb;
mod labels;
mod modality;
pub(super) mod pii_patterns;
mod reask;
mod similarity;
#[cfg(test)]
mod tests;

/// All learned families, compiled.
#[derive(Debug)]
pub(super) struct Families {
    similarity: similarity::Similarity,
    domain: domain::Domains,
    complexity: complexity::Complexity,
    labels: labels::Labels,
    guard: guard::Guard,
    kb: kb::KnowledgeBases,
    modality: modality::Modality,
    reask: reask::Reasks,
    profile: Profile,
}

/// What evaluation reads besides the measurements.
pub(super) struct Request<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) text: &'a str,
    pub(super) hits: &'a Hits,
    /// Finds literals in other texts.
    pub(super) scan: &'a dyn Fn(&str) -> Hits,
}

impl Families {
    pub(super) fn compile(config: &Config, c: &mut Compiler<'_>) -> Self {
        let signals = &config.routing.signals;
        let catalog = &config.global.model_catalog;
        Self {
            similarity: similarity::Similarity::compile(signals, catalog, c),
            domain: domain::Domains::compile(&signals.domains, &catalog.modules.classifier.domain, c),
            labels: labels::Labels::compile(signals, &catalog.modules, c),
            guard: guard::Guard::compile(signals, &catalog.modules, c),
            kb: kb::KnowledgeBases::compile(&signals.kb, &catalog.kbs, c),
            modality: modality::Modality::compile(&signals.modality, &catalog.modules.modality_detector, c),
            reask: reask::Reasks::compile(&signals.reasks, c),
            // Last: composers refer to the others.
            complexity: complexity::Complexity::compile(&signals.complexity, c),
            profile: c.profile,
        }
    }

    /// Families that composers refer to, so that those are evaluated too. v0.3.0 forgets them.
    pub(super) fn note_used(&self, names: &[super::SignalDef], used: &mut Used) {
        if self.profile == Profile::Pintle && used.contains(SignalKind::Complexity) {
            self.complexity.note_used(names, used);
        }
    }

    /// A family reads what was said before the current turn.
    pub(super) fn reads_history(&self, used: Used) -> bool {
        self.profile == Profile::Pintle && self.guard.reads_history(used)
    }

    pub(super) fn evaluate(
        &self,
        request: &Request<'_>,
        learned: &Learned,
        used: Used,
        out: &mut EvidenceTable,
    ) {
        if used.contains(SignalKind::Embedding) {
            self.similarity.evaluate_embedding(&learned.embedding, out);
        }
        if used.contains(SignalKind::Preference) {
            self.similarity.evaluate_preference(&learned.preference, out);
        }
        if used.contains(SignalKind::Domain) {
            self.domain.evaluate(&learned.domain, out);
        }
        if used.contains(SignalKind::Complexity) {
            self.complexity.evaluate(&learned.complexity, out);
        }
        if used.contains(SignalKind::FactCheck) {
            self.labels.evaluate_fact_check(&learned.fact_check, out);
        }
        if used.contains(SignalKind::UserFeedback) {
            self.labels.evaluate_feedback(request.facts, &learned.user_feedback, out);
        }
        if used.contains(SignalKind::Jailbreak) {
            self.guard.evaluate_jailbreak(request, &learned.jailbreak, out);
        }
        if used.contains(SignalKind::Pii) {
            self.guard.evaluate_pii(request, &learned.pii, out);
        }
        if used.contains(SignalKind::Kb) {
            self.kb.evaluate(&learned.kb, out);
        }
        if used.contains(SignalKind::Modality) {
            self.modality.evaluate(request, &learned.modality, out);
        }
        if used.contains(SignalKind::Reask) {
            self.reask.evaluate(request.facts, &learned.reask, out);
        }
        if self.profile == Profile::Compat {
            for evidence in out.iter_mut().filter(|evidence| evidence.truth.is_unknown()) {
                *evidence = Evidence { value: evidence.value, ..Evidence::plain(false) };
            }
        }
    }

    /// What comes between partitions and scores: composers, then the best few embeddings.
    pub(super) fn finish(&self, out: &mut EvidenceTable) {
        self.complexity.apply_composers(out, self.profile);
        self.similarity.keep_best(out);
    }

    /// The value of a knowledge base's metric.
    pub(super) fn kb_metric(&self, kb: &str, metric: &str, learned: &Learned) -> Option<f64> {
        self.kb.metric(kb, metric, learned.kb.given().ok()?)
    }
}

/// One measurement per rule; a missing one is a failure of the classifier.
fn per_rule<T>(reading: &Reading<Vec<T>>, at: usize) -> Result<&T, Unknown> {
    reading.given()?.get(at).ok_or(Unknown::ClassifierFailed)
}

/// A measurement that is a number; anything else is a failure of the classifier.
fn number(value: f64) -> Result<f64, Unknown> {
    if value.is_finite() { Ok(value) } else { Err(Unknown::ClassifierFailed) }
}
