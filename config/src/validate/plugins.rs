//! Plugin payloads that v0.3.0 checks at load, when the plugin is enabled.

use super::{Context, list, modules};
use crate::codes;
use crate::contract::{AdvancedToolFiltering, Decision, ModalityDetector};
use crate::node::Node;
use crate::shape::Contract;
use crate::value::Value;

/// Plugin types, exactly as the runtime looks them up.
pub(crate) const PLUGINS: &[&str] = &[
    "semantic-cache",
    "system_prompt",
    "header_mutation",
    "hallucination",
    "response_jailbreak",
    "router_replay",
    "memory",
    "rag",
    "image_gen",
    "fast_response",
    "request_params",
    "tools",
    "tool_selection",
];

const RAG_BACKENDS: &[&str] = &["milvus", "qdrant", "external_api", "mcp", "openai", "hybrid", "vectorstore"];

pub(super) fn check(cx: &mut Context<'_>, base: &str, decision: &Decision) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, plugin) in decision.plugins.iter().enumerate() {
        let kind = plugin.kind.as_str();
        let Some(payload) = plugin.configuration.as_ref().filter(|_| !seen.contains(&kind)) else { continue };
        seen.push(kind);
        if payload.get("enabled").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let path = format!("{base}.plugins[{at}].configuration");
        let wrong = match kind {
            "rag" => rag(payload),
            "tools" => tools(payload),
            "tool_selection" => tool_selection(cx.root, &path, payload),
            "image_gen" => image_gen(cx.root, &path, payload),
            _ => None,
        };
        if let Some((below, message)) = wrong {
            let path = if below.is_empty() { path } else { format!("{path}.{below}") };
            cx.fail(codes::PLUGIN, path, format!("decision `{}`: {kind} plugin: {message}", decision.name));
        }
    }
}

type Wrong = Option<(&'static str, String)>;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}

fn one_of(payload: &Value, key: &'static str, known: &[&str]) -> Wrong {
    let value = text(payload, key);
    (!value.is_empty() && !known.contains(&value))
        .then(|| (key, format!("{key} `{value}` is not one of {}", list(known.iter().copied()))))
}

fn needed(config: Option<&Value>, below: &'static str, keys: &[&str]) -> Wrong {
    let missing = keys.iter().find(|key| config.is_none_or(|config| text(config, key).is_empty()))?;
    Some((below, format!("{missing} is required")))
}

fn unit(payload: &Value, key: &'static str) -> Wrong {
    number(payload, key)
        .filter(|value| !(0.0..=1.0).contains(value))
        .map(|value| (key, format!("{key} is {value}, not in [0,1]")))
}

fn rag(payload: &Value) -> Wrong {
    let backend = text(payload, "backend");
    if backend.is_empty() {
        return Some(("backend", "backend is required".into()));
    }
    if let Some(wrong) = one_of(payload, "backend", RAG_BACKENDS) {
        return Some(wrong);
    }
    unit(payload, "similarity_threshold")
        .or_else(|| {
            number(payload, "top_k")
                .filter(|value| *value <= 0.0)
                .map(|_| ("top_k", "top_k is not above 0".into()))
        })
        .or_else(|| {
            number(payload, "max_context_length")
                .filter(|value| *value <= 0.0)
                .map(|_| ("max_context_length", "max_context_length is not above 0".into()))
        })
        .or_else(|| one_of(payload, "injection_mode", &["tool_role", "system_prompt"]))
        .or_else(|| one_of(payload, "on_failure", &["skip", "block", "warn"]))
        .or_else(|| unit(payload, "min_confidence_threshold"))
        .or_else(|| {
            let config = payload.get("backend_config").filter(|config| !matches!(config, Value::Null));
            const BELOW: &str = "backend_config";
            if config.is_none() && backend != "vectorstore" {
                return Some((BELOW, "backend_config is required".into()));
            }
            match backend {
                "milvus" | "qdrant" => needed(config, BELOW, &["collection"]),
                "external_api" => needed(config, BELOW, &["endpoint", "request_format"]),
                "mcp" => needed(config, BELOW, &["server_name", "tool_name"]),
                "openai" => needed(config, BELOW, &["vector_store_id", "api_key"]),
                "hybrid" => needed(config, BELOW, &["primary"]),
                _ => None,
            }
        })
}

fn tools(payload: &Value) -> Wrong {
    let lists = ["allow_tools", "block_tools"]
        .iter()
        .any(|key| payload.get(key).is_some_and(|list| !list.items().is_empty()));
    let mode = text(payload, "mode");
    if let Some(wrong) = one_of(payload, "mode", &["passthrough", "none", "filtered"]) {
        return Some(wrong);
    }
    if mode == "filtered" && !lists {
        return Some(("mode", "mode filtered needs allow_tools or block_tools".into()));
    }
    if mode != "filtered" && lists {
        return Some(("mode", "allow_tools and block_tools need mode filtered".into()));
    }
    let retrieval = payload.get("dynamic_retrieval")?;
    if retrieval.get("enabled").and_then(Value::as_bool) != Some(true) {
        return None;
    }
    const BELOW: &str = "dynamic_retrieval";
    if let Some((_, message)) = one_of(retrieval, "strategy", &["semantic_only", "hybrid_history"]) {
        return Some((BELOW, message));
    }
    if text(retrieval, "strategy") == "hybrid_history"
        && number(retrieval, "history_window").unwrap_or(0.0) < 1.0
    {
        return Some((BELOW, "hybrid_history needs a history_window of at least 1".into()));
    }
    if let Some((_, message)) = unit(retrieval, "min_history_confidence") {
        return Some((BELOW, message));
    }
    let negative = retrieval
        .get("weights")
        .map_or(&[][..], Value::entries)
        .iter()
        .find(|(_, weight)| weight.as_f64().is_some_and(|weight| weight < 0.0))?;
    Some((BELOW, format!("the weight {} is negative", negative.0)))
}

fn tool_selection(root: &Node, path: &str, payload: &Value) -> Wrong {
    if let Some(wrong) = one_of(payload, "mode", &["add", "filter"]) {
        return Some(wrong);
    }
    let below_zero = |key: &'static str| {
        number(payload, key).filter(|value| *value < 0.0).map(|_| (key, format!("{key} is negative")))
    };
    let wrong = if text(payload, "mode") == "filter" {
        below_zero("preserve_count").or_else(|| unit(payload, "relevance_threshold"))
    } else {
        below_zero("top_k")
    };
    wrong.or_else(|| {
        let filtering: AdvancedToolFiltering = typed(root, path, "advanced_filtering")?;
        modules::filtering_error(&filtering).map(|(_, message)| ("advanced_filtering", message))
    })
}

fn image_gen(root: &Node, path: &str, payload: &Value) -> Wrong {
    let backend = text(payload, "backend");
    if backend.is_empty() {
        return Some(("backend", "backend is required".into()));
    }
    if let Some(wrong) = one_of(payload, "backend", &["vllm_omni", "openai"]) {
        return Some(wrong);
    }
    let config = payload.get("backend_config");
    let key = if backend == "openai" { "api_key" } else { "base_url" };
    needed(config, "backend_config", &[key]).or_else(|| {
        let detector: ModalityDetector = typed(root, path, "modality_detection")?;
        modules::detector_error(&detector).map(|message| ("modality_detection", message))
    })
}

/// Reads a typed block out of an opaque payload.
fn typed<T: Contract>(root: &Node, path: &str, key: &str) -> Option<T> {
    let mut node = root;
    for step in path.split('.') {
        let (name, index) = step.split_once('[').map_or((step, None), |(name, rest)| (name, Some(rest)));
        node = node.get(name)?;
        if let Some(index) = index {
            node = node.items().get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
        }
    }
    let block = node.get(key).filter(|block| !block.is_null())?;
    let mut value = T::default();
    value.read(block);
    Some(value)
}
