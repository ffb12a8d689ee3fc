//! The flat layouts of v0.1 and v0.2, and canonical documents with removed keys.

use super::tree::Tree as _;
use super::{Change, Migrator, place};
use crate::node::Node;

/// Signal keys of the flat layout, and their families.
const SIGNALS: &[(&str, &str)] = &[
    ("keyword_rules", "keywords"),
    ("embedding_rules", "embeddings"),
    ("categories", "domains"),
    ("fact_check_rules", "fact_check"),
    ("user_feedback_rules", "user_feedbacks"),
    ("reask_rules", "reasks"),
    ("preference_rules", "preferences"),
    ("language_rules", "language"),
    ("context_rules", "context"),
    ("structure_rules", "structure"),
    ("complexity_rules", "complexity"),
    ("modality_rules", "modality"),
    ("role_bindings", "role_bindings"),
    ("jailbreak", "jailbreak"),
    ("pii", "pii"),
    ("kb", "kb"),
    ("conversation", "conversation"),
    ("events", "events"),
];

/// What a model card says; everything else about a model is the provider's.
const CARD_FIELDS: &[&str] = &[
    "param_size",
    "context_window_size",
    "description",
    "capabilities",
    "loras",
    "quality_score",
    "modality",
    "tags",
];

const DEFAULTS: &[&str] = &["default_model", "reasoning_families", "default_reasoning_effort"];

const PROVIDER_FIELDS: &[&str] =
    &["provider_model_id", "pricing", "api_format", "external_model_ids", "reasoning_family", "backend_refs"];

pub(super) fn run(migrator: &mut Migrator, mut root: Node) {
    if let Some(version) = root.take("version") {
        let written = version.text().unwrap_or_default();
        if written != "v0.3" {
            migrator.line(
                Change::Changed,
                version.line,
                "version",
                "version",
                &format!("`{written}` became `v0.3`"),
            );
        }
        migrator.put(version, "version", "version");
    }
    if let Some(listeners) = root.take("listeners") {
        migrator.put(listeners, "listeners", "listeners");
    }
    if let Some(global) = root.take("global") {
        place::global(migrator, global, "global");
    }
    if let Some(routing) = root.take("routing") {
        let mut routing = migrator.mapping(Some(routing), "routing");
        if let Some(models) = routing.take("models") {
            migrator.put(models, "routing.models", "routing.modelCards");
        }
        migrator.put(routing, "routing", "routing");
    }
    for key in ["signals", "projections", "decisions"] {
        if let Some(node) = root.take(key).filter(|node| !node.is_blank()) {
            migrator.put(node, key, &format!("routing.{key}"));
        }
    }
    for (key, family) in SIGNALS {
        if let Some(node) = root.take(key).filter(|node| !node.is_blank()) {
            migrator.put(node, key, &format!("routing.signals.{family}"));
        }
    }
    for key in DEFAULTS {
        if let Some(node) = root.take(key).filter(|node| !node.is_blank()) {
            migrator.put(node, key, &format!("providers.defaults.{key}"));
        }
    }
    if let Some(providers) = root.take("providers") {
        let providers = migrator.mapping(Some(providers), "providers");
        self::providers(migrator, providers);
    }
    model_config(migrator, &mut root);
    let mut root = migrator.mapping(Some(root), "");
    for (key, node) in root.take_all() {
        place::place_or_drop(migrator, &key, node, &key);
    }
}

fn providers(migrator: &mut Migrator, mut providers: Node) {
    if let Some(defaults) = providers.take("defaults") {
        migrator.put(defaults, "providers.defaults", "providers.defaults");
    }
    for key in DEFAULTS {
        if let Some(node) = providers.take(key).filter(|node| !node.is_blank()) {
            migrator.put(node, &format!("providers.{key}"), &format!("providers.defaults.{key}"));
        }
    }
    if let Some(external) = providers.take("external_models") {
        migrator.put(external, "providers.external_models", "global.model_catalog.external");
    }
    let models = providers.take("models").unwrap_or_else(Node::map);
    if !models.items().is_empty() {
        let list = Node { line: models.line, column: models.column, ..Node::list(Vec::new()) };
        migrator.out.at("providers").set("models", list);
    }
    let models = models.take_items();
    for (index, model) in models.into_iter().enumerate() {
        provider_model(migrator, model, &format!("providers.models[{index}]"));
    }
    if let Some(targets) = providers.take("model_targets") {
        let mut targets = migrator.mapping(Some(targets), "providers.model_targets");
        let backends = providers.take("backends").unwrap_or_else(Node::map);
        let profiles = providers.take("auth_profiles").unwrap_or_else(Node::map);
        for (name, target) in targets.take_all() {
            model_target(migrator, &name, target, &backends, &profiles);
        }
    }
    migrator.drop(&providers, "providers", "it has no home in v0.3");
}

/// A model of the old command line's layout: card, backends and metadata in one entry.
fn provider_model(migrator: &mut Migrator, mut model: Node, from: &str) {
    let name = model.str("name").to_owned();
    if name.is_empty() {
        migrator.drop(&model, from, "the model has no name");
        return;
    }
    let line = model.line;
    model.take("name");
    let access = model.take("access");
    let mut access = migrator.mapping(access, &format!("{from}.access"));
    for (key, value) in access.take_all() {
        if model.get(&key).is_none_or(Node::is_blank) {
            migrator.line(
                Change::Moved,
                value.line,
                &format!("{from}.access.{key}"),
                &format!("{from}.{key}"),
                "",
            );
            model.set(&key, value);
        } else {
            migrator.drop(&value, &format!("{from}.access.{key}"), "the model sets it already");
        }
    }
    let mut entry = named(&name, line);
    for key in PROVIDER_FIELDS {
        if let Some(value) = model.take(key).filter(|value| !value.is_blank()) {
            entry.set(key, value);
        }
    }
    let endpoints = model.take("endpoints").map(Node::take_items).unwrap_or_default();
    let access_key = model.take("access_key").filter(|key| !key.is_blank());
    if entry.get("backend_refs").is_none() && !endpoints.is_empty() {
        let mut backends = Vec::new();
        for (index, mut endpoint) in endpoints.into_iter().enumerate() {
            let path = format!("{from}.endpoints[{index}]");
            let mut backend = Node { line: endpoint.line, ..Node::map() };
            for key in BACKEND_FIELDS {
                if let Some(value) = endpoint.take(key).filter(|value| !value.is_blank()) {
                    backend.set(key, value);
                }
            }
            migrator.drop(&endpoint, &path, "backends have no such field");
            if let Some(key) = &access_key {
                backend.set_default("api_key", key.clone());
            }
            backends.push(backend);
        }
        migrator.line(
            Change::Moved,
            line,
            &format!("{from}.endpoints"),
            &format!("providers.models[{name}].backend_refs"),
            "",
        );
        entry.set("backend_refs", Node::list(backends));
        if let Some(key) = access_key {
            let to = format!("providers.models[{name}].backend_refs[].api_key");
            migrator.line(Change::Moved, key.line, &format!("{from}.access_key"), &to, "");
        }
    } else {
        for (index, endpoint) in endpoints.iter().enumerate() {
            migrator.drop(endpoint, &format!("{from}.endpoints[{index}]"), "backend_refs are set already");
        }
        if let Some(key) = access_key {
            let mut used = false;
            if let Some(backends) = entry.get_mut("backend_refs") {
                for backend in backends.items_mut() {
                    backend.set_default("api_key", key.clone());
                    used = true;
                }
            }
            let change = if used { Change::Moved } else { Change::Dropped };
            migrator.line(
                change,
                key.line,
                &format!("{from}.access_key"),
                "providers.models[].backend_refs[].api_key",
                "",
            );
        }
    }
    add_model(migrator, entry);
    card_fields(migrator, &name, &mut model, from);
    migrator.drop(&model, from, "models have no such field in v0.3");
}

const BACKEND_FIELDS: &[&str] = &[
    "name",
    "endpoint",
    "protocol",
    "weight",
    "type",
    "base_url",
    "provider",
    "auth_header",
    "auth_prefix",
    "extra_headers",
    "api_version",
    "chat_path",
    "api_key",
    "api_key_env",
];

fn model_target(migrator: &mut Migrator, name: &str, mut target: Node, backends: &Node, profiles: &Node) {
    let from = format!("providers.model_targets.{name}");
    let mut entry = named(name, target.line);
    for key in ["provider_model_id", "pricing", "api_format", "external_model_ids", "reasoning_family"] {
        if let Some(value) = target.take(key).filter(|value| !value.is_blank()) {
            entry.set(key, value);
        }
    }
    let auth = target.take("auth_ref").and_then(|reference| profiles.get(reference.text()?).cloned());
    let names = target.take("backend_refs").map(Node::take_items).unwrap_or_default();
    let mut inline = Vec::new();
    for reference in names {
        let key = reference.text().map_or_else(|| reference.str("name").to_owned(), str::to_owned);
        let Some(mut backend) = backends.get(&key).cloned() else {
            migrator.drop(
                &reference,
                &format!("{from}.backend_refs"),
                "providers.backends has no such entry",
            );
            continue;
        };
        backend.set_default("name", Node::text_node(&key));
        for field in ["api_key", "api_key_env"] {
            if let Some(value) = auth.as_ref().and_then(|auth| auth.get(field)) {
                backend.set_default(field, value.clone());
            }
        }
        inline.push(backend);
    }
    if !inline.is_empty() {
        entry.set("backend_refs", Node::list(inline));
    }
    migrator.line(Change::Moved, entry.line, &from, &format!("providers.models[{name}]"), "");
    migrator.drop(&target, &from, "models have no such field in v0.3");
    add_model(migrator, entry);
}

/// `model_config`, with `vllm_endpoints` and `provider_profiles`, to cards and provider models.
fn model_config(migrator: &mut Migrator, root: &mut Node) {
    let mut endpoints: Vec<(Node, bool)> = root
        .take("vllm_endpoints")
        .map(Node::take_items)
        .unwrap_or_default()
        .into_iter()
        .map(|endpoint| (endpoint, false))
        .collect();
    let profiles = migrator.mapping(root.take("provider_profiles"), "provider_profiles");
    let mut models = migrator.mapping(root.take("model_config"), "model_config");
    for (name, model) in models.take_all() {
        let from = format!("model_config.{name}");
        let mut model = migrator.mapping(Some(model), &from);
        let mut entry = named(&name, model.line);
        if let Some(id) = model.take("model_id").filter(|id| !id.is_blank()) {
            migrator.line(
                Change::Moved,
                id.line,
                &format!("{from}.model_id"),
                &format!("providers.models[{name}].provider_model_id"),
                "",
            );
            entry.set("provider_model_id", id);
        }
        for key in ["pricing", "api_format", "external_model_ids", "reasoning_family"] {
            if let Some(value) = model.take(key).filter(|value| !value.is_blank()) {
                migrator.line(
                    Change::Moved,
                    value.line,
                    &format!("{from}.{key}"),
                    &format!("providers.models[{name}].{key}"),
                    "",
                );
                entry.set(key, value);
            }
        }
        let access_key = model.take("access_key").filter(|key| !key.is_blank());
        let preferred = model.take("preferred_endpoints").map(Node::take_items).unwrap_or_default();
        let mut backends = Vec::new();
        for reference in preferred {
            let key = reference.text().unwrap_or_default();
            let Some((endpoint, used)) =
                endpoints.iter_mut().find(|(endpoint, _)| endpoint.str("name") == key)
            else {
                migrator.drop(
                    &reference,
                    &format!("{from}.preferred_endpoints"),
                    &format!("vllm_endpoints has no entry `{key}`"),
                );
                continue;
            };
            let to = format!("providers.models[{name}].backend_refs");
            let why = format!("the reference to `{key}` became the backend itself");
            migrator.line(Change::Changed, reference.line, &format!("{from}.preferred_endpoints"), &to, &why);
            let mut backend = self::backend(migrator, endpoint.clone(), &profiles, *used);
            *used = true;
            if let Some(key) = &access_key {
                backend.set_default("api_key", key.clone());
            }
            backends.push(backend);
        }
        if let Some(key) = &access_key {
            let why = if backends.is_empty() { "the model has no backend" } else { "" };
            let change = if backends.is_empty() { Change::Dropped } else { Change::Moved };
            migrator.line(
                change,
                key.line,
                &format!("{from}.access_key"),
                "providers.models[].backend_refs[].api_key",
                why,
            );
        }
        if !backends.is_empty() {
            entry.set("backend_refs", Node::list(backends));
        }
        add_model(migrator, entry);
        card_fields(migrator, &name, &mut model, &from);
        migrator.drop(&model, &from, "models have no such field in v0.3");
    }
    for (index, (endpoint, used)) in endpoints.iter().enumerate() {
        if !used {
            migrator.drop(endpoint, &format!("vllm_endpoints[{index}]"), "no model refers to it");
        }
    }
    for entry in profiles.entries() {
        let name = entry.key.text().unwrap_or_default();
        if !endpoints.iter().any(|(endpoint, used)| *used && endpoint.str("provider_profile") == name) {
            migrator.drop(&entry.value, &format!("provider_profiles.{name}"), "no endpoint refers to it");
        }
    }
}

/// One `vllm_endpoints` entry as a backend. `again` keeps the report to one line per field.
fn backend(migrator: &mut Migrator, mut endpoint: Node, profiles: &Node, again: bool) -> Node {
    let from = format!("vllm_endpoints[{}]", endpoint.str("name"));
    let mut backend = Node { line: endpoint.line, ..Node::map() };
    if let Some(name) = endpoint.take("name") {
        backend.set("name", name);
    }
    let port = endpoint.take("port").filter(|port| !port.is_blank());
    if let Some(address) = endpoint.take("address") {
        let host = address.text().unwrap_or_default().trim().to_owned();
        let bracketed = host.matches(':').count() > 1 && !host.starts_with('[');
        let host = if bracketed { format!("[{host}]") } else { host };
        if let Some(port) = port.as_ref().filter(|_| !again) {
            migrator.line(
                Change::Changed,
                port.line,
                &format!("{from}.port"),
                "providers.models[].backend_refs[].endpoint",
                "address and port are one text",
            );
        }
        let text = match port.as_ref().and_then(Node::text) {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        if !again {
            migrator.line(
                Change::Changed,
                address.line,
                &format!("{from}.address"),
                "providers.models[].backend_refs[].endpoint",
                "address and port are one text",
            );
        }
        backend.set("endpoint", Node { line: address.line, ..Node::text_node(&text) });
    }
    for key in BACKEND_FIELDS {
        if let Some(value) = endpoint.take(key).filter(|value| !value.is_blank()) {
            backend.set(key, value);
        }
    }
    if let Some(profile) = endpoint.take("provider_profile") {
        let (name, line) = (profile.text().unwrap_or_default(), profile.line);
        match profiles.get(name).cloned() {
            Some(mut profile) => {
                for (key, value) in profile.take_all() {
                    backend.set_default(if key == "type" { "provider" } else { &key }, value);
                }
                if !again {
                    migrator.line(
                        Change::Moved,
                        profile.line,
                        &format!("provider_profiles.{name}"),
                        "providers.models[].backend_refs[]",
                        "",
                    );
                    let why = format!("the reference to `{name}` became its settings");
                    let from = format!("{from}.provider_profile");
                    migrator.line(Change::Changed, line, &from, "providers.models[].backend_refs[]", &why);
                }
            }
            None => migrator.drop(
                &profile,
                &format!("{from}.provider_profile"),
                "provider_profiles has no such entry",
            ),
        }
    }
    if !again {
        migrator.drop(&endpoint, &from, "backends have no such field in v0.3");
    }
    backend
}

pub(crate) fn named(name: &str, line: u32) -> Node {
    let mut node = Node { line, ..Node::map() };
    node.set("name", Node::text_node(name));
    node
}

/// Adds a provider model, or fills in the one of that name.
pub(crate) fn add_model(migrator: &mut Migrator, entry: Node) {
    add_named(migrator, "providers", "models", entry);
}

/// Moves what a card says to the model's card, made if absent.
pub(crate) fn card_fields(migrator: &mut Migrator, name: &str, model: &mut Node, from: &str) {
    let mut card = named(name, model.line);
    for key in CARD_FIELDS {
        if let Some(value) = model.take(key).filter(|value| !value.is_blank()) {
            migrator.line(
                Change::Moved,
                value.line,
                &format!("{from}.{key}"),
                &format!("routing.modelCards[{name}].{key}"),
                "",
            );
            card.set(key, value);
        }
    }
    add_named(migrator, "routing", "modelCards", card);
}

pub(crate) fn add_named(migrator: &mut Migrator, section: &str, list: &str, mut entry: Node) {
    let name = entry.str("name").to_owned();
    let target = migrator.out.at(section);
    if !target.get(list).is_some_and(|list| matches!(list.kind, crate::node::Kind::Seq(_))) {
        target.set(list, Node::list(Vec::new()));
    }
    let list_node = target.get_mut(list).expect("just made");
    let mut lost = Vec::new();
    match list_node.items_mut().iter_mut().find(|item| item.str("name") == name) {
        Some(present) => {
            entry.take("name");
            present.merge_under(entry, &format!("{section}.{list}[{name}]"), &mut lost);
        }
        None => {
            if let crate::node::Kind::Seq(items) = &mut list_node.kind {
                items.push(entry);
            }
        }
    }
    for (node, path) in lost {
        migrator.drop(&node, &path, "another entry of that name sets it already");
    }
}
