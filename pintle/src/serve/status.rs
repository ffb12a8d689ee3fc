//! What the admin API shows of the data plane.

use std::sync::atomic::Ordering;

use pintle_dataplane::shared::{Generation, now};
use serde_json::{Value, json};

use super::Plane;
use crate::meaning;

/// The data plane's part of `GET /status`.
pub(super) fn status(plane: &Plane) -> Value {
    let shared = &plane.shared;
    let generation = shared.generation.load();
    let now = now().get();
    let models: Vec<Value> = generation
        .upstreams
        .models
        .iter()
        .map(|model| {
            let backends: Vec<Value> = model
                .backends
                .iter()
                .map(|backend| {
                    json!({
                        "name": backend.spec.name,
                        "host": backend.spec.host,
                        "port": backend.spec.port,
                        "addresses": **backend.addresses.load(),
                        "up": backend.health.is_up(now),
                        "in_flight": backend.health.in_flight(),
                    })
                })
                .collect();
            json!({ "model": model.name, "up": model.is_up(now), "backends": backends })
        })
        .collect();
    json!({
        "life": format!("{:?}", shared.life()).to_lowercase(),
        "generation": generation.serial,
        "policy_digest": generation.policy.digest_hex(),
        "classifier": meaning::status(&plane.meaning, generation.reading.as_ref()),
        "workers": shared.startup.workers.len(),
        "kernel": plane.kernel.status(),
        "loads": plane.floor.loads(),
        "handed_over": plane.floor.handed_over(),
        "took_over_from": plane.predecessor,
        "successor": plane.host.successor(),
        "connections": shared.connections.load(Ordering::Relaxed),
        "in_flight": shared.in_flight.load(Ordering::Relaxed),
        "models": models,
        "sessions": shared.store.stats(),
    })
}

/// The configuration in force, without secrets.
pub(super) fn summary(generation: &Generation) -> Value {
    let models: Vec<Value> = generation
        .policy
        .models()
        .iter()
        .map(|model| json!({ "name": model.name, "loras": model.loras, "quality": model.quality }))
        .collect();
    json!({
        "generation": generation.serial,
        "policy_digest": generation.policy.digest_hex(),
        "profile": format!("{:?}", generation.policy.profile()).to_lowercase(),
        "auto_names": generation.policy.auto_names(),
        "models": models,
        "decisions": generation.policy.decision_names().collect::<Vec<_>>(),
    })
}
