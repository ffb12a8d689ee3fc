//! Bodies that look like what agents send, from generated values.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A few fixed bodies.
pub(super) fn bodies() -> Vec<String> {
    vec![
        json!({"model": "m", "messages": []}).to_string(),
        json!({"messages": [{"role": "user", "content": "a\"b\\c\nd é 😀"}], "model": "gpt", "n": -1.5e3, "x": [true, null, {"y": [[]]}]})
            .to_string(),
    ]
}

/// Any JSON value, at most a few levels deep.
pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((".{0,12}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
