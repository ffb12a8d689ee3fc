//! Signal families, in upstream's order.

use std::collections::HashSet;

use super::{Context, list};
use crate::codes;
use crate::contract::{Domain, KnowledgeBase, NumericPredicate};
use crate::load::Profile;

/// The MMLU categories that a domain may list.
pub(crate) const MMLU: &[&str] = &[
    "biology",
    "business",
    "chemistry",
    "computer science",
    "economics",
    "engineering",
    "health",
    "history",
    "law",
    "math",
    "other",
    "philosophy",
    "physics",
    "psychology",
];

const STRUCTURE_FEATURES: &[&str] = &["exists", "count", "density", "sequence"];
const STRUCTURE_SOURCES: &[&str] = &["regex", "keyword_set", "sequence"];
const CONVERSATION_SOURCES: &[&str] =
    &["message", "tool_definition", "assistant_tool_call", "assistant_tool_cycle"];
const ROLES: &[&str] = &["user", "assistant", "system", "developer", "tool", "non_user"];

pub(super) fn check(cx: &mut Context<'_>) {
    for (index, domain) in cx.config.routing.signals.domains.iter().enumerate() {
        check_domain(cx, index, domain);
    }
    check_structure(cx);
    check_reasks(cx);
    check_knowledge_bases(cx);
    check_kb_signals(cx);
    check_conversation(cx);
    check_embeddings(cx);
    check_modality(cx);
    check_metadata(cx);
}

fn check_domain(cx: &mut Context<'_>, index: usize, domain: &Domain) {
    for (at, category) in domain.mmlu_categories.iter().enumerate() {
        let category = category.trim();
        if MMLU.contains(&category) {
            continue;
        }
        let spaced = category.replace('_', " ");
        let near = MMLU
            .iter()
            .copied()
            .find(|known| *known == spaced)
            .or_else(|| crate::check::nearest(category, MMLU.iter().copied(), category.len() / 2 + 1));
        cx.fail(
            codes::DOMAIN,
            format!("routing.signals.domains[{index}].mmlu_categories[{at}]"),
            format!(
                "`{category}` of domain `{}` is no MMLU category; they are {}",
                domain.name,
                list(MMLU.iter().copied())
            ),
        )
        .help_maybe(near.map(|known| format!("did you mean `{known}`?")));
    }
}

fn check_structure(cx: &mut Context<'_>) {
    let mut names = HashSet::new();
    for (index, rule) in cx.config.routing.signals.structure.iter().enumerate() {
        let base = format!("routing.signals.structure[{index}]");
        let (feature, source) = (&rule.feature, &rule.feature.source);
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::STRUCTURE, format!("{base}{path}"), message);
        };
        if rule.name.is_empty() {
            fail(".name", "the structure rule has no name".into());
        } else if !names.insert(&rule.name) {
            fail(".name", format!("the structure rule `{}` is written twice", rule.name));
        }
        if !STRUCTURE_FEATURES.contains(&feature.kind.as_str()) {
            fail(
                ".feature.type",
                format!(
                    "`{}`: feature type `{}` is not one of {}",
                    rule.name,
                    feature.kind,
                    list(STRUCTURE_FEATURES.iter().copied())
                ),
            );
        }
        if !STRUCTURE_SOURCES.contains(&source.kind.as_str()) {
            fail(
                ".feature.source.type",
                format!(
                    "`{}`: source type `{}` is not one of {}",
                    rule.name,
                    source.kind,
                    list(STRUCTURE_SOURCES.iter().copied())
                ),
            );
        }
        match source.kind.as_str() {
            "regex" if source.pattern.is_empty() => {
                fail(".feature.source", format!("`{}`: a regex source needs a pattern", rule.name));
            }
            "keyword_set" if source.keywords.is_empty() => {
                fail(".feature.source", format!("`{}`: a keyword_set source needs keywords", rule.name));
            }
            "sequence"
                if source.sequences.is_empty()
                    || source.sequences.iter().any(|markers| markers.len() < 2) =>
            {
                fail(".feature.source", format!("`{}`: each sequence needs at least two markers", rule.name));
            }
            _ => {}
        }
        if feature.kind == "sequence" && source.kind != "sequence" {
            fail(
                ".feature.source.type",
                format!("`{}`: feature sequence needs a sequence source", rule.name),
            );
        }
        if let Some(predicate) = &rule.predicate {
            if feature.kind == "exists" {
                fail(".predicate", format!("`{}`: feature exists takes no predicate", rule.name));
            } else if let Some(wrong) = predicate_error(predicate, true) {
                fail(".predicate", format!("`{}`: {wrong}", rule.name));
            }
        }
    }
}

fn predicate_error(predicate: &NumericPredicate, needs_bound: bool) -> Option<&'static str> {
    let NumericPredicate { gt, gte, lt, lte } = predicate;
    if needs_bound && gt.is_none() && gte.is_none() && lt.is_none() && lte.is_none() {
        return Some("the predicate has no bound");
    }
    if gt.is_some() && gte.is_some() {
        return Some("the predicate has both gt and gte");
    }
    if lt.is_some() && lte.is_some() {
        return Some("the predicate has both lt and lte");
    }
    None
}

fn check_reasks(cx: &mut Context<'_>) {
    for (index, rule) in cx.config.routing.signals.reasks.iter().enumerate() {
        let base = format!("routing.signals.reasks[{index}]");
        if !(0.0..=1.0).contains(&rule.threshold) {
            cx.fail(
                codes::REASK,
                format!("{base}.threshold"),
                format!("`{}`: the threshold is not in [0,1]", rule.name),
            );
        }
        if rule.lookback_turns < 0 {
            cx.fail(
                codes::REASK,
                format!("{base}.lookback_turns"),
                format!("`{}`: lookback_turns is below 1", rule.name),
            );
        }
    }
}

fn check_knowledge_bases(cx: &mut Context<'_>) {
    let mut names = HashSet::new();
    for (index, kb) in cx.config.global.model_catalog.kbs.iter().enumerate() {
        let base = format!("global.model_catalog.kbs[{index}]");
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::KB, format!("{base}{path}"), message);
        };
        if kb.name.trim().is_empty() {
            fail(".name", "the knowledge base has no name".into());
        } else if !names.insert(&kb.name) {
            fail(".name", format!("the knowledge base `{}` is written twice", kb.name));
        }
        if kb.source.path.trim().is_empty() {
            fail(".source.path", format!("the knowledge base `{}` has no source path", kb.name));
        }
        if !(0.0..=1.0).contains(&kb.threshold) {
            fail(".threshold", format!("`{}`: the threshold is not in [0,1]", kb.name));
        }
        for (label, threshold) in &kb.label_thresholds {
            if !(0.0..=1.0).contains(threshold) {
                fail(
                    ".label_thresholds",
                    format!("`{}`: the threshold of `{label}` is not in [0,1]", kb.name),
                );
            }
        }
        for (group, labels) in &kb.groups {
            if labels.is_empty() {
                fail(".groups", format!("`{}`: the group `{group}` is empty", kb.name));
            }
            let mut seen = HashSet::new();
            if let Some(twice) = labels.iter().find(|label| !seen.insert(*label)) {
                fail(".groups", format!("`{}`: the group `{group}` lists `{twice}` twice", kb.name));
            }
        }
        check_metrics(kb, &mut fail);
    }
}

fn check_metrics(kb: &KnowledgeBase, fail: &mut dyn FnMut(&str, String)) {
    let mut names = HashSet::new();
    for (at, metric) in kb.metrics.iter().enumerate() {
        let path = format!(".metrics[{at}]");
        if metric.name.trim().is_empty()
            || ["best_score", "best_matched_score"].contains(&metric.name.as_str())
        {
            fail(&path, format!("`{}`: `{}` cannot name a metric", kb.name, metric.name));
        } else if !names.insert(&metric.name) {
            fail(&path, format!("`{}`: the metric `{}` is written twice", kb.name, metric.name));
        }
        if metric.kind != "group_margin" {
            fail(&path, format!("`{}`: metric type `{}` is not group_margin", kb.name, metric.kind));
        }
        for group in [&metric.positive_group, &metric.negative_group] {
            if !kb.groups.contains_key(group) {
                fail(
                    &path,
                    format!("`{}`: the metric `{}` names an unknown group `{group}`", kb.name, metric.name),
                );
            }
        }
    }
}

fn check_kb_signals(cx: &mut Context<'_>) {
    let config = cx.config;
    let mut names = HashSet::new();
    for (index, rule) in config.routing.signals.kb.iter().enumerate() {
        let base = format!("routing.signals.kb[{index}]");
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::KB, format!("{base}{path}"), message);
        };
        if rule.name.trim().is_empty() {
            fail(".name", "the kb signal has no name".into());
        } else if !names.insert(&rule.name) {
            fail(".name", format!("the kb signal `{}` is written twice", rule.name));
        }
        let kind = rule.target.kind.trim().to_lowercase();
        if !["label", "group"].contains(&kind.as_str()) {
            fail(
                ".target.kind",
                format!("`{}`: target kind `{}` is not label or group", rule.name, rule.target.kind),
            );
        }
        if rule.target.value.trim().is_empty() {
            fail(".target.value", format!("`{}`: the target has no value", rule.name));
        }
        if !["", "best", "threshold"].contains(&rule.r#match.trim().to_lowercase().as_str()) {
            fail(".match", format!("`{}`: match `{}` is not best or threshold", rule.name, rule.r#match));
        }
        match config.global.model_catalog.kbs.iter().find(|kb| kb.name == rule.kb) {
            None => fail(
                ".kb",
                format!(
                    "`{}`: the knowledge base `{}` is not declared in global.model_catalog.kbs",
                    rule.name, rule.kb
                ),
            ),
            Some(kb) if kind == "group" && !kb.groups.contains_key(&rule.target.value) => {
                fail(
                    ".target.value",
                    format!("`{}`: `{}` has no group `{}`", rule.name, kb.name, rule.target.value),
                );
            }
            Some(_) => {}
        }
    }
}

fn check_conversation(cx: &mut Context<'_>) {
    let mut names = HashSet::new();
    for (index, rule) in cx.config.routing.signals.conversation.iter().enumerate() {
        let base = format!("routing.signals.conversation[{index}]");
        let source = &rule.feature.source;
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::CONVERSATION, format!("{base}{path}"), message);
        };
        if rule.name.is_empty() {
            fail(".name", "the conversation rule has no name".into());
        } else if !names.insert(&rule.name) {
            fail(".name", format!("the conversation rule `{}` is written twice", rule.name));
        }
        if !["count", "exists"].contains(&rule.feature.kind.as_str()) {
            fail(
                ".feature.type",
                format!("`{}`: feature type `{}` is not count or exists", rule.name, rule.feature.kind),
            );
        }
        if !CONVERSATION_SOURCES.contains(&source.kind.as_str()) {
            fail(
                ".feature.source.type",
                format!(
                    "`{}`: source type `{}` is not one of {}",
                    rule.name,
                    source.kind,
                    list(CONVERSATION_SOURCES.iter().copied())
                ),
            );
        }
        if !source.role.is_empty() {
            if source.kind != "message" {
                fail(".feature.source.role", format!("`{}`: only messages have a role", rule.name));
            } else if !ROLES.contains(&source.role.as_str()) {
                fail(
                    ".feature.source.role",
                    format!(
                        "`{}`: role `{}` is not one of {}",
                        rule.name,
                        source.role,
                        list(ROLES.iter().copied())
                    ),
                );
            }
        }
        if let Some(predicate) = &rule.predicate {
            if rule.feature.kind == "exists" {
                fail(".predicate", format!("`{}`: feature exists takes no predicate", rule.name));
            } else if let Some(wrong) = predicate_error(predicate, false) {
                fail(".predicate", format!("`{}`: {wrong}", rule.name));
            }
        }
    }
}

fn check_embeddings(cx: &mut Context<'_>) {
    let model_type =
        cx.config.global.model_catalog.embeddings.semantic.embedding_config.model_type.trim().to_lowercase();
    for (index, rule) in cx.config.routing.signals.embeddings.iter().enumerate() {
        let path = format!("routing.signals.embeddings[{index}].query_modality");
        match rule.query_modality.trim().to_lowercase().as_str() {
            "" | "text" => {}
            "image" if model_type == "multimodal" => {}
            "image" => {
                cx.fail(
                    codes::EMBEDDING,
                    path,
                    format!("`{}` looks at images, which needs the multimodal embedding model, not `{model_type}`", rule.name),
                );
            }
            "audio" => {
                cx.fail(
                    codes::EMBEDDING,
                    path,
                    format!("`{}` looks at audio, which is not available", rule.name),
                );
            }
            other => {
                cx.fail(
                    codes::EMBEDDING,
                    path,
                    format!("`{}`: modality `{other}` is not text or image", rule.name),
                );
            }
        }
    }
}

fn check_modality(cx: &mut Context<'_>) {
    for (index, rule) in cx.config.routing.signals.modality.iter().enumerate() {
        if !["AR", "DIFFUSION", "BOTH"].contains(&rule.name.as_str()) {
            cx.fail(
                codes::MODALITY,
                format!("routing.signals.modality[{index}].name"),
                format!("`{}` is not AR, DIFFUSION or BOTH", rule.name),
            );
        }
    }
}

fn check_metadata(cx: &mut Context<'_>) {
    let config = cx.config;
    if cx.profile == Profile::Compat {
        if !config.routing.signals.metadata.is_empty() {
            cx.warn(
                codes::LATER_VERSION,
                "routing.signals.metadata",
                "`metadata` belongs to a later version of the contract; it has no effect",
            );
        }
        return;
    }
    let mut names = HashSet::new();
    for (index, rule) in config.routing.signals.metadata.iter().enumerate() {
        let base = format!("routing.signals.metadata[{index}]");
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::METADATA, format!("{base}{path}"), message);
        };
        let trimmed = |text: &str| !text.is_empty() && text.trim() == text;
        if !trimmed(&rule.name) {
            fail(
                ".name",
                format!("`{}` cannot name a metadata rule: it is empty or has space around it", rule.name),
            );
        } else if !names.insert(rule.name.to_lowercase()) {
            fail(".name", format!("the metadata rule `{}` is written twice", rule.name));
        }
        if !trimmed(&rule.key) {
            fail(".key", format!("`{}`: the key `{}` is empty or has space around it", rule.name, rule.key));
        }
        let predicate = &rule.predicate;
        let comparisons =
            [predicate.equals.is_some(), !predicate.any_of.is_empty(), predicate.exists.is_some()];
        if comparisons.into_iter().filter(|set| *set).count() != 1 {
            fail(
                ".predicate",
                format!("`{}`: the predicate needs exactly one of equals, in and exists", rule.name),
            );
        }
    }
}
