//! A value tree as YAML that reads back as the same tree.

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
    let mut out = String::new();
    block(&mut out, node, 0);
    out
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

/// Writes a node that starts on the current line, at the given depth.
fn block(out: &mut String, node: &Node, depth: usize) {
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => {
            for (index, Entry { key, value }) in entries.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                text(out, key.text().unwrap_or_default());
                out.push(':');
                if value.entries().is_empty() && value.items().is_empty() {
                    out.push(' ');
                } else {
                    out.push('\n');
                    indent(out, depth + 1);
                }
                block(out, value, depth + 1);
            }
        }
        Kind::Seq(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                out.push_str("- ");
                block(out, item, depth + 1);
            }
        }
        Kind::Map(_) => out.push_str("{}\n"),
        Kind::Seq(_) => out.push_str("[]\n"),
        Kind::Scalar { text: written, .. } => {
            match node.scalar() {
                Some(Scalar::Str(written)) => text(out, written),
                Some(Scalar::Null) | None => out.push_str("null"),
                Some(_) => out.push_str(written),
            }
            out.push('\n');
        }
    }
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
