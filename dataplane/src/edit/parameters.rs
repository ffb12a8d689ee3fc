//! Parameters that a decision takes out or bounds.

use pintle_routing::edits::RequestParams;
use pintle_routing::facts::Dialect;

use super::{Draft, shown};

/// Without these a body is no request, so nothing takes them out.
const REQUIRED: [&str; 3] = ["model", "messages", "input"];

/// Parameters of `POST /v1/chat/completions` by OpenAI's reference, deprecated ones included.
const CHAT: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Parameters of `POST /v1/responses` by OpenAI's reference.
const RESPONSES: &[&str] = &[
    "background",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Parameters of `POST /v1/messages` by Anthropic's reference, with those of its betas.
const MESSAGES: &[&str] = &[
    "container",
    "context_management",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

const fn documented(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::OpenAiChat => CHAT,
        Dialect::OpenAiResponses => RESPONSES,
        Dialect::AnthropicMessages => MESSAGES,
    }
}

pub(super) fn edit(draft: &mut Draft<'_>, dialect: Dialect, params: &RequestParams) {
    let known = documented(dialect);
    for at in 0..draft.top.items.len() {
        let name = draft.name(at);
        let name = name.as_ref();
        if REQUIRED.contains(&name) {
            continue;
        }
        if params.blocked.iter().any(|blocked| blocked == name) {
            if draft.drop_at(at) {
                draft.remark(format!("request_params: {} blocked", shown(name)));
            }
        } else if params.strip_unknown && !known.contains(&name) && draft.drop_at(at) {
            draft.remark(format!("request_params: {} stripped as unknown", shown(name)));
        }
    }
    if let Some(most) = params.max_tokens {
        for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
            bound(draft, name, most);
        }
    }
    if let Some(most) = params.max_n {
        bound(draft, "n", most);
    }
}

/// Puts the bound in place of whatever is not a number from 0 up to it. `null` asks for nothing and stays; a
/// number as text, or one below zero, means "as many as there are" to some servers.
fn bound(draft: &mut Draft<'_>, name: &str, most: u64) {
    let Some(at) = draft.only(name) else { return };
    let value = draft.top.items[at].value;
    let text = draft.body.get(value.range()).unwrap_or_default();
    let within =
        text == "null" || text.parse::<f64>().is_ok_and(|number| number >= 0.0 && number <= most as f64);
    if within {
        return;
    }
    let was = shown(text);
    draft.patch.replace(value, |out| out.extend_from_slice(itoa::Buffer::new().format(most).as_bytes()));
    draft.remark(format!("request_params: {name} {was} bounded to {most}"));
}
