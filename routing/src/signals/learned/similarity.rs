//! `embedding` and `preference`: similarity to banks of examples.

use pintle_config::{ModelCatalog, Profile, Signals};

use super::super::{Compiler, EvidenceTable, SignalKind};
use super::{all_unknown, number, per_rule};
use crate::evidence::{Evidence, Unknown};
use crate::ids::SignalId;
use crate::learned::Reading;
use crate::prototype::BankParams;

#[derive(Debug)]
pub(super) struct Similarity {
    embeddings: Vec<Rule>,
    /// Where no rule reaches its threshold, those that reach this one match.
    soft_threshold: Option<f64>,
    /// Embedding rules that may match at once; 0 is no bound.
    top_k: usize,
    preferences: Vec<Rule>,
    preference_margin: f64,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    name: String,
    threshold: f64,
}

impl Similarity {
    pub(super) fn compile(signals: &Signals, catalog: &ModelCatalog, c: &mut Compiler<'_>) -> Self {
        let config = &catalog.embeddings.semantic.embedding_config;
        let soft = if config.min_score_threshold > 0.0 { f64::from(config.min_score_threshold) } else { 0.5 };
        let embeddings = signals.embeddings.iter().map(|rule| Rule {
            id: c.names.declare(SignalKind::Embedding, &rule.name),
            name: rule.name.clone(),
            threshold: f64::from(rule.threshold),
        });
        let embeddings = embeddings.collect();
        let preferences = signals.preferences.iter().map(|rule| Rule {
            id: c.names.declare(SignalKind::Preference, &rule.name),
            name: rule.name.clone(),
            threshold: f64::from(rule.threshold),
        });
        Self {
            embeddings,
            soft_threshold: config.enable_soft_matching.unwrap_or(true).then_some(soft),
            // v0.3.0 keeps one match over all rules, so that two leaves can never both hold; exclusiveness
            // is what partitions are for.
            top_k: match (c.profile, config.top_k) {
                (Profile::Pintle, Some(1) | None) => 0,
                (_, None) => 1,
                (_, Some(k)) => usize::try_from(k).unwrap_or(1),
            },
            preferences: preferences.collect(),
            preference_margin: BankParams::from(&catalog.modules.classifier.preference.prototype_scoring)
                .margin,
        }
    }

    pub(super) fn evaluate_embedding(&self, reading: &Reading<Vec<f64>>, out: &mut EvidenceTable) {
        let score = |at: usize| per_rule(reading, at).and_then(|score| number(*score));
        let hard = |at: usize| score(at).is_ok_and(|score| score >= self.embeddings[at].threshold);
        let soft = self.soft_threshold.filter(|_| !(0..self.embeddings.len()).any(hard));
        for (at, rule) in self.embeddings.iter().enumerate() {
            let holds = |score: f64| score >= rule.threshold || soft.is_some_and(|soft| score >= soft);
            out[rule.id.index()] = match score(at) {
                Ok(score) => Evidence::scored(holds(score), score.clamp(0.0, 1.0), score),
                Err(why) => Evidence::unknown(why),
            };
        }
    }

    /// Keeps the `top_k` best embedding matches: by score, then by name.
    pub(super) fn keep_best(&self, out: &mut EvidenceTable) {
        if self.top_k == 0 || self.embeddings.len() <= self.top_k {
            return;
        }
        let mut matched: Vec<&Rule> =
            self.embeddings.iter().filter(|rule| out[rule.id.index()].truth.is_true()).collect();
        let score = |rule: &Rule| out[rule.id.index()].value.unwrap_or(0.0);
        matched.sort_by(|a, b| score(b).total_cmp(&score(a)).then_with(|| a.name.cmp(&b.name)));
        let dropped: Vec<usize> = matched.iter().skip(self.top_k).map(|rule| rule.id.index()).collect();
        for at in dropped {
            out[at] = Evidence { value: out[at].value, ..Evidence::plain(false) };
        }
    }

    /// The best rule matches if it reaches its threshold and leads by the margin.
    pub(super) fn evaluate_preference(&self, reading: &Reading<Vec<f64>>, out: &mut EvidenceTable) {
        let scores: Result<Vec<f64>, Unknown> = (0..self.preferences.len())
            .map(|at| per_rule(reading, at).and_then(|score| number(*score)))
            .collect();
        let scores = match scores {
            Ok(scores) => scores,
            Err(why) => return all_unknown(self.preferences.iter().map(|rule| rule.id), why, out),
        };
        let best = (0..scores.len()).reduce(|a, b| if scores[b] > scores[a] { b } else { a });
        for (at, rule) in self.preferences.iter().enumerate() {
            let others = (0..scores.len()).filter(|other| *other != at).map(|other| scores[other]);
            let lead = others.reduce(f64::max).map_or(f64::INFINITY, |second| scores[at] - second);
            let reaches = rule.threshold <= 0.0 || scores[at] >= rule.threshold;
            let leads = self.preference_margin <= 0.0 || lead >= self.preference_margin;
            let holds = best == Some(at) && reaches && leads;
            out[rule.id.index()] = Evidence::scored(holds, scores[at].clamp(0.0, 1.0), scores[at]);
        }
    }
}
