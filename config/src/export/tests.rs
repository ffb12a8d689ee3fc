use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;
use crate::findings::Findings;
use crate::{Profile, load, parse};

fn read(text: &str) -> Config {
    let mut findings = Findings::default();
    let node = parse::parse(text.as_bytes(), &mut findings)
        .unwrap_or_else(|| panic!("{:?}", findings.into_report("t")));
    let mut config = Config::default();
    config.read(&node);
    config
}

/// Any value that a shape admits; `fuel` bounds the size.
fn any_value(shape: Shape, fuel: u32) -> BoxedStrategy<Value> {
    let text = prop_oneof![
        "[a-zA-Z0-9_ .:/-]{0,12}",
        "\\PC{0,8}",
        Just("yes".to_owned()),
        Just("0123".to_owned()),
        Just("null".to_owned()),
        Just("a\n b\t\"c\\ #d".to_owned()),
        Just("<<".to_owned()),
    ];
    match shape {
        Shape::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Shape::Int { min, max } => (min..=max).prop_map(Value::Int).boxed(),
        Shape::Float => prop_oneof![
            (-1e6f32..1e6).prop_map(|value| Value::Float(value.into())),
            any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::Float),
            Just(Value::Float(0.0)),
        ]
        .boxed(),
        Shape::String | Shape::Secret => text.prop_map(Value::String).boxed(),
        Shape::Choice(words) => {
            proptest::sample::select(words).prop_map(|word| Value::String(word.into())).boxed()
        }
        Shape::Custom(_) => (1i64..64).prop_map(Value::Int).boxed(),
        Shape::Any => any_opaque(fuel.min(3)),
        Shape::Nullable(_) if fuel == 0 => Just(Value::Null).boxed(),
        Shape::Nullable(inner) => prop_oneof![Just(Value::Null), any_value(inner(), fuel)].boxed(),
        Shape::List(_) | Shape::Map(_) if fuel == 0 => Just(Value::Null).boxed(),
        Shape::List(item) => {
            proptest::collection::vec(any_value(item(), fuel - 1), 0..3).prop_map(Value::List).boxed()
        }
        Shape::Map(inner) => proptest::collection::vec((text, any_value(inner(), fuel - 1)), 0..3)
            .prop_map(|entries| Value::Map(unique(entries)))
            .boxed(),
        Shape::Struct(_) if fuel == 0 => Just(Value::Map(Vec::new())).boxed(),
        Shape::Struct(shape) => {
            // Few fields at a time, so that trees of every part of the contract stay small.
            proptest::collection::vec(0..shape.fields.len(), 0..4)
                .prop_flat_map(move |chosen| {
                    let mut fields: Vec<_> = chosen.into_iter().map(|index| &shape.fields[index]).collect();
                    fields.dedup_by_key(|field| field.name);
                    fields
                        .into_iter()
                        .map(|field| {
                            let inner = match (field.range, (field.shape)()) {
                                (Some((min, max)), _) => Shape::Int { min, max },
                                (None, shape) => shape,
                            };
                            any_value(inner, fuel - 1).prop_map(|value| (field.name.to_owned(), value))
                        })
                        .collect::<Vec<_>>()
                })
                .prop_map(|entries| Value::Map(unique(entries)))
                .boxed()
        }
    }
}

fn any_opaque(fuel: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e9f64..1e9).prop_map(Value::Float),
        "\\PC{0,10}".prop_map(Value::String),
    ];
    leaf.prop_recursive(fuel, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            proptest::collection::vec(("\\PC{0,6}", inner), 0..3)
                .prop_map(|entries| Value::Map(unique(entries))),
        ]
    })
    .boxed()
}

fn unique(entries: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let mut kept: Vec<(String, Value)> = Vec::new();
    for (key, value) in entries {
        if !kept.iter().any(|(have, _)| *have == key) {
            kept.push((key, value));
        }
    }
    kept
}

#[test]
fn what_is_exported_reads_back_as_the_same_configuration() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let strategy = any_value(Config::shape(), 9);
    let mut fields = 0;
    for _ in 0..400 {
        let value = strategy.new_tree(&mut runner).expect("a value").current();
        let mut first = read(&write::yaml(&value));
        first.version = "v0.3".into();
        fields += first.export().entries().len();
        let text = export(&first, Keys::Written);
        assert_eq!(read(&text), first, "from\n{text}");
    }
    assert!(fields > 400, "the generator reaches the contract");
}

proptest! {
    #[test]
    fn any_value_survives_writing(value in any_opaque(4)) {
        let text = write::yaml(&Value::Map(vec![("k".into(), value.clone())]));
        let mut findings = Findings::default();
        let node = parse::parse(text.as_bytes(), &mut findings).expect("what is written is YAML");
        prop_assert_eq!(node.to_value().get("k").cloned(), Some(value), "from\n{}", text);
    }
}

#[test]
fn keys_are_redacted_unless_asked_for() {
    let text = "\
providers: {models: [{name: m, backend_refs: [{endpoint: h, api_key: hunter2}]}]}
routing:
  modelCards: [{name: m}]
  decisions: [{name: d, plugins: [{type: rag, configuration: {backend_config: {api_key: hunter3}}}]}]
global: {services: {router_replay: {redis: {password: hunter4}}}}
";
    let config = load(text.as_bytes(), "t", Profile::Pintle).config.expect("it loads");
    let redacted = export(&config, Keys::Redacted);
    assert!(!redacted.contains("hunter"), "{redacted}");
    assert_eq!(redacted.matches(REDACTED).count(), 3);
    assert_eq!(export(&config, Keys::Written).matches("hunter").count(), 3);
}

#[test]
fn zeros_survive_where_defaults_are_not_zero() {
    let mut config = Config::default();
    config.global.router = Contract::zero();
    config.global.services = Contract::zero();
    config.global.stores = Contract::zero();
    config.global.integrations = Contract::zero();
    config.global.model_catalog = Contract::zero();
    let again = read(&export(&config, Keys::Written));
    assert_eq!(Config { version: String::new(), ..again }, config);
}
