//! `keyword`: words or patterns in the text.
//!
//! Literals of all rules share the scanner's automaton, raw regular expressions share one set; both are
//! linear in the text. In the compat profile at most one rule matches, the first in configured order; in
//! the Pintle profile each rule stands for itself.

use pintle_config::{KeywordRule, Profile};
use regex::{RegexSet, RegexSetBuilder};

use super::scanner::{Hits, Literal};
use super::text::Boundary;
use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::Evidence;
use crate::ids::SignalId;

mod bm25;
mod fuzzy;
mod ngram;
mod re2;

use bm25::Bm25;
use fuzzy::{FuzzyId, FuzzyKeywords};
use ngram::NGrams;

/// Bytes that the compiled set of regular expressions of one case mode may take.
const REGEX_SET_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Keywords {
    rules: Vec<Rule>,
    patterns: RegexSet,
    fuzzy: FuzzyKeywords,
    profile: Profile,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    operator: Operator,
    matcher: Matcher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    And,
    Or,
    Nor,
}

#[derive(Debug)]
enum Matcher {
    Literals(Vec<LiteralKeyword>),
    /// Positions in the set.
    Patterns(std::ops::Range<usize>),
    Bm25(Box<Bm25>),
    NGrams(Box<NGrams>),
}

#[derive(Debug)]
struct LiteralKeyword {
    literal: Literal,
    fuzzy: Option<FuzzyId>,
}

impl Keywords {
    /// `None` if the regular expressions of the policy cannot be compiled; the error is noted.
    pub(super) fn compile(rules: &[KeywordRule], c: &mut Compiler<'_>) -> Option<Self> {
        let mut patterns = Vec::new();
        let mut fuzzy = FuzzyKeywords::default();
        let compiled: Vec<Rule> =
            rules.iter().filter_map(|rule| compile_rule(rule, &mut patterns, &mut fuzzy, c)).collect();
        let set = RegexSetBuilder::new(&patterns).size_limit(REGEX_SET_BYTES).build();
        let patterns = match set {
            Ok(set) => set,
            Err(error) => {
                c.error("routing.signals.keywords".into(), error.to_string());
                return None;
            }
        };
        Some(Self { rules: compiled, patterns, fuzzy, profile: c.profile })
    }

    pub(super) fn evaluate(&self, text: &str, hits: &Hits, out: &mut EvidenceTable) {
        let matched = (!self.patterns.is_empty()).then(|| self.patterns.matches(text));
        let fuzzy = self.fuzzy.find(text);
        let mut taken = false;
        for rule in &self.rules {
            let (found, all) = match &rule.matcher {
                Matcher::Literals(keywords) => {
                    let hit = |k: &&LiteralKeyword| {
                        hits.count(k.literal) > 0 || k.fuzzy.is_some_and(|id| fuzzy.contains(id))
                    };
                    (keywords.iter().filter(hit).count(), keywords.len())
                }
                Matcher::Patterns(range) => {
                    let hit = |at: &usize| matched.as_ref().is_some_and(|set| set.matched(*at));
                    (range.clone().filter(hit).count(), range.len())
                }
                Matcher::Bm25(index) => (index.matching(text), index.len()),
                Matcher::NGrams(index) => (index.matching(text), index.len()),
            };
            let holds = match rule.operator {
                Operator::And => found == all && all > 0,
                Operator::Or => found > 0,
                Operator::Nor => found == 0,
            };
            let masked = taken && self.profile == Profile::Compat;
            taken |= holds;
            out[rule.id.index()] = Evidence::measured(holds && !masked, found as f64);
        }
    }
}

fn compile_rule(
    rule: &KeywordRule,
    patterns: &mut Vec<String>,
    fuzzy: &mut FuzzyKeywords,
    c: &mut Compiler<'_>,
) -> Option<Rule> {
    let id = c.names.declare(SignalKind::Keyword, &rule.name);
    let at = || format!("routing.signals.keywords[{:?}]", rule.name);
    let operator = match rule.operator.to_ascii_uppercase().as_str() {
        "AND" => Operator::And,
        "OR" | "" => Operator::Or,
        "NOR" => Operator::Nor,
        other => {
            c.error(at(), format!("unknown operator {other:?}: use AND, OR or NOR"));
            return None;
        }
    };
    let matcher = match rule.method.as_str() {
        "regex" => {
            let from = patterns.len();
            for keyword in &rule.keywords {
                let pattern = match c.profile {
                    Profile::Compat => re2::with_ascii_classes(keyword),
                    Profile::Pintle => keyword.clone(),
                };
                let pattern = if rule.case_sensitive { pattern } else { format!("(?i){pattern}") };
                if let Err(error) = regex::Regex::new(&pattern) {
                    c.error(at(), format!("regular expression {keyword:?}: {error}"));
                    return None;
                }
                patterns.push(pattern);
            }
            Matcher::Patterns(from..patterns.len())
        }
        "bm25" => {
            let threshold = if rule.bm25_threshold > 0.0 { rule.bm25_threshold } else { 0.1 };
            Matcher::Bm25(Box::new(Bm25::new(&rule.keywords, f64::from(threshold))))
        }
        "ngram" => {
            let threshold = if rule.ngram_threshold > 0.0 { rule.ngram_threshold } else { 0.4 };
            let arity = if rule.ngram_arity > 0 { rule.ngram_arity.clamp(2, 16) as usize } else { 3 };
            Matcher::NGrams(Box::new(NGrams::new(
                &rule.keywords,
                f64::from(threshold),
                arity,
                rule.case_sensitive,
            )))
        }
        // Empty, and whatever else: v0.3 reads an unknown method as none, and its own reference file has one.
        _ => Matcher::Literals(rule.keywords.iter().map(|k| literal(k, rule, fuzzy, c)).collect()),
    };
    Some(Rule { id, operator, matcher })
}

fn literal(
    keyword: &str,
    rule: &KeywordRule,
    fuzzy: &mut FuzzyKeywords,
    c: &mut Compiler<'_>,
) -> LiteralKeyword {
    let boundary = match c.profile {
        Profile::Pintle => Boundary::of_keyword(keyword),
        Profile::Compat => Boundary::of_keyword_compat(keyword),
    };
    let threshold = if rule.fuzzy_threshold > 0 { rule.fuzzy_threshold as usize } else { 2 };
    LiteralKeyword {
        literal: c.scanner.add(keyword, rule.case_sensitive, boundary, false),
        fuzzy: rule.fuzzy_match.then(|| fuzzy.add(keyword, threshold, c.profile)),
    }
}
