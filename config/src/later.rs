//! Fields that versions after v0.3.0 know, with what they hold: known by name and type, without effect.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::check::{Checker, Path};
use crate::codes;
use crate::contract::Routing;
use crate::findings::Findings;
use crate::node::{Kind as Form, Node, Scalar};
use crate::parse::Place;
use crate::report::Severity;
use crate::shape::{Contract as _, Shape};

/// Marks such a field in the JSON Schema.
pub(crate) const MARK: &str = "x-later-version";

/// One field a line: the type that it is added to with its path from there, a tab, and what it holds.
static TABLE: &str = include_str!("later.tsv");

static FIELDS: LazyLock<BTreeMap<&'static str, Later>> = LazyLock::new(|| {
    let mut root = Later { holds: Holds::Object, fields: BTreeMap::new() };
    for line in TABLE.lines() {
        let (path, holds) = line.split_once('\t').expect("a line of the table has two columns");
        let mut field = &mut root;
        for step in path.split('.') {
            field =
                field.fields.entry(step).or_insert(Later { holds: Holds::Object, fields: BTreeMap::new() });
        }
        field.holds = Holds::parse(holds);
    }
    root.fields
});

/// A field of a later version.
pub(crate) struct Later {
    holds: Holds,
    fields: BTreeMap<&'static str, Later>,
}

enum Holds {
    Text,
    Whole,
    Number,
    Bool,
    Any,
    Object,
    /// What a section of this version holds.
    Like(fn() -> Shape),
    List(Box<Holds>),
    Map(Box<Holds>),
}

impl Holds {
    fn parse(words: &str) -> Self {
        let inner = |rest| Box::new(Self::parse(rest));
        match words.split_once(' ').unwrap_or((words, "")) {
            ("text", _) => Self::Text,
            ("whole", _) => Self::Whole,
            ("number", _) => Self::Number,
            ("bool", _) => Self::Bool,
            ("any", _) => Self::Any,
            ("object", _) => Self::Object,
            ("Routing", _) => Self::Like(Routing::shape),
            ("list", rest) => Self::List(inner(rest)),
            ("map", rest) => Self::Map(inner(rest)),
            (word, _) => unreachable!("the table has no word {word}"),
        }
    }
}

/// The fields that later versions add to a type of the contract.
pub(crate) fn of(type_name: &str) -> Option<&'static BTreeMap<&'static str, Later>> {
    FIELDS.get(type_name).map(|added| &added.fields)
}

impl Later {
    /// Warns of values that the later version could not decode either.
    pub(crate) fn check(&self, node: &Node, path: &Path<'_>, findings: &mut Findings) {
        self.check_as(&self.holds, node, path, findings);
    }

    fn check_as(&self, holds: &Holds, node: &Node, path: &Path<'_>, findings: &mut Findings) {
        if node.is_null() {
            return;
        }
        let expected = match (holds, &node.kind, node.scalar()) {
            (Holds::Any, ..) => return,
            (Holds::Text, Form::Scalar { .. }, _) => return,
            (Holds::Whole | Holds::Number, _, Some(Scalar::Int(_) | Scalar::Float(_))) => return,
            (Holds::Bool, _, Some(Scalar::Bool(_))) => return,
            (Holds::List(inner), Form::Seq(items), _) => {
                for (index, item) in items.iter().enumerate() {
                    self.check_as(inner, item, &Path::Index(path, index), findings);
                }
                return;
            }
            (Holds::Map(inner), Form::Map(entries), _) => {
                for entry in entries {
                    let key = entry.key.text().unwrap_or("?");
                    self.check_as(inner, &entry.value, &Path::Key(path, key), findings);
                }
                return;
            }
            (Holds::Object, Form::Map(entries), _) => {
                for entry in entries {
                    let key = entry.key.text().unwrap_or("?");
                    if let Some(field) = self.fields.get(key) {
                        field.check(&entry.value, &Path::Key(path, key), findings);
                    }
                }
                return;
            }
            (Holds::Like(shape), ..) => {
                let mut inner = Findings::default();
                Checker { findings: &mut inner, in_global: false, extension: false }.check(
                    node,
                    shape(),
                    path,
                );
                for finding in inner.iter().filter(|finding| finding.severity == Severity::Error) {
                    let place = Place { line: finding.line, column: finding.column };
                    let (path, message) = (finding.path.as_str(), finding.message.as_str());
                    findings
                        .push(Severity::Warning, finding.code, path, place, message)
                        .help_maybe(finding.help.clone());
                }
                return;
            }
            (Holds::Text, ..) => "text",
            (Holds::Whole, ..) => "a whole number",
            (Holds::Number, ..) => "a number",
            (Holds::Bool, ..) => "true or false",
            (Holds::List(_), ..) => "a list",
            (Holds::Map(_) | Holds::Object, ..) => "a mapping",
        };
        findings.push(
            Severity::Warning,
            codes::WRONG_TYPE,
            path.to_string(),
            node,
            format!("expected {expected}, found {}", node.what()),
        );
    }

    /// The field's JSON Schema; `like` makes that of a section of this version.
    pub(crate) fn json_schema(&self, like: &mut dyn FnMut(Shape) -> Value) -> Value {
        let mut schema = self.schema_of(&self.holds, like);
        if let Some(map) = schema.as_object_mut() {
            map.insert("description".into(), json!("Known to later versions of the contract; no effect."));
            map.insert(MARK.into(), json!(true));
        }
        schema
    }

    fn schema_of(&self, holds: &Holds, like: &mut dyn FnMut(Shape) -> Value) -> Value {
        match holds {
            Holds::Text => json!({ "type": ["string", "number", "boolean", "null"] }),
            Holds::Whole | Holds::Number => json!({ "type": ["number", "null"] }),
            Holds::Bool => json!({ "type": ["boolean", "null"] }),
            Holds::Any => json!({}),
            Holds::List(inner) => {
                json!({ "type": ["array", "null"], "items": self.schema_of(inner, like) })
            }
            Holds::Map(inner) => {
                json!({ "type": ["object", "null"], "additionalProperties": self.schema_of(inner, like) })
            }
            Holds::Like(shape) => like(shape()),
            Holds::Object => {
                let properties: Map<String, Value> = self
                    .fields
                    .iter()
                    .map(|(name, field)| ((*name).to_owned(), field.json_schema(like)))
                    .collect();
                json!({ "type": ["object", "null"], "properties": properties })
            }
        }
    }
}
