//! One request in terms that the three dialects share.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// The client's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Messages,
    Responses,
}

/// Who wrote a message. A message that carries tool results is a tool's, whatever role its dialect gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// One message of the conversation.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) text: String,
    /// Ids of the calls whose results it carries.
    pub(crate) results: Vec<String>,
    /// Digest and tokens of the message as JSON.
    pub(crate) part: (u64, u64),
}

/// A tool on offer.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// JSON schema of its arguments.
    pub(crate) schema: Value,
}

/// Whether a tool must be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// The stream ends with a usage chunk (always so outside the chat dialect).
    pub(crate) include_usage: bool,
    /// Log probabilities are asked for.
    pub(crate) logprobs: bool,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) previous_response: Option<String>,
    /// Digest and tokens of what stands before the messages: tools and system text.
    preamble: (u64, u64),
}

/// Bytes per token, the estimate of v0.3's context signal.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens of a text, at least one if it has any byte.
pub(crate) fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

impl Turn {
    /// Reads a request body; the error says what is wrong with it.
    pub(crate) fn parse(dialect: Dialect, body: &[u8]) -> Result<Self, String> {
        let root: Value = serde_json::from_slice(body).map_err(|e| format!("the body is not JSON: {e}"))?;
        let model = root["model"].as_str().ok_or("`model` must be a string")?.to_owned();
        let list: &[Value] = match dialect {
            Dialect::Chat | Dialect::Messages => {
                root["messages"].as_array().ok_or("`messages` must be a list")?
            }
            Dialect::Responses => match &root["input"] {
                Value::Array(items) => items,
                Value::String(_) => std::slice::from_ref(&root["input"]),
                _ => return Err("`input` must be a string or a list".to_owned()),
            },
        };
        let stream = match &root["stream"] {
            Value::Null => false,
            Value::Bool(b) => *b,
            _ => return Err("`stream` must be true or false".to_owned()),
        };
        let tools: Vec<Tool> = root["tools"].as_array().into_iter().flatten().filter_map(tool).collect();
        let system = if dialect == Dialect::Messages { &root["system"] } else { &root["instructions"] };
        let preamble: String =
            [&root["tools"], system].iter().filter(|v| !v.is_null()).map(|v| v.to_string()).collect();
        Ok(Self {
            model,
            stream,
            include_usage: dialect != Dialect::Chat || root["stream_options"]["include_usage"] == true,
            logprobs: root["logprobs"] == true
                || root["include"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|name| name == "message.output_text.logprobs")),
            messages: list.iter().map(message).collect(),
            tools,
            tool_choice: tool_choice(&root["tool_choice"]),
            max_tokens: ["max_completion_tokens", "max_output_tokens", "max_tokens"]
                .iter()
                .find_map(|k| root[k].as_u64())
                .map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            previous_response: root["previous_response_id"].as_str().map(str::to_owned),
            preamble: (xxh3_64(preamble.as_bytes()), tokens(preamble.len())),
        })
    }

    /// Text of the last message that a user wrote.
    pub(crate) fn last_user_text(&self) -> &str {
        self.messages.iter().rev().find(|m| m.role == Role::User).map_or("", |m| &m.text)
    }

    /// Messages after the last user message that carry tool results: rounds of the tool loop so far.
    pub(crate) fn loop_rounds(&self) -> usize {
        let recent = self.messages.iter().rev().take_while(|m| m.role != Role::User);
        // Results of parallel calls stand next to each other and are one round.
        let mut rounds = 0;
        let mut in_results = false;
        for message in recent {
            let results = message.role == Role::Tool;
            rounds += usize::from(results && !in_results);
            in_results = results;
        }
        rounds
    }

    /// Call ids whose results are newer than the last assistant message: the loop that is open now.
    pub(crate) fn open_results(&self) -> impl Iterator<Item = &str> {
        let recent = self.messages.iter().rev().take_while(|m| m.role != Role::Assistant);
        recent.flat_map(|m| m.results.iter().map(String::as_str))
    }

    /// Digest and tokens of each part of the prompt, in order.
    pub(crate) fn parts(&self) -> Vec<(u64, u64)> {
        std::iter::once(self.preamble).chain(self.messages.iter().map(|m| m.part)).collect()
    }
}

fn message(value: &Value) -> Message {
    let raw = value.to_string();
    let mut results = Vec::new();
    let mut texts = Vec::new();
    for key in ["tool_call_id", "call_id"] {
        let is_result = value["role"] == "tool" || value["type"] == "function_call_output";
        if let Some(id) = value[key].as_str().filter(|_| is_result) {
            results.push(id.to_owned());
        }
    }
    let content = if value.is_string() { value } else { &value["content"] };
    match content {
        Value::String(text) => texts.push(text.as_str()),
        Value::Array(parts) => {
            for part in parts {
                texts.extend(part["text"].as_str());
                if part["type"] == "tool_result" {
                    results.extend(part["tool_use_id"].as_str().map(str::to_owned));
                }
            }
        }
        _ => {}
    }
    let role = match value["role"].as_str().or_else(|| value["type"].as_str()) {
        _ if !results.is_empty() => Role::Tool,
        Some("system" | "developer") => Role::System,
        Some("assistant" | "function_call" | "reasoning") => Role::Assistant,
        Some("tool" | "function_call_output") => Role::Tool,
        _ => Role::User,
    };
    Message { role, text: texts.join(" "), results, part: (xxh3_64(raw.as_bytes()), tokens(raw.len())) }
}

fn tool(value: &Value) -> Option<Tool> {
    let function = if value["function"].is_object() { &value["function"] } else { value };
    let schema = [&function["parameters"], &function["input_schema"]].into_iter().find(|s| s.is_object());
    Some(Tool { name: function["name"].as_str()?.to_owned(), schema: schema.cloned().unwrap_or(Value::Null) })
}

fn tool_choice(value: &Value) -> ToolChoice {
    let name = value["function"]["name"].as_str().or_else(|| value["name"].as_str());
    match (value.as_str().or_else(|| value["type"].as_str()), name) {
        (_, Some(name)) => ToolChoice::Named(name.to_owned()),
        (Some("none"), _) => ToolChoice::None,
        (Some("required" | "any"), _) => ToolChoice::Required,
        _ => ToolChoice::Auto,
    }
}
