//! How each API writes an answer down: whole, or as events of a stream.

pub(crate) mod chat;
pub(crate) mod messages;
pub(crate) mod responses;

use serde_json::Value;

use crate::answer::Answer;

/// Everything that a dialect needs to write one answer.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    /// Model name as the client asked for it.
    pub(crate) model: &'a str,
    /// Model name as it stands in ids.
    pub(crate) slug: &'a str,
    /// Number of the request, unique in this process.
    pub(crate) number: u64,
    /// Number of the first tool call; the others follow.
    pub(crate) first_call: u64,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) answer: &'a Answer,
    pub(crate) usage: Usage,
    pub(crate) include_usage: bool,
    /// Of every token, if it is to be told.
    pub(crate) logprob: Option<f64>,
}

/// Token counts of one turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) completion: u64,
}

/// One event of a stream: its bytes, and how many tokens have been spoken once it is sent.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) bytes: String,
    pub(crate) tokens: u64,
}

impl Event {
    /// `event: {type}` and `data: {json}`, the type being the JSON's own `type`.
    fn typed(json: &Value, tokens: u64) -> Self {
        let kind = json["type"].as_str().unwrap_or("message");
        Self { bytes: format!("event: {kind}\ndata: {json}\n\n"), tokens }
    }
}

/// Bytes of tool-call arguments in one event.
const ARGUMENTS_PER_EVENT: usize = 7;

/// Splits arguments into the pieces that a stream sends, at character boundaries.
fn fragments(arguments: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = arguments;
    while !rest.is_empty() {
        let cut =
            (ARGUMENTS_PER_EVENT..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(cut);
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// A model name with everything but letters, digits and `-` replaced by `-`, so that it fits any API's ids.
pub(crate) fn slug(model: &str) -> String {
    model.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// The slug in an id of the form `<prefix>_<slug>_<number>`, for ids that a stand-in made.
pub(crate) fn issuer<'a>(id: &'a str, prefixes: &[&str]) -> Option<&'a str> {
    let rest = prefixes.iter().find_map(|p| id.strip_prefix(p))?.strip_prefix('_')?;
    let (slug, number) = rest.rsplit_once('_')?;
    (!slug.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(slug)
}
