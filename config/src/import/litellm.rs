//! LiteLLM's `config.yaml`: `model_list` with one deployment per entry.

use super::{Backend, Inventory};
use crate::migrate::tree::Tree as _;
use crate::node::{Kind, Node};

/// LiteLLM's provider prefix, the contract's profile, and where it is served unless `api_base` says so.
const PROVIDERS: &[(&str, &str, &str)] = &[
    ("openai", "openai", "https://api.openai.com/v1"),
    ("text-completion-openai", "openai", "https://api.openai.com/v1"),
    ("anthropic", "anthropic", "https://api.anthropic.com"),
    ("azure", "azure-openai", ""),
    ("bedrock", "bedrock", ""),
    ("gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("vertex_ai", "vertex-ai", ""),
    ("minimax", "minimax", ""),
    ("hosted_vllm", "", ""),
    ("vllm", "", ""),
    ("openai_like", "", ""),
];

/// Token prices: LiteLLM's name, the contract's.
const PRICES: &[(&str, &str)] = &[
    ("input_cost_per_token", "prompt_per_1m"),
    ("output_cost_per_token", "completion_per_1m"),
    ("cache_read_input_token_cost", "cached_input_per_1m"),
];

pub(super) fn read(inventory: &mut Inventory, mut root: Node) {
    let deployments = root.take("model_list").map(Node::take_items).unwrap_or_default();
    for (index, deployment) in deployments.into_iter().enumerate() {
        let from = format!("model_list[{index}]");
        let deployment = inventory.migrator.mapping(Some(deployment), &from);
        deploy(inventory, deployment, &from);
    }
    inventory.migrator.drop(&root, "", "it says nothing about models");
}

fn deploy(inventory: &mut Inventory, mut deployment: Node, from: &str) {
    let name = deployment.str("model_name").to_owned();
    let line = deployment.line;
    let params_path = format!("{from}.litellm_params");
    let info_path = format!("{from}.model_info");
    let params = deployment.take("litellm_params");
    let mut params = inventory.migrator.mapping(params, &params_path);
    let info = deployment.take("model_info");
    let mut info = inventory.migrator.mapping(info, &info_path);
    let model = params.str("model").to_owned();
    if name.is_empty() || model.is_empty() {
        inventory.migrator.drop(&deployment, from, "it names no model");
        inventory.migrator.drop(&params, &params_path, "it names no model");
        return;
    }
    if name.contains('*') {
        inventory.migrator.drop(&deployment, from, "v0.3 has no wildcard models");
        inventory.migrator.drop(&params, &params_path, "v0.3 has no wildcard models");
        return;
    }
    deployment.take("model_name");
    params.take("model");
    let base = params.take("api_base").or_else(|| params.take("base_url"));
    let base_text = base.as_ref().and_then(Node::text).unwrap_or_default().to_owned();
    let (prefix, id) = model.split_once('/').unwrap_or(("openai", model.as_str()));
    let known = PROVIDERS.iter().find(|(known, ..)| *known == prefix);
    // An unknown prefix is part of a Hugging Face style id when a base says who serves it.
    let (provider, default_base, id) = match known {
        Some((_, provider, default_base)) => (*provider, *default_base, id),
        None => ("", "", model.as_str()),
    };
    let base_url = if base_text.is_empty() { default_base } else { &base_text };
    if base_url.is_empty() || base_url.starts_with("os.environ/") {
        let why = format!("nothing says where `{model}` is served; write its base_url");
        inventory.migrator.drop(
            &Node { line, ..Node::text_node(&model) },
            &format!("{params_path}.model"),
            &why,
        );
        inventory.migrator.drop(&params, &params_path, &why);
        return;
    }
    let key = inventory.key(params.take("api_key"), &format!("{params_path}.api_key"), &name);
    let backend = Backend {
        base_url: base_url.to_owned(),
        provider,
        id: id.to_owned(),
        key,
        api_version: params
            .take("api_version")
            .and_then(|node| node.text().map(str::to_owned))
            .unwrap_or_default(),
        headers: params.take("extra_headers").filter(|headers| !headers.is_blank()),
        weight: params.take("weight"),
        line,
        ..Backend::default()
    };
    inventory.add(&name, backend);
    for (old, new) in PRICES {
        if let Some(price) = info.take(old).or_else(|| params.take(old)) {
            inventory.model(&name, "pricing", new, per_million(&price));
        }
    }
    if let Some(window) = info.take("max_input_tokens").or_else(|| info.take("max_tokens")) {
        inventory.card(&name, "context_window_size", window);
    }
    let mut capabilities = vec![Node::text_node("chat")];
    for (flag, capability) in [
        ("supports_vision", "vision"),
        ("supports_function_calling", "tools"),
        ("supports_reasoning", "reasoning"),
    ] {
        if info.take(flag).is_some_and(|flag| flag.text() == Some("true")) {
            capabilities.push(Node::text_node(capability));
        }
    }
    inventory.card(&name, "capabilities", Node::list(capabilities));
    inventory.migrator.drop(&params, &params_path, "backends have no such field");
    inventory.migrator.drop(&info, &info_path, "models have no such field");
    inventory.migrator.drop(&deployment, from, "models have no such field");
}

/// A price per token as one per million; rounding takes off what binary fractions add.
fn per_million(price: &Node) -> Node {
    let value = price.text().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) * 1e6;
    let text = format!("{}", (value * 1e6).round() / 1e6);
    Node { line: price.line, column: 0, kind: Kind::Scalar { text: text.into(), plain: true } }
}
