//! What to answer: text or tool calls, decided by the request alone.

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::directives::Directives;
use crate::faults::mix;
use crate::turn::{Role, Tool, ToolChoice, Turn, tokens};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

/// A call of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// JSON text.
    pub(crate) arguments: String,
}

/// The answer, before a dialect dresses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Text, one piece per token.
    pub(crate) pieces: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: Finish,
}

impl Answer {
    /// Completion tokens: one per piece of text, and the arguments by their length.
    pub(crate) fn tokens(&self) -> u64 {
        let calls = self.calls.iter().map(|c| tokens(c.name.len() + c.arguments.len()));
        self.pieces.len() as u64 + calls.sum::<u64>()
    }

    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// Decides the answer of `model` to a turn.
pub(crate) fn decide(model: &str, seed: u64, turn: &Turn, asked: &Directives, default_tokens: u32) -> Answer {
    if let Some(tool) = tool_to_call(turn, asked) {
        let call = |n: usize| Call { name: tool.name.clone(), arguments: arguments(&tool.schema, n) };
        let calls = (0..asked.calls.unwrap_or(1)).map(call).collect();
        return Answer { pieces: Vec::new(), calls, finish: Finish::ToolCalls };
    }
    let wanted = asked.tokens.unwrap_or(default_tokens).max(1);
    let given = turn.max_tokens.map_or(wanted, |max| wanted.min(max.max(1)));
    let finish = if given < wanted { Finish::Length } else { Finish::Stop };
    Answer { pieces: text(model, seed, turn, given), calls: Vec::new(), finish }
}

fn tool_to_call<'t>(turn: &'t Turn, asked: &Directives) -> Option<&'t Tool> {
    let first = turn.tools.first()?;
    let named = |name: &str| turn.tools.iter().find(|t| t.name == name);
    match &turn.tool_choice {
        ToolChoice::None => return None,
        ToolChoice::Required => return Some(first),
        ToolChoice::Named(name) => return named(name),
        ToolChoice::Auto => {}
    }
    let user = turn.last_user_text();
    let wanted = match asked.tool.as_deref() {
        Some("") => Some(first),
        Some(name) => named(name),
        None => turn.tools.iter().find(|t| has_word(user, &t.name)),
    };
    match turn.messages.last()?.role {
        Role::User => wanted.or_else(|| asked.steps.map(|_| first)),
        Role::Tool if turn.loop_rounds() < asked.steps.unwrap_or(1) => wanted.or(Some(first)),
        _ => None,
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
        })
}

/// Arguments that satisfy the simple parts of a schema: every required property, or else every property.
fn arguments(schema: &Value, n: usize) -> String {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let wanted = properties.iter().filter(|(k, _)| required.is_empty() || required.contains(&k.as_str()));
    let filled: Map<String, Value> = wanted.map(|(k, v)| (k.clone(), example(k, v, n))).collect();
    Value::Object(filled).to_string()
}

fn example(name: &str, schema: &Value, n: usize) -> Value {
    if let Some(choice) = schema["enum"].as_array().and_then(|e| e.first()) {
        return choice.clone();
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => Value::from(n + 1),
        Some("boolean") => Value::Bool(true),
        Some("array") => Value::Array(Vec::new()),
        Some("object") => Value::Object(Map::new()),
        _ if name.contains("path") || name.contains("file") => Value::from(format!("src/part_{n}.rs")),
        _ => Value::from(format!("{name} \u{2116}{} \"quoted\"", n + 1)),
    }
}

const WORDS: [&str; 32] = [
    "the",
    "parser",
    "reads",
    "one",
    "line",
    "and",
    "keeps",
    "its",
    "place",
    "so",
    "a",
    "later",
    "call",
    "can",
    "go",
    "on",
    "from",
    "there",
    "which",
    "makes",
    "errors",
    "easy",
    "to",
    "find",
    "in",
    "tests",
    "that",
    "name",
    "each",
    "caf\u{e9}",
    "\u{2192}",
    "\u{1f980}",
];

fn text(model: &str, seed: u64, turn: &Turn, length: u32) -> Vec<String> {
    let mut state = xxh3_64_with_seed(turn.last_user_text().as_bytes(), seed ^ turn.messages.len() as u64);
    let mut pieces = Vec::with_capacity(length as usize);
    pieces.push(format!("({model})"));
    for _ in 1..length {
        state = mix(state);
        pieces.push(format!(" {}", WORDS[(state % WORDS.len() as u64) as usize]));
    }
    pieces
}
