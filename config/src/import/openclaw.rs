//! `openclaw.json`: `models.providers.NAME` with a base URL and a list of models.

use std::collections::HashMap;

use super::{Backend, Inventory};
use crate::migrate::tree::Tree as _;
use crate::node::Node;

pub(super) fn read(inventory: &mut Inventory, mut root: Node) {
    let models = root.take("models");
    let mut models = inventory.migrator.mapping(models, "models");
    let providers = models.take("providers");
    let mut providers = inventory.migrator.mapping(providers, "models.providers");
    let providers = providers.take_all();
    // An id that several providers serve is told apart by the provider's name.
    let mut served: HashMap<String, usize> = HashMap::new();
    for (_, provider) in &providers {
        for model in provider.get("models").map_or(&[][..], Node::items) {
            *served.entry(model.str("id").to_owned()).or_default() += 1;
        }
    }
    for (name, provider) in providers {
        let from = format!("models.providers.{name}");
        let mut provider = inventory.migrator.mapping(Some(provider), &from);
        let api = provider.str("api").to_owned();
        let base_url = provider.str("baseUrl").to_owned();
        if !(api.is_empty() || api.starts_with("openai")) {
            inventory.migrator.drop(&provider, &from, &format!("its API `{api}` is not OpenAI's"));
            continue;
        }
        if base_url.is_empty() {
            inventory.migrator.drop(&provider, &from, "it has no baseUrl");
            continue;
        }
        provider.take("api");
        provider.take("baseUrl");
        let key = inventory.key(provider.take("apiKey"), &format!("{from}.apiKey"), &name);
        let headers = provider.take("headers").filter(|headers| !headers.is_blank());
        for (index, mut model) in
            provider.take("models").map(Node::take_items).unwrap_or_default().into_iter().enumerate()
        {
            let path = format!("{from}.models[{index}]");
            let id = model.str("id").to_owned();
            if id.is_empty() {
                inventory.migrator.drop(&model, &path, "it has no id");
                continue;
            }
            model.take("id");
            let logical =
                if served.get(&id).copied().unwrap_or(0) > 1 { format!("{name}/{id}") } else { id.clone() };
            let backend = Backend {
                name: name.clone(),
                base_url: base_url.clone(),
                provider: "openai",
                id,
                key: key.clone(),
                headers: headers.clone(),
                line: model.line,
                ..Backend::default()
            };
            inventory.add(&logical, backend);
            if let Some(window) = model.take("contextWindow") {
                inventory.card(&logical, "context_window_size", window);
            }
            let input = model.take("input").map(Node::take_items).unwrap_or_default();
            let takes = |kind: &str| input.iter().any(|item| item.text() == Some(kind));
            let reasons = model.take("reasoning").is_some_and(|reasoning| reasoning.text() == Some("true"));
            let capabilities = [
                ("chat", input.is_empty() || takes("text")),
                ("vision", takes("image")),
                ("audio", takes("audio")),
                ("reasoning", reasons),
            ];
            let capabilities =
                capabilities.iter().filter(|(_, has)| *has).map(|(name, _)| Node::text_node(name)).collect();
            inventory.card(&logical, "capabilities", Node::list(capabilities));
            inventory.migrator.drop(&model, &path, "models have no such field");
        }
        inventory.migrator.drop(&provider, &from, "backends have no such field");
    }
    inventory.migrator.drop(&models, "models", "it says nothing about providers");
    inventory.migrator.drop(&root, "", "it says nothing about models");
}
