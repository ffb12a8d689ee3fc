//! Names the parts of a file that are checked and kept, but on which Pintle does not act.

use crate::codes;
use crate::contract::Config;
use crate::node::Node;
use crate::validate::{Context, list};
use crate::value::Value;

const TOOLS: &str = "global.integrations.tools";

/// Keys without effect, by the section under which they are reported together.
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    ("global.router", &["clear_route_cache", "streamed_body", "skip_processing"]),
    ("global.services", &["api", "response_api", "observability", "router_replay", "startup_status"]),
    ("global.stores", &["semantic_cache", "memory", "vector_store"]),
    // Where no decision adds tools out of a database.
    (TOOLS, &["enabled", "top_k", "similarity_threshold", "tools_db_path", "advanced_filtering"]),
    ("global.integrations.looper", &["model_endpoints", "grpc_max_msg_size_mb", "retry_count"]),
    ("global.model_catalog.system", &["hallucination_detector", "hallucination_explainer"]),
    ("global.model_catalog.modules.classifier", &["mcp"]),
    ("global.model_catalog.modules.hallucination_mitigation", &["detector", "explainer"]),
];

/// Plugins on which Pintle acts.
const ACTED_ON: &[&str] =
    &["fast_response", "header_mutation", "request_params", "system_prompt", "tool_selection", "tools"];

pub(super) fn lint(cx: &mut Context<'_>) {
    let root = cx.root;
    let adds = adds_tools(cx.config);
    for (section, keys) in WITHOUT_EFFECT {
        if *section == TOOLS && adds {
            continue;
        }
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

/// Whether a decision adds tools out of a database (`tool_selection`, mode `add`).
fn adds_tools(config: &Config) -> bool {
    let plugins = config.routing.decisions.iter().flat_map(|decision| &decision.plugins);
    plugins.filter(|plugin| plugin.kind == "tool_selection").any(|plugin| {
        let Some(payload) = &plugin.configuration else { return false };
        let on = payload.get("enabled").and_then(Value::as_bool).unwrap_or(false);
        on && payload.get("mode").and_then(Value::as_str) != Some("filter")
    })
}

fn says_something(node: &Node) -> bool {
    !node.is_null() && (node.scalar().is_some() || !node.entries().is_empty() || !node.items().is_empty())
}

#[cfg(test)]
mod tests {
    use super::WITHOUT_EFFECT;
    use crate::contract::Config;
    use crate::shape::{Contract as _, Shape};

    #[test]
    fn every_key_without_effect_is_in_the_contract() {
        let inner = |shape: Shape, key: &str| match shape {
            Shape::Struct(inner) => {
                let field = inner.fields.iter().find(|field| field.name == key);
                (field.unwrap_or_else(|| panic!("{} has no {key}", inner.name)).shape)()
            }
            _ => panic!("{key} is below no mapping"),
        };
        for (section, keys) in WITHOUT_EFFECT {
            let section = section.split('.').fold(Config::shape(), inner);
            for key in *keys {
                inner(section, key);
            }
        }
    }
}
