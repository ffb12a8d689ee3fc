//! What a decision changes in a request before it goes upstream.
//!
//! Typed here, done by the data plane as patches of spans, in this order: model, reasoning, system prompt,
//! parameters, tools by name and by relevance, then headers. Nothing here can undo what came before it, and parameters that the router
//! itself set are not subject to `strip_unknown`.

use pintle_config::{Config, Decision, Value};

pub use addition::ToolAddition;

pub mod addition;

/// Edits of one decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestEdits {
    /// Text for the system message.
    pub system_prompt: Option<SystemPrompt>,
    /// Body parameters.
    pub params: RequestParams,
    /// Offered tools.
    pub tools: ToolsEdit,
    /// Of those, the ones that have to do with the request.
    pub tool_selection: Option<ToolSelection>,
    /// Beside those, tools out of a database.
    pub tool_addition: Option<ToolAddition>,
    /// Headers of the upstream request.
    pub headers: HeaderEdits,
}

/// Text for the system message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemPrompt {
    /// The text, not empty.
    pub text: String,
    /// It takes the place of the client's system message instead of standing before it.
    pub replace: bool,
}

/// Body parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestParams {
    /// Removed.
    pub blocked: Vec<String>,
    /// Upper bound on `max_tokens` and `max_completion_tokens`.
    pub max_tokens: Option<u64>,
    /// Upper bound on `n`.
    pub max_n: Option<u64>,
    /// Parameters outside the API's documentation are removed.
    pub strip_unknown: bool,
}

/// Offered tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolsEdit {
    /// As the client sent them.
    #[default]
    Passthrough,
    /// None.
    Remove,
    /// By name: those allowed (all, if none is listed) less those blocked.
    Filter {
        /// Names to keep; empty keeps all.
        allow: Vec<String>,
        /// Names to drop.
        block: Vec<String>,
    },
}

/// Which of the offered tools have to do with the request, by what they say of themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToolSelection {
    /// Least similarity to the request, a cosine.
    pub threshold: f64,
    /// So many are kept all the same, most similar first.
    pub preserve: usize,
    /// Where none is similar enough, none is kept; else all are.
    pub fallback_to_empty: bool,
}

/// `relevance_threshold` of `tool_selection` where none is configured.
const DEFAULT_RELEVANCE: f64 = 0.25;
/// `similarity_threshold` where none is configured.
const DEFAULT_SIMILARITY: f64 = 0.5;

/// Headers of the upstream request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Added beside what is there.
    pub add: Vec<(String, String)>,
    /// Put in place of what is there.
    pub update: Vec<(String, String)>,
    /// Removed.
    pub delete: Vec<String>,
}

/// How a request is told to reason, or not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasoning<'a> {
    /// `chat_template_kwargs[parameter] = on`
    TemplateFlag {
        /// The key.
        parameter: &'a str,
        /// Its value.
        on: bool,
    },
    /// An effort such as `low`, `medium`, `high`. Off, the client's own stands.
    Effort {
        /// The effort; `None` leaves the client's.
        effort: Option<&'a str>,
    },
}

impl RequestEdits {
    /// Reads a decision's plugins. The first of a type counts; a plugin that is switched off, or whose payload
    /// has the wrong shape, counts as absent. What a plugin leaves open is read from the configuration's global part.
    pub fn of(decision: &Decision, config: &Config) -> Self {
        let global = &config.global.integrations.tools;
        let floor = config.global.model_catalog.embeddings.semantic.embedding_config.min_score_threshold;
        let floor = if floor > 0.0 { f64::from(floor) } else { DEFAULT_SIMILARITY };
        let filters = |payload: &&Value| payload.get("mode").and_then(Value::as_str) == Some("filter");
        let payload = |kind: &str| {
            let plugin = decision.plugins.iter().find(|plugin| plugin.kind == kind)?;
            plugin.configuration.as_ref()
        };
        let enabled = |payload: &&Value| payload.get("enabled").and_then(Value::as_bool).unwrap_or(false);
        Self {
            system_prompt: payload("system_prompt").and_then(system_prompt),
            params: payload("request_params").map(params).unwrap_or_default(),
            tools: payload("tools").filter(enabled).map(tools).unwrap_or_default(),
            tool_selection: payload("tool_selection")
                .filter(enabled)
                .filter(filters)
                .map(|payload| tool_selection(payload, global.fallback_to_empty)),
            tool_addition: payload("tool_selection")
                .filter(enabled)
                .filter(|payload| !filters(payload))
                .and_then(|payload| ToolAddition::of(payload, global, floor)),
            headers: payload("header_mutation").map(headers).unwrap_or_default(),
        }
    }

    /// Nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn system_prompt(payload: &Value) -> Option<SystemPrompt> {
    let text = payload.get("system_prompt").and_then(Value::as_str).filter(|text| !text.is_empty())?;
    let on = payload.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    let replace = payload.get("mode").and_then(Value::as_str) == Some("replace");
    on.then(|| SystemPrompt { text: text.to_owned(), replace })
}

fn params(payload: &Value) -> RequestParams {
    let bound = |key: &str| payload.get(key).and_then(Value::as_i64).and_then(|n| u64::try_from(n).ok());
    RequestParams {
        blocked: names(payload.get("blocked_params")),
        max_tokens: bound("max_tokens_limit"),
        max_n: bound("max_n"),
        strip_unknown: payload.get("strip_unknown").and_then(Value::as_bool).unwrap_or(false),
    }
}

fn tools(payload: &Value) -> ToolsEdit {
    match payload.get("mode").and_then(Value::as_str) {
        Some("none") => ToolsEdit::Remove,
        Some("filtered") => ToolsEdit::Filter {
            allow: names(payload.get("allow_tools")),
            block: names(payload.get("block_tools")),
        },
        _ => ToolsEdit::Passthrough,
    }
}

fn tool_selection(payload: &Value, fallback_to_empty: bool) -> ToolSelection {
    let number = |key: &str| payload.get(key).and_then(Value::as_f64);
    let preserve = payload.get("preserve_count").and_then(Value::as_i64);
    ToolSelection {
        threshold: number("relevance_threshold").unwrap_or(DEFAULT_RELEVANCE),
        preserve: preserve.and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        fallback_to_empty: payload
            .get("fallback_to_empty")
            .and_then(Value::as_bool)
            .unwrap_or(fallback_to_empty),
    }
}

fn headers(payload: &Value) -> HeaderEdits {
    let pairs = |key: &str| {
        let items = payload.get(key).map(Value::items).unwrap_or_default();
        let pair = |item: &Value| {
            let text = |key| item.get(key).and_then(Value::as_str).map(str::to_owned);
            Some((text("name").filter(|name| !name.is_empty())?, text("value")?))
        };
        items.iter().filter_map(pair).collect()
    };
    HeaderEdits { add: pairs("add"), update: pairs("update"), delete: names(payload.get("delete")) }
}

fn names(list: Option<&Value>) -> Vec<String> {
    let items = list.map(Value::items).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
