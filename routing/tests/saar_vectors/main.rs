//! v0.3.0's behaviour as data: every vector of the corpus passes at its tolerance.
//!
//! Reads the file named by `PINTLE_SAAR_VECTORS`, else `../shared/corpus/saar/vectors.json` beside the repository.
//! An expectation that a kind's handler does not know is a failure, not a pass.

mod check;
mod formulas;
mod records;
mod selection;

use std::path::PathBuf;

use check::Check;
use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "the vector file is named by the environment of the test run")]
fn vector_file() -> PathBuf {
    std::env::var_os("PINTLE_SAAR_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/saar/vectors.json"),
        PathBuf::from,
    )
}

fn run(kind: &str, id: &str, input: &Value, check: &mut Check<'_>) {
    match kind {
        "session_aware_select" => selection::session_aware_select(input, check),
        "continuation_mass" => formulas::continuation_mass(input, check),
        "prefix_penalty" => formulas::prefix_penalty(input, check),
        "cost_pressure" => formulas::cost_pressure(input, check),
        "config_normalize" => formulas::config_normalize(input, check),
        "config_overlay" => formulas::config_overlay(input, check),
        "switch_history_penalty" => formulas::switch_history_penalty(input, check),
        "cache_affinity" => formulas::cache_affinity(input, check),
        "context_fit" => formulas::context_fit(input, check),
        "gap12" => formulas::gap12(input, check),
        "ambient_warmth" => formulas::ambient_warmth(input, check),
        "cache_probability" => formulas::cache_probability(input, check),
        "switch_gate" => selection::switch_gate(input, check),
        "selection_fallback" => selection::selection_fallback(input, check),
        "multi_factor" => selection::multi_factor(input, check),
        "latency_aware" => selection::latency_aware(input, check),
        "session_derivation" => records::session_derivation(input, check),
        "history_tokens" => records::history_tokens(input, check),
        "token_estimate" => records::token_estimate(input, check),
        "turn_number" => records::turn_number(input, check),
        "agentic_facts" => records::agentic_facts(input, check),
        "session_sequence" => records::session_sequence(input, check),
        "cache_accounting" => records::cache_accounting(input, check),
        "last_model_store" => records::last_model_store(input, check),
        "transition_store" => records::transition_store(input, check),
        "transition_event" => records::transition_event(input, check),
        "lookup_builder" => records::lookup_builder(input, check),
        "lookup_key" => records::lookup_key(input, check),
        "lookup_file" => records::lookup_file(id, check),
        other => check.fail(format!("no handler for kind {other}")),
    }
}

#[test]
fn every_vector_passes() {
    let path = vector_file();
    let Ok(bytes) = std::fs::read(&path) else {
        println!("SKIP: no SAAR vectors at {}", path.display());
        return;
    };
    let document: Value = serde_json::from_slice(&bytes).expect("the vector file is JSON");
    let default = document["tolerances"]["default"].as_f64().unwrap_or(1e-9);
    let vectors = document["vectors"].as_array().expect("vectors");
    assert!(!vectors.is_empty());
    let mut failures = Vec::new();
    for vector in vectors {
        let id = vector["id"].as_str().unwrap_or_default();
        let kind = vector["kind"].as_str().unwrap_or_default();
        let tolerance = vector["tolerance"].as_f64().unwrap_or(default);
        let mut check = Check::new(&vector["expected"], tolerance);
        run(kind, id, &vector["input"], &mut check);
        failures.extend(check.finish().into_iter().map(|why| format!("{kind} {id}: {why}")));
    }
    println!("{} SAAR vectors, {} mismatches", vectors.len(), failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
