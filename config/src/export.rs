//! A configuration as a document again.

use crate::contract::Config;
use crate::shape::{Contract, Shape};
use crate::value::Value;
use crate::write;

/// What stands in place of a key.
pub const REDACTED: &str = "[redacted]";

/// Whether keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keys {
    /// Every key is replaced by [`REDACTED`].
    #[default]
    Redacted,
    /// Keys are written as they are.
    Written,
}

/// Writes a configuration as canonical v0.3. Only what differs from the defaults is written; loading the
/// result gives an equal configuration, except for redacted keys and the version, which becomes `v0.3`.
pub fn export(config: &Config, keys: Keys) -> String {
    let mut value = config.export();
    if keys == Keys::Redacted {
        redact(&mut value, Config::shape());
    }
    if let Value::Map(entries) = &mut value {
        entries.retain(|(key, _)| key != "version");
        entries.insert(0, ("version".into(), Value::String("v0.3".into())));
        if !entries.iter().any(|(key, _)| key == "routing" || key == "global") {
            entries.push(("routing".into(), Value::Map(Vec::new())));
        }
    }
    write::yaml(&value)
}

fn redact(value: &mut Value, shape: Shape) {
    match (shape, value) {
        (Shape::Secret, value @ Value::String(_)) if value.as_str() != Some("") => {
            *value = Value::String(REDACTED.into());
        }
        (Shape::Nullable(inner), value) => redact(value, inner()),
        (Shape::List(item), Value::List(items)) => items.iter_mut().for_each(|value| redact(value, item())),
        (Shape::Map(inner), Value::Map(entries)) => {
            entries.iter_mut().for_each(|(_, value)| redact(value, inner()))
        }
        (Shape::Struct(shape), Value::Map(entries)) => {
            for (key, value) in entries {
                if let Some(field) = shape.fields.iter().find(|field| field.name == key) {
                    redact(value, (field.shape)());
                }
            }
        }
        (Shape::Any, value) => redact_opaque(value),
        // Header values may carry credentials of any scheme.
        _ => {}
    }
}

/// Opaque payloads have no shape; keys are known by name only.
fn redact_opaque(value: &mut Value) {
    match value {
        Value::List(items) => items.iter_mut().for_each(redact_opaque),
        Value::Map(entries) => {
            for (key, value) in entries {
                let key = key.to_lowercase();
                let names_key =
                    ["api_key", "apikey", "access_key", "password", "secret", "token", "authorization"]
                        .iter()
                        .any(|word| key == *word || key.ends_with(&format!("_{word}")));
                match value {
                    Value::String(text) if names_key && !text.is_empty() => *text = REDACTED.into(),
                    other => redact_opaque(other),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
