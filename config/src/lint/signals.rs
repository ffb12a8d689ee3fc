//! Signal rules that load but cannot be built, never match or always match.

use crate::codes;
use crate::contract::{KeywordRule, NumericPredicate};
use crate::tokens::token_count;
use crate::validate::Context;

/// Bytes of a compiled expression; one that needs more is refused.
const MAX_PATTERN: usize = 1 << 20;

pub(super) fn lint(cx: &mut Context<'_>) {
    let signals = &cx.config.routing.signals;
    for (index, rule) in signals.keywords.iter().enumerate() {
        keyword(cx, &format!("routing.signals.keywords[{index}]"), rule);
    }
    for (index, rule) in signals.structure.iter().enumerate() {
        let source = &rule.feature.source;
        if source.kind == "regex"
            && let Some(wrong) = pattern_error(&source.pattern)
        {
            cx.refuse(
                codes::CANNOT_BUILD,
                format!("routing.signals.structure[{index}].feature.source.pattern"),
                format!("`{}`: {wrong}", rule.name),
            );
        }
    }
    for (index, rule) in signals.conversation.iter().enumerate() {
        let unbound =
            rule.predicate.as_ref().is_none_or(|predicate| *predicate == NumericPredicate::default());
        if rule.feature.kind == "count" && unbound {
            cx.warn(
                codes::ALWAYS_COUNTS,
                format!("routing.signals.conversation[{index}]"),
                format!("`{}` counts without a bound and always matches, even at 0", rule.name),
            )
            .help("add `predicate: {gt: 0}`, or use `exists`");
        }
    }
    contexts(cx);
    role_bindings(cx);
    thresholds(cx);
}

fn keyword(cx: &mut Context<'_>, path: &str, rule: &KeywordRule) {
    if !["AND", "OR", "NOR"].contains(&rule.operator.trim().to_uppercase().as_str()) {
        cx.refuse(
            codes::CANNOT_BUILD,
            format!("{path}.operator"),
            format!("`{}`: operator `{}` is not AND, OR or NOR", rule.name, rule.operator),
        );
    }
    match rule.method.trim().to_lowercase().as_str() {
        "" => {
            for (at, word) in rule.keywords.iter().enumerate() {
                if hugs_symbols(word) {
                    cx.warn(
                        codes::WORD_BOUNDARY,
                        format!("{path}.keywords[{at}]"),
                        format!("`{word}` begins or ends with a symbol, where a word boundary is required"),
                    )
                    .help("write `method: regex` with an expression of your own");
                }
            }
        }
        "regex" => {
            for (at, pattern) in rule.keywords.iter().enumerate() {
                if let Some(wrong) = pattern_error(pattern) {
                    cx.refuse(
                        codes::CANNOT_BUILD,
                        format!("{path}.keywords[{at}]"),
                        format!("`{}`: {wrong}", rule.name),
                    );
                }
            }
        }
        "bm25" | "ngram" => {}
        _ => {
            cx.warn(
                codes::UNKNOWN_CHOICE,
                format!("{path}.method"),
                format!(
                    "`{}`: method `{}` is not regex, bm25 or ngram; keywords are literal",
                    rule.name, rule.method
                ),
            );
        }
    }
}

/// The keyword gets word boundaries on both sides, and one of them is next to a symbol.
fn hugs_symbols(word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_han = |c: char| ('\u{3400}'..='\u{9fff}').contains(&c) || ('\u{20000}'..='\u{3ffff}').contains(&c);
    word.chars().any(is_word)
        && !word.chars().any(is_han)
        && (!word.starts_with(is_word) || !word.ends_with(is_word))
}

fn pattern_error(pattern: &str) -> Option<String> {
    let error = regex::RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build().err()?;
    let text = error.to_string();
    // The library draws the pattern over several lines; its last line says what is wrong.
    let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    Some(format!("the expression `{pattern}` is not valid: {reason}"))
}

fn contexts(cx: &mut Context<'_>) {
    for (index, rule) in cx.config.routing.signals.context.iter().enumerate() {
        let path = format!("routing.signals.context[{index}]");
        for (field, text) in [("min_tokens", &rule.min_tokens), ("max_tokens", &rule.max_tokens)] {
            if token_count(text).is_none() {
                cx.warn(
                    codes::CONTEXT_BOUND,
                    format!("{path}.{field}"),
                    format!(
                        "`{}`: `{text}` is not a number of tokens such as 8000 or 1.5K; the rule is off",
                        rule.name
                    ),
                );
            }
        }
        let (Some(min), Some(max)) = (token_count(&rule.min_tokens), token_count(&rule.max_tokens)) else {
            continue;
        };
        if max < min || rule.max_tokens.trim().is_empty() {
            cx.warn(
                codes::CONTEXT_BOUND,
                &*path,
                format!("`{}` never matches: from {min} to {max} tokens", rule.name),
            )
            .help_if(rule.max_tokens.trim().is_empty(), "write `max_tokens`, for example 1M");
        }
    }
}

fn role_bindings(cx: &mut Context<'_>) {
    let mut names = std::collections::HashSet::new();
    for (index, binding) in cx.config.routing.signals.role_bindings.iter().enumerate() {
        let base = format!("routing.signals.role_bindings[{index}]");
        let wrong = if binding.name.trim().is_empty() {
            Some("the binding has no name".to_owned())
        } else if !names.insert(&binding.name) {
            Some(format!("the binding `{}` is written twice", binding.name))
        } else if binding.role.trim().is_empty() {
            Some(format!("the binding `{}` has no role", binding.name))
        } else if binding.subjects.is_empty() {
            Some(format!("the binding `{}` has no subjects", binding.name))
        } else {
            binding.subjects.iter().find_map(|subject| {
                if !["User", "Group"].contains(&subject.kind.as_str()) {
                    Some(format!("`{}`: subject kind `{}` is not User or Group", binding.name, subject.kind))
                } else {
                    subject
                        .name
                        .trim()
                        .is_empty()
                        .then(|| format!("`{}`: a subject has no name", binding.name))
                }
            })
        };
        if let Some(message) = wrong {
            cx.refuse(codes::CANNOT_BUILD, base, message);
        }
    }
}

fn thresholds(cx: &mut Context<'_>) {
    let signals = &cx.config.routing.signals;
    let mut all: Vec<(String, f32)> = Vec::new();
    macro_rules! family {
        ($family:ident, $field:ident) => {
            for (index, rule) in signals.$family.iter().enumerate() {
                let path = concat!("routing.signals.", stringify!($family));
                all.push((format!("{path}[{index}].{}", stringify!($field)), rule.$field));
            }
        };
    }
    family!(keywords, ngram_threshold);
    family!(embeddings, threshold);
    family!(preferences, threshold);
    family!(language, threshold);
    family!(jailbreak, threshold);
    family!(pii, threshold);
    if let Some(threshold) = cx.config.global.stores.semantic_cache.similarity_threshold {
        all.push(("global.stores.semantic_cache.similarity_threshold".into(), threshold));
    }
    for (path, value) in all {
        if !(0.0..=1.0).contains(&value) {
            cx.warn(codes::THRESHOLD, path, format!("the threshold {value} is not in [0,1]"));
        }
    }
}
