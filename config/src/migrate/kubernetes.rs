//! ConfigMaps and the custom resources IntelligentPool, IntelligentRoute and SemanticRouter.

use super::tree::Tree as _;
use super::{Change, Migrator, flat};
use crate::findings::Findings;
use crate::node::{Kind, Node};
use crate::parse;

pub(super) fn run(migrator: &mut Migrator, documents: Vec<Node>) {
    for mut document in documents {
        let kind = document.str("kind").to_owned();
        for key in ["apiVersion", "kind", "metadata", "status"] {
            document.take(key);
        }
        match kind.as_str() {
            "ConfigMap" => config_map(migrator, document),
            "IntelligentPool" => {
                pool(migrator, document.take("spec").unwrap_or_else(Node::map));
                migrator.drop(&document, kind.as_str(), "it is not part of a pool");
            }
            "IntelligentRoute" => {
                route(migrator, document.take("spec").unwrap_or_else(Node::map));
                migrator.drop(&document, kind.as_str(), "it is not part of a route");
            }
            "SemanticRouter" => {
                semantic_router(migrator, document.take("spec").unwrap_or_else(Node::map));
                migrator.drop(&document, kind.as_str(), "it is not part of a router");
            }
            other => {
                let line = document.line;
                migrator.line(
                    Change::Dropped,
                    line,
                    other,
                    "",
                    "a resource of this kind holds no configuration",
                );
            }
        }
    }
}

fn config_map(migrator: &mut Migrator, mut document: Node) {
    let mut data = document.take("data").unwrap_or_else(Node::map);
    for (key, value) in data.take_all() {
        let is_yaml = key.ends_with(".yaml") || key.ends_with(".yml");
        let mut findings = Findings::default();
        let parsed = value
            .text()
            .filter(|_| is_yaml)
            .and_then(|text| parse::parse(text.as_bytes(), &mut findings))
            .filter(|node| matches!(node.kind, Kind::Map(_)));
        match parsed {
            Some(mut config) => {
                let by = value.line.saturating_sub(1);
                migrator.comments.read_embedded(value.text().unwrap_or_default(), &config, by);
                shift(&mut config, by);
                flat::run(migrator, config);
            }
            None => migrator.line(
                Change::Dropped,
                value.line,
                &format!("data.{key}"),
                "",
                "it holds no configuration",
            ),
        }
    }
}

/// Lines inside an embedded document count from where its text starts.
fn shift(node: &mut Node, by: u32) {
    node.line += by;
    match &mut node.kind {
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| shift(&mut entry.value, by)),
        Kind::Seq(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Kind::Scalar { .. } => {}
    }
}

fn pool(migrator: &mut Migrator, mut spec: Node) {
    if let Some(default) = spec.take("defaultModel") {
        migrator.put(default, "spec.defaultModel", "providers.defaults.default_model");
    }
    for (index, mut model) in
        spec.take("models").map(Node::take_items).unwrap_or_default().into_iter().enumerate()
    {
        let from = format!("spec.models[{index}]");
        let name = model.str("name").to_owned();
        model.take("name");
        let mut entry = flat::named(&name, model.line);
        if let Some(family) = model.take("reasoningFamily") {
            migrator.line(
                Change::Moved,
                family.line,
                &format!("{from}.reasoningFamily"),
                &format!("providers.models[{name}].reasoning_family"),
                "",
            );
            entry.set("reasoning_family", family);
        }
        if let Some(mut pricing) = model.take("pricing") {
            let mut per_million = Node::map();
            for (old, new) in [
                ("inputTokenPrice", "prompt_per_1m"),
                ("outputTokenPrice", "completion_per_1m"),
                ("cachedInputTokenPrice", "cached_input_per_1m"),
            ] {
                if let Some(price) = pricing.take(old) {
                    let value = price.text().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) * 1e6;
                    // Token prices are decimal fractions; rounding takes off what binary adds.
                    let text = format!("{}", (value * 1e6).round() / 1e6);
                    per_million.set(
                        new,
                        Node {
                            line: price.line,
                            column: 0,
                            kind: Kind::Scalar { text: text.into(), plain: true },
                        },
                    );
                    migrator.line(
                        Change::Changed,
                        price.line,
                        &format!("{from}.pricing.{old}"),
                        &format!("providers.models[{name}].pricing.{new}"),
                        "per token became per million tokens",
                    );
                }
            }
            if let Some(currency) = pricing.take("currency") {
                per_million.set("currency", currency);
            }
            migrator.drop(&pricing, &format!("{from}.pricing"), "v0.3 has no such price");
            entry.set("pricing", per_million);
        }
        flat::add_model(migrator, entry);
        flat::card_fields(migrator, &name, &mut model, &from);
        migrator.drop(&model, &from, "it is not part of a model");
    }
    migrator.drop(&spec, "spec", "it is not part of a pool");
}

/// Families of a route: camel case, snake case, home.
const ROUTE_SIGNALS: &[(&str, &str, &str)] = &[
    ("keywords", "keywords", "keywords"),
    ("embeddings", "embeddings", "embeddings"),
    ("domains", "domains", "domains"),
    ("contextRules", "context_rules", "context"),
    ("structure", "structure", "structure"),
    ("factCheckRules", "fact_check_rules", "fact_check"),
    ("conversation", "conversation", "conversation"),
    ("events", "events", "events"),
];

fn route(migrator: &mut Migrator, mut spec: Node) {
    let mut signals = spec.take("signals").unwrap_or_else(Node::map);
    for (camel, snake, home) in ROUTE_SIGNALS {
        for key in [camel, snake] {
            let Some(mut rules) = signals.take(key) else { continue };
            snake_keys(&mut rules);
            if *home == "domains" {
                for domain in rules.items_mut() {
                    let name = domain.str("name").to_owned();
                    domain.set_default(
                        "mmlu_categories",
                        Node::list(vec![Node { line: domain.line, ..Node::text_node(&name) }]),
                    );
                }
            }
            migrator.put(rules, &format!("spec.signals.{key}"), &format!("routing.signals.{home}"));
        }
    }
    migrator.drop(&signals, "spec.signals", "it is not part of a route");
    let mut decisions = spec.take("decisions").map(Node::take_items).unwrap_or_default();
    for (index, decision) in decisions.iter_mut().enumerate() {
        let from = format!("spec.decisions[{index}]");
        if let Some(rules) = decision.take("signals") {
            let line = rules.line;
            decision.set("rules", one_child_not(migrator, rules, &from));
            migrator.line(
                Change::Moved,
                line,
                &format!("{from}.signals"),
                &format!("routing.decisions[{index}].rules"),
                "",
            );
        }
        if let Some(references) = decision.get_mut("modelRefs") {
            snake_keys(references);
        }
    }
    if !decisions.is_empty() {
        migrator.put(Node::list(decisions), "spec.decisions", "routing.decisions");
    }
    migrator.drop(&spec, "spec", "it is not part of a route");
}

/// In a route NOT over several conditions means NOR; in v0.3 it takes exactly one.
fn one_child_not(migrator: &mut Migrator, mut rules: Node, from: &str) -> Node {
    let several = rules.get("conditions").is_some_and(|conditions| conditions.items().len() > 1);
    if !rules.str("operator").eq_ignore_ascii_case("NOT") || !several {
        return rules;
    }
    let mut any = Node::map();
    any.set("operator", Node::text_node("OR"));
    if let Some(conditions) = rules.take("conditions") {
        any.set("conditions", conditions);
    }
    rules.set("conditions", Node::list(vec![any]));
    migrator.line(
        Change::Changed,
        rules.line,
        &format!("{from}.signals"),
        "",
        "NOT over several became NOT over one OR",
    );
    rules
}

/// Camel-case keys of a rule to the contract's.
fn snake_keys(node: &mut Node) {
    match &mut node.kind {
        Kind::Seq(items) => items.iter_mut().for_each(snake_keys),
        Kind::Map(entries) => {
            for entry in entries {
                if let Kind::Scalar { text, .. } = &mut entry.key.kind {
                    let mut snake = String::with_capacity(text.len() + 4);
                    for c in text.chars() {
                        if c.is_ascii_uppercase() {
                            snake.push('_');
                        }
                        snake.push(c.to_ascii_lowercase());
                    }
                    *text = snake.into();
                }
                snake_keys(&mut entry.value);
            }
        }
        Kind::Scalar { .. } => {}
    }
}

fn semantic_router(migrator: &mut Migrator, mut spec: Node) {
    let mut first = None;
    let endpoints = spec.take("vllmEndpoints").map(Node::take_items).unwrap_or_default();
    for (index, mut endpoint) in endpoints.into_iter().enumerate() {
        let from = format!("spec.vllmEndpoints[{index}]");
        let model = endpoint.str("model").to_owned();
        endpoint.take("model");
        let mut entry = flat::named(&model, endpoint.line);
        if let Some(family) = endpoint.take("reasoningFamily") {
            entry.set("reasoning_family", family);
        }
        let mut backend = Node { line: endpoint.line, ..Node::map() };
        for key in ["name", "weight"] {
            if let Some(value) = endpoint.take(key) {
                backend.set(key, value);
            }
        }
        let target = endpoint.take("backend").unwrap_or_else(Node::map);
        let service = target.get("service").cloned().unwrap_or_else(Node::map);
        let address = match target.str("type") {
            "kserve" => Some((format!("{}-predictor:8443", target.str("inferenceServiceName")), "https")),
            "service" if service.get("name").is_some() => {
                let namespace = service.str("namespace");
                let host = if namespace.is_empty() {
                    service.str("name").to_owned()
                } else {
                    format!("{}.{namespace}", service.str("name"))
                };
                Some((format!("{host}:{}", service.get("port").and_then(Node::text).unwrap_or("80")), "http"))
            }
            _ => None,
        };
        match address {
            Some((address, protocol)) => {
                let why =
                    format!("the address became `{address}`; check that it resolves outside the cluster");
                migrator.line(
                    Change::Changed,
                    target.line,
                    &format!("{from}.backend"),
                    &format!("providers.models[{model}].backend_refs"),
                    &why,
                );
                backend.set("endpoint", Node::text_node(&address));
                backend.set("protocol", Node::text_node(protocol));
                entry.set("backend_refs", Node::list(vec![backend]));
            }
            None => migrator.drop(
                &target,
                &format!("{from}.backend"),
                "discovery by labels has no counterpart outside the cluster",
            ),
        }
        first.get_or_insert_with(|| model.clone());
        flat::add_model(migrator, entry);
        flat::card_fields(migrator, &model, &mut endpoint, &from);
        migrator.drop(&endpoint, &from, "it is not part of a backend");
    }
    if let Some(mut config) = spec.take("config") {
        if let Some(routing) = config.take("routing") {
            migrator.put(routing, "spec.config.routing", "routing");
        }
        flat::run(migrator, config);
    }
    if let Some(first) = first {
        let defaults = migrator.out.at("providers.defaults");
        if defaults.get("default_model").is_none_or(Node::is_blank) {
            defaults.set("default_model", Node::text_node(&first));
            migrator.line(
                Change::Added,
                0,
                "",
                "providers.defaults.default_model",
                "the first endpoint's model is the default",
            );
        }
    }
    for entry in spec.entries() {
        let key = entry.key.text().unwrap_or_default();
        migrator.line(
            Change::Dropped,
            entry.key.line,
            &format!("spec.{key}"),
            "",
            "a deployment setting, not part of a configuration",
        );
    }
}
