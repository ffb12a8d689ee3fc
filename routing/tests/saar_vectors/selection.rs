//! Choices among candidates.

use pintle_routing::session::compat::gate::{self, GateConfig, GateInput, GateMode};
use pintle_routing::session::compat::saar::{self, SaarCandidate, SaarInput};
use pintle_routing::session::compat::selectors::{
    self, Factors, FrameMethod, Latencies, OnNoCandidates, Selection, Slo, Weights,
};
use serde_json::{Map, Value, json};

use crate::check::{Check, flag, integer, known, names, number, text};
use crate::formulas::{config_of, lookup, max_cost, model_params, session};

fn score(result: &Value, name: &str) -> Option<f64> {
    result["scores"][name]
        .as_f64()
        .or_else(|| result["score"].as_f64().filter(|_| text(result, "selected") == name))
}

pub(crate) fn session_aware_select(input: &Value, check: &mut Check<'_>) {
    let (config, lookup) = (config_of(input), lookup(input));
    let selection = &input["selection"];
    let base = &input["base_result"];
    let names = names(&selection["candidates"]);
    // Without a usable base result the frame scores the candidates 1, 0.999, 0.998 and so on.
    let failed = base.is_null() || base["error"] != Value::Null;
    let candidates: Vec<SaarCandidate<'_>> = names
        .iter()
        .enumerate()
        .map(|(i, name)| SaarCandidate {
            name,
            base_score: if failed { Some(1.0 - 0.001 * i as f64) } else { base["scores"][name].as_f64() },
            params: model_params(&input["model_params"][name]),
        })
        .collect();
    let base_choice = names.iter().position(|name| name == text(base, "selected")).unwrap_or(0);
    let got = saar::select(&SaarInput {
        config: &config,
        candidates: &candidates,
        max_prefix_cost: max_cost(input),
        base_choice,
        base_score: base["score"].as_f64().unwrap_or(1.0),
        session: selection["session"].is_object().then(|| session(&selection["session"])),
        decision: text(selection, "decision_name"),
        category: text(selection, "category_name"),
        lookup: &lookup,
    });

    let chosen = names[got.chosen].as_str();
    check.member("selected_model", chosen);
    check.member("score", got.score);
    if let Some(confidence) = got.confidence {
        check.member("confidence", confidence);
    }
    let finals: Map<String, Value> =
        names.iter().cloned().zip(got.final_scores.iter().map(|s| json!(s))).collect();
    check.member("final_scores", finals);
    let mut trace = json!(got.trace);
    trace["algorithm"] = json!("agentic_continuity_routing");
    trace["base_selected_model"] = json!(names[base_choice]);
    trace["selected_model"] = json!(chosen);
    trace["candidate_traces"] =
        names.iter().cloned().zip(got.trace.candidates.iter().map(|c| json!(c))).collect();
    check.member("trace", trace);
}

pub(crate) fn switch_gate(input: &Value, check: &mut Check<'_>) {
    let (config, selection, result) = (&input["config"], &input["selection"], &input["result"]);
    let lookup = lookup(input);
    let names = names(&selection["candidates"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mode = if text(config, "mode") == "enforce" { GateMode::Enforce } else { GateMode::Shadow };
    let current = text(input, "current_model");
    let candidate = input["candidate_model"].as_str().unwrap_or_else(|| text(result, "selected"));
    let got = gate::evaluate(&GateInput {
        config: GateConfig {
            enabled: flag(config, "enabled"),
            mode,
            min_switch_advantage: number(config, "min_switch_advantage"),
            default_handoff_penalty: number(config, "default_handoff_penalty"),
            cache_warmth_weight: number(config, "cache_warmth_weight"),
        },
        has_selection_context: selection.is_object(),
        session_id: text(selection, "session_id"),
        decision: text(selection, "decision_name"),
        category: text(selection, "category_name"),
        candidates: &names,
        current_model: current,
        candidate_model: candidate,
        current_score: score(result, current),
        candidate_score: score(result, candidate),
        cache_warmth: known(input, "cache_warmth", "cache_warmth_ok"),
        lookup: &lookup,
    });
    check.member("enabled", flag(config, "enabled"));
    check.member("mode", if mode == GateMode::Enforce { "enforce" } else { "shadow" });
    check.member("current_model", current);
    check.member("candidate_model", candidate);
    check.member("final_model", got.final_model.as_str());
    check.member("would_switch", got.would_switch);
    check.member("enforced_stay", got.enforced_stay);
    check.member("missing_signals", got.missing_signals.clone());
    check.member("net_switch_advantage_ok", got.net_switch_advantage_ok);
    check.member("cache_warmth", got.cache_warmth);
    check.member("selector_score_delta", got.selector_score_delta);
    check.member("quality_gap", got.quality_gap);
    check.member("handoff_penalty", got.handoff_penalty);
    check.member("cache_warmth_penalty", got.cache_warmth_penalty);
    check.member("net_switch_advantage", got.net_switch_advantage);
    check.member("stay_cost_estimate", got.stay_cost_estimate);
    check.member("switch_cost_estimate", got.switch_cost_estimate);
    check.member("reason", got.reason);
}

pub(crate) fn selection_fallback(input: &Value, check: &mut Check<'_>) {
    let names = names(&input["candidates"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let asked = input.get("selector_result");
    let chosen = selectors::choose(&names, asked.and_then(Value::as_str));
    check.member("selected_model", chosen.map_or("", |(index, _)| names[index]));
    // A context that fails validation never reaches a selector, and then no method is named.
    let method = match chosen {
        _ if asked.is_none() => "",
        Some((_, FrameMethod::Single)) => "single",
        Some((_, FrameMethod::Static)) => "static",
        Some((_, FrameMethod::Selector)) => text(input, "selector_method"),
        None => "",
    };
    check.member("method", method);
}

/// Candidates as listed, else every model that any of the tables names.
fn candidates(input: &Value, tables: &[&str]) -> Vec<String> {
    let listed = names(&input["candidates"]);
    if !listed.is_empty() {
        return listed;
    }
    let mut all = Vec::new();
    for name in tables.iter().filter_map(|t| input[*t].as_object()).flat_map(Map::keys) {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

fn selected(names: &[String], got: Option<&Selection>, check: &mut Check<'_>) {
    check.member("error", got.is_none());
    let Some(got) = got else { return };
    check.member("selected", names[got.chosen].as_str());
    check.member("score", got.score);
    check.member("confidence", got.confidence);
    let scores: Map<String, Value> =
        names.iter().zip(&got.scores).filter_map(|(n, s)| s.map(|s| (n.clone(), json!(s)))).collect();
    check.member("scores", scores);
}

pub(crate) fn multi_factor(input: &Value, check: &mut Check<'_>) {
    let tables = ["inflight", "tpot_s", "ttft_s", "prompt_per_1m", "quality", "quality_score"];
    let given = &input["weights"];
    let weights = Weights {
        quality: number(given, "quality"),
        latency: number(given, "latency"),
        cost: number(given, "cost"),
        load: number(given, "load"),
    };
    let w = weights.normalised();
    check.member(
        "weights",
        json!({"quality": w.quality, "latency": w.latency, "cost": w.cost, "load": w.load}),
    );
    let names = candidates(input, &tables);
    let factors: Vec<Factors> = names
        .iter()
        .map(|name| Factors {
            quality: number(&input["quality"], name).max(number(&input["quality_score"], name)),
            tpot_s: input["tpot_s"][name].as_f64(),
            ttft_s: input["ttft_s"][name].as_f64(),
            prompt_per_1m: number(&input["prompt_per_1m"], name),
            inflight: integer(&input["inflight"], name),
        })
        .collect();
    let limits = &input["slo"];
    let slo = Slo {
        max_tpot_ms: number(limits, "max_tpot_ms"),
        max_ttft_ms: number(limits, "max_ttft_ms"),
        max_cost_per_1m: number(limits, "max_cost_per_1m"),
        max_inflight: integer(limits, "max_inflight"),
    };
    let on_none = match text(input, "on_no_candidates") {
        "first" => OnNoCandidates::First,
        "fail" => OnNoCandidates::Fail,
        _ => OnNoCandidates::Cheapest,
    };
    selected(&names, selectors::multi_factor(weights, &slo, on_none, &factors).as_ref(), check);
}

pub(crate) fn latency_aware(input: &Value, check: &mut Check<'_>) {
    let table = |prefix: &str| {
        input.as_object().into_iter().flatten().find(|(key, v)| key.starts_with(prefix) && v.is_object())
    };
    let (tpot, ttft) = (table("tpot_p"), table("ttft_p"));
    let keys: Vec<&str> = [tpot, ttft].into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let names = candidates(input, &keys);
    let value = |t: Option<(&String, &Value)>, name: &str| t.and_then(|(_, v)| v[name].as_f64());
    let latencies: Vec<Latencies> =
        names.iter().map(|name| Latencies { tpot_s: value(tpot, name), ttft_s: value(ttft, name) }).collect();
    selected(&names, selectors::latency_aware(tpot.is_some(), ttft.is_some(), &latencies).as_ref(), check);
}
