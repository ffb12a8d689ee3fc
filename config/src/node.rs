//! A document as a tree of positioned nodes, with the scalar rules of YAML 1.1 as yaml.v2 applies them.

use crate::value::Value;

/// One node and where it starts.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Text as written, and whether it was plain (not quoted, no block) so that it resolves to a type.
    Scalar {
        /// Text after unescaping.
        text: Box<str>,
        /// Neither quoted nor a block, or explicitly tagged with a scalar type.
        plain: bool,
    },
    /// Sequence.
    Seq(Vec<Node>),
    /// Mapping without repeated keys, merge keys resolved.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: Node,
    /// The value.
    pub(crate) value: Node,
}

/// A scalar resolved to its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// `null`, `~` or nothing.
    Null,
    /// Boolean, YAML 1.1 words included.
    Bool(bool),
    /// Integer that fits in 64 bits.
    Int(i64),
    /// Number.
    Float(f64),
    /// Text.
    Str(&'a str),
}

impl Node {
    /// The scalar, resolved; `None` for sequences and mappings.
    pub(crate) fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.kind {
            Kind::Scalar { text, plain: true } => Some(resolve(text)),
            Kind::Scalar { text, plain: false } => Some(Scalar::Str(text)),
            _ => None,
        }
    }

    /// The text of a scalar as written.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a mapping's key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key.text() == Some(key))
    }

    /// The entries of a mapping; empty for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; empty for anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::Seq(items) => items,
            _ => &[],
        }
    }

    /// The node is null.
    pub(crate) fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// What the node is, in words.
    pub(crate) fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Scalar { .. } => match self.scalar() {
                Some(Scalar::Bool(_)) => "a boolean",
                Some(Scalar::Int(_)) => "an integer",
                Some(Scalar::Float(_)) => "a number",
                Some(Scalar::Str(_)) => "text",
                _ => "null",
            },
        }
    }

    /// The value without positions.
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Seq(items) => Value::List(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|entry| (entry.key.text().unwrap_or_default().to_owned(), entry.value.to_value()))
                    .collect(),
            ),
            Kind::Scalar { .. } => match self.scalar() {
                Some(Scalar::Bool(value)) => Value::Bool(value),
                Some(Scalar::Int(value)) => Value::Int(value),
                Some(Scalar::Float(value)) => Value::Float(value),
                Some(Scalar::Str(text)) => Value::String(text.to_owned()),
                Some(Scalar::Null) | None => Value::Null,
            },
        }
    }
}

/// Resolves a plain scalar as yaml.v2 does: YAML 1.1 booleans, `_` in numbers, `0x`, `0b`, leading-zero
/// octal, `.inf` and `.nan`.
fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Scalar::Str(text);
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(value) = integer(&digits) {
        return Scalar::Int(value);
    }
    match digits.strip_prefix(['+', '-']).unwrap_or(&digits) {
        number if is_decimal(number) => digits.parse().map_or(Scalar::Str(text), Scalar::Float),
        _ => Scalar::Str(text),
    }
}

fn integer(digits: &str) -> Option<i64> {
    let (negative, rest) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    if rest.starts_with(['+', '-']) {
        return None;
    }
    let (radix, body) = if let Some(body) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        (16, body)
    } else if let Some(body) = rest.strip_prefix("0b").or_else(|| rest.strip_prefix("0B")) {
        (2, body)
    } else if let Some(body) = rest.strip_prefix("0o").or_else(|| rest.strip_prefix("0O")) {
        (8, body)
    } else if rest.len() > 1 && rest.starts_with('0') {
        (8, &rest[1..])
    } else {
        (10, rest)
    };
    let magnitude = i128::from_str_radix(body, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `12`, `1.5`, `.5`, `1e3`: what yaml.v2 takes for a floating point number.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    mantissa_ok && exponent_ok
}

#[cfg(test)]
mod tests;
