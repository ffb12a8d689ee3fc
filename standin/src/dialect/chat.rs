//! OpenAI chat completions.

use serde_json::{Value, json};

use super::{Event, Reply, fragments};
use crate::answer::Finish;

fn finish(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

fn id(reply: &Reply<'_>) -> String {
    format!("chatcmpl-{}-{}", reply.slug, reply.number)
}

fn call_id(reply: &Reply<'_>, index: usize) -> String {
    format!("call_{}_{}", reply.slug, reply.first_call + index as u64)
}

fn usage(reply: &Reply<'_>) -> Value {
    let u = reply.usage;
    json!({
        "prompt_tokens": u.prompt,
        "completion_tokens": u.completion,
        "total_tokens": u.prompt + u.completion,
        "prompt_tokens_details": { "cached_tokens": u.cached },
        "completion_tokens_details": { "reasoning_tokens": 0 },
    })
}

/// The same for each token, and a second likeliest one at twice the distance.
fn logprobs(reply: &Reply<'_>) -> Value {
    let Some(logprob) = reply.logprob else { return Value::Null };
    let token = |piece: &String| {
        let likeliest = [
            json!({ "token": piece, "logprob": logprob }),
            json!({ "token": "?", "logprob": 2.0 * logprob }),
        ];
        json!({ "token": piece, "logprob": logprob, "top_logprobs": likeliest })
    };
    json!({ "content": reply.answer.pieces.iter().map(token).collect::<Value>(), "refusal": null })
}

/// The answer as one `chat.completion` object.
pub(crate) fn whole(reply: &Reply<'_>) -> Value {
    let answer = reply.answer;
    let mut message = json!({ "role": "assistant", "content": answer.text(), "refusal": null });
    if !answer.calls.is_empty() {
        message["content"] = Value::Null;
        message["tool_calls"] = answer
            .calls
            .iter()
            .enumerate()
            .map(|(i, call)| {
                json!({
                    "id": call_id(reply, i),
                    "type": "function",
                    "function": { "name": call.name, "arguments": call.arguments },
                })
            })
            .collect();
    }
    json!({
        "id": id(reply),
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "system_fingerprint": "stand-in",
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": logprobs(reply),
            "finish_reason": finish(answer.finish),
        }],
        "usage": usage(reply),
    })
}

/// The answer as a stream of `chat.completion.chunk` objects, ended by `[DONE]`.
///
/// What all chunks share is written once: a long answer has a hundred thousand of them.
pub(crate) fn events(reply: &Reply<'_>) -> Vec<Event> {
    let head = json!({
        "id": id(reply),
        "object": "chat.completion.chunk",
        "created": reply.created,
        "model": reply.model,
        "system_fingerprint": "stand-in",
    });
    let head = head.to_string();
    let head = head.trim_end_matches('}');
    let no_usage = if reply.include_usage { r#","usage":null"# } else { "" };
    let delta = |delta: &str, reason: &str, tokens: u64| Event {
        bytes: format!(
            "data: {head},\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
             \"finish_reason\":{reason}}}]{no_usage}}}\n\n"
        ),
        tokens,
    };
    let answer = reply.answer;
    let mut spoken = 0;
    let opening = if answer.calls.is_empty() { r#""""# } else { "null" };
    let mut events = vec![delta(&format!(r#"{{"role":"assistant","content":{opening}}}"#), "null", 0)];
    for piece in &answer.pieces {
        spoken += 1;
        let piece = Value::from(piece.as_str());
        events.push(delta(&format!(r#"{{"content":{piece}}}"#), "null", spoken));
    }
    for (index, call) in answer.calls.iter().enumerate() {
        let opening = json!({ "tool_calls": [{
            "index": index,
            "id": call_id(reply, index),
            "type": "function",
            "function": { "name": call.name, "arguments": "" },
        }]});
        spoken += 1;
        events.push(delta(&opening.to_string(), "null", spoken));
        for piece in fragments(&call.arguments) {
            spoken += 1;
            let part = json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] });
            events.push(delta(&part.to_string(), "null", spoken));
        }
    }
    events.push(delta("{}", &format!("\"{}\"", finish(answer.finish)), spoken));
    if reply.include_usage {
        let usage = usage(reply);
        let bytes = format!("data: {head},\"choices\":[],\"usage\":{usage}}}\n\n");
        events.push(Event { bytes, tokens: spoken });
    }
    events.push(Event { bytes: "data: [DONE]\n\n".to_owned(), tokens: spoken });
    events
}
