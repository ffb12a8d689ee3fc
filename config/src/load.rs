//! Bytes to a configuration and a report, in upstream's order but without stopping at the first error.

use crate::check::{Checker, Path};
use crate::codes;
use crate::contract::Config;
use crate::findings::Findings;
use crate::node::{Kind, Node, Scalar};
use crate::parse::{self, Place};
use crate::report::{Report, Severity};
use crate::shape::Contract;
use crate::{legacy, lint, validate};

/// Whose verdict and behaviour count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Profile {
    /// Pintle's own: flaws of v0.3.0 are repaired, and what could never be served is refused.
    #[default]
    Pintle,
    /// v0.3.0: what its router loads, loads.
    Compat,
}

/// What came of a document.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration, unless an error kept it from loading.
    pub config: Option<Config>,
    /// Everything that was found.
    pub report: Report,
}

/// Loads one document. Never panics; memory and time are bounded by [`MAX_BYTES`](crate::MAX_BYTES),
/// [`MAX_NODES`](crate::MAX_NODES) and [`MAX_TEXT`](crate::MAX_TEXT), not by what the document asks for.
pub fn load(bytes: &[u8], source_name: &str, profile: Profile) -> Loaded {
    let mut findings = Findings::default();
    let config = read(bytes, source_name, profile, &mut findings);
    let failed = findings.has_errors();
    Loaded { config: config.filter(|_| !failed), report: findings.into_report(source_name) }
}

/// How a document is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Whose verdict counts.
    pub profile: Profile,
    /// Warnings count as errors.
    pub strict: bool,
}

/// Checks one document without keeping it.
pub fn check(bytes: &[u8], source_name: &str, options: CheckOptions) -> Report {
    let mut report = load(bytes, source_name, options.profile).report;
    if options.strict {
        for finding in report.findings.iter_mut().filter(|finding| finding.severity == Severity::Warning) {
            finding.severity = Severity::Error;
        }
    }
    report
}

fn read(bytes: &[u8], source_name: &str, profile: Profile, findings: &mut Findings) -> Option<Config> {
    let parsed = parse::parse(bytes, findings);
    if findings.has_errors() {
        return None;
    }
    let mut root = match parsed {
        Some(root) if !root.is_null() => root,
        _ => Node { line: 1, column: 1, kind: Kind::Map(Vec::new()) },
    };
    if !matches!(root.kind, Kind::Map(_)) {
        let what = root.what();
        findings
            .push(
                Severity::Error,
                codes::NOT_A_MAPPING,
                "",
                &root,
                format!("{source_name} holds {what}, not a mapping"),
            )
            .help("a configuration starts with `version: v0.3`");
        return None;
    }
    Checker { findings, in_global: false, extension: false }.check(&root, Config::shape(), &Path::Root);
    legacy::report_removed(&root, findings);
    if !legacy::is_canonical(&root, findings) {
        return None;
    }
    normalise_global(&mut root);
    let mut config = Config::default();
    config.read(&root);
    let generated = validate::generate_domains(&mut config);
    validate::run(&root, &config, profile, findings);
    lint::run(&root, &config, profile, &generated, findings);
    forget_echoes(findings);
    Some(config)
}

/// A value of the wrong type was reported; what its absence causes is not reported again.
fn forget_echoes(findings: &mut Findings) {
    let mistyped: Vec<String> = findings
        .iter()
        .filter(|finding| finding.code == codes::WRONG_TYPE && finding.severity == Severity::Error)
        .map(|finding| finding.path.clone())
        .collect();
    if !mistyped.is_empty() {
        findings.retain(|finding| {
            let path = finding.path.as_str();
            let echo = |wrong: &String| {
                wrong.starts_with(path) && !path.is_empty() || path.starts_with(wrong.as_str())
            };
            matches!(finding.code, codes::WRONG_TYPE | codes::UNKNOWN_KEY) || !mistyped.iter().any(echo)
        });
    }
}

/// Upstream passes `global` through JSON, which turns the words of YAML 1.1 into `true` and `false`. What is
/// Pintle's own stays as written: `off` is a word there.
fn normalise_global(root: &mut Node) {
    fn normalise(node: &mut Node) {
        let boolean = match node.scalar() {
            Some(Scalar::Bool(value)) => Some(value),
            _ => None,
        };
        match &mut node.kind {
            Kind::Scalar { text, .. } => {
                if let Some(value) = boolean {
                    *text = if value { "true" } else { "false" }.into();
                }
            }
            Kind::Seq(items) => items.iter_mut().for_each(normalise),
            Kind::Map(entries) => entries.iter_mut().for_each(|entry| normalise(&mut entry.value)),
        }
    }
    if let Kind::Map(entries) = &mut root.kind {
        for entry in entries.iter_mut().filter(|entry| entry.key.text() == Some("global")) {
            // Unlike its sections, `global` itself is optional: null means absent, not zero.
            if entry.value.is_null() {
                entry.value.kind = Kind::Map(Vec::new());
            }
            if let Kind::Map(sections) = &mut entry.value.kind {
                let inherited = sections.iter_mut().filter(|section| section.key.text() != Some("pintle"));
                inherited.for_each(|section| normalise(&mut section.value));
            }
        }
    }
}

/// The place of the node at a path, or of the nearest one above it.
pub(crate) fn locate(root: &Node, path: &str) -> Place {
    let mut node = root;
    let mut place = Place::from(root);
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (key, indexes) = step.split_once('[').map_or((step, ""), |(key, rest)| (key, rest));
        let Some(entry) = node.entry(key) else { return place };
        node = &entry.value;
        // A list, a mapping or nothing at all is best shown by its key.
        place = match &node.kind {
            Kind::Scalar { text, .. } if !text.is_empty() => Place::from(node),
            _ => Place::from(&entry.key),
        };
        for index in indexes.split(['[', ']']).filter(|index| !index.is_empty()) {
            let Some(item) = index.parse().ok().and_then(|index: usize| node.items().get(index)) else {
                return place;
            };
            node = item;
            place = Place::from(node);
        }
    }
    place
}
