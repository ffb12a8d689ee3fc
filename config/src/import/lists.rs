//! Plain lists: `GET /v1/models`, and the static lists of vLLM production-stack.

use super::{Backend, Inventory};
use crate::migrate::Change;
use crate::migrate::tree::Tree as _;
use crate::node::Node;

/// `{"data": [{"id", "max_model_len", "parent"}]}`; an entry with a parent is an adapter of that model.
pub(super) fn openai_models(inventory: &mut Inventory, mut root: Node, base_url: &str) {
    let models = root.take("data").map(Node::take_items).unwrap_or_default();
    let (adapters, models): (Vec<_>, Vec<_>) =
        models.into_iter().partition(|model| !model.str("parent").is_empty());
    for model in &models {
        let id = model.str("id").to_owned();
        if id.is_empty() {
            continue;
        }
        let backend =
            Backend { base_url: base_url.to_owned(), id: id.clone(), line: model.line, ..Backend::default() };
        inventory.add(&id, backend);
        if let Some(window) = model.get("max_model_len").filter(|window| !window.is_blank()) {
            inventory.card(&id, "context_window_size", window.clone());
        }
    }
    for adapter in adapters {
        let (parent, id) = (adapter.str("parent").to_owned(), adapter.str("id").to_owned());
        // vLLM names the parent by its root path when the served name differs.
        let owner = models
            .iter()
            .find(|model| model.str("id") == parent || model.str("root") == parent)
            .map(|model| model.str("id").to_owned());
        let Some(owner) = owner else {
            inventory.migrator.drop(&adapter, "data", &format!("its model `{parent}` is not listed"));
            continue;
        };
        if let Some(card) = inventory.migrator.named_mut("routing", "modelCards", &owner) {
            let mut loras = card.take("loras").map(Node::take_items).unwrap_or_default();
            loras.push(crate::migrate::flat::named(&id, adapter.line));
            card.set("loras", Node::list(loras));
        }
    }
}

/// `static_backends` and `static_models`, comma-separated, pair by pair; at the top (dynamic configuration) or
/// under `routerSpec` in camel case (Helm values).
pub(super) fn production_stack(inventory: &mut Inventory, mut root: Node) {
    let mut spec = root.take("routerSpec").unwrap_or_else(|| std::mem::replace(&mut root, Node::map()));
    let mut list = |snake: &str, camel: &str| {
        let node = spec.take(snake).or_else(|| spec.take(camel));
        let line = node.as_ref().map_or(0, |node| node.line);
        let items: Vec<String> = match node {
            Some(node) if node.text().is_some() => {
                node.text().unwrap_or_default().split(',').map(|item| item.trim().to_owned()).collect()
            }
            Some(node) => node.take_items().iter().filter_map(Node::text).map(str::to_owned).collect(),
            None => Vec::new(),
        };
        (items.into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>(), line)
    };
    let (backends, line) = list("static_backends", "staticBackends");
    let (models, models_line) = list("static_models", "staticModels");
    let (aliases, aliases_line) = list("static_aliases", "staticAliases");
    for (index, backend) in backends.iter().enumerate() {
        let Some(model) = models.get(index) else {
            let why = format!("`{backend}` has no model at the same place of the list");
            inventory.migrator.line(Change::Dropped, line, "static_backends", "", &why);
            continue;
        };
        let base_url = if backend.trim_end_matches('/').ends_with("/v1") {
            backend.clone()
        } else {
            format!("{}/v1", backend.trim_end_matches('/'))
        };
        inventory.add(model, Backend { base_url, id: model.clone(), line, ..Backend::default() });
    }
    for model in models.iter().skip(backends.len()) {
        let why = format!("`{model}` has no backend at the same place of the list");
        inventory.migrator.line(Change::Dropped, models_line, "static_models", "", &why);
    }
    for alias in aliases {
        let why = format!("`{alias}`: v0.3 has no aliases");
        inventory.migrator.line(Change::Dropped, aliases_line, "static_aliases", "", &why);
    }
    inventory.migrator.drop(&spec, "", "it says nothing about models");
    inventory.migrator.drop(&root, "", "it says nothing about models");
}
