//! Rule trees: conditions that can never match, and operators that mean something else.

use crate::codes;
use crate::contract::{Config, Decision, RuleNode};
use crate::load::Profile;
use crate::validate::{Context, condition_types, is_declared, leaf_type, list};

const FACT_CHECKS: &[&str] = &["needs_fact_check", "no_fact_check_needed"];
const FEEDBACKS: &[&str] = &["satisfied", "need_clarification", "wrong_answer", "want_different"];
const MODALITIES: &[&str] = &["AR", "DIFFUSION", "BOTH"];

pub(super) fn lint(cx: &mut Context<'_>, generated: &[String]) {
    let config = cx.config;
    for (index, decision) in config.routing.decisions.iter().enumerate() {
        let path = format!("routing.decisions[{index}].rules");
        node(cx, &path, decision, &decision.rules, generated);
    }
    for (index, rule) in config.routing.signals.complexity.iter().enumerate() {
        if let Some(composer) = &rule.composer {
            let owner = Decision { name: rule.name.clone(), ..Decision::default() };
            node(cx, &format!("routing.signals.complexity[{index}].composer"), &owner, composer, &[]);
        }
    }
}

fn node(cx: &mut Context<'_>, path: &str, owner: &Decision, rule: &RuleNode, generated: &[String]) {
    let name = &owner.name;
    if !rule.kind.is_empty() {
        leaf(cx, path, name, rule, generated);
        return;
    }
    let operator = rule.operator.to_uppercase();
    match operator.as_str() {
        "NOT" if rule.conditions.len() != 1 => {
            cx.warn(
                codes::NOT_ARITY,
                path,
                format!("`{name}`: NOT over {} conditions never matches", rule.conditions.len()),
            )
            .help_if(rule.conditions.len() > 1, "put the conditions under one OR below the NOT");
        }
        "AND" | "NOT" => {}
        "" | "OR" if rule.conditions.is_empty() => {
            cx.warn(codes::NEVER_MATCHES, path, format!("`{name}`: a rule without conditions never matches"))
                .help("to match everything, write `rules: {operator: AND, conditions: []}`");
        }
        "" | "OR" => {}
        _ => {
            cx.warn(
                codes::OPERATOR,
                format!("{path}.operator"),
                format!("`{name}`: operator `{}` acts as OR", rule.operator),
            );
        }
    }
    for (index, child) in rule.conditions.iter().enumerate() {
        node(cx, &format!("{path}.conditions[{index}]"), owner, child, generated);
    }
}

fn leaf(cx: &mut Context<'_>, path: &str, owner: &str, leaf: &RuleNode, generated: &[String]) {
    let kind = leaf_type(leaf);
    let name = &leaf.name;
    let config = cx.config;
    if !condition_types(cx.profile).any(|known| known == kind) {
        if kind != "latency" {
            let near = crate::check::nearest(&kind, condition_types(cx.profile), 3);
            cx.warn(
                codes::UNKNOWN_CONDITION,
                format!("{path}.type"),
                format!("`{owner}`: there is no condition type `{}`; the condition never matches", leaf.kind),
            )
            .help_maybe(near.map(|near| format!("did you mean `{near}`?")));
        }
        return;
    }
    match kind.as_str() {
        "projection" => return,
        "domain" => {
            if generated.contains(name) {
                cx.warn(
                    codes::AUTO_DOMAIN,
                    format!("{path}.name"),
                    format!(
                        "`{owner}`: no domains are declared, so `{name}` only matches the category other"
                    ),
                );
            }
            return;
        }
        "authz" => {
            let bindings = &config.routing.signals.role_bindings;
            if bindings.iter().any(|binding| binding.role == *name) {
                return;
            }
            if let Some(binding) = bindings.iter().find(|binding| binding.name == *name) {
                cx.warn(
                    codes::AUTHZ_NAME,
                    format!("{path}.name"),
                    format!("`{owner}`: `{name}` is a binding, not a role; the condition never matches"),
                )
                .help(format!("write the role `{}`", binding.role));
                return;
            }
        }
        "complexity" if !has_level(name) => {
            cx.warn(
                codes::COMPLEXITY_LEVEL,
                format!("{path}.name"),
                format!("`{owner}`: `{name}` has no level; the condition never matches"),
            )
            .help(format!("write `{name}:hard`, `{name}:medium` or `{name}:easy`"));
            return;
        }
        _ => {}
    }
    if !can_match(config, cx.profile, &kind, name) {
        let known = declared_names(config, &kind);
        let near = crate::check::nearest(name, known.iter().copied(), 3)
            .map(|near| format!("did you mean `{near}`?"));
        let vocabulary = vocabulary(&kind).map(|words| {
            format!("the names are {}, in a family that is declared", list(words.iter().copied()))
        });
        cx.warn(
            codes::UNDECLARED_SIGNAL,
            format!("{path}.name"),
            format!("`{owner}`: nothing declares the {kind} signal `{name}`; the condition never matches"),
        )
        .help_maybe(vocabulary.or(near));
    }
}

fn has_level(name: &str) -> bool {
    matches!(name.rsplit_once(':'), Some((_, "hard" | "medium" | "easy")))
}

fn vocabulary(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "fact_check" => Some(FACT_CHECKS),
        "user_feedback" => Some(FEEDBACKS),
        "modality" => Some(MODALITIES),
        _ => None,
    }
}

/// A fixed vocabulary is available as soon as its family has any rule.
fn can_match(config: &Config, profile: Profile, kind: &str, name: &str) -> bool {
    let signals = &config.routing.signals;
    match kind {
        "fact_check" => FACT_CHECKS.contains(&name) && !signals.fact_check.is_empty(),
        "user_feedback" => FEEDBACKS.contains(&name) && !signals.user_feedbacks.is_empty(),
        "modality" => MODALITIES.contains(&name),
        _ => is_declared(config, profile, kind, name).unwrap_or(false),
    }
}

fn declared_names<'a>(config: &'a Config, kind: &str) -> Vec<&'a str> {
    let signals = &config.routing.signals;
    macro_rules! names {
        ($family:ident) => {
            signals.$family.iter().map(|rule| rule.name.as_str()).collect()
        };
    }
    match kind {
        "keyword" => names!(keywords),
        "embedding" => names!(embeddings),
        "context" => names!(context),
        "structure" => names!(structure),
        "conversation" => names!(conversation),
        "language" => names!(language),
        "event" => names!(events),
        "metadata" => names!(metadata),
        "kb" => names!(kb),
        "jailbreak" => names!(jailbreak),
        "pii" => names!(pii),
        "preference" => names!(preferences),
        "reask" => names!(reasks),
        "authz" => signals.role_bindings.iter().map(|binding| binding.role.as_str()).collect(),
        _ => Vec::new(),
    }
}
