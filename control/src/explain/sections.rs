//! The sections of an explanation, in the order in which a request is served.

pub(super) mod decisions;
pub(super) mod evidence;
pub(super) mod request;
pub(super) mod selection;
pub(super) mod session;
pub(super) mod upstream;

use pintle_routing::evidence::Truth;

/// A field whose serialised form is its name, for example `x_session_id`.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => String::new(),
    }
}

/// ` (why)` for what is unknown.
fn why(truth: Truth) -> String {
    match truth {
        Truth::Unknown(reason) => format!(" ({})", reason.as_str()),
        Truth::True | Truth::False => String::new(),
    }
}
