//! `structure`: patterns in the text, counted.

use pintle_config::{Profile, StructureRule};
use regex::{Regex, RegexBuilder};

use super::predicate::{Predicate, sigmoid};
use super::scanner::{Hits, Literal};
use super::text::{Boundary, count_units};
use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::Evidence;
use crate::ids::SignalId;

/// Steepness of the confidence around a bound.
const SLOPE: f64 = 4.0;
/// A match is never less sure than this.
const MIN_CONFIDENCE: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Structures {
    rules: Vec<Rule>,
    any_density: bool,
    profile: Profile,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    feature: Feature,
    source: Source,
    predicate: Option<Predicate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feature {
    Exists,
    Count,
    Density,
}

#[derive(Debug)]
enum Source {
    Regex(Box<Regex>),
    KeywordSet(Vec<Literal>),
    /// One of these runs of markers, each marker behind the one before it.
    Sequences(Vec<Vec<Literal>>),
}

impl Structures {
    pub(super) fn compile(rules: &[StructureRule], c: &mut Compiler<'_>) -> Self {
        let compiled: Vec<Rule> = rules.iter().filter_map(|rule| compile(rule, c)).collect();
        let any_density = compiled.iter().any(|rule| rule.feature == Feature::Density);
        Self { rules: compiled, any_density, profile: c.profile }
    }

    pub(super) fn evaluate(&self, text: &str, hits: &Hits, out: &mut EvidenceTable) {
        let text_units = if self.any_density { count_units(text) } else { 0 };
        for rule in &self.rules {
            let count = rule.source.count(text, hits);
            let value = match rule.feature {
                Feature::Exists => f64::from(u8::from(count > 0)),
                Feature::Count => count as f64,
                Feature::Density if text_units == 0 => 0.0,
                Feature::Density => count as f64 / text_units as f64,
            };
            let holds = rule.predicate.map_or(value > 0.0, |predicate| predicate.holds(value));
            let confidence = rule
                .predicate
                .and_then(|predicate| predicate.first_distance(value))
                .map_or(1.0, |distance| sigmoid(SLOPE, distance).max(MIN_CONFIDENCE));
            let mut evidence = Evidence::scored(holds, confidence, value);
            if !holds {
                evidence.confidence = None;
                if self.profile == Profile::Compat {
                    evidence.value = None;
                }
            }
            out[rule.id.index()] = evidence;
        }
    }
}

impl Source {
    fn count(&self, text: &str, hits: &Hits) -> u64 {
        match self {
            Self::Regex(regex) => regex.find_iter(text).count() as u64,
            Self::KeywordSet(literals) => literals.iter().map(|l| u64::from(hits.count(*l))).sum(),
            Self::Sequences(sequences) => {
                u64::from(sequences.iter().any(|markers| occurs_in_order(markers, hits)))
            }
        }
    }
}

/// Places arrive by ascending end, so taking each marker as early as it comes leaves the most room.
fn occurs_in_order(markers: &[Literal], hits: &Hits) -> bool {
    let mut wanted = markers.iter();
    let Some(mut next) = wanted.next() else { return false };
    let mut free_from = 0;
    for place in hits.places() {
        if place.literal == *next && place.start >= free_from {
            free_from = place.end;
            match wanted.next() {
                Some(marker) => next = marker,
                None => return true,
            }
        }
    }
    false
}

fn compile(rule: &StructureRule, c: &mut Compiler<'_>) -> Option<Rule> {
    let id = c.names.declare(SignalKind::Structure, &rule.name);
    let at = || format!("routing.signals.structure[{:?}].feature", rule.name);
    let source = &rule.feature.source;
    let feature = match rule.feature.kind.as_str() {
        "exists" | "sequence" => Feature::Exists,
        "count" => Feature::Count,
        "density" => Feature::Density,
        other => {
            c.error(at(), format!("unknown feature type {other:?}"));
            return None;
        }
    };
    let source = match source.kind.as_str() {
        "regex" => {
            match RegexBuilder::new(&source.pattern).case_insensitive(!source.case_sensitive).build() {
                Ok(regex) => Source::Regex(Box::new(regex)),
                Err(error) => {
                    c.error(at(), format!("pattern {:?}: {error}", source.pattern));
                    return None;
                }
            }
        }
        "keyword_set" => Source::KeywordSet(
            source
                .keywords
                .iter()
                .map(|k| c.scanner.add(k, source.case_sensitive, Boundary::of_keyword(k), false))
                .collect(),
        ),
        "sequence" => Source::Sequences(
            source
                .sequences
                .iter()
                .map(|markers| {
                    let add =
                        |m: &String| c.scanner.add(m, source.case_sensitive, Boundary::of_keyword(m), true);
                    markers.iter().map(add).collect()
                })
                .collect(),
        ),
        other => {
            c.error(at(), format!("unknown source type {other:?}"));
            return None;
        }
    };
    let predicate = rule.predicate.as_ref().map(Predicate::from).filter(|p| !p.is_empty());
    Some(Rule { id, feature, source, predicate })
}
