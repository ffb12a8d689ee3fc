//! The contract as JSON Schema 2020-12, from the same declarations that decode documents.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::contract::Config;
use crate::later;
use crate::shape::{Contract, Field, Shape, Struct};

/// The JSON Schema of a configuration document. It admits what v0.3 decodes: unknown keys, null for any
/// value, any scalar where text is expected. Fields that only later versions know are marked with
/// `x-later-version` and have those versions' types.
pub fn json_schema() -> Value {
    let mut definitions = BTreeMap::new();
    let Shape::Struct(root) = Config::shape() else { unreachable!("a configuration is a mapping") };
    let mut schema = structure(root, &mut definitions);
    let definitions: Map<String, Value> =
        definitions.into_iter().map(|(name, schema)| (name.to_owned(), schema.unwrap_or_default())).collect();
    let map = schema.as_object_mut().expect("a structure is an object");
    map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    map.insert("title".into(), json!("Pintle configuration, contract v0.3"));
    map.insert("anyOf".into(), json!([{ "required": ["routing"] }, { "required": ["global"] }]));
    map.insert("$defs".into(), Value::Object(definitions));
    schema
}

type Definitions = BTreeMap<&'static str, Option<Value>>;

fn structure(shape: &'static Struct, definitions: &mut Definitions) -> Value {
    let mut properties: Map<String, Value> =
        shape.fields.iter().map(|field| (field.name.to_owned(), property(field, definitions))).collect();
    for (name, field) in later::of(shape.name).into_iter().flatten() {
        let schema = field.json_schema(&mut |shape| value(shape, definitions));
        properties.insert((*name).to_owned(), schema);
    }
    json!({
        "type": ["object", "null"],
        "description": shape.doc.join("").trim(),
        "properties": properties,
    })
}

fn property(field: &Field, definitions: &mut Definitions) -> Value {
    let mut schema = match (field.range, (field.shape)()) {
        (Some((min, max)), _) => json!({ "type": ["integer", "null"], "minimum": min, "maximum": max }),
        (None, shape) => value(shape, definitions),
    };
    let map = schema.as_object_mut().expect("every schema is an object");
    map.insert("description".into(), json!(field.doc.join("").trim()));
    if let Some(default) = default(&(field.default)()) {
        map.insert("default".into(), default);
    }
    if matches!((field.shape)(), Shape::Secret) {
        map.insert("writeOnly".into(), json!(true));
    }
    schema
}

/// A default worth showing: a scalar that is not empty.
fn default(value: &crate::Value) -> Option<Value> {
    use crate::Value as V;
    match value {
        V::Bool(value) => Some(json!(value)),
        V::Int(value) if *value != 0 => Some(json!(value)),
        V::Float(value) if *value != 0.0 => Some(json!(value)),
        V::String(text) if !text.is_empty() => Some(json!(text)),
        _ => None,
    }
}

fn value(shape: Shape, definitions: &mut Definitions) -> Value {
    match shape {
        Shape::Bool => json!({ "type": ["boolean", "null"] }),
        Shape::Int { min, max } if min == i64::MIN && max == i64::MAX => {
            json!({ "type": ["number", "null"] })
        }
        Shape::Int { min, max } => json!({ "type": ["integer", "null"], "minimum": min, "maximum": max }),
        Shape::Float => json!({ "type": ["number", "null"] }),
        Shape::String | Shape::Secret => json!({ "type": ["string", "number", "boolean", "null"] }),
        Shape::Any => json!({}),
        Shape::Choice(words) => {
            json!({ "enum": words.iter().map(|word| json!(word)).chain([Value::Null]).collect::<Vec<_>>() })
        }
        Shape::Custom(custom) => {
            serde_json::from_str(custom.json_schema).expect("a schema in the source is valid JSON")
        }
        Shape::List(item) => json!({ "type": ["array", "null"], "items": value(item(), definitions) }),
        Shape::Map(inner) => {
            json!({ "type": ["object", "null"], "additionalProperties": value(inner(), definitions) })
        }
        Shape::Nullable(inner) => value(inner(), definitions),
        Shape::Struct(shape) => {
            if !definitions.contains_key(shape.name) {
                // Entered before its members, so that a recursive structure ends.
                definitions.insert(shape.name, None);
                let schema = structure(shape, definitions);
                definitions.insert(shape.name, Some(schema));
            }
            json!({ "$ref": format!("#/$defs/{}", shape.name) })
        }
    }
}

/// A document as JSON, as far as it is YAML; for validation against [`json_schema`].
pub fn to_json(bytes: &[u8]) -> Option<Value> {
    let mut findings = crate::findings::Findings::default();
    crate::parse::parse(bytes, &mut findings).map(|node| from_value(&node.to_value()))
}

fn from_value(value: &crate::Value) -> Value {
    use crate::Value as V;
    match value {
        V::Null => Value::Null,
        V::Bool(value) => json!(value),
        V::Int(value) => json!(value),
        V::Float(value) => json!(value),
        V::String(text) => json!(text),
        V::List(items) => items.iter().map(from_value).collect(),
        V::Map(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), from_value(value))).collect())
        }
    }
}
