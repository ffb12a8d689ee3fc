//! Where blocks of the flat layout live under `global`.

use super::tree::Tree as _;
use super::{Change, Migrator};
use crate::node::Node;

/// Key of the flat layout, and its home.
pub(super) const HOMES: &[(&str, &str)] = &[
    ("config_source", "global.router.config_source"),
    ("strategy", "global.router.strategy"),
    ("auto_model_name", "global.router.auto_model_name"),
    ("include_config_models_in_list", "global.router.include_config_models_in_list"),
    ("clear_route_cache", "global.router.clear_route_cache"),
    ("model_selection", "global.router.model_selection"),
    ("skip_processing", "global.router.skip_processing"),
    ("streamed_body_mode", "global.router.streamed_body.enabled"),
    ("max_streamed_body_bytes", "global.router.streamed_body.max_bytes"),
    ("streamed_body_timeout_sec", "global.router.streamed_body.timeout_sec"),
    ("api", "global.services.api"),
    ("response_api", "global.services.response_api"),
    ("observability", "global.services.observability"),
    ("authz", "global.services.authz"),
    ("ratelimit", "global.services.ratelimit"),
    ("router_replay", "global.services.router_replay"),
    ("startup_status", "global.services.startup_status"),
    ("semantic_cache", "global.stores.semantic_cache"),
    ("memory", "global.stores.memory"),
    ("vector_store", "global.stores.vector_store"),
    ("tools", "global.integrations.tools"),
    ("looper", "global.integrations.looper"),
    ("system_models", "global.model_catalog.system"),
    ("external_models", "global.model_catalog.external"),
    ("knowledge_bases", "global.model_catalog.kbs"),
    ("prompt_compression", "global.model_catalog.modules.prompt_compression"),
    ("prompt_guard", "global.model_catalog.modules.prompt_guard"),
    ("feedback_detector", "global.model_catalog.modules.feedback_detector"),
    ("modality_detector", "global.model_catalog.modules.modality_detector"),
];

/// Members of blocks that were split or renamed: block, member, home.
const MEMBERS: &[(&str, &str, &str)] = &[
    ("bert_model", "model_id", "global.model_catalog.embeddings.semantic.bert_model_path"),
    ("bert_model", "use_cpu", "global.model_catalog.embeddings.semantic.use_cpu"),
    (
        "bert_model",
        "threshold",
        "global.model_catalog.embeddings.semantic.embedding_config.min_score_threshold",
    ),
    ("embedding_models", "hnsw_config", "global.model_catalog.embeddings.semantic.embedding_config"),
    ("embedding_models", "", "global.model_catalog.embeddings.semantic"),
    ("classifier", "category_model", "global.model_catalog.modules.classifier.domain"),
    ("classifier", "pii_model", "global.model_catalog.modules.classifier.pii"),
    ("classifier", "mcp_category_model", "global.model_catalog.modules.classifier.mcp"),
    ("classifier", "preference_model", "global.model_catalog.modules.classifier.preference"),
    ("classifier", "domain", "global.model_catalog.modules.classifier.domain"),
    ("classifier", "pii", "global.model_catalog.modules.classifier.pii"),
    ("classifier", "mcp", "global.model_catalog.modules.classifier.mcp"),
    ("classifier", "preference", "global.model_catalog.modules.classifier.preference"),
    (
        "hallucination_mitigation",
        "fact_check_model",
        "global.model_catalog.modules.hallucination_mitigation.fact_check",
    ),
    (
        "hallucination_mitigation",
        "hallucination_model",
        "global.model_catalog.modules.hallucination_mitigation.detector",
    ),
    (
        "hallucination_mitigation",
        "nli_model",
        "global.model_catalog.modules.hallucination_mitigation.explainer",
    ),
    ("hallucination_mitigation", "", "global.model_catalog.modules.hallucination_mitigation"),
];

/// Places a block of the flat layout; false when it has no home.
pub(super) fn block(migrator: &mut Migrator, key: &str, node: Node, from: &str) -> bool {
    if node.is_blank() {
        return true;
    }
    if let Some((_, home)) = HOMES.iter().find(|(known, _)| *known == key) {
        migrator.put(node, from, home);
        return true;
    }
    if !MEMBERS.iter().any(|(block, ..)| *block == key) {
        return false;
    }
    let mut node = migrator.mapping(Some(node), from);
    for (_, member, home) in MEMBERS.iter().filter(|(block, member, _)| *block == key && !member.is_empty()) {
        if let Some(value) = node.take(member).filter(|value| !value.is_blank()) {
            migrator.put(value, &format!("{from}.{member}"), home);
        }
    }
    match MEMBERS.iter().find(|(block, member, _)| *block == key && member.is_empty()) {
        Some((.., home)) if !node.is_blank() => migrator.put(node, from, home),
        _ => migrator.drop(&node, from, "it has no home in v0.3"),
    }
    true
}

/// Brings an existing `global` into its v0.3 form.
pub(super) fn global(migrator: &mut Migrator, node: Node, from: &str) {
    let mut node = migrator.mapping(Some(node), from);
    const SECTIONS: &[&str] = &["router", "services", "stores", "integrations", "model_catalog", "pintle"];
    for section in SECTIONS {
        if let Some(value) = node.take(section) {
            migrator.put(value, &format!("{from}.{section}"), &format!("global.{section}"));
        }
    }
    if let Some(value) = node.take("modules") {
        modules(migrator, value, &format!("{from}.modules"));
    }
    if let Some(value) = node.take("models") {
        let mut value = migrator.mapping(Some(value), &format!("{from}.models"));
        for (key, home) in [("embeddings", "embeddings"), ("system", "system"), ("external", "external")] {
            if let Some(value) = value.take(key) {
                migrator.put(value, &format!("{from}.models.{key}"), &format!("global.model_catalog.{home}"));
            }
        }
        migrator.drop(&value, &format!("{from}.models"), "it has no home in v0.3");
    }
    if let Some(value) = node.take("runtime") {
        let mut value = migrator.mapping(Some(value), &format!("{from}.runtime"));
        if let Some(router) = value.take("router") {
            migrator.put(router, &format!("{from}.runtime.router"), "global.router");
        }
        for (key, value) in value.take_all() {
            place_or_drop(migrator, &key, value, &format!("{from}.runtime.{key}"));
        }
    }
    for (key, value) in node.take_all() {
        place_or_drop(migrator, &key, value, &format!("{from}.{key}"));
    }
    let catalog = migrator.out.at("global.model_catalog");
    let bert = catalog.get_mut("embeddings").and_then(|embeddings| embeddings.take("bert"));
    if catalog.is_blank() {
        let global = migrator.out.at("global");
        global.take("model_catalog");
    }
    if let Some(bert) = bert {
        block(migrator, "bert_model", bert, &format!("{from}.model_catalog.embeddings.bert"));
    }
}

fn modules(migrator: &mut Migrator, node: Node, from: &str) {
    let mut node = migrator.mapping(Some(node), from);
    for (key, value) in node.take_all() {
        let path = format!("{from}.{key}");
        if key == "classifier" || key == "hallucination_mitigation" {
            block(migrator, &key, value, &path);
        } else {
            migrator.put(value, &path, &format!("global.model_catalog.modules.{key}"));
        }
    }
}

pub(super) fn place_or_drop(migrator: &mut Migrator, key: &str, node: Node, from: &str) {
    let line = node.line;
    let kept = node.clone();
    if !block(migrator, key, node, from) {
        if kept.is_blank() {
            migrator.line(Change::Dropped, line, from, "", "it has no home in v0.3, and is empty");
        } else {
            migrator.drop(&kept, from, "it has no home in v0.3");
        }
    }
}
