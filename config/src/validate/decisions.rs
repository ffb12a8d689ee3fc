//! Decisions: references in rules, candidates, iterations and directives.

use super::{Context, algorithm, each_leaf, leaf_type, plugins};
use crate::codes;
use crate::contract::{Config, Decision};

pub(super) fn check(cx: &mut Context<'_>) {
    let config = cx.config;
    for (index, decision) in config.routing.decisions.iter().enumerate() {
        let base = format!("routing.decisions[{index}]");
        check_rules(cx, &base, decision);
        check_modality(cx, &base, decision);
        for (at, candidate) in decision.model_refs.iter().enumerate() {
            if candidate.model.is_empty() {
                cx.fail(
                    codes::MODEL_REF,
                    format!("{base}.modelRefs[{at}]"),
                    format!("decision `{}`: a candidate has no model", decision.name),
                );
            }
        }
        if let Some(algorithm) = &decision.algorithm {
            algorithm::check(cx, &base, &decision.name, algorithm);
        }
        check_iterations(cx, &base, decision);
        check_emits(cx, &base, decision);
        plugins::check(cx, &base, decision);
    }
}

fn check_rules(cx: &mut Context<'_>, base: &str, decision: &Decision) {
    let config = cx.config;
    let name = &decision.name;
    for (at, child) in decision.rules.conditions.iter().enumerate() {
        if leaf_type(child) == "latency" && decision.rules.kind.is_empty() {
            cx.fail(
                codes::LATENCY,
                format!("{base}.rules.conditions[{at}]"),
                format!("decision `{name}`: conditions of type latency are no longer supported"),
            );
        }
    }
    each_leaf(&decision.rules, "rules", &mut |leaf, path| match leaf_type(leaf).as_str() {
        "domain" if !config.routing.signals.domains.iter().any(|domain| domain.name == leaf.name) => {
            let known = config.routing.signals.domains.iter().map(|domain| domain.name.as_str());
            let near =
                crate::check::nearest(&leaf.name, known, 3).map(|near| format!("did you mean `{near}`?"));
            cx.fail(
                codes::UNDECLARED,
                format!("{base}.{path}"),
                format!("decision `{name}` refers to the domain `{}`, which is not declared", leaf.name),
            )
            .help_maybe(near);
        }
        "projection" if !is_output(config, &leaf.name) => {
            cx.fail(
                codes::UNDECLARED,
                format!("{base}.{path}"),
                format!(
                    "decision `{name}` refers to the projection output `{}`, which no mapping declares",
                    leaf.name
                ),
            );
        }
        _ => {}
    });
}

fn is_output(config: &Config, name: &str) -> bool {
    config
        .routing
        .projections
        .mappings
        .iter()
        .flat_map(|mapping| &mapping.outputs)
        .any(|output| output.name == name)
}

/// A direct condition on `BOTH` needs candidates for text and for images.
fn check_modality(cx: &mut Context<'_>, base: &str, decision: &Decision) {
    let asks =
        decision.rules.conditions.iter().any(|leaf| leaf_type(leaf) == "modality" && leaf.name == "BOTH");
    if !asks {
        return;
    }
    let modalities: Vec<&str> = decision
        .model_refs
        .iter()
        .filter_map(|candidate| {
            cx.config.routing.model_cards.iter().find(|card| card.name == candidate.model)
        })
        .map(|card| card.modality.as_str())
        .collect();
    let has = |modality| modalities.contains(&modality);
    if !(has("omni") || has("ar") && has("diffusion")) {
        cx.fail(
            codes::MODALITY,
            format!("{base}.modelRefs"),
            format!(
                "decision `{}` on modality BOTH needs a candidate of modality omni, or one ar and one diffusion",
                decision.name
            ),
        );
    }
}

fn check_iterations(cx: &mut Context<'_>, base: &str, decision: &Decision) {
    for (at, iteration) in decision.candidate_iterations.iter().enumerate() {
        let path = format!("{base}.candidateIterations[{at}]");
        let mut fail = |below: &str, message: String| {
            cx.fail(
                codes::ITERATION,
                format!("{path}{below}"),
                format!("decision `{}`: {message}", decision.name),
            );
        };
        if iteration.variable.trim().is_empty() {
            fail(".variable", "the iteration has no variable".into());
        }
        match iteration.source.as_str() {
            "decision.candidates" if decision.model_refs.is_empty() => {
                fail(".source", "decision.candidates needs modelRefs".into());
            }
            "decision.candidates" => {}
            "models" if iteration.models.is_empty() => {
                fail(".models", "the source models needs models".into())
            }
            "models" => {
                if iteration.models.iter().any(|model| model.model.trim().is_empty()) {
                    fail(".models", "a model of the iteration has no name".into());
                }
            }
            other => fail(".source", format!("source `{other}` is not decision.candidates or models")),
        }
        for (index, output) in iteration.outputs.iter().enumerate() {
            if output.kind != "model" || output.value != iteration.variable {
                fail(
                    &format!(".outputs[{index}]"),
                    format!("an output has type model and the value `{}`", iteration.variable),
                );
            }
        }
    }
}

fn check_emits(cx: &mut Context<'_>, base: &str, decision: &Decision) {
    let mut seen = false;
    for (at, emit) in decision.emits.iter().enumerate() {
        let path = format!("{base}.emits[{at}]");
        let name = &decision.name;
        if emit.kind != "retention" {
            cx.fail(
                codes::EMIT,
                format!("{path}.kind"),
                format!("decision `{name}`: emit kind `{}` is not retention", emit.kind),
            );
            continue;
        }
        if std::mem::replace(&mut seen, true) {
            cx.fail(codes::EMIT, &*path, format!("decision `{name}` emits retention twice"));
        }
        let Some(retention) = &emit.retention else {
            cx.fail(codes::EMIT, &*path, format!("decision `{name}`: the emit has no retention block"));
            continue;
        };
        let ttl = retention.ttl_turns;
        if ttl.is_some_and(|ttl| ttl < 0) {
            cx.fail(
                codes::EMIT,
                format!("{path}.retention.ttl_turns"),
                format!("decision `{name}`: ttl_turns is negative"),
            );
        }
        let drop = retention.drop == Some(true);
        if drop && ttl.is_some_and(|ttl| ttl > 0) {
            cx.fail(
                codes::EMIT,
                format!("{path}.retention"),
                format!("decision `{name}`: drop excludes ttl_turns"),
            );
        }
        let empty = retention.drop.is_none()
            && ttl.is_none()
            && retention.keep_current_model.is_none()
            && retention.prefer_prefix_retention.is_none();
        if empty || ttl == Some(0) && !drop {
            cx.warn(
                codes::EMPTY_RETENTION,
                format!("{path}.retention"),
                format!("decision `{name}`: the retention block has no effect"),
            );
        }
    }
}
