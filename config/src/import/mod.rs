//! Inventories of models to a configuration: what others know about providers, as `providers` and cards.
//!
//! A key never reaches the output. Where the source holds one, the output names a variable and the report
//! says which to set.

mod lists;
mod litellm;
mod openclaw;

use crate::findings::Findings;
use crate::migrate::flat;
use crate::migrate::tree::Tree as _;
use crate::migrate::{Change, Migration, Migrator};
use crate::node::{Kind, Node};
use crate::parse::{self, Place};
use crate::{Severity, codes, migrate};

/// What an inventory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The answer of `GET /v1/models`, and the base URL that gave it.
    OpenAiModels {
        /// Such as `http://10.0.0.5:8000/v1`.
        base_url: String,
    },
    /// LiteLLM's `config.yaml`.
    LiteLlm,
    /// `openclaw.json`.
    OpenClaw,
    /// Static lists of vLLM production-stack: Helm values, or the router's dynamic configuration.
    ProductionStack,
    /// IntelligentPool, IntelligentRoute or SemanticRouter resources.
    Kubernetes,
}

/// Writes a configuration that serves what an inventory lists. Its first model is the default, and it
/// listens on 127.0.0.1:8899. The report has a line for each field that found no home.
pub fn import(source: &Source, bytes: &[u8], source_name: &str) -> Migration {
    if *source == Source::Kubernetes {
        return migrate::migrate(bytes, source_name);
    }
    let mut findings = Findings::default();
    let root = parse::parse(bytes, &mut findings).filter(|root| matches!(root.kind, Kind::Map(_)));
    let Some(root) = root else {
        if !findings.has_errors() {
            let place = Place { line: 1, column: 1 };
            findings.push(Severity::Error, codes::NOT_A_MAPPING, "", place, "the inventory is not a mapping");
        }
        return Migration { output: None, lines: Vec::new(), report: findings.into_report(source_name) };
    };
    let mut inventory = Inventory { migrator: Migrator::new(), first: None };
    match source {
        Source::OpenAiModels { base_url } => lists::openai_models(&mut inventory, root, base_url),
        Source::LiteLlm => litellm::read(&mut inventory, root),
        Source::OpenClaw => openclaw::read(&mut inventory, root),
        Source::ProductionStack => lists::production_stack(&mut inventory, root),
        Source::Kubernetes => {}
    }
    let Some(first) = inventory.first.take() else {
        let place = Place { line: 1, column: 1 };
        findings.push(
            Severity::Error,
            codes::PROVIDER_MODEL,
            "",
            place,
            "the inventory lists no model that can be reached",
        );
        return Migration {
            output: None,
            lines: inventory.migrator.lines(),
            report: findings.into_report(source_name),
        };
    };
    let migrator = &mut inventory.migrator;
    migrator.put(
        Node::text_node(&first),
        "providers.defaults.default_model",
        "providers.defaults.default_model",
    );
    let mut listener = flat::named("clients", 0);
    listener.set("address", Node::text_node("127.0.0.1"));
    listener.set("port", number("8899"));
    migrator.put(Node::list(vec![listener]), "listeners", "listeners");
    inventory.migrator.finish(source_name)
}

/// A configuration in the making.
struct Inventory {
    migrator: Migrator,
    first: Option<String>,
}

/// One place that serves a model.
#[derive(Default)]
struct Backend {
    name: String,
    base_url: String,
    /// Provider profile of the contract; empty for a plain OpenAI-compatible server.
    provider: &'static str,
    /// Model id that this place knows.
    id: String,
    /// Variable that holds the key; empty for none.
    key: String,
    api_version: String,
    headers: Option<Node>,
    weight: Option<Node>,
    line: u32,
}

impl Inventory {
    /// Adds a backend to a model, and the model if it is new.
    fn add(&mut self, model: &str, backend: Backend) {
        self.first.get_or_insert_with(|| model.to_owned());
        let mut entry = flat::named(model, backend.line);
        flat::add_model(&mut self.migrator, entry.clone());
        flat::add_named(&mut self.migrator, "routing", "modelCards", flat::named(model, backend.line));
        let present = self.migrator.named_mut("providers", "models", model).unwrap_or(&mut entry);
        let mut refs = present.take("backend_refs").map(Node::take_items).unwrap_or_default();
        let kind = if backend.provider.is_empty() { "vllm" } else { backend.provider };
        // The contract keeps one id per kind of backend; a second id of the same kind needs a kind of its own.
        let ids = present.at("external_model_ids");
        let kind = (1..)
            .map(|n| if n == 1 { kind.to_owned() } else { format!("{kind}-{n}") })
            .find(|kind| ids.get(kind).is_none_or(|id| id.text() == Some(&backend.id)))
            .unwrap_or_default();
        ids.set(&kind, Node::text_node(&backend.id));
        let name = if backend.name.is_empty() { format!("backend-{}", refs.len() + 1) } else { backend.name };
        let mut node = flat::named(&name, backend.line);
        node.set("type", Node::text_node(&kind));
        node.set("base_url", Node::text_node(backend.base_url.trim_end_matches('/')));
        let optional = [
            ("provider", if backend.provider.is_empty() { "openai" } else { backend.provider }),
            ("api_version", &backend.api_version),
            ("api_key_env", &backend.key),
        ];
        for (key, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            node.set(key, Node::text_node(value));
        }
        if let Some(headers) = backend.headers {
            node.set("extra_headers", headers);
        }
        if let Some(weight) = backend.weight {
            node.set("weight", weight);
        }
        refs.push(node);
        present.set("backend_refs", Node::list(refs));
    }

    /// Says something about a model's card.
    fn card(&mut self, model: &str, key: &str, value: Node) {
        if let Some(card) = self.migrator.named_mut("routing", "modelCards", model) {
            card.set_default(key, value);
        }
    }

    /// Says something about a provider model.
    fn model(&mut self, model: &str, path: &str, key: &str, value: Node) {
        if let Some(entry) = self.migrator.named_mut("providers", "models", model) {
            entry.at(path).set_default(key, value);
        }
    }

    /// The variable to which a key's place refers; a literal key gets a name and a line that asks to set it.
    fn key(&mut self, written: Option<Node>, from: &str, owner: &str) -> String {
        let Some(node) = written else { return String::new() };
        let text = node.text().unwrap_or_default().trim().to_owned();
        if text.is_empty() || ["not-needed", "none", "EMPTY", "sk-none"].contains(&text.as_str()) {
            return String::new();
        }
        let named = text
            .strip_prefix("os.environ/")
            .or_else(|| text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')))
            .or_else(|| text.strip_prefix('$'));
        if let Some(name) = named.filter(|name| is_variable(name)) {
            return name.to_owned();
        }
        let name = variable(owner);
        let why = format!("the key is not copied; set the variable or credential {name}");
        self.migrator.line(
            Change::Changed,
            node.line,
            from,
            "providers.models[].backend_refs[].api_key_env",
            &why,
        );
        name
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `gpt-4o` as `GPT_4O_API_KEY`.
fn variable(owner: &str) -> String {
    let name: String =
        owner.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name };
    format!("{name}_API_KEY")
}

/// A bare number.
fn number(text: &str) -> Node {
    Node { line: 0, column: 0, kind: Kind::Scalar { text: text.into(), plain: true } }
}

#[cfg(test)]
mod tests;
