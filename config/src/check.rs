//! Compares a document with the contract: unknown keys, wrong types, values out of bounds.
//!
//! The one place that knows what upstream's decoder takes for what: any scalar is text where text is
//! expected, a fraction is cut off where a whole number is, a quoted number is not a number, null is zero.

use std::fmt;

use crate::codes;
use crate::findings::Findings;
use crate::later;
use crate::node::{Kind, Node, Scalar};
use crate::parse::Place;
use crate::report::Severity;
use crate::shape::{Shape, Struct, whole};

/// Edits up to which a known key is suggested, as upstream does.
const SUGGESTION_DISTANCE: usize = 3;

/// Where a value is, as a chain of borrowed steps.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    /// The document.
    Root,
    /// A member of a mapping.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list.
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Checks a node against what it may hold.
pub(crate) struct Checker<'a> {
    pub(crate) findings: &'a mut Findings,
    /// Inside `global`, which upstream passes through JSON.
    pub(crate) in_global: bool,
    /// Inside Pintle's own section, where nothing is silently converted.
    pub(crate) extension: bool,
}

impl Checker<'_> {
    /// Checks a node and everything below it.
    pub(crate) fn check(&mut self, node: &Node, shape: Shape, path: &Path<'_>) {
        match shape {
            Shape::Any => {}
            Shape::Nullable(inner) => {
                if !node.is_null() {
                    self.check(node, inner(), path);
                }
            }
            Shape::Struct(shape) => self.check_struct(node, shape, path),
            Shape::List(item) => match &node.kind {
                Kind::Seq(items) => {
                    for (index, node) in items.iter().enumerate() {
                        self.check(node, item(), &Path::Index(path, index));
                    }
                }
                _ => self.unless_null(node, "a list", path),
            },
            Shape::Map(value) => match &node.kind {
                Kind::Map(entries) => {
                    for entry in entries {
                        match entry.key.text() {
                            Some(key) => self.check(&entry.value, value(), &Path::Key(path, key)),
                            None => self.wrong_type(&entry.key, "a name", path),
                        }
                    }
                }
                _ => self.unless_null(node, "a mapping", path),
            },
            Shape::Bool => match node.scalar() {
                Some(Scalar::Bool(_) | Scalar::Null) => {}
                _ => self.wrong_type(node, "true or false", path),
            },
            Shape::Int { .. } => self.check_int(node, None, path),
            Shape::Float => match node.scalar() {
                Some(Scalar::Float(value)) if !value.is_finite() && (self.in_global || self.extension) => {
                    self.wrong_type(node, "a finite number", path);
                }
                Some(Scalar::Int(_) | Scalar::Float(_) | Scalar::Null) => {}
                _ => self.wrong_type(node, "a number", path),
            },
            Shape::String | Shape::Secret => match node.scalar() {
                None => self.wrong_type(node, "text", path),
                Some(Scalar::Bool(value))
                    if self.in_global && !self.extension && node.text() != Some(word(value)) =>
                {
                    let text = node.text().unwrap_or_default();
                    self.findings
                        .push(
                            Severity::Warning,
                            codes::BOOLEAN_WORD,
                            path.to_string(),
                            node,
                            format!("the bare word `{text}` becomes the text `{}` here", word(value)),
                        )
                        .help(format!("quote it: \"{text}\""));
                }
                Some(_) => {}
            },
            Shape::Choice(words) => {
                if !node.is_null() && !node.text().is_some_and(|text| words.contains(&text)) {
                    self.out_of_range(node, format!("expected one of {}", words.join(", ")), path);
                }
            }
            Shape::Custom(custom) => {
                if let Err(wrong) = (custom.check)(node) {
                    self.out_of_range(node, wrong, path);
                }
            }
        }
    }

    fn check_struct(&mut self, node: &Node, shape: &'static Struct, path: &Path<'_>) {
        if !matches!(node.kind, Kind::Map(_)) {
            self.unless_null(node, "a mapping", path);
            return;
        }
        let outer = std::mem::replace(&mut self.extension, shape.extension);
        for entry in node.entries() {
            let key = entry.key.text().unwrap_or("?");
            let Some(field) = shape.fields.iter().find(|field| field.name == key) else {
                self.unknown(&entry.key, &entry.value, key, shape, path);
                continue;
            };
            if matches!(path, Path::Root) {
                self.in_global = key == "global";
            }
            let path = Path::Key(path, key);
            match (field.shape)() {
                Shape::Int { min, max } => {
                    let range = field.range.or((min != i64::MIN).then_some((min, max)));
                    self.check_int(&entry.value, range, &path);
                }
                inner => self.check(&entry.value, inner, &path),
            }
        }
        self.extension = outer;
    }

    fn check_int(&mut self, node: &Node, range: Option<(i64, i64)>, path: &Path<'_>) {
        let Some(value) = node.scalar().and_then(whole) else {
            if !node.is_null() {
                self.wrong_type(node, "a whole number", path);
            }
            return;
        };
        if let Some((min, max)) = range.filter(|(min, max)| !(*min..=*max).contains(&value)) {
            self.out_of_range(node, format!("expected a whole number from {min} to {max}"), path);
        }
        if let Some(Scalar::Float(written)) = node.scalar()
            && written.fract() != 0.0
        {
            if self.extension {
                self.wrong_type(node, "a whole number", path);
                return;
            }
            self.findings
                .push(
                    Severity::Warning,
                    codes::FRACTION_CUT,
                    path.to_string(),
                    node,
                    format!("{written} is cut off to {value}"),
                )
                .help(format!("write {value}"));
        }
    }

    fn unless_null(&mut self, node: &Node, expected: &str, path: &Path<'_>) {
        if !node.is_null() {
            self.wrong_type(node, expected, path);
        }
    }

    fn wrong_type(&mut self, node: &Node, expected: &str, path: &Path<'_>) {
        let found = match node.text() {
            Some(text) if text.chars().count() <= 40 => format!("{} `{text}`", node.what()),
            _ => node.what().to_owned(),
        };
        let unquoted = match (&node.kind, expected) {
            (Kind::Scalar { text, plain: false }, "a whole number" | "a number" | "true or false") => {
                let bare = Node { kind: Kind::Scalar { text: text.clone(), plain: true }, ..*node };
                matches!(bare.scalar(), Some(Scalar::Int(_) | Scalar::Float(_) | Scalar::Bool(_)))
            }
            _ => false,
        };
        self.findings
            .push(
                Severity::Error,
                codes::WRONG_TYPE,
                path.to_string(),
                node,
                format!("expected {expected}, found {found}"),
            )
            .help_if(unquoted, "remove the quotes");
    }

    fn out_of_range(&mut self, node: &Node, message: String, path: &Path<'_>) {
        self.findings.push(Severity::Error, codes::OUT_OF_RANGE, path.to_string(), node, message);
    }

    fn unknown(&mut self, node: &Node, value: &Node, key: &str, shape: &Struct, path: &Path<'_>) {
        let path = Path::Key(path, key);
        if let Some(field) = later::of(shape.name).and_then(|added| added.get(key)) {
            self.findings.push(
                Severity::Warning,
                codes::LATER_VERSION,
                path.to_string(),
                Place::from(node),
                format!("`{key}` belongs to a later version of the contract; it has no effect"),
            );
            field.check(value, &path, self.findings);
            return;
        }
        let known = shape.fields.iter().map(|field| field.name);
        let suggestion = nearest(key, known, SUGGESTION_DISTANCE);
        self.findings
            .push(
                Severity::Warning,
                codes::UNKNOWN_KEY,
                path.to_string(),
                Place::from(node),
                format!("unknown key `{key}`"),
            )
            .help_maybe(suggestion.map(|name| format!("did you mean `{name}`?")));
    }
}

/// The known name that needs the fewest edits, within a bound; the first in alphabet among equals.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>, bound: usize) -> Option<&'a str> {
    const LONGEST: usize = 64;
    const MOST: usize = 256;
    if word.len() > LONGEST {
        return None;
    }
    known
        .take(MOST)
        .filter(|name| name.len() <= LONGEST && name.len().abs_diff(word.len()) <= bound)
        .map(|name| (strsim::levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= bound && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

const fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
