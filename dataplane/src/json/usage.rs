//! What an answer says about itself: id, model, how it ended, tool calls, token usage, errors.
//!
//! A [`Summary`] is filled from a complete response body, or event by event from a stream. It reads all
//! three APIs by the member names they use, so that it does not matter which one an upstream speaks.
//!
//! # Why events are filtered first
//!
//! Of the thousand events of a streamed answer three say anything: the first (id and model), the one that
//! ends the turn, the one with usage. The others are recognised as ordinary by looking for the member names
//! that matter, in their quotes. Inside a JSON string quotes are escaped, so text of the answer cannot hide
//! or fake a member; at worst an ordinary event is parsed.

mod parse;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::blocks::Native;
use super::cursor::Cursor;

/// Deepest nesting of a response that is read.
const DEPTH: u32 = 128;
/// Longest id, model name or error text that is kept, in bytes.
const MAX_TEXT: usize = 1024;
/// Ids of tool calls that are kept of one answer.
pub const MAX_CALL_IDS: usize = 64;
/// Events parsed without looking at them first, while no id has been seen.
const EAGER_EVENTS: u32 = 8;
/// What ends an OpenAI stream.
const DONE: &[u8] = b"[DONE]";

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model was done: `stop`, `end_turn`, `stop_sequence`, `completed`.
    Stop,
    /// A length limit was reached: `length`, `max_tokens`, `max_output_tokens`.
    Length,
    /// The model waits for tool results: `tool_calls`, `function_call`, `tool_use`.
    ToolCalls,
    /// Content was withheld: `content_filter`, `refusal`.
    ContentFilter,
    /// Anything else.
    Other,
}

/// Token counts as the upstream reported them; `None` for what it did not report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// `prompt_tokens` or `input_tokens`.
    input: Option<u64>,
    output: Option<u64>,
    /// OpenAI: tokens of reasoning, a part of `output`.
    reasoning: Option<u64>,
    total: Option<u64>,
    /// OpenAI: cached tokens, a part of `input`.
    cached_within: Option<u64>,
    /// Anthropic: cached tokens, beside `input`.
    cache_read: Option<u64>,
    /// Anthropic: tokens written to the cache, beside `input`.
    cache_creation: Option<u64>,
}

impl Usage {
    /// All prompt tokens, cached or not. Anthropic's three disjoint counts are added up.
    pub fn prompt_tokens(&self) -> Option<u64> {
        let beside = self.cache_read.unwrap_or(0).saturating_add(self.cache_creation.unwrap_or(0));
        self.input.map(|input| input.saturating_add(beside))
    }

    /// Prompt tokens that the backend served from its prefix cache.
    pub fn cached_tokens(&self) -> Option<u64> {
        self.cached_within.or(self.cache_read)
    }

    /// Prompt tokens that were written to a paid cache (Anthropic).
    pub fn cache_creation_tokens(&self) -> Option<u64> {
        self.cache_creation
    }

    /// Tokens of the answer.
    pub fn completion_tokens(&self) -> Option<u64> {
        self.output
    }

    /// Those of the answer that the model reasoned with. Anthropic's API does not count them.
    pub fn reasoning_tokens(&self) -> Option<u64> {
        self.reasoning
    }

    /// Prompt and answer together: as reported, else the sum.
    pub fn total_tokens(&self) -> Option<u64> {
        self.total.or_else(|| Some(self.prompt_tokens()?.saturating_add(self.output?)))
    }

    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        *self == Usage::default()
    }
}

/// An error that the upstream described in its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportedError {
    /// `type`, or `code` where there is none.
    pub kind: String,
    /// `message`
    pub message: String,
}

/// What an answer has said about itself so far. Reused from answer to answer.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Id of the response, as the client sees it; empty if none was given.
    pub id: String,
    /// The model that the upstream says it used.
    pub model: String,
    /// How the turn ended; tool calls win if there are several choices.
    pub finish: Option<Finish>,
    /// The same as the upstream worded it; empty while unknown.
    pub finish_reason: String,
    /// The answer asks for at least one tool that the client runs.
    pub tool_calls: bool,
    /// Ids of those calls, by which their results will refer to them; at most [`MAX_CALL_IDS`].
    pub tool_call_ids: Vec<String>,
    /// Token counts.
    pub usage: Usage,
    /// The error, if the answer is one or a stream broke with one.
    pub error: Option<ReportedError>,
    /// The stream's last event has come: `[DONE]`, `message_stop`, `response.completed` and its like.
    pub ended: bool,
    /// Events that were no JSON object.
    pub malformed: u32,
    events: u32,
}

impl Summary {
    /// Nothing known yet.
    pub fn new() -> Summary {
        Summary::default()
    }

    /// Forgets the answer and keeps the memory.
    pub fn clear(&mut self) {
        let Summary { mut id, mut model, mut finish_reason, .. } = std::mem::take(self);
        id.clear();
        model.clear();
        finish_reason.clear();
        *self = Summary { id, model, finish_reason, ..Summary::default() };
    }

    /// Reads a complete response body. What precedes a syntax error is kept; false tells that there was one.
    pub fn read_body(&mut self, body: &[u8]) -> bool {
        let mut cursor = Cursor::<Native>::new(body, DEPTH);
        let whole = parse::document(&mut cursor, self).is_ok();
        self.malformed += u32::from(!whole);
        whole
    }

    /// Reads the data of one event of a stream, if there is anything in it to read.
    pub fn read_event(&mut self, data: &[u8]) {
        self.events = self.events.saturating_add(1);
        if data.trim_ascii() == DONE {
            self.ended = true;
        } else if (self.id.is_empty() && self.events <= EAGER_EVENTS) || says_something(data) {
            self.read_body(data);
        }
    }
}

/// Member names (and Anthropic and Responses type names) that make an event worth parsing, with their quotes.
/// `_call"` ends `"function_call"` and every other kind of call that the Responses API has.
const TELLING: [&str; 7] = [
    "\"finish_reason\"",
    "\"usage\"",
    "\"tool_calls\"",
    "_call\"",
    "\"error\"",
    "\"stop_reason\"",
    "\"tool_use\"",
];
/// The type of the event that ends an Anthropic stream; it has no other telling member.
const MESSAGE_STOP: &str = "\"message_stop\"";

/// Whether an event has a telling member whose value is not null.
fn says_something(data: &[u8]) -> bool {
    static FINDERS: LazyLock<Vec<Finder<'static>>> =
        LazyLock::new(|| TELLING.into_iter().chain([MESSAGE_STOP]).map(Finder::new).collect());
    FINDERS
        .iter()
        .any(|finder| finder.find_iter(data).any(|at| !is_null(&data[at + finder.needle().len()..])))
}

/// Whether what follows a name is a colon and `null`, with any white space.
fn is_null(after: &[u8]) -> bool {
    let after = after.trim_ascii_start();
    after.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
}
