//! OpenAI responses.

use serde_json::{Value, json};

use super::{Event, Reply, fragments};
use crate::answer::Finish;

fn response(reply: &Reply<'_>, status: &str, output: &[Value]) -> Value {
    let u = reply.usage;
    let usage = json!({
        "input_tokens": u.prompt,
        "input_tokens_details": { "cached_tokens": u.cached },
        "output_tokens": u.completion,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": u.prompt + u.completion,
    });
    let cut_short = status == "incomplete";
    json!({
        "id": format!("resp_{}_{}", reply.slug, reply.number),
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "error": null,
        "incomplete_details": if cut_short { json!({ "reason": "max_output_tokens" }) } else { Value::Null },
        "instructions": null,
        "metadata": {},
        "model": reply.model,
        "output": output,
        "parallel_tool_calls": true,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": if status == "in_progress" { Value::Null } else { usage },
    })
}

fn message_item(reply: &Reply<'_>, status: &str, content: Value) -> Value {
    let id = format!("msg_{}_{}", reply.slug, reply.number);
    json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
}

fn text_part(text: &str, logprobs: Value) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": logprobs })
}

/// The same for each token, and a second likeliest one at twice the distance; none where they are not asked for.
fn logprobs(reply: &Reply<'_>) -> Value {
    let tokens = reply.logprob.map(|logprob| {
        let token = |piece: &String| {
            let likeliest = [
                json!({ "token": piece, "bytes": piece.as_bytes(), "logprob": logprob }),
                json!({ "token": "?", "bytes": [63], "logprob": 2.0 * logprob }),
            ];
            json!({ "token": piece, "bytes": piece.as_bytes(), "logprob": logprob, "top_logprobs": likeliest })
        };
        reply.answer.pieces.iter().map(token).collect()
    });
    tokens.unwrap_or_else(|| json!([]))
}

fn call_item(reply: &Reply<'_>, index: usize, status: &str, arguments: &str) -> Value {
    let number = reply.first_call + index as u64;
    json!({
        "id": format!("fc_{}_{number}", reply.slug),
        "type": "function_call",
        "status": status,
        "call_id": format!("call_{}_{number}", reply.slug),
        "name": reply.answer.calls[index].name,
        "arguments": arguments,
    })
}

fn output(reply: &Reply<'_>) -> Vec<Value> {
    let answer = reply.answer;
    let mut items = Vec::new();
    if !answer.pieces.is_empty() {
        items.push(message_item(reply, "completed", json!([text_part(&answer.text(), logprobs(reply))])));
    }
    items
        .extend(answer.calls.iter().enumerate().map(|(i, c)| call_item(reply, i, "completed", &c.arguments)));
    items
}

fn final_status(reply: &Reply<'_>) -> &'static str {
    if reply.answer.finish == Finish::Length { "incomplete" } else { "completed" }
}

/// The answer as one `response` object.
pub(crate) fn whole(reply: &Reply<'_>) -> Value {
    response(reply, final_status(reply), &output(reply))
}

/// The answer as a stream from `response.created` to `response.completed`.
pub(crate) fn events(reply: &Reply<'_>) -> Vec<Event> {
    let answer = reply.answer;
    let mut events = Vec::new();
    let mut push = |mut json: Value, tokens: u64| {
        json["sequence_number"] = Value::from(events.len());
        events.push(Event::typed(&json, tokens));
    };
    let opening = response(reply, "in_progress", &[]);
    push(json!({ "type": "response.created", "response": opening }), 0);
    push(json!({ "type": "response.in_progress", "response": opening }), 0);
    let mut spoken = 0;
    let mut index = 0;
    if !answer.pieces.is_empty() {
        let item = message_item(reply, "in_progress", json!([]));
        let id = item["id"].clone();
        push(json!({ "type": "response.output_item.added", "output_index": index, "item": item }), spoken);
        let at =
            |kind: &str| json!({ "type": kind, "item_id": id, "output_index": index, "content_index": 0 });
        let mut added = at("response.content_part.added");
        added["part"] = text_part("", json!([]));
        push(added, spoken);
        for piece in &answer.pieces {
            spoken += 1;
            let mut delta = at("response.output_text.delta");
            delta["delta"] = Value::from(piece.as_str());
            delta["logprobs"] = json!([]);
            push(delta, spoken);
        }
        let mut done = at("response.output_text.done");
        done["text"] = Value::from(answer.text());
        done["logprobs"] = logprobs(reply);
        push(done, spoken);
        let mut part = at("response.content_part.done");
        part["part"] = text_part(&answer.text(), logprobs(reply));
        push(part, spoken);
        let item = message_item(reply, "completed", json!([text_part(&answer.text(), logprobs(reply))]));
        push(json!({ "type": "response.output_item.done", "output_index": index, "item": item }), spoken);
        index += 1;
    }
    for (i, call) in answer.calls.iter().enumerate() {
        let item = call_item(reply, i, "in_progress", "");
        let id = item["id"].clone();
        push(json!({ "type": "response.output_item.added", "output_index": index, "item": item }), spoken);
        for piece in fragments(&call.arguments) {
            spoken += 1;
            let kind = "response.function_call_arguments.delta";
            push(json!({ "type": kind, "item_id": id, "output_index": index, "delta": piece }), spoken);
        }
        push(
            json!({
                "type": "response.function_call_arguments.done",
                "item_id": id,
                "name": call.name,
                "output_index": index,
                "arguments": call.arguments,
            }),
            spoken,
        );
        let item = call_item(reply, i, "completed", &call.arguments);
        push(json!({ "type": "response.output_item.done", "output_index": index, "item": item }), spoken);
        index += 1;
    }
    let status = final_status(reply);
    let last =
        json!({ "type": format!("response.{status}"), "response": response(reply, status, &output(reply)) });
    push(last, spoken);
    events
}
