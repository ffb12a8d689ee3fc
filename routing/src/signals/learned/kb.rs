//! `kb`: labels and groups of a knowledge base.

use pintle_config::{KbRule, KnowledgeBase};

use super::super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::{Evidence, Unknown};
use crate::ids::SignalId;
use crate::learned::{KbReading, Reading};

#[derive(Debug)]
pub(super) struct KnowledgeBases {
    bases: Vec<KnowledgeBase>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    /// Position in `bases`.
    base: Option<usize>,
    group: bool,
    value: String,
    best: bool,
}

impl KnowledgeBases {
    pub(super) fn compile(rules: &[KbRule], bases: &[KnowledgeBase], c: &mut Compiler<'_>) -> Self {
        let rules = rules.iter().map(|rule| Rule {
            id: c.names.declare(SignalKind::Kb, &rule.name),
            base: bases.iter().position(|base| base.name == rule.kb),
            group: rule.target.kind.eq_ignore_ascii_case("group"),
            value: rule.target.value.clone(),
            best: rule.r#match.eq_ignore_ascii_case("best"),
        });
        Self { rules: rules.collect(), bases: bases.to_vec() }
    }

    pub(super) fn evaluate(&self, reading: &Reading<Vec<KbReading>>, out: &mut EvidenceTable) {
        for rule in &self.rules {
            let evidence = reading.given().and_then(|readings| {
                let base = rule.base.map(|at| &self.bases[at]).ok_or(Unknown::Undeclared)?;
                let scores = Scores::of(base, readings)?;
                Ok(rule.evidence(&scores))
            });
            out[rule.id.index()] = evidence.unwrap_or_else(Evidence::unknown);
        }
    }

    /// `best_score`, `best_matched_score`, or a configured group margin; `None` if it cannot be computed.
    pub(super) fn metric(&self, kb: &str, metric: &str, readings: &[KbReading]) -> Option<f64> {
        let base = self.bases.iter().find(|base| base.name == kb)?;
        let scores = Scores::of(base, readings).ok()?;
        match metric {
            "best_score" => Some(scores.best(|_| true)),
            "best_matched_score" => Some(scores.best(|label| scores.matches(label))),
            _ => {
                let metric = base.metrics.iter().find(|known| known.name == metric)?;
                Some(scores.group(&metric.positive_group) - scores.group(&metric.negative_group))
            }
        }
    }
}

struct Scores<'a> {
    base: &'a KnowledgeBase,
    labels: &'a [(String, f64)],
}

impl<'a> Scores<'a> {
    fn of(base: &'a KnowledgeBase, readings: &'a [KbReading]) -> Result<Self, Unknown> {
        let reading =
            readings.iter().find(|reading| reading.kb == base.name).ok_or(Unknown::ClassifierFailed)?;
        if reading.labels.iter().any(|(_, score)| !score.is_finite()) {
            return Err(Unknown::ClassifierFailed);
        }
        Ok(Self { base, labels: &reading.labels })
    }

    fn score(&self, label: &str) -> Option<f64> {
        self.labels.iter().find(|(known, _)| known == label).map(|(_, score)| *score)
    }

    fn matches(&self, label: &str) -> bool {
        let threshold = self.base.label_thresholds.get(label).copied().unwrap_or(self.base.threshold);
        self.score(label).is_some_and(|score| score >= f64::from(threshold))
    }

    /// The greatest score of a label of this kind, at least 0.
    fn best(&self, counts: impl Fn(&str) -> bool) -> f64 {
        self.labels.iter().filter(|(label, _)| counts(label)).map(|(_, score)| *score).fold(0.0, f64::max)
    }

    fn group(&self, group: &str) -> f64 {
        self.best(|label| self.is_in(label, group))
    }

    fn is_in(&self, label: &str, group: &str) -> bool {
        self.base.groups.get(group).is_some_and(|labels| labels.iter().any(|known| known == label))
    }

    fn best_label(&self) -> Option<&str> {
        let best = self.labels.iter().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        Some(&best.0)
    }
}

impl Rule {
    fn evidence(&self, scores: &Scores<'_>) -> Evidence {
        let targets =
            |label: &str| if self.group { scores.is_in(label, &self.value) } else { label == self.value };
        let score = scores.best(targets);
        let matched = |label: &str| targets(label) && scores.matches(label);
        let holds = if self.best {
            scores.best_label().is_some_and(matched)
        } else {
            scores.labels.iter().any(|(label, _)| matched(label))
        };
        Evidence::scored(holds, score.clamp(0.0, 1.0), score)
    }
}
