//! Anthropic messages.

use serde_json::{Value, json};

use super::{Event, Reply, fragments};
use crate::answer::Finish;

fn stop_reason(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
    }
}

fn call_id(reply: &Reply<'_>, index: usize) -> String {
    format!("toolu_{}_{}", reply.slug, reply.first_call + index as u64)
}

/// Anthropic counts cached input apart from `input_tokens`.
fn usage(reply: &Reply<'_>, output: u64) -> Value {
    json!({
        "input_tokens": reply.usage.prompt - reply.usage.cached,
        "cache_read_input_tokens": reply.usage.cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": output,
    })
}

fn envelope(reply: &Reply<'_>, content: Value, stop: Value, output: u64) -> Value {
    json!({
        "id": format!("msg_{}_{}", reply.slug, reply.number),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": null,
        "usage": usage(reply, output),
    })
}

/// The answer as one message.
pub(crate) fn whole(reply: &Reply<'_>) -> Value {
    let answer = reply.answer;
    let mut content = Vec::new();
    if !answer.pieces.is_empty() {
        content.push(json!({ "type": "text", "text": answer.text() }));
    }
    for (i, call) in answer.calls.iter().enumerate() {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        content
            .push(json!({ "type": "tool_use", "id": call_id(reply, i), "name": call.name, "input": input }));
    }
    envelope(reply, Value::from(content), Value::from(stop_reason(answer.finish)), reply.usage.completion)
}

/// The answer as a stream from `message_start` to `message_stop`.
pub(crate) fn events(reply: &Reply<'_>) -> Vec<Event> {
    let answer = reply.answer;
    let mut spoken = 0;
    let start = json!({ "type": "message_start", "message": envelope(reply, json!([]), Value::Null, 0) });
    let mut events = vec![Event::typed(&start, 0), Event::typed(&json!({ "type": "ping" }), 0)];
    let mut block = |index: usize, opening: Value, deltas: Vec<Value>| {
        let open = json!({ "type": "content_block_start", "index": index, "content_block": opening });
        events.push(Event::typed(&open, spoken));
        for delta in deltas {
            spoken += 1;
            let event = json!({ "type": "content_block_delta", "index": index, "delta": delta });
            events.push(Event::typed(&event, spoken));
        }
        events.push(Event::typed(&json!({ "type": "content_block_stop", "index": index }), spoken));
    };
    let mut index = 0;
    if !answer.pieces.is_empty() {
        let deltas = answer.pieces.iter().map(|p| json!({ "type": "text_delta", "text": p })).collect();
        block(index, json!({ "type": "text", "text": "" }), deltas);
        index += 1;
    }
    for (i, call) in answer.calls.iter().enumerate() {
        let opening = json!({ "type": "tool_use", "id": call_id(reply, i), "name": call.name, "input": {} });
        let part = |p: &str| json!({ "type": "input_json_delta", "partial_json": p });
        block(index, opening, fragments(&call.arguments).into_iter().map(part).collect());
        index += 1;
    }
    let end = json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop_reason(answer.finish), "stop_sequence": null },
        "usage": { "output_tokens": reply.usage.completion },
    });
    events.push(Event::typed(&end, spoken));
    events.push(Event::typed(&json!({ "type": "message_stop" }), spoken));
    events
}
