//! Earlier layouts to canonical v0.3, with a line for everything that changed on the way.
//!
//! Every field is taken out of the old document exactly once: placed, changed or dropped, each with a line.
//! What is left at the end was known to no one and is reported as dropped, so nothing is lost in silence.

mod comments;
pub(crate) mod flat;
mod kubernetes;
mod place;
mod repair;
pub(crate) mod tree;

use std::fmt;

use crate::findings::Findings;
use crate::load::{Profile, load};
use crate::node::{Kind, Node};
use crate::parse::{self, Place};
use crate::report::Report;
use crate::write;

use tree::Tree as _;

/// What happened to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It has a new home, unchanged.
    Moved,
    /// Its value or form changed.
    Changed,
    /// It has no home in v0.3.
    Dropped,
    /// It was not there, and v0.3 needs it.
    Added,
}

/// One line of a migration report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub change: Change,
    /// Line in the old document, from 1; 0 for what was added.
    pub line: u32,
    /// Path in the old document; empty for what was added.
    pub from: String,
    /// Path in the new document; empty for what was dropped.
    pub to: String,
    /// Why, where it does not follow from the paths.
    pub why: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, line, from, to, why } = self;
        match change {
            Change::Moved => write!(f, "line {line}: {from} moved to {to}")?,
            Change::Changed => write!(f, "line {line}: {from} changed at {to}")?,
            Change::Dropped => write!(f, "line {line}: {from} dropped")?,
            Change::Added => write!(f, "{to} added")?,
        }
        if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
    }
}

/// A migrated document.
#[derive(Debug, Clone)]
pub struct Migration {
    /// The new document; `None` when the old one could not be read.
    pub output: Option<String>,
    /// What changed, in order of the old document.
    pub lines: Vec<Line>,
    /// What loading the new document finds; or why the old one could not be read.
    pub report: Report,
}

/// Migrates flat layouts of v0.1 and v0.2, Helm values, ConfigMaps, and the custom resources
/// IntelligentPool, IntelligentRoute and SemanticRouter. A canonical document passes through, with removed
/// keys moved to their new homes. Comments stay with the key or list item below them or before them; one whose
/// field is gone has a line of its own.
pub fn migrate(bytes: &[u8], source_name: &str) -> Migration {
    let mut findings = Findings::default();
    let documents = parse::parse_all(bytes, &mut findings);
    if findings.has_errors() || documents.is_empty() {
        if documents.is_empty() && !findings.has_errors() {
            findings.push(
                crate::Severity::Error,
                crate::codes::NOT_A_MAPPING,
                "",
                Place { line: 1, column: 1 },
                "the file holds no document",
            );
        }
        return Migration { output: None, lines: Vec::new(), report: findings.into_report(source_name) };
    }
    let mut migrator = Migrator::new();
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    migrator.comments.read(text.strip_prefix('\u{feff}').unwrap_or(text), &documents);
    migrator.documents(documents);
    migrator.finish(source_name)
}

/// Builds the new document and remembers what changed.
pub(crate) struct Migrator {
    out: Node,
    lines: Vec<Line>,
    comments: comments::Comments,
}

impl Migrator {
    pub(crate) fn new() -> Self {
        Self { out: Node::map(), lines: Vec::new(), comments: comments::Comments::default() }
    }

    /// Repairs what would not load, writes the document and loads it.
    pub(crate) fn finish(mut self, source_name: &str) -> Migration {
        repair::run(&mut self);
        let mut out = self.out.in_canonical_order();
        let version = out.at("version");
        *version = Node { kind: Node::text_node("v0.3").kind, ..*version };
        let comments::Placed { head, remarks, foot, lost } = self.comments.place(&out);
        let output = head + &write::yaml_with(&out, remarks) + &foot;
        self.lines.extend(lost);
        self.lines.sort_by_key(|line| (line.line == 0, line.line));
        let report = load(output.as_bytes(), source_name, Profile::Compat).report;
        Migration { output: Some(output), lines: self.lines, report }
    }

    pub(crate) fn line(&mut self, change: Change, place: u32, from: &str, to: &str, why: &str) {
        self.lines.push(Line { change, line: place, from: from.into(), to: to.into(), why: why.into() });
    }

    /// What changed so far.
    pub(crate) fn lines(self) -> Vec<Line> {
        self.lines
    }

    /// The entry of that name in a list of the new document.
    pub(crate) fn named_mut(&mut self, section: &str, list: &str, name: &str) -> Option<&mut Node> {
        let list = self.out.get_mut(section)?.get_mut(list)?;
        list.items_mut().iter_mut().find(|entry| entry.str("name") == name)
    }

    /// Reports every leaf of a subtree as dropped; an emptied mapping has none.
    pub(crate) fn drop(&mut self, node: &Node, from: &str, why: &str) {
        if matches!(&node.kind, Kind::Map(entries) if entries.is_empty()) {
            return;
        }
        let mut dropped = Vec::new();
        node.leaves(from, &mut |path, leaf| dropped.push((path.to_owned(), leaf.line)));
        for (path, line) in dropped {
            self.line(Change::Dropped, line, &path, "", why);
        }
    }

    /// A mapping to take apart; anything else in its place is reported as dropped.
    pub(crate) fn mapping(&mut self, node: Option<Node>, from: &str) -> Node {
        match node {
            Some(node) if matches!(node.kind, Kind::Map(_)) => node,
            Some(node) if !node.is_blank() => {
                self.drop(&node, from, "a mapping is expected here");
                Node::map()
            }
            _ => Node::map(),
        }
    }

    /// Puts a subtree at a path of the new document. What is there already stays, member by member.
    pub(crate) fn put(&mut self, node: Node, from: &str, to: &str) {
        if from != to {
            self.line(Change::Moved, node.line, from, to, "");
        }
        let mut lost = Vec::new();
        self.clear_the_way(to);
        self.out.at(to).merge_under(node, from, &mut lost);
        for (node, path) in lost {
            self.drop(&node, &path, &format!("{to} is set already"));
        }
    }

    /// Takes out what stands where a path needs a mapping.
    fn clear_the_way(&mut self, to: &str) {
        let ends = to.match_indices('.').map(|(at, _)| at);
        let blocked = ends.map(|end| &to[..end]).find(|path| {
            let node = path.split('.').try_fold(&self.out, |node, key| node.get(key));
            node.is_some_and(|node| !matches!(node.kind, Kind::Map(_)) && !node.is_blank())
        });
        if let Some(path) = blocked {
            let node = std::mem::replace(self.out.at(path), Node::map());
            self.drop(&node, path, "a mapping is expected here");
        }
    }

    /// Dispatches on what the documents are.
    fn documents(&mut self, documents: Vec<Node>) {
        let resources = documents
            .iter()
            .any(|document| document.get("kind").is_some() && document.get("apiVersion").is_some());
        if resources {
            kubernetes::run(self, documents);
            return;
        }
        for (index, document) in documents.into_iter().enumerate() {
            if index > 0 {
                self.drop(&document, "", "only the first document of a file is read");
                continue;
            }
            self.values_or_flat(document);
        }
    }

    /// Helm values hold the configuration under `config`.
    fn values_or_flat(&mut self, mut document: Node) {
        let canonical = ["routing", "global", "providers", "decisions", "model_config", "signals"];
        let nested = document.get("config").is_some_and(|config| !config.entries().is_empty())
            && !canonical.iter().any(|key| document.get(key).is_some());
        if !nested {
            flat::run(self, document);
            return;
        }
        let config = document.take("config");
        for entry in document.entries() {
            let key = entry.key.text().unwrap_or_default();
            self.line(
                Change::Dropped,
                entry.key.line,
                key,
                "",
                "a deployment setting, not part of a configuration",
            );
        }
        if let Some(config) = config {
            flat::run(self, config);
        }
    }
}

#[cfg(test)]
mod tests;
