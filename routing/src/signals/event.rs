//! `event`: what a text reports: a kind of event, how severe, what to do, how urgent.

use pintle_config::{EventRule, Profile};
use smallvec::SmallVec;

use super::scanner::{Hits, Literal};
use super::text::Boundary;
use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::Evidence;
use crate::ids::SignalId;

/// Words that make a text urgent. The two compounds are written with a space, a hyphen, an underscore or
/// a dot.
const TEMPORAL: [&str; 13] = [
    "urgent",
    "immediate",
    "asap",
    "deadline",
    "now",
    "time.sensitive",
    "time sensitive",
    "time-sensitive",
    "time_sensitive",
    "critical.window",
    "critical window",
    "critical-window",
    "critical_window",
];

#[derive(Debug)]
pub(super) struct Events {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    /// Event types, severities, action codes, temporal markers, as far as they are configured; any word
    /// of a criterion fulfils it.
    criteria: SmallVec<[Vec<Literal>; 4]>,
}

impl Events {
    pub(super) fn compile(rules: &[EventRule], c: &mut Compiler<'_>) -> Self {
        let compiled = rules.iter().map(|rule| {
            let id = c.names.declare(SignalKind::Event, &rule.name);
            let mut criteria = SmallVec::new();
            for words in [&rule.event_types, &rule.severities, &rule.action_codes] {
                if !words.is_empty() {
                    criteria.push(words.iter().map(|word| literal(word, c)).collect());
                }
            }
            if rule.temporal {
                criteria.push(TEMPORAL.iter().map(|word| literal(word, c)).collect());
            }
            Rule { id, criteria }
        });
        Self { rules: compiled.collect() }
    }

    pub(super) fn evaluate(&self, hits: &Hits, out: &mut EvidenceTable) {
        for rule in &self.rules {
            let hit =
                rule.criteria.iter().filter(|words| words.iter().any(|word| hits.count(*word) > 0)).count();
            let share = if rule.criteria.is_empty() { 0.0 } else { hit as f64 / rule.criteria.len() as f64 };
            out[rule.id.index()] = if hit > 0 {
                Evidence::scored(true, 0.5 + 0.5 * share, share)
            } else {
                Evidence::measured(false, share)
            };
        }
    }
}

fn literal(word: &str, c: &mut Compiler<'_>) -> Literal {
    let boundary = match c.profile {
        Profile::Pintle => Boundary::of_keyword(word),
        Profile::Compat => Boundary::AsciiBothSides,
    };
    c.scanner.add(word, false, boundary, false)
}
