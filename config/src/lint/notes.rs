//! Names the parts of a file that are checked and kept, but on which Pintle does not act.

use crate::codes;
use crate::node::Node;
use crate::validate::{Context, list};

/// Sections without effect, by the section under which they are reported together.
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    (
        "routing.signals",
        &[
            "embeddings",
            "domains",
            "fact_check",
            "user_feedbacks",
            "reasks",
            "preferences",
            "language",
            "complexity",
            "modality",
            "jailbreak",
            "pii",
            "kb",
        ],
    ),
    ("global.router", &["clear_route_cache", "streamed_body", "skip_processing"]),
    ("global.services", &["api", "response_api", "observability", "router_replay", "startup_status"]),
    ("global.stores", &["semantic_cache", "memory", "vector_store"]),
    ("global.integrations", &["tools", "looper"]),
    ("global.model_catalog", &["embeddings", "system", "external", "kbs", "modules"]),
];

/// Plugins on which Pintle acts.
const ACTED_ON: &[&str] = &["fast_response", "header_mutation", "request_params", "system_prompt", "tools"];

pub(super) fn lint(cx: &mut Context<'_>) {
    let root = cx.root;
    for (section, keys) in WITHOUT_EFFECT {
        let Some(node) = section.split('.').try_fold(root, |node, step| node.get(step)) else { continue };
        let present: Vec<&str> =
            keys.iter().copied().filter(|key| node.get(key).is_some_and(says_something)).collect();
        if !present.is_empty() {
            cx.note(
                codes::NOT_ACTED_ON,
                *section,
                format!("known, but without effect in this version: {}", list(present)),
            );
        }
    }
    let mut plugins: Vec<&str> = cx
        .config
        .routing
        .decisions
        .iter()
        .flat_map(|decision| &decision.plugins)
        .map(|plugin| &*plugin.kind)
        .filter(|kind| !ACTED_ON.contains(kind))
        .collect();
    plugins.sort_unstable();
    plugins.dedup();
    if !plugins.is_empty() {
        cx.note(
            codes::NOT_ACTED_ON,
            "routing.decisions",
            format!("known, but without effect in this version: plugins {}", list(plugins)),
        );
    }
}

fn says_something(node: &Node) -> bool {
    !node.is_null() && (node.scalar().is_some() || !node.entries().is_empty() || !node.items().is_empty())
}
