//! `domain`: what the request is about.
//!
//! The classifier's labels count for every domain that lists them, or that is called like them. How many labels
//! are believed depends on how undecided the classifier is: with a distribution of normalised entropy below
//! 0.4 only the likeliest, above that every one that reaches the threshold.

use pintle_config::{CategoryModule, Domain, Profile};

use super::super::{Compiler, EvidenceTable, SignalKind};
use super::all_unknown;
use crate::evidence::{Evidence, Unknown};
use crate::ids::SignalId;
use crate::learned::{DomainReading, Reading};

/// Below this normalised entropy only the likeliest label counts.
const DECIDED: f64 = 0.4;

#[derive(Debug)]
pub(super) struct Domains {
    domains: Vec<(SignalId, Vec<String>)>,
    threshold: f64,
    profile: Profile,
}

impl Domains {
    pub(super) fn compile(domains: &[Domain], module: &CategoryModule, c: &mut Compiler<'_>) -> Self {
        let mut compiled = Vec::with_capacity(domains.len());
        for domain in domains {
            let id = c.names.declare(SignalKind::Domain, &domain.name);
            for category in &domain.mmlu_categories {
                c.names.alias(SignalKind::Domain, category, id);
            }
            let mut labels = domain.mmlu_categories.clone();
            if labels.is_empty() {
                labels.push(domain.name.clone());
            }
            compiled.push((id, labels));
        }
        Self { domains: compiled, threshold: f64::from(module.threshold), profile: c.profile }
    }

    pub(super) fn evaluate(&self, reading: &Reading<DomainReading>, out: &mut EvidenceTable) {
        let ids = || self.domains.iter().map(|(id, _)| *id);
        let reading = match reading.given() {
            Ok(reading) => reading,
            Err(why) => return all_unknown(ids(), why, out),
        };
        if reading.labels.is_empty() || !reading.labels.iter().all(|(_, p)| (0.0..=1.0).contains(p)) {
            return all_unknown(ids(), Unknown::ClassifierFailed, out);
        }
        let top = reading.labels.iter().map(|(_, p)| *p).fold(0.0, f64::max);
        let only_top = !reading.complete || normalised_entropy(&reading.labels) < DECIDED;
        let believed = |p: f64| p >= self.threshold && (!only_top || p == top);
        for (id, labels) in &self.domains {
            let mine = || reading.labels.iter().filter(|(label, _)| labels.contains(label)).map(|(_, p)| *p);
            // Several labels of one domain add up; v0.3.0 lets the last one stand. A sum of nothing is -0.
            let probability = match self.profile {
                Profile::Pintle => (mine().sum::<f64>() + 0.0).min(1.0),
                Profile::Compat => mine().rfind(|p| believed(*p)).unwrap_or(0.0),
            };
            let holds = match self.profile {
                Profile::Pintle => mine().any(believed) || (!only_top && probability >= self.threshold),
                Profile::Compat => mine().any(believed),
            };
            out[id.index()] = Evidence::scored(holds, probability, probability);
        }
    }
}

/// `H / ln n`, in `[0,1]`; 0 for a single label.
pub(super) fn normalised_entropy(labels: &[(String, f64)]) -> f64 {
    let entropy: f64 = labels.iter().map(|(_, p)| *p).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
    if labels.len() > 1 { entropy / (labels.len() as f64).ln() } else { 0.0 }
}
