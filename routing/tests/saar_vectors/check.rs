//! Comparing what was computed with what a vector expects.

use std::collections::BTreeSet;

use serde_json::Value;

/// Expected values, and which of them were compared.
pub(crate) struct Check<'a> {
    expected: &'a Value,
    tolerance: f64,
    seen: BTreeSet<String>,
    failures: Vec<String>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(expected: &'a Value, tolerance: f64) -> Self {
        Self { expected, tolerance, seen: BTreeSet::new(), failures: Vec::new() }
    }

    pub(crate) fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    pub(crate) fn expected(&self) -> &'a Value {
        self.expected
    }

    /// Compares one member, if the vector has it.
    pub(crate) fn member(&mut self, name: &str, got: impl Into<Value>) {
        if let Some(expected) = self.expected.get(name) {
            self.seen.insert(name.to_owned());
            self.compare(name, expected, &got.into());
        }
    }

    /// Compares every member of `got` that the vector has under `name`; the vector may not have others.
    pub(crate) fn compare(&mut self, path: &str, expected: &Value, got: &Value) {
        match (expected, got) {
            (Value::Number(a), Value::Number(b)) => {
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                // The file rounds to ten decimals, so half a unit of the last one is not an error.
                if (a - b).abs() > self.tolerance + 0.5e-10 {
                    self.failures.push(format!("{path}: expected {a}, got {b}"));
                }
            }
            (Value::Object(a), Value::Object(b)) => {
                for (name, value) in a {
                    let path = format!("{path}.{name}");
                    match b.get(name) {
                        Some(got) => self.compare(&path, value, got),
                        None => self.failures.push(format!("{path}: expected {value}, got nothing")),
                    }
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (i, (x, y)) in a.iter().zip(b).enumerate() {
                    self.compare(&format!("{path}[{i}]"), x, y);
                }
            }
            (a, b) if a == b => {}
            (a, b) => self.failures.push(format!("{path}: expected {a}, got {b}")),
        }
    }

    /// Failures, among them every expectation that nothing was compared with.
    pub(crate) fn finish(mut self) -> Vec<String> {
        for (name, value) in self.expected.as_object().into_iter().flatten() {
            if !self.seen.contains(name) {
                self.failures.push(format!("{name}: expected {value}, and the handler does not know it"));
            }
        }
        self.failures
    }
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

pub(crate) fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(0.0)
}

pub(crate) fn integer(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or_else(|| number(value, name) as i64)
}

pub(crate) fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

pub(crate) fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// A number that counts only where its `_ok` or `_known` companion is true.
pub(crate) fn known(value: &Value, name: &str, companion: &str) -> Option<f64> {
    flag(value, companion).then(|| number(value, name))
}

/// Names in `candidates`; an adapter stands beside its model.
pub(crate) fn names(value: &Value) -> Vec<String> {
    let name = |v: &Value| v.as_str().unwrap_or_else(|| text(v, "model")).to_owned();
    value.as_array().map(|all| all.iter().map(name).collect()).unwrap_or_default()
}
