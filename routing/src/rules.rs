//! Rule trees: AND, OR and NOT over signals, in three values.
//!
//! In the Pintle profile the operators are Kleene's: a result is true or false only if it is so whatever
//! the unknown signals turn out to be. So an unknown signal satisfies neither a condition nor its negation.
//! In the compat profile there is no unknown: what could not be determined is false.

use pintle_config::{Profile, RuleNode};
use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, Truth, Unknown};
use crate::flow::RuleRecord;
use crate::ids::SignalId;
use crate::signals::{SignalKind, SignalNames, Used};

#[cfg(test)]
mod tests;

/// Levels that a tree may have.
pub(crate) const MAX_DEPTH: usize = 64;

/// A compiled tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    Leaf(Leaf),
    /// A leaf whose type does not exist.
    NoSuchType(Box<str>),
    And(Box<[Rule]>),
    Or(Box<[Rule]>),
    Not(Box<Rule>),
    /// NOT over none or several conditions.
    Malformed(Box<[Rule]>),
}

/// A condition on one signal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leaf {
    id: SignalId,
    /// It is a domain, which gives a decision its category.
    is_domain: bool,
}

/// The value of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RuleValue {
    pub(crate) truth: Truth,
    /// 0 unless true.
    pub(crate) confidence: f64,
    /// The first domain signal among those that made it true.
    pub(crate) category: Option<SignalId>,
}

impl RuleValue {
    const fn of(truth: Truth) -> Self {
        Self { truth, confidence: 0.0, category: None }
    }
}

/// The tree is deeper than [`MAX_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooDeep;

impl Rule {
    /// Compiles a tree and notes which families it refers to.
    pub(crate) fn compile(
        node: &RuleNode,
        names: &mut SignalNames,
        used: &mut Used,
    ) -> Result<Self, TooDeep> {
        Self::compile_at(node, names, used, 0)
    }

    fn compile_at(
        node: &RuleNode,
        names: &mut SignalNames,
        used: &mut Used,
        depth: usize,
    ) -> Result<Self, TooDeep> {
        if depth == MAX_DEPTH {
            return Err(TooDeep);
        }
        if !node.kind.is_empty() {
            let Some(kind) = SignalKind::parse(&node.kind) else {
                return Ok(Self::NoSuchType(node.kind.trim().into()));
            };
            used.insert(kind);
            let id = names.resolve(kind, &node.name);
            return Ok(Self::Leaf(Leaf { id, is_domain: kind == SignalKind::Domain }));
        }
        let children = node.conditions.iter().map(|child| Self::compile_at(child, names, used, depth + 1));
        let mut children = children.collect::<Result<Vec<_>, _>>()?;
        Ok(if node.operator.eq_ignore_ascii_case("AND") {
            Self::And(children.into())
        } else if !node.operator.eq_ignore_ascii_case("NOT") {
            Self::Or(children.into())
        } else if children.len() == 1 {
            Self::Not(Box::new(children.remove(0)))
        } else {
            Self::Malformed(children.into())
        })
    }

    /// The value of the tree.
    pub(crate) fn value(&self, evidence: &[Evidence], profile: Profile) -> RuleValue {
        match self {
            Self::Leaf(leaf) => leaf.value(evidence, profile),
            Self::NoSuchType(_) => RuleValue::of(match profile {
                Profile::Compat => Truth::False,
                Profile::Pintle => Truth::Unknown(Unknown::Undeclared),
            }),
            Self::And(children) => {
                let mut result = RuleValue::of(Truth::True);
                for child in children {
                    let value = child.value(evidence, profile);
                    match value.truth {
                        Truth::False => return RuleValue::of(Truth::False),
                        Truth::Unknown(_) if result.truth.is_true() => result.truth = value.truth,
                        _ => {}
                    }
                    result.confidence += value.confidence;
                    result.category = result.category.or(value.category);
                }
                if !result.truth.is_true() {
                    return RuleValue::of(result.truth);
                }
                result.confidence /= children.len().max(1) as f64;
                result
            }
            Self::Or(children) => {
                let mut best = RuleValue::of(Truth::False);
                for child in children {
                    let value = child.value(evidence, profile);
                    let better = match (best.truth, value.truth) {
                        (Truth::True, Truth::True) => value.confidence > best.confidence,
                        (_, Truth::True) | (Truth::False, Truth::Unknown(_)) => true,
                        _ => false,
                    };
                    if better {
                        best = value;
                    }
                }
                best
            }
            Self::Not(child) => {
                let value = child.value(evidence, profile);
                match value.truth.negate() {
                    Truth::True => RuleValue { truth: Truth::True, confidence: 1.0, category: None },
                    other => RuleValue::of(other),
                }
            }
            Self::Malformed(_) => RuleValue::of(Truth::False),
        }
    }

    /// The tree with the value of every node; `keys` are the signals' names, as `type:name`.
    pub(crate) fn record(&self, evidence: &[Evidence], keys: &[String], profile: Profile) -> RuleRecord {
        let value = self.value(evidence, profile);
        let children = |rules: &[Self]| -> Vec<RuleRecord> {
            rules.iter().map(|rule| rule.record(evidence, keys, profile)).collect()
        };
        let (node, children) = match self {
            Self::Leaf(leaf) => (keys[leaf.id.index()].clone(), Vec::new()),
            Self::NoSuchType(kind) => (format!("{kind}:"), Vec::new()),
            Self::And(rules) => ("and".into(), children(rules)),
            Self::Or(rules) => ("or".into(), children(rules)),
            Self::Not(rule) => ("not".into(), vec![rule.record(evidence, keys, profile)]),
            Self::Malformed(rules) => ("not".into(), children(rules)),
        };
        RuleRecord { node, truth: value.truth, confidence: value.confidence, children }
    }

    /// Makes the leaves of some signals never hold.
    pub(crate) fn blind(&mut self, hidden: &impl Fn(SignalId) -> bool) {
        match self {
            Self::Leaf(leaf) if hidden(leaf.id) => *self = Self::NoSuchType("hidden".into()),
            Self::Leaf(_) | Self::NoSuchType(_) => {}
            Self::And(rules) | Self::Or(rules) | Self::Malformed(rules) => {
                rules.iter_mut().for_each(|rule| rule.blind(hidden));
            }
            Self::Not(rule) => rule.blind(hidden),
        }
    }

    /// Levels of the tree.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Leaf(_) | Self::NoSuchType(_) => 1,
            Self::And(rules) | Self::Or(rules) | Self::Malformed(rules) => {
                1 + rules.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Not(rule) => 1 + rule.depth(),
        }
    }

    /// Every signal in the tree.
    pub(crate) fn leaves(&self, visit: &mut impl FnMut(SignalId)) {
        match self {
            Self::Leaf(leaf) => visit(leaf.id),
            Self::NoSuchType(_) => {}
            Self::And(rules) | Self::Or(rules) | Self::Malformed(rules) => {
                rules.iter().for_each(|rule| rule.leaves(visit));
            }
            Self::Not(rule) => rule.leaves(visit),
        }
    }

    /// Types in the tree that do not exist.
    pub(crate) fn unknown_types(&self, visit: &mut impl FnMut(&str)) {
        match self {
            Self::Leaf(_) => {}
            Self::NoSuchType(kind) => visit(kind),
            Self::And(rules) | Self::Or(rules) | Self::Malformed(rules) => {
                rules.iter().for_each(|rule| rule.unknown_types(visit));
            }
            Self::Not(rule) => rule.unknown_types(visit),
        }
    }
}

impl Leaf {
    fn value(self, evidence: &[Evidence], profile: Profile) -> RuleValue {
        let found = &evidence[self.id.index()];
        let truth = match (found.truth, profile) {
            (Truth::Unknown(_), Profile::Compat) => Truth::False,
            (truth, _) => truth,
        };
        if !truth.is_true() {
            return RuleValue::of(truth);
        }
        let confidence = match (found.confidence, profile) {
            (None, _) => 1.0,
            (Some(confidence), Profile::Compat) if confidence <= 0.0 => 1.0,
            (Some(confidence), _) => confidence,
        };
        RuleValue { truth, confidence, category: self.is_domain.then_some(self.id) }
    }
}
