//! What an external model's answer says.
//!
//! The words that a guard may use, and how sure each makes us, are v0.3's. An answer that says nothing is no
//! answer: where v0.3 takes it for harmless, the signal is unknown here.

use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde::Deserialize;

/// How far the scores of all labels may be from one, together.
const SUM_TOLERANCE: f32 = 0.02;

/// Probability of an attack by what a guard calls a text.
const UNSAFE: f32 = 0.9;
const MENTIONED: f32 = 0.8;
const CONTROVERSIAL: f32 = 0.4;
const SAFE: f32 = 0.1;

static VERDICT: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i)\b(?:safety|severity\s+level)\s*:\s*(safe|unsafe|controversial)\b"));
static CATEGORIES: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)\bcategor(?:y|ies)\s*:\s*([^\n]+)"));
static HARM: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)jailbreak|illegal|harmful|violen|hate"));
static JSON_VERDICT: LazyLock<Regex> =
    LazyLock::new(|| expression(r#"(?i)"safety"\s*:\s*"(safe|unsafe|controversial)""#));
static JSON_FLAG: LazyLock<Regex> =
    LazyLock::new(|| expression(r#"(?i)"(?:is_jailbreak|is_unsafe)"\s*:\s*(true|false)"#));
static ALARM: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)unsafe|jailbreak|\bnot\s+safe\b"));
static CALM: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)\bsafe\b"));

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("the expression is a constant")
}

/// How a guard's words are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parser {
    /// `Safety: Unsafe`, `Categories: ...`.
    Qwen3Guard,
    /// `{"safety": "unsafe"}`, `{"is_jailbreak": true}`.
    Json,
    /// The word `unsafe` or `safe` anywhere: Llama Guard among others.
    Simple,
    /// The first of these that says something.
    Auto,
}

impl Parser {
    /// As configured, or by the model's name.
    pub(super) fn of(configured: &str, model: &str) -> Self {
        match configured {
            "qwen3guard" => return Self::Qwen3Guard,
            "json" => return Self::Json,
            "simple" => return Self::Simple,
            _ => {}
        }
        let model = model.to_lowercase();
        if model.contains("qwen3guard") || model.contains("qwen_guard") {
            Self::Qwen3Guard
        } else if model.contains("json") {
            Self::Json
        } else {
            Self::Auto
        }
    }

    /// Probability that the text is an attack, or `None` if the answer does not say.
    pub(super) fn judge(self, answer: &str) -> Option<f32> {
        match self {
            Self::Qwen3Guard => by_lines(answer),
            Self::Json => by_json(answer),
            Self::Simple => by_words(answer),
            Self::Auto => by_lines(answer).or_else(|| by_json(answer)).or_else(|| by_words(answer)),
        }
    }
}

fn by_lines(answer: &str) -> Option<f32> {
    if let Some(verdict) = VERDICT.captures(answer) {
        return weight(&verdict[1]);
    }
    let categories = CATEGORIES.captures(answer)?;
    HARM.is_match(&categories[1]).then_some(UNSAFE)
}

fn by_json(answer: &str) -> Option<f32> {
    if let Some(verdict) = JSON_VERDICT.captures(answer) {
        return weight(&verdict[1]);
    }
    let flag = JSON_FLAG.captures(answer)?;
    Some(if flag[1].eq_ignore_ascii_case("true") { UNSAFE } else { SAFE })
}

fn by_words(answer: &str) -> Option<f32> {
    if ALARM.is_match(answer) {
        Some(MENTIONED)
    } else if answer.to_lowercase().contains("controversial") {
        Some(CONTROVERSIAL)
    } else {
        CALM.is_match(answer).then_some(SAFE)
    }
}

fn weight(word: &str) -> Option<f32> {
    match word.to_lowercase().as_str() {
        "unsafe" => Some(UNSAFE),
        "controversial" => Some(CONTROVERSIAL),
        "safe" => Some(SAFE),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Chat {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

/// The text of a chat completion's first choice.
pub(super) fn content(body: &[u8]) -> Option<String> {
    let chat: Chat = serde_json::from_slice(body).ok()?;
    chat.choices.into_iter().next().map(|choice| choice.message.content)
}

/// Labels and their scores.
pub(super) type Scores = (Arc<[String]>, Vec<f32>);

#[derive(Deserialize)]
struct Score {
    label: String,
    score: f32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    One(Vec<Score>),
    Batch(Vec<Vec<Score>>),
}

/// A classifier's whole distribution. A part of one is refused: the label that matters may be what is missing.
pub(super) fn scores(body: &[u8]) -> Option<Scores> {
    let scores = match serde_json::from_slice(body).ok()? {
        Listed::One(scores) => scores,
        Listed::Batch(batch) => batch.into_iter().next()?,
    };
    let sum: f32 = scores.iter().map(|entry| entry.score).sum();
    let valid = |entry: &Score| (0.0..=1.0).contains(&entry.score);
    if scores.len() < 2 || !scores.iter().all(valid) || (sum - 1.0).abs() > SUM_TOLERANCE {
        return None;
    }
    let mut labels: Vec<&str> = scores.iter().map(|entry| entry.label.as_str()).collect();
    labels.sort_unstable();
    if labels.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let probabilities = scores.iter().map(|entry| entry.score).collect();
    Some((scores.into_iter().map(|entry| entry.label).collect(), probabilities))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_say_it_in_their_own_words() {
        for (parser, answer, attack) in [
            (Parser::Qwen3Guard, "Safety: Unsafe\nCategories: Jailbreak", Some(0.9)),
            (Parser::Qwen3Guard, "safety:controversial", Some(0.4)),
            (Parser::Qwen3Guard, "Safety: Safe\nCategories: None", Some(0.1)),
            (Parser::Qwen3Guard, "Severity level: unsafe", Some(0.9)),
            (Parser::Qwen3Guard, "Categories: Violent", Some(0.9)),
            (Parser::Qwen3Guard, "Categories: None", None),
            (Parser::Qwen3Guard, "unsafe", None),
            (Parser::Json, r#"{"safety": "UNSAFE"}"#, Some(0.9)),
            (Parser::Json, r#"Here: {"is_jailbreak": false}"#, Some(0.1)),
            (Parser::Json, "safe", None),
            (Parser::Simple, "unsafe\nS2", Some(0.8)),
            (Parser::Simple, "safe", Some(0.1)),
            (Parser::Simple, "That is not safe at all", Some(0.8)),
            (Parser::Simple, "controversial", Some(0.4)),
            (Parser::Simple, "I cannot help with that", None),
            (Parser::Simple, "safeguards", None),
            (Parser::Auto, "Safety: Safe\nCategories: None", Some(0.1)),
            (Parser::Auto, r#"{"is_unsafe": true}"#, Some(0.9)),
            (Parser::Auto, "unsafe\nS9", Some(0.8)),
            (Parser::Auto, "", None),
        ] {
            assert_eq!(parser.judge(answer), attack, "{parser:?} {answer:?}");
        }
    }

    #[test]
    fn the_parser_is_configured_or_known_by_the_model() {
        assert_eq!(Parser::of("json", "Qwen3Guard-4B"), Parser::Json);
        assert_eq!(Parser::of("", "Qwen/Qwen3Guard-Gen-4B"), Parser::Qwen3Guard);
        assert_eq!(Parser::of("auto", "my-json-judge"), Parser::Json);
        assert_eq!(Parser::of("of my own", "llama-guard"), Parser::Auto);
    }

    #[test]
    fn only_a_whole_distribution_counts() {
        let whole = scores(br#"[{"label":"safe","score":0.25},{"label":"INJECTION","score":0.75}]"#).unwrap();
        assert_eq!((whole.0.to_vec(), whole.1), (vec!["safe".into(), "INJECTION".into()], vec![0.25, 0.75]));
        assert!(scores(br#"[[{"label":"a","score":0.5},{"label":"b","score":0.5}]]"#).is_some());
        for bad in [
            r#"[]"#,
            r#"[[]]"#,
            r#"{"label":"safe","score":1.0}"#,
            r#"[{"label":"safe","score":0.9}]"#,
            r#"[{"label":"safe","score":0.4},{"label":"b","score":0.4}]"#,
            r#"[{"label":"safe","score":0.5},{"label":"safe","score":0.5}]"#,
            r#"[{"label":"safe","score":-0.5},{"label":"b","score":1.5}]"#,
            r#"[{"label":"safe","score":"much"}]"#,
            "",
        ] {
            assert!(scores(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_chat_is_read_as_far_as_its_first_choice() {
        let body = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"safe"}}],"usage":{}}"#;
        assert_eq!(content(body).as_deref(), Some("safe"));
        for bad in ["", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":null}}]}"#] {
            assert_eq!(content(bad.as_bytes()), None, "{bad}");
        }
    }
}
