//! Learnt selectors against numbers that an independent script worked out (`tests/goldens/selectors.py`).

use std::sync::LazyLock;

use pintle_config::Profile::{self, Compat, Pintle};
use serde_json::Value;

use super::*;
use crate::evidence::Unknown;
use crate::facts::Facts;
use crate::flow::{FlowDocument, Recorded};
use crate::learned::{DomainReading, Learned, Reading};
use crate::live::LiveSignals;
use crate::outcome::Outcome;
use crate::policy::{Policy, Record};
use crate::testing::{config, facts, inputs};

static GOLDENS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../tests/goldens/selectors.json")).unwrap());

const REFS: &str = "modelRefs: [{model: small}, {model: large}, {model: large, lora_name: sql-adapter}]";

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn file(name: &str) -> Vec<u8> {
    serde_json::to_vec(&GOLDENS["files"][name]).unwrap()
}

/// A policy with every subject as a domain, so that the query's category is known.
fn policy_of(kind: Trained, bytes: &[u8], profile: Profile) -> Policy {
    let domains: Vec<String> =
        CATEGORIES.iter().chain(&["poetry"]).map(|name| format!("{{name: {name}}}")).collect();
    let conditions: Vec<String> =
        CATEGORIES.iter().chain(&["poetry"]).map(|name| format!("{{type: domain, name: {name}}}")).collect();
    let routing = format!(
        "  signals: {{domains: [{}]}}\n  decisions: [{{name: d, priority: 1, rules: {{operator: OR, conditions: [{}, {{operator: AND, conditions: []}}]}}, {REFS}, algorithm: {{type: {}}}}}]\n",
        domains.join(", "),
        conditions.join(", "),
        kind.as_str()
    );
    let mut pretrained = Pretrained::default();
    pretrained.read(kind, bytes).unwrap();
    Policy::compile_with(&config(&routing, "", profile), profile, &pretrained).unwrap()
}

fn measured(query: &Value) -> Learned {
    let embedding = numbers(&query["embedding"]).into_iter().map(|value| value as f32).collect();
    let category = query["category"].as_str().unwrap();
    let labels = if category.is_empty() { Vec::new() } else { vec![(category.to_owned(), 0.9)] };
    Learned {
        query_embedding: Reading::Given(embedding),
        domain: Reading::Given(DomainReading { labels, complete: false }),
        ..Learned::default()
    }
}

fn decide(policy: &Policy, learned: &Learned) -> Outcome {
    let (request, live) = (facts("x"), LiveSignals::default());
    policy.decide_measured(&inputs(&request, None, &live), learned)
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

fn scores(outcome: &Outcome) -> Vec<f64> {
    outcome.trace.candidates.iter().map(|candidate| candidate.score).collect()
}

#[test]
fn scores_are_those_of_the_formulas() {
    for (name, kind) in [
        ("knn", Trained::Knn),
        ("kmeans", Trained::Kmeans),
        ("svm", Trained::Svm),
        ("svm_linear", Trained::Svm),
        ("mlp", Trained::Mlp),
    ] {
        let policy = policy_of(kind, &file(name), Pintle);
        let compat = policy_of(kind, &file(name), Compat);
        let mut elsewhere = 0;
        for query in GOLDENS["queries"].as_array().unwrap() {
            let expected = &query["expected"][name];
            let outcome = decide(&policy, &measured(query));
            let found = scores(&outcome);
            assert!(close(&found, &numbers(&expected["scores"])), "{name}: {found:?} {expected}");
            assert!(found.iter().all(|score| (0.0..=1.0).contains(score)));
            let chosen = outcome.trace.base_choice.unwrap();
            assert!(found.iter().all(|score| *score <= found[chosen]), "{name}");

            let winner = expected["winner"].as_str().unwrap();
            let known = GOLDENS["candidates"].as_array().unwrap().iter().position(|label| label == winner);
            elsewhere += usize::from(known.is_none());
            let outcome = decide(&compat, &measured(query));
            assert_eq!(outcome.trace.base_choice, Some(known.unwrap_or(0)), "{name} as v0.3.0");
            let sure = if known.is_some() { COMPAT_CONFIDENCE } else { 0.0 };
            assert!((outcome.trace.selection_confidence - sure).abs() < 1e-12);
        }
        assert!(elsewhere < 12, "some queries are won by a candidate");
    }
}

#[test]
fn without_an_embedding_the_configured_order_decides_and_says_why() {
    let policy = policy_of(Trained::Knn, &file("knn"), Pintle);
    assert!(policy.learned_needs().query_embedding && policy.needs().current_user);
    let reasons = |learned: &Learned| {
        let outcome = decide(&policy, learned);
        assert_eq!((outcome.trace.base_choice, outcome.trace.selection_confidence), (Some(0), 0.0));
        let (request, live) = (facts("x"), LiveSignals::default());
        let mut doc = FlowDocument::default();
        policy.describe(&inputs(&request, None, &live), &outcome, Record::Nothing, &mut doc);
        assert_eq!(doc.selection.method, "knn");
        doc.selection.candidates[1].reason.clone()
    };
    assert_eq!(reasons(Learned::none()), "no embedding of the query (no classifier): configured as 2 of 3");
    let late = Learned { query_embedding: Reading::Missing(Unknown::Deadline), ..Learned::default() };
    assert!(reasons(&late).starts_with("no embedding of the query (classifier missed its deadline)"));
    let short = Learned { query_embedding: Reading::Given(vec![0.5; 3]), ..Learned::default() };
    assert!(reasons(&short).starts_with("the query's embedding is not as long as"));
}

#[test]
fn a_label_that_is_no_candidate_leaves_the_order() {
    let knn =
        r#"{"trained": true, "k": 1, "embeddings": [[0,0,0,0,0,0,0,0,0,0,0,0,0,0,1]], "labels": ["gone"]}"#;
    let policy = policy_of(Trained::Knn, knn.as_bytes(), Pintle);
    let learned = Learned { query_embedding: Reading::Given(vec![0.5]), ..Learned::default() };
    let outcome = decide(&policy, &learned);
    assert_eq!(outcome.trace.candidates[0].reason, ScoreReason::Unlearned(Unlearned::NoLabel, 1, 3));
    assert!(scores(&outcome).is_sorted_by(|a, b| a > b));
}

#[test]
fn a_recorded_choice_is_taken_again_without_the_classifier() {
    let policy = policy_of(Trained::Mlp, &file("mlp"), Pintle);
    let (request, live) = (facts("x"), LiveSignals::default());
    for query in GOLDENS["queries"].as_array().unwrap() {
        let given = inputs(&request, None, &live);
        let outcome = policy.decide_measured(&given, &measured(query));
        let json = serde_json::to_string(&policy.recorded(&given, &outcome, false)).unwrap();
        let recorded: Recorded = serde_json::from_str(&json).unwrap();
        assert_eq!(format!("{:?}", policy.replay(&recorded)), format!("{outcome:?}"));
    }
}

#[test]
fn the_digest_knows_the_file() {
    let one = policy_of(Trained::Knn, &file("knn"), Pintle);
    let mut other = GOLDENS["files"]["knn"].clone();
    other["k"] = 3.into();
    let other = policy_of(Trained::Knn, &serde_json::to_vec(&other).unwrap(), Pintle);
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn files_are_named_by_their_own_path_or_the_directory() {
    let of = |global: &str, algorithm: &str| {
        let routing = format!(
            "  decisions: [{{name: d, priority: 1, rules: {{operator: AND, conditions: []}}, {REFS}, algorithm: {{{algorithm}}}}}]\n"
        );
        let global = format!("global: {{router: {{model_selection: {{ml: {{{global}}}}}}}}}");
        Pretrained::files(&config(&routing, &global, Pintle))
    };
    let directory = "models_path: /models/, svm: {pretrained_path: /else/where.json}";
    assert_eq!(of(directory, "type: knn"), [(Trained::Knn, "/models/knn_model.json".to_owned())]);
    assert_eq!(of(directory, "type: svm"), [(Trained::Svm, "/else/where.json".to_owned())]);
    assert_eq!(of(directory, "type: static"), []);
    assert_eq!(of("models_path: ''", "type: mlp"), []);
    let based = "type: session_aware, session_aware: {base_method: kmeans}";
    assert_eq!(of(directory, based), [(Trained::Kmeans, "/models/kmeans_model.json".to_owned())]);
}

#[test]
fn broken_files_are_told() {
    let read = |kind, text: &str| Pretrained::default().read(kind, text.as_bytes()).unwrap_err();
    assert!(matches!(read(Trained::Knn, "{"), PretrainedError::Format { kind: "knn", .. }));
    assert!(matches!(read(Trained::Mlp, r#"{"algorithm": "mlp"}"#), PretrainedError::Format { .. }));
    let knn = |text: &str| read(Trained::Knn, text);
    assert_eq!(
        knn(r#"{"trained": false, "k": 1, "embeddings": [[1]], "labels": ["a"]}"#),
        PretrainedError::NotTrained
    );
    for broken in [
        r#"{"trained": true, "k": 1, "embeddings": [], "labels": []}"#,
        r#"{"trained": true, "k": 1, "embeddings": [[1], [1, 2]], "labels": ["a", "b"]}"#,
        r#"{"trained": true, "k": 1, "embeddings": [[1]], "labels": []}"#,
        r#"{"trained": true, "k": 1, "embeddings": [[1e300]], "labels": ["a"]}"#,
    ] {
        assert!(
            matches!(knn(broken), PretrainedError::Shape(_) | PretrainedError::Format { .. }),
            "{broken}"
        );
    }
    let mut mlp = GOLDENS["files"]["mlp"].clone();
    mlp["layers"].as_array_mut().unwrap().pop();
    assert!(matches!(read(Trained::Mlp, &mlp.to_string()), PretrainedError::Shape(_)));
    mlp["layers"].as_array_mut().unwrap().remove(0);
    assert!(matches!(read(Trained::Mlp, &mlp.to_string()), PretrainedError::Shape(_)));
    let svm = r#"{"trained": true, "linear_classifiers": []}"#;
    assert!(matches!(read(Trained::Svm, svm), PretrainedError::Shape(_)));
}

#[test]
fn without_its_file_a_selector_is_static_and_noted() {
    let routing = format!(
        "  decisions: [{{name: d, priority: 1, rules: {{operator: AND, conditions: []}}, {REFS}, algorithm: {{type: svm}}}}]\n"
    );
    let policy = Policy::compile(&config(&routing, "", Pintle), Pintle).unwrap();
    assert_eq!(policy.notes().len(), 1);
    assert!(!policy.learned_needs().query_embedding);
    let request = Facts { session: None, ..facts("x") };
    let outcome = policy.decide(&request, None, crate::testing::NOW, &LiveSignals::default());
    assert_eq!(outcome.trace.base_choice, Some(0));
}
