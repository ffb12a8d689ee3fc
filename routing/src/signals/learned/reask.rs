//! `reask`: the user asks the same again.
//!
//! The streak is the number of latest earlier turns, in a row, that the current one resembles. Resemblance is
//! measured by embeddings; without them, turns that share nearly all their words are still certain to be alike,
//! while unlike words prove nothing.

use std::collections::HashMap;

use pintle_config::{Profile, ReaskRule};

use super::super::text::{fold_into_lower, words};
use super::super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::{Evidence, Unknown};
use crate::facts::Facts;
use crate::ids::SignalId;
use crate::learned::Reading;

#[derive(Debug)]
pub(super) struct Reasks {
    rules: Vec<Rule>,
    longest: usize,
    profile: Profile,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    threshold: f64,
    lookback: usize,
}

impl Reasks {
    pub(super) fn compile(rules: &[ReaskRule], c: &mut Compiler<'_>) -> Self {
        let rules = rules.iter().map(|rule| Rule {
            id: c.names.declare(SignalKind::Reask, &rule.name),
            threshold: if rule.threshold > 0.0 { f64::from(rule.threshold) } else { 0.8 },
            lookback: usize::try_from(rule.lookback_turns).unwrap_or(1).max(1),
        });
        let rules: Vec<Rule> = rules.collect();
        let longest = rules.iter().map(|rule| rule.lookback).max().unwrap_or(0);
        Self { rules, longest, profile: c.profile }
    }

    pub(super) fn evaluate(&self, facts: &Facts<'_>, reading: &Reading<Vec<f64>>, out: &mut EvidenceTable) {
        let turns = facts.texts.prior_user.len();
        let (similarities, why) = match reading.given() {
            Ok(measured) => (measured.clone(), None),
            Err(why) if self.profile == Profile::Pintle => (self.lexical(facts), Some(why)),
            Err(why) => (Vec::new(), Some(why)),
        };
        let matched = |rule: &Rule| streak(&similarities, rule.threshold) >= rule.lookback;
        let longest = self.rules.iter().filter(|rule| matched(rule)).map(|rule| rule.lookback).max();
        for rule in &self.rules {
            let streak = streak(&similarities, rule.threshold);
            let holds = matched(rule) && Some(rule.lookback) == longest;
            out[rule.id.index()] = if holds {
                let surest = similarities[..rule.lookback].iter().copied().fold(1.0, f64::min);
                Evidence::scored(true, surest.clamp(0.0, 1.0), streak as f64)
            } else if turns < rule.lookback || matched(rule) {
                Evidence::measured(false, streak as f64)
            } else {
                match why {
                    None if similarities.iter().any(|s| !s.is_finite()) => {
                        Evidence::unknown(Unknown::ClassifierFailed)
                    }
                    None => Evidence::measured(false, streak as f64),
                    Some(why) => Evidence::unknown(why),
                }
            };
        }
    }

    /// Cosine of word counts with the latest earlier turns, newest first; as many as any rule reads.
    fn lexical(&self, facts: &Facts<'_>) -> Vec<f64> {
        let current = counts(&facts.texts.current_user);
        let prior = facts.texts.prior_user.iter().rev().take(self.longest);
        prior.map(|text| cosine(&current, &counts(text))).collect()
    }
}

fn streak(similarities: &[f64], threshold: f64) -> usize {
    similarities.iter().take_while(|similarity| **similarity >= threshold).count()
}

fn counts(text: &str) -> HashMap<String, f64> {
    let mut counts = HashMap::new();
    for word in words(&fold_into_lower(text)) {
        *counts.entry(word.to_owned()).or_default() += 1.0;
    }
    counts
}

/// Sums of small whole numbers are exact, so the order of a map does not show.
fn cosine(a: &HashMap<String, f64>, b: &HashMap<String, f64>) -> f64 {
    let dot: f64 = a.iter().filter_map(|(word, count)| Some(count * b.get(word)?)).sum();
    let norm = |counts: &HashMap<String, f64>| counts.values().map(|count| count * count).sum::<f64>();
    let product = norm(a) * norm(b);
    if product > 0.0 { dot / product.sqrt() } else { 0.0 }
}
