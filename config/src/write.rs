//! A value tree as YAML that reads back as the same tree.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::node::{Entry, Kind, Node, Scalar};
use crate::value::Value;

/// Spaces per level.
const INDENT: usize = 2;

/// Writes a value as one block-style document.
pub(crate) fn yaml(value: &Value) -> String {
    yaml_node(&node(value))
}

/// Writes a tree as one block-style document. Plain scalars keep their text, so that a word such as `no`
/// stays what it was.
pub(crate) fn yaml_node(node: &Node) -> String {
    yaml_with(node, Remarks::default())
}

/// The same, with comments.
pub(crate) fn yaml_with(node: &Node, remarks: Remarks) -> String {
    let mut writer = Writer { out: String::new(), remarks };
    writer.block(node, 0);
    writer.out
}

/// A value as the document that it was read from shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Anchor {
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column, from 1; 0 for a value that was rebuilt.
    pub(crate) column: u32,
    /// A mapping and its first key, or a list and its first item, may start at one place.
    pub(crate) form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Scalar,
    Seq,
    Map,
}

impl Anchor {
    pub(crate) fn of(node: &Node) -> Self {
        let form = match &node.kind {
            Kind::Map(_) => Form::Map,
            Kind::Seq(_) => Form::Seq,
            Kind::Scalar { .. } => Form::Scalar,
        };
        Self { line: node.line, column: node.column, form }
    }
}

/// Comments, each starting with `#`, by the value that they belong to. Each is written once.
#[derive(Default)]
pub(crate) struct Remarks(HashMap<Anchor, Around>);

#[derive(Default)]
struct Around {
    above: Vec<String>,
    behind: Option<String>,
}

impl Remarks {
    /// Adds a line above a key or a list item.
    pub(crate) fn above(&mut self, anchor: Anchor, text: String) {
        self.0.entry(anchor).or_default().above.push(text);
    }

    /// Adds a comment on the line of a key or a list item; above it when the place is taken.
    pub(crate) fn behind(&mut self, anchor: Anchor, text: String) {
        let around = self.0.entry(anchor).or_default();
        match around.behind {
            None => around.behind = Some(text),
            Some(_) => around.above.push(text),
        }
    }

    fn take(&mut self, node: &Node) -> Around {
        if self.0.is_empty() {
            return Around::default();
        }
        self.0.remove(&Anchor::of(node)).unwrap_or_default()
    }
}

/// A value as a tree without positions.
pub(crate) fn node(value: &Value) -> Node {
    let plain = |text: String| Kind::Scalar { text: text.into(), plain: true };
    let kind = match value {
        Value::Null => plain("null".into()),
        Value::Bool(value) => plain(value.to_string()),
        Value::Int(value) => plain(value.to_string()),
        Value::Float(value) => plain(float(*value)),
        Value::String(text) => Kind::Scalar { text: text.as_str().into(), plain: false },
        Value::List(items) => Kind::Seq(items.iter().map(node).collect()),
        Value::Map(entries) => Kind::Map(
            entries
                .iter()
                .map(|(key, value)| Entry { key: node(&Value::String(key.clone())), value: node(value) })
                .collect(),
        ),
    };
    Node { line: 0, column: 0, kind }
}

struct Writer {
    out: String,
    remarks: Remarks,
}

impl Writer {
    /// Writes a node that starts on the current line, at the given depth.
    fn block(&mut self, node: &Node, depth: usize) {
        match &node.kind {
            Kind::Map(entries) if !entries.is_empty() => {
                for (index, Entry { key, value }) in entries.iter().enumerate() {
                    if index > 0 {
                        indent(&mut self.out, depth);
                    }
                    let Around { above, behind } = self.remarks.take(value);
                    self.above(above, depth);
                    text(&mut self.out, key.text().unwrap_or_default());
                    self.out.push(':');
                    if is_line(value) {
                        self.out.push(' ');
                        self.line(value);
                        self.end(behind);
                    } else {
                        self.end(behind);
                        indent(&mut self.out, depth + 1);
                        self.block(value, depth + 1);
                    }
                }
            }
            Kind::Seq(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        indent(&mut self.out, depth);
                    }
                    let Around { above, behind } = self.remarks.take(item);
                    self.above(above, depth);
                    if is_line(item) {
                        self.out.push_str("- ");
                        self.line(item);
                        self.end(behind);
                    } else {
                        self.above(behind, depth);
                        // Nothing may stand between the dash and the first member.
                        let mut first = item;
                        while let Some(inner) =
                            first.entries().first().map(|entry| &entry.value).or(first.items().first())
                        {
                            let Around { above, behind } = self.remarks.take(inner);
                            self.above(above, depth);
                            if let Some(behind) = behind {
                                self.remarks.behind(Anchor::of(inner), behind);
                            }
                            if !first.entries().is_empty() {
                                break;
                            }
                            first = inner;
                        }
                        self.out.push_str("- ");
                        self.block(item, depth + 1);
                    }
                }
            }
            _ => {
                self.line(node);
                self.out.push('\n');
            }
        }
    }

    /// Writes what fits on one line: a scalar, or nothing at all.
    fn line(&mut self, node: &Node) {
        match &node.kind {
            Kind::Map(_) => self.out.push_str("{}"),
            Kind::Seq(_) => self.out.push_str("[]"),
            Kind::Scalar { text: written, .. } => match node.scalar() {
                Some(Scalar::Str(written)) => text(&mut self.out, written),
                Some(Scalar::Null) | None => self.out.push_str("null"),
                Some(_) => self.out.push_str(written),
            },
        }
    }

    fn above(&mut self, comments: impl IntoIterator<Item = String>, depth: usize) {
        for comment in comments {
            self.out.push_str(&comment);
            self.out.push('\n');
            indent(&mut self.out, depth);
        }
    }

    fn end(&mut self, behind: Option<String>) {
        if let Some(comment) = behind {
            self.out.push(' ');
            self.out.push_str(&comment);
        }
        self.out.push('\n');
    }
}

fn is_line(node: &Node) -> bool {
    node.entries().is_empty() && node.items().is_empty()
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth * INDENT));
}

/// A number that reads back as a floating point number, not as an integer.
fn float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf".into() } else { "-.inf".into() };
    }
    format!("{value:?}")
}

/// Text, quoted unless it is plainly text.
fn text(out: &mut String, value: &str) {
    if is_plain(value) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control()
                || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}') =>
            {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn is_plain(value: &str) -> bool {
    let safe =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '+' | '%' | '(' | ')' | ' ');
    let node = Node { line: 0, column: 0, kind: Kind::Scalar { text: value.into(), plain: true } };
    value.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/')
        && !value.ends_with(' ')
        && value.chars().all(safe)
        && node.scalar() == Some(Scalar::Str(value))
}
