//! What keeps a moved document from loading, repaired with a line for each repair.

use std::collections::HashSet;

use super::tree::Tree as _;
use super::{Change, Line, Migrator, flat};
use crate::contract::{Config, ModalityDetector};
use crate::node::{Kind, Node, Scalar};
use crate::shape::{Contract, Shape};
use crate::validate::{MMLU, detector_error};

/// Families that upstream's examples refer to without declaring them: name, type, parameter.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("qwen3", "chat_template_kwargs", "enable_thinking"),
    ("deepseek", "chat_template_kwargs", "thinking"),
    ("gpt", "reasoning_effort", "reasoning_effort"),
    ("gpt-oss", "reasoning_effort", "reasoning_effort"),
];

pub(super) fn run(migrator: &mut Migrator) {
    signals(migrator);
    decisions(migrator);
    models(migrator);
    removed_keys(migrator);
    images(migrator);
    modality_detector(migrator);
    let mut out = std::mem::replace(&mut migrator.out, Node::map());
    prune(migrator, &mut out, Config::shape(), "");
    migrator.out = out;
}

fn list<'a>(node: &'a mut Node, path: &str) -> &'a mut [Node] {
    let mut node = node;
    for key in path.split('.') {
        match node.get_mut(key) {
            Some(inner) => node = inner,
            None => return &mut [],
        }
    }
    node.items_mut()
}

fn note(change: Change, line: u32, from: String, to: String, why: String) -> Line {
    Line { change, line, from, to, why }
}

fn rename(lines: &mut Vec<Line>, node: &mut Node, path: &str, old: &str, new: &str) {
    if let Some(value) = node.take(old) {
        if node.get(new).is_none_or(Node::is_blank) {
            lines.push(note(
                Change::Moved,
                value.line,
                format!("{path}.{old}"),
                format!("{path}.{new}"),
                String::new(),
            ));
            node.set(new, value);
        } else {
            lines.push(note(
                Change::Dropped,
                value.line,
                format!("{path}.{old}"),
                String::new(),
                format!("{new} is set already"),
            ));
        }
    }
}

fn signals(migrator: &mut Migrator) {
    let mut lines = Vec::new();
    if let Some(signals) = migrator.out.get_mut("routing").and_then(|routing| routing.get_mut("signals")) {
        rename(&mut lines, signals, "routing.signals", "modality_rules", "modality");
    }
    for (index, rule) in list(&mut migrator.out, "routing.signals.keywords").iter_mut().enumerate() {
        let path = format!("routing.signals.keywords[{index}]");
        rename(&mut lines, rule, &path, "rule_name", "name");
        rename(&mut lines, rule, &path, "category", "name");
    }
    for (index, rule) in list(&mut migrator.out, "routing.signals.embeddings").iter_mut().enumerate() {
        let path = format!("routing.signals.embeddings[{index}]");
        rename(&mut lines, rule, &path, "category", "name");
        rename(&mut lines, rule, &path, "keywords", "candidates");
    }
    for (index, rule) in list(&mut migrator.out, "routing.signals.keywords").iter_mut().enumerate() {
        if rule.str("method") != "regex" {
            continue;
        }
        let path = format!("routing.signals.keywords[{index}].keywords");
        for pattern in rule.get_mut("keywords").map(|keywords| keywords.items_mut()).unwrap_or_default() {
            let text = pattern.text().unwrap_or_default();
            if regex::Regex::new(text).is_err() {
                let literal = regex::escape(text);
                let why = format!("`{text}` is no valid expression and is taken literally");
                lines.push(note(Change::Changed, pattern.line, path.clone(), path.clone(), why));
                *pattern = Node { line: pattern.line, ..Node::text_node(&literal) };
            }
        }
    }
    for (index, domain) in list(&mut migrator.out, "routing.signals.domains").iter_mut().enumerate() {
        let path = format!("routing.signals.domains[{index}].mmlu_categories");
        let Some(categories) = domain.take("mmlu_categories") else { continue };
        let mut kept = Vec::new();
        for category in categories.take_items() {
            let name = category.text().unwrap_or_default().trim().to_owned();
            let spaced = name.replace('_', " ");
            if MMLU.contains(&name.as_str()) {
                kept.push(category);
            } else if MMLU.contains(&spaced.as_str()) {
                lines.push(note(
                    Change::Changed,
                    category.line,
                    path.clone(),
                    path.clone(),
                    format!("`{name}` is written `{spaced}`"),
                ));
                kept.push(Node { line: category.line, ..Node::text_node(&spaced) });
            } else {
                lines.push(note(
                    Change::Dropped,
                    category.line,
                    path.clone(),
                    String::new(),
                    format!("`{name}` is no MMLU category"),
                ));
            }
        }
        if !kept.is_empty() {
            domain.set("mmlu_categories", Node::list(kept));
        }
    }
    migrator.lines.extend(lines);
}

fn decisions(migrator: &mut Migrator) {
    let mut lines = Vec::new();
    for (index, decision) in list(&mut migrator.out, "routing.decisions").iter_mut().enumerate() {
        let path = format!("routing.decisions[{index}]");
        rename(&mut lines, decision, &path, "model_refs", "modelRefs");
        rename(&mut lines, decision, &path, "modelSelectionAlgorithm", "algorithm");
        if let Some(rules) = decision.get_mut("rules") {
            conditions(&mut lines, rules, &format!("{path}.rules"));
        }
        for list in ["allow_tools", "block_tools", "tool_scope"] {
            if let Some(value) = decision.take(list) {
                lines.push(note(
                    Change::Dropped,
                    value.line,
                    format!("{path}.{list}"),
                    String::new(),
                    "write a plugin of type tools instead".into(),
                ));
            }
        }
        // Early layouts wrote plugins as a mapping from type to settings.
        if decision.get("plugins").is_some_and(|plugins| matches!(plugins.kind, Kind::Map(_)))
            && let Some(mut plugins) = decision.take("plugins")
        {
            let line = plugins.line;
            let items = plugins.take_all().into_iter().map(|(kind, configuration)| {
                let mut plugin = Node { line: configuration.line, ..Node::map() };
                plugin.set("type", Node::text_node(&kind));
                plugin.set("configuration", configuration);
                plugin
            });
            decision.set("plugins", Node::list(items.collect()));
            let path = format!("{path}.plugins");
            lines.push(note(Change::Changed, line, path.clone(), path, "the mapping became a list".into()));
        }
    }
    migrator.lines.extend(lines);
}

fn conditions(lines: &mut Vec<Line>, node: &mut Node, path: &str) {
    rename(lines, node, path, "rule_name", "name");
    rename(lines, node, path, "category", "name");
    if let Some(children) = node.get_mut("conditions") {
        for (index, child) in children.items_mut().iter_mut().enumerate() {
            conditions(lines, child, &format!("{path}.conditions[{index}]"));
        }
    }
}

fn models(migrator: &mut Migrator) {
    // Cards for every model that something refers to.
    let mut wanted: Vec<String> = Vec::new();
    let default = migrator.out.get("providers").and_then(|providers| providers.get("defaults"));
    wanted.extend(
        default.map(|defaults| defaults.str("default_model").to_owned()).filter(|name| !name.is_empty()),
    );
    let providers: Vec<Node> = list(&mut migrator.out, "providers.models").to_vec();
    wanted.extend(providers.iter().map(|model| model.str("name").to_owned()));
    let known: HashSet<String> = list(&mut migrator.out, "routing.modelCards")
        .iter()
        .flat_map(|card| {
            let loras = card.get("loras").map_or(&[][..], Node::items);
            std::iter::once(card).chain(loras).map(|named| named.str("name").to_owned()).collect::<Vec<_>>()
        })
        .collect();
    for name in wanted {
        if !name.is_empty() && !known.contains(&name) {
            let fresh =
                !list(&mut migrator.out, "routing.modelCards").iter().any(|card| card.str("name") == name);
            if fresh {
                flat::add_named(migrator, "routing", "modelCards", flat::named(&name, 0));
                let to = format!("routing.modelCards[{name}]");
                migrator.line(Change::Added, 0, "", &to, "every model needs a card");
            }
        }
    }
    adapters(migrator);
    families(migrator);
    // A provider entry that says nothing but its name does not load; its card is enough.
    let kept: Vec<Node> = list(&mut migrator.out, "providers.models").to_vec();
    let (kept, empty): (Vec<_>, Vec<_>) = kept.into_iter().partition(|model| {
        model.entries().iter().any(|entry| entry.key.text() != Some("name") && !entry.value.is_blank())
    });
    for model in &empty {
        let why = "it has neither a backend nor metadata; its card stays";
        migrator.line(
            Change::Dropped,
            model.line,
            &format!("providers.models[{}]", model.str("name")),
            "",
            why,
        );
    }
    if !empty.is_empty() {
        migrator.out.at("providers").set("models", Node::list(kept));
    }
    let mut unreachable = Vec::new();
    for model in list(&mut migrator.out, "providers.models") {
        let name = model.str("name").to_owned();
        let Some(backends) = model.take("backend_refs") else { continue };
        let (kept, lost): (Vec<_>, Vec<_>) = backends.take_items().into_iter().partition(|backend| {
            !backend.str("endpoint").trim().is_empty() || !backend.str("base_url").trim().is_empty()
        });
        unreachable.extend(lost.into_iter().map(|backend| (name.clone(), backend)));
        if !kept.is_empty() {
            model.set("backend_refs", Node::list(kept));
        }
    }
    for (name, backend) in unreachable {
        migrator.drop(&backend, &format!("providers.models[{name}].backend_refs"), "it has no address");
    }
}

/// Adapters that decisions name need a card that has them; the pool may be in another file.
fn adapters(migrator: &mut Migrator) {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for decision in list(&mut migrator.out, "routing.decisions") {
        for candidate in decision.get("modelRefs").map_or(&[][..], Node::items) {
            let pair = (candidate.str("model").to_owned(), candidate.str("lora_name").to_owned());
            if !pair.0.is_empty() && !pair.1.is_empty() && !wanted.contains(&pair) {
                wanted.push(pair);
            }
        }
    }
    for (model, adapter) in wanted {
        let has = |card: &Node| {
            card.str("name") == model
                && card
                    .get("loras")
                    .map_or(&[][..], Node::items)
                    .iter()
                    .any(|lora| lora.str("name") == adapter)
        };
        if list(&mut migrator.out, "routing.modelCards").iter().any(has) {
            continue;
        }
        flat::add_named(migrator, "routing", "modelCards", flat::named(&model, 0));
        for card in
            list(&mut migrator.out, "routing.modelCards").iter_mut().filter(|card| card.str("name") == model)
        {
            let mut loras = card.take("loras").map(Node::take_items).unwrap_or_default();
            loras.push(flat::named(&adapter, 0));
            card.set("loras", Node::list(loras));
        }
        let to = format!("routing.modelCards[{model}].loras[{adapter}]");
        migrator.line(Change::Added, 0, "", &to, "a decision refers to it");
    }
}

/// A detector whose method lacks its settings keeps the document from loading.
fn modality_detector(migrator: &mut Migrator) {
    const PATH: &str = "global.model_catalog.modules.modality_detector";
    let block = PATH.split('.').try_fold(&migrator.out, |node, key| node.get(key));
    let Some(block) =
        block.filter(|block| block.get("enabled").and_then(Node::scalar) == Some(Scalar::Bool(true)))
    else {
        return;
    };
    let mut detector = ModalityDetector::default();
    detector.read(block);
    let line = block.get("enabled").map_or(0, |enabled| enabled.line);
    if let Some(wrong) = detector_error(&detector) {
        let off = Node { line, column: 0, kind: Kind::Scalar { text: "false".into(), plain: true } };
        migrator.out.at(PATH).set("enabled", off);
        let path = format!("{PATH}.enabled");
        migrator.line(Change::Changed, line, &path, &path, &format!("switched off, because {wrong}"));
    }
}

/// Rules that look at images need the multimodal embedding model; nothing looks at audio.
fn images(migrator: &mut Migrator) {
    let rules = list(&mut migrator.out, "routing.signals.embeddings").to_vec();
    let hears = |rule: &Node| rule.str("query_modality").trim().eq_ignore_ascii_case("audio");
    if rules.iter().any(hears) {
        let (lost, kept): (Vec<_>, Vec<_>) = rules.into_iter().partition(hears);
        migrator.out.at("routing.signals").set("embeddings", Node::list(kept));
        for rule in lost {
            let path = format!("routing.signals.embeddings[{}]", rule.str("name"));
            migrator.drop(&rule, &path, "audio is not available");
        }
    }
    let looks = list(&mut migrator.out, "routing.signals.embeddings")
        .iter()
        .any(|rule| rule.str("query_modality").trim().eq_ignore_ascii_case("image"));
    if !looks {
        return;
    }
    const PATH: &str = "global.model_catalog.embeddings.semantic.embedding_config";
    let config = migrator.out.at(PATH);
    if config.get("model_type").is_none_or(Node::is_blank) {
        config.set("model_type", Node::text_node("multimodal"));
        migrator.line(
            Change::Added,
            0,
            "",
            &format!("{PATH}.model_type"),
            "an embedding rule looks at images",
        );
    }
}

fn families(migrator: &mut Migrator) {
    let declared: HashSet<String> = migrator
        .out
        .get("providers")
        .and_then(|providers| providers.get("defaults"))
        .and_then(|defaults| defaults.get("reasoning_families"))
        .map_or(&[][..], Node::entries)
        .iter()
        .filter_map(|entry| entry.key.text())
        .map(str::to_owned)
        .collect();
    let mut add: Vec<&(&str, &str, &str)> = Vec::new();
    let mut lost = Vec::new();
    for model in list(&mut migrator.out, "providers.models") {
        let family = model.str("reasoning_family").to_owned();
        if family.is_empty() || declared.contains(&family) {
            continue;
        }
        match FAMILIES.iter().find(|(name, ..)| *name == family) {
            Some(known) if !add.contains(&known) => add.push(known),
            Some(_) => {}
            None => {
                let name = model.str("name").to_owned();
                if let Some(value) = model.take("reasoning_family") {
                    lost.push((value.line, format!("providers.models[{name}].reasoning_family"), family));
                }
            }
        }
    }
    for (name, kind, parameter) in add {
        let mut family = Node::map();
        family.set("type", Node::text_node(kind));
        family.set("parameter", Node::text_node(parameter));
        migrator.out.at("providers.defaults.reasoning_families").set(name, family);
        let to = format!("providers.defaults.reasoning_families.{name}");
        migrator.line(Change::Added, 0, "", &to, "a model refers to it");
    }
    for (line, path, family) in lost {
        migrator.line(
            Change::Dropped,
            line,
            &path,
            "",
            &format!("no reasoning family `{family}` is declared"),
        );
    }
}

/// Keys that v0.3 refuses although an older v0.3 draft had them.
fn removed_keys(migrator: &mut Migrator) {
    let mut lost = Vec::new();
    for (index, rule) in list(&mut migrator.out, "routing.signals.structure").iter_mut().enumerate() {
        if let Some(value) = rule.get_mut("feature").and_then(|feature| feature.take("normalize_by")) {
            lost.push((value, format!("routing.signals.structure[{index}].feature.normalize_by")));
        }
    }
    if let Some(signals) = migrator.out.get_mut("routing").and_then(|routing| routing.get_mut("signals")) {
        for key in ["category_kb", "taxonomy"] {
            if let Some(value) = signals.take(key) {
                lost.push((value, format!("routing.signals.{key}")));
            }
        }
    }
    let catalog = migrator.out.get_mut("global").and_then(|global| global.get_mut("model_catalog"));
    if let Some(value) = catalog.and_then(|catalog| catalog.take("classifiers")) {
        lost.push((value, "global.model_catalog.classifiers".into()));
    }
    for (value, path) in lost {
        migrator.drop(&value, &path, "v0.3 no longer has it");
    }
}

/// Takes out keys that v0.3 does not know, so that the new document is clean and the report complete.
fn prune(migrator: &mut Migrator, node: &mut Node, shape: Shape, path: &str) {
    match shape {
        Shape::Nullable(inner) => prune(migrator, node, inner(), path),
        Shape::List(item) => {
            for (index, child) in node.items_mut().iter_mut().enumerate() {
                prune(migrator, child, item(), &format!("{path}[{index}]"));
            }
        }
        Shape::Map(inner) => {
            if let Kind::Map(entries) = &mut node.kind {
                for entry in entries {
                    let path = format!("{path}.{}", entry.key.text().unwrap_or_default());
                    prune(migrator, &mut entry.value, inner(), &path);
                }
            }
        }
        Shape::Struct(shape) => {
            let Kind::Map(entries) = &mut node.kind else { return };
            for entry in std::mem::take(entries) {
                let key = entry.key.text().unwrap_or_default().to_owned();
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let mut value = entry.value;
                match shape.fields.iter().find(|field| field.name == key) {
                    Some(field) => {
                        prune(migrator, &mut value, (field.shape)(), &path);
                        let hollow = value.line == 0 && value.is_blank();
                        if !hollow {
                            node.set(&key, value);
                        }
                    }
                    None => {
                        let line = value.line;
                        if value.is_blank() {
                            migrator.line(
                                Change::Dropped,
                                line,
                                &path,
                                "",
                                "it is not part of v0.3, and is empty",
                            );
                        } else {
                            migrator.drop(&value, &path, "it is not part of v0.3");
                        }
                    }
                }
            }
        }
        Shape::Bool | Shape::Int { .. } | Shape::Float => unquote(migrator, node, shape, path),
        _ => {}
    }
}

/// Resources carry numbers as text; v0.3 does not take text for a number.
fn unquote(migrator: &mut Migrator, node: &mut Node, shape: Shape, path: &str) {
    let Kind::Scalar { text, plain: false } = &node.kind else { return };
    let bare = Node { kind: Kind::Scalar { text: text.clone(), plain: true }, ..*node };
    let fits = match bare.scalar() {
        Some(Scalar::Bool(_)) => matches!(shape, Shape::Bool),
        Some(Scalar::Int(_) | Scalar::Float(_)) => !matches!(shape, Shape::Bool),
        _ => false,
    };
    if fits {
        migrator.line(Change::Changed, node.line, path, path, "text became a value");
        *node = bare;
    }
}
