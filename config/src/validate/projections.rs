//! Partitions, scores and mappings.

use std::collections::{HashMap, HashSet};

use super::{Context, MMLU, list};
use crate::codes;
use crate::contract::{Config, ScoreInput};
use crate::load::Profile;

/// Condition types, each with the names its family declares.
const CONDITION_TYPES: &[&str] = &[
    "keyword",
    "embedding",
    "domain",
    "fact_check",
    "user_feedback",
    "reask",
    "preference",
    "language",
    "context",
    "structure",
    "complexity",
    "modality",
    "authz",
    "jailbreak",
    "pii",
    "kb",
    "conversation",
    "event",
    "projection",
    METADATA,
];
const METADATA: &str = "metadata";

/// Condition types of a profile.
pub(crate) fn condition_types(profile: Profile) -> impl Iterator<Item = &'static str> {
    let known = move |kind: &&str| profile == Profile::Pintle || *kind != METADATA;
    CONDITION_TYPES.iter().copied().filter(known)
}

/// A signal of a family is declared under this name; `None` when the family does not exist.
pub(crate) fn is_declared(config: &Config, profile: Profile, family: &str, name: &str) -> Option<bool> {
    let signals = &config.routing.signals;
    macro_rules! any {
        ($family:ident) => {
            signals.$family.iter().any(|rule| rule.name == name)
        };
    }
    Some(match family {
        "keyword" => any!(keywords),
        "embedding" => any!(embeddings),
        "domain" => any!(domains),
        "fact_check" => any!(fact_check),
        "user_feedback" => any!(user_feedbacks),
        "reask" => any!(reasks),
        "preference" => any!(preferences),
        "language" => any!(language),
        "context" => any!(context),
        "structure" => any!(structure),
        "complexity" => {
            let name = name.split(':').next().unwrap_or(name);
            signals.complexity.iter().any(|rule| rule.name == name)
        }
        "modality" => any!(modality),
        "authz" => signals.role_bindings.iter().any(|rule| rule.name == name || rule.role == name),
        "jailbreak" => any!(jailbreak),
        "pii" => any!(pii),
        "kb" => any!(kb),
        "conversation" => any!(conversation),
        "event" => any!(events),
        METADATA if profile == Profile::Pintle => any!(metadata),
        _ => return None,
    })
}

pub(super) fn check(cx: &mut Context<'_>) {
    check_partitions(cx);
    check_scores(cx);
    check_cycles(cx);
    check_mappings(cx);
}

fn check_partitions(cx: &mut Context<'_>) {
    let config = cx.config;
    let signals = &config.routing.signals;
    for (index, partition) in config.routing.projections.partitions.iter().enumerate() {
        let base = format!("routing.projections.partitions[{index}]");
        let name = &partition.name;
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::PARTITION, format!("{base}{path}"), message);
        };
        let softmax = partition.semantics == "softmax_exclusive";
        if partition.members.is_empty() {
            fail(".members", format!("the partition `{name}` has no members"));
        }
        if !softmax && partition.semantics != "exclusive" {
            fail(
                ".semantics",
                format!(
                    "`{name}`: semantics `{}` is not exclusive or softmax_exclusive",
                    partition.semantics
                ),
            );
        }
        if partition.default.is_empty() {
            fail(".default", format!("the partition `{name}` has no default"));
        } else if !partition.members.contains(&partition.default) {
            fail(".default", format!("`{name}`: the default `{}` is not a member", partition.default));
        }
        if softmax && partition.temperature.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            fail(".temperature", format!("`{name}`: softmax_exclusive needs a temperature above 0"));
        }
        let mut kinds = HashSet::new();
        for (at, member) in partition.members.iter().enumerate() {
            let path = format!(".members[{at}]");
            if signals.embeddings.iter().any(|rule| rule.name == *member) {
                kinds.insert("embedding");
            } else if let Some(domain) = signals.domains.iter().find(|domain| domain.name == *member) {
                kinds.insert("domain");
                if softmax && domain.mmlu_categories.is_empty() && !MMLU.contains(&member.as_str()) {
                    fail(&path, format!("`{name}`: the domain `{member}` needs mmlu_categories for softmax"));
                }
            } else {
                fail(
                    &path,
                    format!("`{name}`: the member `{member}` is declared neither as domain nor as embedding"),
                );
            }
        }
        if kinds.len() > 1 {
            fail(".members", format!("`{name}`: members mix domains and embeddings"));
        }
    }
}

fn check_scores(cx: &mut Context<'_>) {
    let (config, profile) = (cx.config, cx.profile);
    let mut names = HashSet::new();
    for (index, score) in config.routing.projections.scores.iter().enumerate() {
        let base = format!("routing.projections.scores[{index}]");
        let name = &score.name;
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::SCORE, format!("{base}{path}"), message);
        };
        if name.is_empty() {
            fail(".name", "the score has no name".into());
        } else if !names.insert(name) {
            fail(".name", format!("the score `{name}` is written twice"));
        }
        if score.method != "weighted_sum" {
            fail(".method", format!("`{name}`: method `{}` is not weighted_sum", score.method));
        }
        if score.inputs.is_empty() {
            fail(".inputs", format!("the score `{name}` has no inputs"));
        }
        for (at, input) in score.inputs.iter().enumerate() {
            if let Some(wrong) = input_error(config, profile, input) {
                fail(&format!(".inputs[{at}]"), format!("`{name}`: {wrong}"));
            }
        }
    }
}

fn input_error(config: &Config, profile: Profile, input: &ScoreInput) -> Option<String> {
    let projections = &config.routing.projections;
    let (kind, name, from) = (input.kind.as_str(), input.name.as_str(), input.value_source.as_str());
    match kind {
        "kb_metric" => {
            let Some(kb) = config.global.model_catalog.kbs.iter().find(|kb| kb.name == input.kb) else {
                return Some(format!("the knowledge base `{}` is not declared", input.kb));
            };
            let known = ["best_score", "best_matched_score"].contains(&input.metric.as_str())
                || kb.metrics.iter().any(|metric| metric.name == input.metric);
            if !known {
                return Some(format!("`{}` has no metric `{}`", kb.name, input.metric));
            }
            (!["", "score"].contains(&from)).then(|| format!("value_source `{from}` is not score"))
        }
        "projection" => {
            let is_score = projections.scores.iter().any(|score| score.name == name);
            let is_output = projections
                .mappings
                .iter()
                .flat_map(|mapping| &mapping.outputs)
                .any(|output| output.name == name);
            match from {
                "" | "score" if is_score => None,
                "confidence" if is_output || is_score => None,
                "" | "score" | "confidence" => Some(format!("the projection `{name}` is not declared")),
                _ => Some(format!("value_source `{from}` is not score or confidence")),
            }
        }
        _ => match is_declared(config, profile, kind, name) {
            None => Some(format!("input type `{kind}` does not exist")),
            Some(false) => Some(format!("the {kind} signal `{name}` is not declared")),
            Some(true) => (!["", "binary", "confidence", "raw"].contains(&from))
                .then(|| format!("value_source `{from}` is not binary, confidence or raw")),
        },
    }
}

/// Scores may read scores, directly or through the mapping that owns an output, but never themselves.
fn check_cycles(cx: &mut Context<'_>) {
    let projections = &cx.config.routing.projections;
    let owner: HashMap<&str, &str> = projections
        .mappings
        .iter()
        .flat_map(|mapping| {
            mapping.outputs.iter().map(|output| (output.name.as_str(), mapping.source.as_str()))
        })
        .collect();
    let by_name: HashMap<&str, usize> =
        projections.scores.iter().enumerate().map(|(index, score)| (score.name.as_str(), index)).collect();
    let reads: Vec<Vec<usize>> = projections
        .scores
        .iter()
        .map(|score| {
            let names = score.inputs.iter().filter(|input| input.kind == "projection").map(|input| {
                let name = input.name.as_str();
                if by_name.contains_key(name) { name } else { owner.get(name).copied().unwrap_or(name) }
            });
            names.filter_map(|name| by_name.get(name).copied()).collect()
        })
        .collect();
    // Repeatedly take away scores that read only what was taken away; what stays is on or behind a cycle.
    let mut left: HashSet<usize> = (0..reads.len()).collect();
    loop {
        let free: Vec<usize> = left
            .iter()
            .copied()
            .filter(|score| reads[*score].iter().all(|read| !left.contains(read)))
            .collect();
        if free.is_empty() {
            break;
        }
        for score in free {
            left.remove(&score);
        }
    }
    if let Some(first) = left.iter().copied().min() {
        let mut names: Vec<_> = left.iter().map(|score| projections.scores[*score].name.as_str()).collect();
        names.sort_unstable();
        let message = format!("scores depend on each other in a cycle: {}", list(names));
        cx.fail(codes::SCORE, format!("routing.projections.scores[{first}]"), message);
    }
}

fn check_mappings(cx: &mut Context<'_>) {
    let config = cx.config;
    let mut outputs = HashSet::new();
    for (index, mapping) in config.routing.projections.mappings.iter().enumerate() {
        let base = format!("routing.projections.mappings[{index}]");
        let name = &mapping.name;
        let mut fail = |path: &str, message: String| {
            cx.fail(codes::MAPPING, format!("{base}{path}"), message);
        };
        if name.is_empty() {
            fail(".name", "the mapping has no name".into());
        }
        if !config.routing.projections.scores.iter().any(|score| score.name == mapping.source) {
            fail(".source", format!("`{name}`: the score `{}` is not declared", mapping.source));
        }
        match mapping.method.as_str() {
            "" | "threshold_bands" => {}
            "multi_emit" if mapping.outputs.len() >= 2 => {}
            "multi_emit" => fail(".outputs", format!("`{name}`: multi_emit needs at least two outputs")),
            other => {
                fail(".method", format!("`{name}`: method `{other}` is not threshold_bands or multi_emit"))
            }
        }
        if let Some(calibration) = &mapping.calibration
            && !["", "sigmoid_distance"].contains(&calibration.method.as_str())
        {
            fail(
                ".calibration.method",
                format!("`{name}`: method `{}` is not sigmoid_distance", calibration.method),
            );
        }
        if mapping.outputs.is_empty() {
            fail(".outputs", format!("the mapping `{name}` has no outputs"));
        }
        for (at, output) in mapping.outputs.iter().enumerate() {
            let path = format!(".outputs[{at}]");
            if output.name.is_empty() {
                fail(&path, format!("`{name}`: an output has no name"));
            } else if !outputs.insert(output.name.as_str()) {
                fail(&path, format!("`{name}`: the output `{}` is written twice", output.name));
            }
            let (lower, upper) = ((output.gt, output.gte), (output.lt, output.lte));
            if lower == (None, None) && upper == (None, None) {
                fail(&path, format!("`{name}`: the output `{}` has no bound", output.name));
            }
            if matches!(lower, (Some(_), Some(_))) || matches!(upper, (Some(_), Some(_))) {
                fail(&path, format!("`{name}`: the output `{}` has two bounds on one side", output.name));
            }
        }
    }
}
