//! `global`: sections that switch themselves off, and words that nothing knows.

use std::net::{IpAddr, SocketAddr};

use super::repaired;
use crate::codes;
use crate::contract::Config;
use crate::node::Node;
use crate::shape::{Contract, Shape};
use crate::validate::{Context, list};

pub(super) fn lint(cx: &mut Context<'_>) {
    let config = cx.config;
    if config.global.router.config_source == "kubernetes" {
        cx.warn(
            codes::KUBERNETES,
            "global.router.config_source",
            "with config_source kubernetes upstream validates nothing; Pintle reads this file only",
        );
    }
    if config.global.services.api.batch_classification.max_concurrency > 0 {
        let severity = repaired(cx);
        cx.push(
            severity,
            codes::CONCURRENCY,
            "global.services.api.batch_classification.max_concurrency",
            "v0.3.0 throttles the signals of every request by this, not only the batch API",
        );
    }
    let admin = config.global.pintle.admin.listen.trim();
    match admin.parse::<SocketAddr>() {
        _ if admin.is_empty() => {}
        Ok(address) if address.ip().is_loopback() => {}
        Ok(_) => {
            cx.warn(
                codes::LISTENER,
                "global.pintle.admin.listen",
                format!("the admin API has no authentication, and `{admin}` is not a loopback address"),
            );
        }
        Err(_) => {
            cx.refuse(
                codes::LISTENER,
                "global.pintle.admin.listen",
                format!("`{admin}` is not an IP address and port such as 127.0.0.1:9190"),
            );
        }
    }
    guard(cx);
    choices(cx);
    provider_chains(cx);
    switched_off(cx);
    if let Some(node) = cx.root.get("global")
        && let Shape::Struct(shape) = Config::shape()
        && let Some(field) = shape.fields.iter().find(|field| field.name == "global")
    {
        nulls(cx, node, (field.shape)(), "global", true);
    }
}

/// Most ports that the guard's table has room for.
const MAX_GUARDED_PORTS: usize = 64;

fn guard(cx: &mut Context<'_>) {
    let guard = &cx.config.global.pintle.guard;
    for (list, prefixes) in [("deny", &guard.deny), ("allow", &guard.allow)] {
        for (index, prefix) in prefixes.iter().enumerate().filter(|(_, prefix)| !is_prefix(prefix)) {
            cx.refuse(
                codes::LISTENER,
                format!("global.pintle.guard.{list}[{index}]"),
                format!("`{prefix}` is not an IP address or a network such as 192.0.2.0/24"),
            );
        }
    }
    if guard.ports.len() > MAX_GUARDED_PORTS {
        let message = format!("the guard takes at most {MAX_GUARDED_PORTS} ports");
        cx.refuse(codes::LISTENER, "global.pintle.guard.ports", message);
    }
}

fn is_prefix(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

fn choices(cx: &mut Context<'_>) {
    let global = &cx.config.global;
    let (services, stores) = (&global.services, &global.stores);
    let cache = ["", "memory", "redis", "valkey", "milvus", "qdrant", "hybrid"];
    let mut all: Vec<(&str, &str, &[&str])> = vec![
        ("router.config_source", &global.router.config_source, &["", "file", "kubernetes"]),
        ("router.strategy", &global.router.strategy, &["", "priority", "confidence"]),
        (
            "services.response_api.store_backend",
            &services.response_api.store_backend,
            &["", "redis", "memory"],
        ),
        (
            "services.router_replay.store_backend",
            &services.router_replay.store_backend,
            &["", "postgres", "redis", "memory", "milvus", "qdrant"],
        ),
        (
            "services.startup_status.store_backend",
            &services.startup_status.store_backend,
            &["", "file", "redis"],
        ),
        ("stores.semantic_cache.backend_type", &stores.semantic_cache.backend_type, &cache),
        ("stores.memory.backend", &stores.memory.backend, &["", "milvus", "valkey", "qdrant"]),
    ];
    if let Some(store) = stores.vector_store.as_ref().filter(|store| store.enabled) {
        all.push((
            "stores.vector_store.backend_type",
            &store.backend_type,
            &["memory", "milvus", "llama_stack", "valkey", "qdrant"],
        ));
    }
    for (path, value, known) in all {
        if !known.contains(&value) {
            let near = crate::check::nearest(value, known.iter().copied().filter(|word| !word.is_empty()), 3);
            cx.warn(
                codes::UNKNOWN_CHOICE,
                format!("global.{path}"),
                format!(
                    "`{value}` is not one of {}",
                    list(known.iter().copied().filter(|word| !word.is_empty()))
                ),
            )
            .help_maybe(near.map(|near| format!("did you mean `{near}`?")));
        }
    }
}

fn provider_chains(cx: &mut Context<'_>) {
    let services = &cx.config.global.services;
    for (index, provider) in services.authz.providers.iter().enumerate() {
        if !["header-injection", "static-config"].contains(&provider.kind.as_str()) {
            cx.warn(
                codes::PROVIDER_CHAIN,
                format!("global.services.authz.providers[{index}]"),
                format!(
                    "authz provider `{}` does not exist; upstream falls back to its default chain",
                    provider.kind
                ),
            )
            .help("use header-injection or static-config");
        }
    }
    for (index, provider) in services.ratelimit.providers.iter().enumerate() {
        let wrong = match provider.kind.as_str() {
            "envoy-ratelimit" if provider.address.is_empty() => "envoy-ratelimit needs an address",
            "local-limiter" if provider.rules.is_empty() => "local-limiter needs rules",
            "envoy-ratelimit" | "local-limiter" => continue,
            _ => "the type is not envoy-ratelimit or local-limiter",
        };
        cx.warn(
            codes::PROVIDER_CHAIN,
            format!("global.services.ratelimit.providers[{index}]"),
            format!("rate limiting would be off: {wrong}"),
        );
    }
}

/// Services that a file switches on without the address they need.
fn switched_off(cx: &mut Context<'_>) {
    let services = &cx.config.global.services;
    let written = |service: &str| {
        cx.root
            .get("global")
            .and_then(|global| global.get("services"))
            .and_then(|services| services.get(service))
            .is_some_and(|service| service.get("enabled").is_some())
    };
    let responses = &services.response_api;
    let replay = &services.router_replay;
    let no_responses = written("response_api")
        && responses.enabled
        && responses.store_backend == "redis"
        && responses.redis.address.is_empty()
        && responses.redis.config_path.is_empty()
        && !responses.redis.cluster_mode;
    let no_replay = written("router_replay")
        && replay.enabled
        && replay.store_backend == "postgres"
        && replay.postgres.is_none();
    for (off, path, needs) in [
        (no_responses, "global.services.response_api", "redis.address"),
        (no_replay, "global.services.router_replay", "a postgres block"),
    ] {
        if off {
            cx.warn(
                codes::SWITCHES_OFF,
                path,
                format!("enabled, but without {needs} upstream switches it off"),
            );
        }
    }
}

/// Finds explicit nulls that reset a section with defaults.
fn nulls(cx: &mut Context<'_>, node: &Node, shape: Shape, path: &str, top: bool) {
    let Shape::Struct(shape) = shape else { return };
    if shape.extension {
        return;
    }
    if node.is_null() {
        // `global: null` and `global:` alone mean the defaults.
        if !top {
            cx.warn(
                codes::NULL_SECTION,
                path,
                format!("an empty `{path}:` sets everything below it to zero, empty or off"),
            )
            .help("remove the line to keep the defaults");
        }
        return;
    }
    for entry in node.entries() {
        let field = entry.key.text().and_then(|key| shape.fields.iter().find(|field| field.name == key));
        if let Some(field) = field {
            nulls(cx, &entry.value, (field.shape)(), &format!("{path}.{}", field.name), false);
        }
    }
}
