//! A value tree as YAML that reads back as the same tree.

use std::fmt::Write as _;

use crate::node::{Kind, Node, Scalar};
use crate::value::Value;

/// Spaces per level.
const INDENT: usize = 2;

/// Writes a value as one block-style document.
pub(crate) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Writes a value that starts on the current line, at the given depth.
fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                text(out, key);
                out.push(':');
                match value {
                    Value::Map(inner) if !inner.is_empty() => {
                        out.push('\n');
                        indent(out, depth + 1);
                        block(out, value, depth + 1);
                    }
                    Value::List(inner) if !inner.is_empty() => {
                        out.push('\n');
                        indent(out, depth + 1);
                        block(out, value, depth + 1);
                    }
                    _ => {
                        out.push(' ');
                        block(out, value, depth);
                    }
                }
            }
        }
        Value::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                out.push_str("- ");
                block(out, item, depth + 1);
            }
        }
        _ => {
            scalar(out, value);
            out.push('\n');
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth * INDENT));
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => out.push_str(&float(*value)),
        Value::String(value) => text(out, value),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
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
