//! Single formulas.

use pintle_routing::session::LookupTable;
use pintle_routing::session::compat::affinity::{self, AffinityCandidate, AffinityContext};
use pintle_routing::session::compat::saar::{self, ModelParams, SaarConfig, SaarSession};
use pintle_routing::session::compat::warmth;
use serde_json::{Map, Value, json};

use crate::check::{Check, flag, integer, items, known, names, number, text};

pub(crate) fn config(value: &Value) -> SaarConfig {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// A configuration whose unset fields are zero.
fn literal(value: &Value) -> SaarConfig {
    let mut zero = serde_json::to_value(SaarConfig::default()).unwrap();
    for (_, field) in zero.as_object_mut().unwrap() {
        *field = match field {
            Value::Bool(_) => json!(false),
            Value::String(_) => json!(""),
            _ => json!(0),
        };
    }
    overlay(&mut zero, value);
    config(&zero)
}

fn overlay(base: &mut Value, over: &Value) {
    for (name, value) in over.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
        base[name] = value.clone();
    }
}

pub(crate) fn config_of(input: &Value) -> SaarConfig {
    if input["config_effective"].is_object() {
        config(&input["config_effective"])
    } else if input["config"].is_object() {
        config(&input["config"])
    } else if input["config_literal"].is_object() {
        literal(&input["config_literal"]).normalised()
    } else {
        SaarConfig::default()
    }
}

pub(crate) fn lookup(input: &Value) -> LookupTable {
    serde_json::from_value(input["lookup_table"].clone()).unwrap_or_default()
}

pub(crate) fn model_params(value: &Value) -> ModelParams {
    ModelParams {
        prompt_per_1m: number(value, "prompt_per_1m"),
        cached_input_per_1m: number(value, "cached_input_per_1m"),
        quality_score: number(value, "quality_score"),
    }
}

pub(crate) fn max_cost(input: &Value) -> f64 {
    let all: Vec<ModelParams> =
        input["model_params"].as_object().into_iter().flatten().map(|(_, v)| model_params(v)).collect();
    saar::max_prefix_cost(&all)
}

pub(crate) fn session(value: &Value) -> SaarSession<'_> {
    SaarSession {
        turn_index: integer(value, "turn_index"),
        memory_turn_count: integer(value, "memory_turn_count"),
        memory_switch_count: integer(value, "memory_switch_count"),
        previous_model: text(value, "previous_model"),
        previous_response_id: text(value, "previous_response_id"),
        history_tokens: integer(value, "history_tokens"),
        context_tokens: integer(value, "context_tokens"),
        cache_warmth: known(value, "cache_warmth", "cache_warmth_ok"),
        idle_seconds: known(value, "idle_seconds", "idle_known"),
        last_decision_name: text(value, "last_decision_name"),
        active_tool_loop: flag(value, "active_tool_loop"),
        has_non_portable_context: flag(value, "has_non_portable_context"),
        non_portable_context_reason: text(value, "non_portable_context_reason"),
    }
}

fn pressure(input: &Value, model: &str) -> f64 {
    saar::cost_pressure(&model_params(&input["model_params"][model]), max_cost(input))
}

pub(crate) fn continuation_mass(input: &Value, check: &mut Check<'_>) {
    let config = config_of(input);
    let lookup = lookup(input);
    let scope = if input["selection"].is_object() { &input["selection"] } else { input };
    let facts = if scope["session"].is_object() { &scope["session"] } else { input };
    let families = [text(scope, "category_name"), text(scope, "decision_name")];
    let continuation = saar::continuation(&config, &session(facts), families, &lookup);
    for name in ["mass", "continuation_mass"] {
        check.member(name, continuation.mass);
    }
    check.member("prior_ok", continuation.prior_ok);
    check.member("prior", continuation.prior);
    check.member("remaining", continuation.remaining);
}

pub(crate) fn prefix_penalty(input: &Value, check: &mut Check<'_>) {
    let config = config_of(input);
    let session = session(&input["session"]);
    let mass = saar::continuation(&config, &session, ["", ""], &LookupTable::default()).mass;
    check.member("continuation_mass", mass);
    let warmth = saar::effective_warmth(&session, flag(input, "idle_expired"));
    for pair in items(input, "pairs") {
        let (from, to) = (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
        let multiplier = saar::cache_cost_multiplier(&config, pressure(input, from), pressure(input, to));
        let suffix = format!("{}_to_{}", from.replace('-', ""), to.replace('-', ""));
        check.member(&format!("multiplier_{suffix}"), multiplier);
        check.member(&format!("penalty_{suffix}"), saar::prefix_penalty(&config, mass, warmth, multiplier));
    }
}

/// Members named `pressure_<model>`, or one object of them.
pub(crate) fn cost_pressure(input: &Value, check: &mut Check<'_>) {
    let mut all = names(&input["models"]);
    all.extend(names(&input["candidates"]));
    all.extend(input["model"].as_str().map(str::to_owned));
    all.extend(input["model_params"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    let by_name: Map<String, Value> =
        all.iter().map(|name| (name.clone(), json!(pressure(input, name)))).collect();
    for (name, value) in &by_name {
        check.member(name, value.clone());
        check.member(&format!("pressure_{}", name.replace('-', "")), value.clone());
        check.member(&format!("pressure_{name}"), value.clone());
    }
    for name in ["pressure", "pressures", "cost_pressure"] {
        match check.expected().get(name) {
            Some(Value::Object(_)) => check.member(name, by_name.clone()),
            Some(Value::Number(_)) => check.member(name, pressure(input, text(input, "model"))),
            _ => {}
        }
    }
}

pub(crate) fn config_normalize(input: &Value, check: &mut Check<'_>) {
    let given = input.get("config").or_else(|| input.get("config_literal")).unwrap_or(input);
    members(&literal(given).normalised(), check);
}

pub(crate) fn config_overlay(input: &Value, check: &mut Check<'_>) {
    let mut merged = serde_json::to_value(SaarConfig::default()).unwrap();
    for layer in ["global", "base", "decision", "overlay", "override"] {
        overlay(&mut merged, &input[layer]);
    }
    members(&config(&merged).normalised(), check);
}

fn members(config: &SaarConfig, check: &mut Check<'_>) {
    let Value::Object(fields) = serde_json::to_value(config).unwrap() else { unreachable!() };
    for whole in ["config_effective", "effective", "config"] {
        check.member(whole, fields.clone());
    }
    for (name, value) in fields {
        check.member(&name, value);
    }
}

pub(crate) fn switch_history_penalty(input: &Value, check: &mut Check<'_>) {
    let config = match input["switch_history_weight"].as_f64() {
        Some(weight) => SaarConfig { switch_history_weight: weight, ..SaarConfig::default() },
        None => config_of(input),
    };
    let penalty = |count: i64| saar::switch_history_penalty(&config, count);
    let facts = if input["session"].is_object() { &input["session"] } else { input };
    let count = ["memory_switch_count", "switch_count", "switches"]
        .into_iter()
        .find_map(|name| facts[name].as_i64())
        .unwrap_or(0);
    for name in ["penalty", "switch_history_penalty"] {
        check.member(name, penalty(count));
    }
    let many: Vec<f64> =
        items(input, "switch_counts").iter().filter_map(Value::as_i64).map(penalty).collect();
    check.member("penalties", many);
}

pub(crate) fn cache_affinity(input: &Value, check: &mut Check<'_>) {
    let facts = &input["context"];
    let names = names(&input["candidates"]);
    let candidates: Vec<AffinityCandidate<'_>> = names
        .iter()
        .map(|name| AffinityCandidate {
            name,
            base_score: number(&input["base_scores"], name),
            window: integer(&facts["windows"], name),
        })
        .collect();
    let context = AffinityContext {
        turn_index: integer(facts, "turn_index"),
        history_tokens: integer(facts, "history_tokens"),
        context_tokens: integer(facts, "context_tokens"),
        previous_model: text(facts, "previous_model"),
        previous_response_id: text(facts, "previous_response_id"),
    };
    let got =
        if facts.is_null() { affinity::Affinity::default() } else { affinity::adjust(&context, &candidates) };
    check.member("w_req", got.w_req);
    check.member("lambda_req", got.lambda_req);
    let by_name: Map<String, Value> =
        names.iter().cloned().zip(got.adjustments.iter().map(|a| json!(a))).collect();
    check.member("adjustments", by_name);
}

pub(crate) fn context_fit(input: &Value, check: &mut Check<'_>) {
    check.member("fit", affinity::context_fit(integer(input, "context_tokens"), integer(input, "window")));
}

pub(crate) fn gap12(input: &Value, check: &mut Check<'_>) {
    let names = names(&input["candidates"]);
    check.member("gap", affinity::gap12(names.iter().map(|name| number(&input["scores"], name))));
}

pub(crate) fn ambient_warmth(input: &Value, check: &mut Check<'_>) {
    let age = input["seconds_since_last_ttft_of_model"]
        .as_f64()
        .or_else(|| input["age_seconds"].as_f64())
        .or_else(|| flag(input, "history").then_some(0.0));
    let model = input["model"].as_str().unwrap_or("model");
    let got = warmth::ambient_warmth(model, age);
    check.member("warmth", got.unwrap_or(0.0));
    check.member("ok", got.is_some());
}

/// Values of `ttft_values`, or an even ramp of `ttft_history`.
pub(crate) fn ttft_history(input: &Value) -> Vec<f64> {
    let ramp = &input["ttft_history"];
    let count = integer(ramp, "count");
    if count > 0 {
        let (from, to) = (number(ramp, "linear_from"), number(ramp, "linear_to"));
        let step = if count > 1 { (to - from) / (count - 1) as f64 } else { 0.0 };
        return (0..count).map(|i| from + step * i as f64).collect();
    }
    items(input, "ttft_values").iter().filter_map(Value::as_f64).collect()
}

pub(crate) fn cache_probability(input: &Value, check: &mut Check<'_>) {
    let model = input["model"].as_str().unwrap_or("model");
    let ttft = number(input, "ttft_seconds");
    let age = number(input, "age_seconds");
    check.member("probability", warmth::cache_probability(model, ttft, &ttft_history(input), age));
}
