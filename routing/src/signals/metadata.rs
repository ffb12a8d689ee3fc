//! `metadata`: what the client says in its request's `metadata`, compared with the configuration.
//!
//! Untrusted: whoever can send a request can write anything there.

use pintle_config::MetadataRule;

use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::{Evidence, Unknown};
use crate::facts::{Facts, Metadata};
use crate::ids::SignalId;

#[derive(Debug)]
pub(super) struct Members {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    key: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    AnyOf(Vec<String>),
    Exists(bool),
}

impl Members {
    pub(super) fn compile(rules: &[MetadataRule], c: &mut Compiler<'_>) -> Self {
        let mut compiled = Vec::with_capacity(rules.len());
        for rule in rules {
            let predicate = &rule.predicate;
            let test = match (&predicate.equals, &*predicate.any_of, predicate.exists) {
                (Some(text), [], None) => Test::AnyOf(vec![text.clone()]),
                (None, texts @ [_, ..], None) => Test::AnyOf(texts.to_vec()),
                (None, [], Some(exists)) => Test::Exists(exists),
                _ => {
                    let at = format!("routing.signals.metadata[{:?}].predicate", rule.name);
                    c.error(at, "a predicate needs exactly one of equals, in and exists");
                    continue;
                }
            };
            let id = c.names.declare(SignalKind::Metadata, &rule.name);
            compiled.push(Rule { id, key: rule.key.clone(), test });
        }
        Self { rules: compiled }
    }

    pub(super) fn evaluate(&self, facts: &Facts<'_>, out: &mut EvidenceTable) {
        for rule in &self.rules {
            out[rule.id.index()] = match rule.holds(&facts.metadata) {
                Ok(holds) => Evidence::scored(holds, 1.0, f64::from(u8::from(holds))),
                Err(why) => Evidence::unknown(why),
            };
        }
    }
}

impl Rule {
    fn holds(&self, metadata: &Metadata<'_>) -> Result<bool, Unknown> {
        // Of a name that is written twice the last counts, as in most JSON libraries.
        let found = metadata.members.iter().rev().find(|(name, _)| *name == self.key);
        match (found, &self.test) {
            (None, _) if metadata.truncated => Err(Unknown::TooLong),
            (found, Test::Exists(exists)) => Ok(found.is_some() == *exists),
            (None, Test::AnyOf(_)) => Ok(false),
            (Some((_, None)), Test::AnyOf(_)) => Err(Unknown::NoInput),
            (Some((_, Some(value))), Test::AnyOf(texts)) => Ok(texts.iter().any(|text| text == value)),
        }
    }
}
