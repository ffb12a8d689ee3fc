//! What decisions that ask several models are told, and the servers that judge answers for them.

use std::sync::Arc;
use std::time::Duration;

use pintle_config::{Config, endpoint};
use pintle_dataplane::settings::LooperSettings;
use pintle_dataplane::upstream::BackendSpec;
use pintle_routing::policy::Policy;

/// Seconds for all calls of a request where the configured number is none.
const LEAST_TIMEOUT_SECONDS: u64 = 30;

pub(crate) fn settings(config: &Config) -> LooperSettings {
    let looper = &config.global.integrations.looper;
    let seconds = u64::try_from(looper.timeout_seconds).ok().filter(|seconds| *seconds > 0);
    LooperSettings {
        timeout: Duration::from_secs(seconds.unwrap_or(LEAST_TIMEOUT_SECONDS)),
        headers: looper.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// The verifiers of all decisions, one per address. One that cannot be asked is missing.
pub(crate) fn verifiers(policy: &Policy) -> Vec<BackendSpec> {
    let mut specs: Vec<BackendSpec> = Vec::new();
    for verifier in policy.loopers().filter_map(|plan| plan.verifier()) {
        let known = specs.iter().any(|spec| spec.name == verifier.url);
        specs.extend(spec(&verifier.url).filter(|_| !known));
    }
    specs
}

/// What an operator should know about the calls of decisions that ask several models.
pub(crate) fn notes(policy: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    for verifier in policy.loopers().filter_map(|plan| plan.verifier()) {
        if !verifier.url.is_empty() && spec(&verifier.url).is_none() {
            lines
                .push(format!("verifier {:?}: only http is spoken to it; no answer is judged", verifier.url));
        }
    }
    lines
}

fn spec(url: &str) -> Option<BackendSpec> {
    let place = endpoint::split(url, "http");
    if place.https || place.host.is_empty() {
        return None;
    }
    let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    Some(BackendSpec {
        name: url.to_owned(),
        authority: if place.port == 80 { host } else { format!("{host}:{}", place.port) },
        host: place.host,
        port: place.port,
        chat_path: Some(format!("{}/verify", place.path.trim_end_matches('/'))),
        responses_path: None,
        messages_path: None,
        weight: 1,
        model_literal: Arc::from(&b"\"\""[..]),
        lora_literals: Vec::new(),
        headers: Vec::new(),
        plain_effort: false,
        tls: None,
    })
}
