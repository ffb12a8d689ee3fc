//! What v0.3.0 refuses at load beyond wrong types: same rules, same order, but all findings at once.

mod algorithm;
mod cards;
mod decisions;
mod modules;
mod plugins;
mod projections;
mod signals;

use std::collections::BTreeSet;

use crate::contract::{Config, Domain, RuleNode};
use crate::findings::{Findings, Pushed};
use crate::load::{Profile, locate};
use crate::node::Node;
use crate::report::Severity;

pub(crate) use algorithm::ALGORITHMS;
pub(crate) use modules::detector_error;
pub(crate) use plugins::PLUGINS;
pub(crate) use projections::{condition_types, is_declared};
pub(crate) use signals::MMLU;

/// What validators and lints share.
pub(crate) struct Context<'a> {
    pub(crate) root: &'a Node,
    pub(crate) config: &'a Config,
    pub(crate) profile: Profile,
    findings: &'a mut Findings,
    severity: Severity,
}

impl Context<'_> {
    /// Reports something that v0.3.0 refuses.
    pub(crate) fn fail(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Pushed<'_> {
        self.push(self.severity, code, path, message)
    }

    /// Reports something that loads but is probably not meant.
    pub(crate) fn warn(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Pushed<'_> {
        self.push(Severity::Warning, code, path, message)
    }

    /// Reports something worth knowing.
    pub(crate) fn note(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Pushed<'_> {
        self.push(Severity::Note, code, path, message)
    }

    /// Reports something that v0.3.0 loads and Pintle could never serve.
    pub(crate) fn refuse(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Pushed<'_> {
        let severity = match self.profile {
            Profile::Pintle => Severity::Error,
            Profile::Compat => Severity::Warning,
        };
        self.push(severity, code, path, message)
    }

    /// Reports with a severity of the caller's choice.
    pub(crate) fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Pushed<'_> {
        let path = path.into();
        let place = locate(self.root, &path);
        self.findings.push(severity, code, path, place, message)
    }
}

/// Prepares a context for lints.
pub(crate) fn context<'a>(
    root: &'a Node,
    config: &'a Config,
    profile: Profile,
    findings: &'a mut Findings,
) -> Context<'a> {
    Context { root, config, profile, findings, severity: Severity::Error }
}

/// Runs every validator.
pub(crate) fn run(root: &Node, config: &Config, profile: Profile, findings: &mut Findings) {
    let mut context = context(root, config, profile, findings);
    cards::check(&mut context);
    modules::check_references(&mut context);
    if config.global.router.config_source == "kubernetes" {
        context.severity = Severity::Warning;
    }
    signals::check(&mut context);
    projections::check(&mut context);
    decisions::check(&mut context);
    modules::check(&mut context);
}

/// Declares the domains that conditions name, if none are declared at all. Returns their names.
pub(crate) fn generate_domains(config: &mut Config) -> Vec<String> {
    if !config.routing.signals.domains.is_empty() {
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    for decision in &config.routing.decisions {
        each_leaf(&decision.rules, "rules", &mut |leaf, _| {
            if leaf_type(leaf) == "domain" && !leaf.name.is_empty() {
                names.insert(leaf.name.clone());
            }
        });
    }
    config.routing.signals.domains = names
        .iter()
        .map(|name| Domain {
            name: name.clone(),
            description: name.clone(),
            mmlu_categories: vec!["other".into()],
            model_scores: Vec::new(),
        })
        .collect();
    names.into_iter().collect()
}

/// Visits every leaf of a rule tree with its path below the tree's root.
pub(crate) fn each_leaf<'a>(node: &'a RuleNode, path: &str, visit: &mut dyn FnMut(&'a RuleNode, &str)) {
    if !node.kind.is_empty() {
        visit(node, path);
        return;
    }
    for (index, child) in node.conditions.iter().enumerate() {
        each_leaf(child, &format!("{path}.conditions[{index}]"), visit);
    }
}

/// The condition type of a leaf, as it is compared.
pub(crate) fn leaf_type(leaf: &RuleNode) -> String {
    leaf.kind.trim().to_lowercase()
}

/// `a, b, c`
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}
