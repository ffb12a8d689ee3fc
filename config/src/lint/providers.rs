//! Listeners, provider models and backends.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::repaired;
use crate::codes;
use crate::contract::{BackendRef, ProviderModel};
use crate::endpoint;
use crate::node::{Kind, Node};
use crate::validate::{Context, list};

pub(super) fn lint(cx: &mut Context<'_>) {
    listeners(cx);
    let config = cx.config;
    let mut names = HashSet::new();
    for (index, model) in config.providers.models.iter().enumerate() {
        let path = format!("providers.models[{index}]");
        if !model.name.is_empty() && !names.insert(&model.name) {
            cx.warn(
                codes::PROVIDER_TWICE,
                format!("{path}.name"),
                format!("the provider model `{}` is written twice; their backends are merged", model.name),
            );
        }
        model_id(cx, &path, model);
        for (at, backend) in model.backend_refs.iter().enumerate() {
            lint_backend(cx, &format!("{path}.backend_refs[{at}]"), model, backend);
        }
    }
    if let Some(providers) = cx.root.get("providers") {
        dollars(cx, providers, "providers");
    }
}

fn listeners(cx: &mut Context<'_>) {
    let mut bound = HashSet::new();
    for (index, listener) in cx.config.listeners.iter().enumerate() {
        let path = format!("listeners[{index}]");
        if is_pseudo_listener(&listener.name, listener.port) {
            cx.note(
                codes::PSEUDO_LISTENER,
                path,
                format!("`{}` documents a port of upstream's router and is not bound", listener.name),
            );
            continue;
        }
        let address = listener.address.trim();
        if !["", "localhost"].contains(&address) && address.parse::<IpAddr>().is_err() {
            cx.refuse(
                codes::LISTENER,
                format!("{path}.address"),
                format!("the address `{address}` of a listener is not an IP address"),
            );
        }
        if !(1..=65_535).contains(&listener.port) {
            cx.refuse(
                codes::LISTENER,
                format!("{path}.port"),
                format!("the port {} of a listener is not from 1 to 65535", listener.port),
            );
        } else if !bound.insert((listener.address.as_str(), listener.port)) {
            cx.refuse(
                codes::LISTENER,
                &*path,
                format!("{}:{} is bound twice", listener.address, listener.port),
            );
        }
    }
}

/// The listener only documents a port of upstream's router in Kubernetes files.
pub fn is_pseudo_listener(name: &str, port: i64) -> bool {
    name.starts_with("grpc-") || port == 50_051 || name == "http-8080"
}

fn model_id(cx: &mut Context<'_>, path: &str, model: &ProviderModel) {
    if model.provider_model_id.is_empty() && model.external_model_ids.is_empty() {
        return;
    }
    let stored: BTreeSet<&str> = if model.external_model_ids.is_empty() {
        model
            .backend_refs
            .iter()
            .map(|backend| {
                [&*backend.kind, &*backend.provider].into_iter().find(|key| !key.is_empty()).unwrap_or("vllm")
            })
            .collect()
    } else {
        model.external_model_ids.keys().map(String::as_str).collect()
    };
    let missed = model
        .backend_refs
        .iter()
        .map(|backend| if backend.kind.is_empty() { "vllm" } else { &*backend.kind })
        .find(|key| !stored.contains(key));
    let severity = repaired(cx);
    if let Some(key) = missed {
        let (field, message) = if model.external_model_ids.is_empty() {
            (
                "provider_model_id",
                format!(
                    "v0.3.0 looks the upstream id of `{}` up under `{key}` but stores it under {}, and sends `{0}`",
                    model.name,
                    list(stored)
                ),
            )
        } else {
            (
                "external_model_ids",
                format!("external_model_ids of `{}` has no `{key}`; v0.3.0 sends the name `{0}`", model.name),
            )
        };
        cx.push(severity, codes::PROVIDER_MODEL_ID, format!("{path}.{field}"), message)
            .help("write `type` on the backend, equal to the key of the id");
    } else if !model.provider_model_id.is_empty() && !model.external_model_ids.is_empty() {
        cx.push(
            severity,
            codes::PROVIDER_MODEL_ID,
            format!("{path}.provider_model_id"),
            format!("`{}` has external_model_ids, so v0.3.0 ignores its provider_model_id", model.name),
        );
    }
}

fn lint_backend(cx: &mut Context<'_>, path: &str, model: &ProviderModel, backend: &BackendRef) {
    let profile = !backend.provider.is_empty()
        || !backend.auth_header.is_empty()
        || !backend.auth_prefix.is_empty()
        || !backend.chat_path.is_empty()
        || !backend.extra_headers.is_empty()
        || !backend.api_version.is_empty();
    if profile && backend.base_url.trim().is_empty() {
        cx.warn(
            codes::NO_BASE_URL,
            path,
            format!("a backend of `{}` sets provider fields without base_url", model.name),
        )
        .help("write the address as `base_url: http(s)://host:port`");
    }
    if !backend.endpoint.trim().is_empty() {
        let split = endpoint::split(&backend.endpoint, &backend.protocol);
        if split.port_lost {
            cx.warn(
                codes::PORT_LOST,
                format!("{path}.endpoint"),
                format!(
                    "`{}` is read as host `{}` with port {}",
                    backend.endpoint.trim(),
                    split.host,
                    split.port
                ),
            )
            .help("write IPv6 addresses as `[address]:port`");
        }
    }
    if !backend.api_key.is_empty() && !backend.api_key.expose().starts_with('$') {
        cx.note(
            codes::PLAIN_KEY,
            format!("{path}.api_key"),
            format!("the key of a backend of `{}` is written in the file", model.name),
        )
        .help("name a variable or credential with `api_key_env`");
    }
    if !backend.provider.is_empty() && !PROVIDERS.contains(&backend.provider.as_str()) {
        cx.warn(
            codes::UNKNOWN_CHOICE,
            format!("{path}.provider"),
            format!("provider `{}` is not one of {}", backend.provider, list(PROVIDERS.iter().copied())),
        );
    }
}

const PROVIDERS: &[&str] =
    &["openai", "anthropic", "azure-openai", "bedrock", "gemini", "vertex-ai", "minimax"];

/// Finds `${` in texts where nothing expands it.
fn dollars(cx: &mut Context<'_>, node: &Node, path: &str) {
    match &node.kind {
        Kind::Scalar { text, .. } => {
            if text.contains("${") && !path.ends_with(".api_key") {
                cx.warn(codes::DOLLAR, path, "the text contains `${`, which nothing expands here");
            }
        }
        Kind::Seq(items) => {
            for (index, item) in items.iter().enumerate() {
                dollars(cx, item, &format!("{path}[{index}]"));
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                if let Some(key) = entry.key.text() {
                    dollars(cx, &entry.value, &format!("{path}.{key}"));
                }
            }
        }
    }
}
