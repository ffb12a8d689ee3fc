//! Decisions: names, tiers, candidates, selectors and plugins.

use std::collections::HashSet;

use super::repaired;
use crate::codes;
use crate::contract::{Algorithm, Decision};
use crate::shape::Contract;
use crate::validate::{ALGORITHMS, Context, PLUGINS, list};
use crate::value::Value;

pub(super) fn lint(cx: &mut Context<'_>) {
    let config = cx.config;
    let decisions = &config.routing.decisions;
    let mut names = HashSet::new();
    for (index, decision) in decisions.iter().enumerate() {
        let base = format!("routing.decisions[{index}]");
        if decision.name.is_empty() {
            cx.warn(codes::DECISION_NAME, &*base, "the decision has no name");
        } else if !names.insert(&decision.name) {
            cx.warn(
                codes::DECISION_NAME,
                format!("{base}.name"),
                format!("the decision `{}` is written twice; lookups by name find the first", decision.name),
            );
        }
        candidates(cx, &base, decision);
        if let Some(algorithm) = &decision.algorithm {
            lint_algorithm(cx, &base, decision, algorithm);
        }
        plugins(cx, &base, decision);
    }
    tiers(cx);
    shared_selectors(cx);
}

/// Once one matched decision has a tier, a decision without one comes before all tiers.
fn tiers(cx: &mut Context<'_>) {
    const SHOWN: usize = 3;
    let decisions = &cx.config.routing.decisions;
    let Some(tiered) = decisions.iter().find(|decision| decision.tier > 0) else { return };
    let mut untiered = decisions.iter().enumerate().filter(|(_, decision)| decision.tier == 0);
    let Some((first, _)) = untiered.clone().next() else { return };
    let names = list(untiered.by_ref().take(SHOWN).map(|(_, decision)| decision.name.as_str()));
    let more = match untiered.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    cx.warn(
        codes::TIERS,
        format!("routing.decisions[{first}]"),
        format!(
            "decisions without a tier ({names}{more}) come before `{}` and every other with one",
            tiered.name
        ),
    )
    .help("give every decision a tier, or none");
}

fn candidates(cx: &mut Context<'_>, base: &str, decision: &Decision) {
    let config = cx.config;
    for (at, candidate) in
        decision.model_refs.iter().enumerate().filter(|(_, candidate)| !candidate.model.is_empty())
    {
        let path = format!("{base}.modelRefs[{at}].model");
        let name = &candidate.model;
        let card = config
            .routing
            .model_cards
            .iter()
            .find(|card| card.name == *name || card.loras.iter().any(|lora| lora.name == *name));
        let Some(card) = card else {
            let known = config.routing.model_cards.iter().map(|card| card.name.as_str());
            let near = crate::check::nearest(name, known, 3).map(|near| format!("did you mean `{near}`?"));
            if candidate.lora_name.is_empty() {
                cx.warn(
                    codes::UNKNOWN_MODEL,
                    path,
                    format!("`{}`: the candidate `{name}` is in no model card", decision.name),
                )
                .help_maybe(near);
            }
            continue;
        };
        let served = config
            .providers
            .models
            .iter()
            .any(|model| model.name == card.name && !model.backend_refs.is_empty());
        if !served && !config.providers.models.is_empty() {
            cx.warn(
                codes::UNREACHABLE_MODEL,
                path,
                format!("`{}`: the candidate `{name}` has no backend", decision.name),
            );
        }
    }
}

fn lint_algorithm(cx: &mut Context<'_>, base: &str, decision: &Decision, algorithm: &Algorithm) {
    let kind = algorithm.kind.trim().to_lowercase();
    if !kind.is_empty() && !ALGORITHMS.contains(&kind.as_str()) {
        let near = crate::check::nearest(&kind, ALGORITHMS.iter().copied(), 3);
        cx.warn(
            codes::UNKNOWN_ALGORITHM,
            format!("{base}.algorithm.type"),
            format!(
                "`{}`: there is no algorithm `{}`; the default selector decides",
                decision.name, algorithm.kind
            ),
        )
        .help(near.map_or_else(
            || format!("use one of {}", list(ALGORITHMS.iter().copied())),
            |near| format!("did you mean `{near}`?"),
        ));
    }
}

fn plugins(cx: &mut Context<'_>, base: &str, decision: &Decision) {
    let mut seen = HashSet::new();
    for (at, plugin) in decision.plugins.iter().enumerate() {
        let path = format!("{base}.plugins[{at}]");
        let kind = plugin.kind.as_str();
        let near = crate::check::nearest(kind, PLUGINS.iter().copied(), 3);
        let (message, help) = if !PLUGINS.contains(&kind) {
            (format!("there is no plugin `{kind}`"), near.map(|near| format!("did you mean `{near}`?")))
        } else if !seen.insert(kind) {
            (format!("the plugin `{kind}` is written twice; only the first counts"), None)
        } else if plugin.configuration.is_none() {
            (format!("the plugin `{kind}` has no configuration and does nothing"), None)
        } else {
            continue;
        };
        cx.warn(codes::PLUGIN_DEAD, path, format!("`{}`: {message}", decision.name)).help_maybe(help);
    }
}

/// Upstream keeps one selector of each kind per process.
fn shared_selectors(cx: &mut Context<'_>) {
    let config = cx.config;
    let severity = repaired(cx);
    let mut first: Vec<(&str, Value, &str)> = Vec::new();
    for (index, decision) in config.routing.decisions.iter().enumerate() {
        let Some(algorithm) = &decision.algorithm else { continue };
        let path = format!("routing.decisions[{index}].algorithm");
        for (kind, ignored) in
            [("automix", algorithm.automix.is_some()), ("hybrid", algorithm.hybrid.is_some())]
        {
            if ignored {
                cx.push(
                    severity,
                    codes::SELECTOR_SHARED,
                    format!("{path}.{kind}"),
                    format!("v0.3.0 ignores {kind} settings of a decision and uses global.router.model_selection.{kind}"),
                );
            }
        }
        let blocks = [
            ("elo", algorithm.elo.as_ref().map(Contract::export)),
            ("router_dc", algorithm.router_dc.as_ref().map(Contract::export)),
            ("rl_driven", algorithm.rl_driven.as_ref().map(Contract::export)),
            ("gmtrouter", algorithm.gmtrouter.as_ref().map(Contract::export)),
            ("multi_factor", algorithm.multi_factor.as_ref().map(Contract::export)),
            ("session_aware", algorithm.session_aware.as_ref().map(Contract::export)),
        ];
        for (kind, block) in blocks {
            let Some(block) = block else { continue };
            match first.iter().find(|(known, ..)| *known == kind) {
                None => first.push((kind, block, &decision.name)),
                Some((_, configured, by)) if *configured != block => {
                    let message =
                        format!("v0.3.0 configures {kind} once, from `{by}`; this block would be ignored");
                    cx.push(severity, codes::SELECTOR_SHARED, format!("{path}.{kind}"), message);
                }
                Some(_) => {}
            }
        }
    }
}
