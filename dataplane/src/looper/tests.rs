use pintle_routing::facts::Dialect;
use pintle_routing::flow::{Usage, UsageSource};
use pintle_routing::units::Tokens;
use serde_json::{Value, json};

use super::compose::{Choice, Reply, one_line};
use super::gang::Gang;
use crate::json::completion::Completion;

const FIRST: &str = r#"{"id":"a","choices":[{"finish_reason":"tool_calls","index":7,"logprobs":{"content":[]},
"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}},
{"index":9,"id":"call_2","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}],"odd":[1e2]}}]}"#;
const SECOND: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"h\u00e9 \"x\""},"finish_reason":"stop","model":"alias"}]}"#;

fn reply(choices: &[Choice<'_>], logprobs: bool, events: Option<bool>) -> Vec<u8> {
    reply_in(Dialect::OpenAiChat, choices, logprobs, events)
}

fn reply_in(dialect: Dialect, choices: &[Choice<'_>], logprobs: bool, events: Option<bool>) -> Vec<u8> {
    let usage = Usage {
        prompt: Tokens(30),
        cached: Some(Tokens(4)),
        completion: Tokens(12),
        reasoning: Some(Tokens(7)),
        source: UsageSource::Backend,
    };
    let more = br#","more":[1]"#;
    let reply = Reply { id: "F", created: 5, model: "small,large", choices, usage, logprobs, more };
    reply.body(dialect, events.is_some(), events == Some(true))
}

fn choice<'a>(body: &'a str, model: Option<&'a str>) -> Choice<'a> {
    choice_in(Dialect::OpenAiChat, body, model)
}

fn choice_in<'a>(dialect: Dialect, body: &'a str, model: Option<&'a str>) -> Choice<'a> {
    Choice { body, at: Completion::read(body, dialect).unwrap().choice, model }
}

/// The data of each event, whose type the event's own line repeats.
fn typed_events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let one = |event: &str| {
        let (kind, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(kind.strip_prefix("event: "), data["type"].as_str());
        data
    };
    text.split_terminator("\n\n").map(one).collect()
}

#[test]
fn a_whole_answer_has_the_choices_as_they_came_under_new_numbers() {
    let choices = [choice(FIRST, Some("small")), choice(SECOND, Some("large"))];
    let whole: Value = serde_json::from_slice(&reply(&choices, false, None)).unwrap();
    let message = |body: &str| serde_json::from_str::<Value>(body).unwrap()["choices"][0]["message"].clone();
    assert_eq!(
        whole,
        json!({
            "id": "chatcmpl-F", "object": "chat.completion", "created": 5, "model": "small,large",
            "choices": [
                { "index": 0, "finish_reason": "tool_calls", "message": message(FIRST), "model": "small" },
                { "index": 1, "finish_reason": "stop", "message": message(SECOND), "model": "large" },
            ],
            "usage": { "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
                       "prompt_tokens_details": { "cached_tokens": 4 },
                       "completion_tokens_details": { "reasoning_tokens": 7 } },
            "more": [1],
        })
    );
    let alone: Value = serde_json::from_slice(&reply(&[choice(SECOND, None)], true, None)).unwrap();
    assert_eq!(alone["choices"][0]["model"], "alias");
    let sure: Value = serde_json::from_slice(&reply(&[choice(FIRST, None)], true, None)).unwrap();
    assert_eq!(sure["choices"][0]["logprobs"], json!({ "content": [] }));
}

#[test]
fn a_stream_says_the_same_in_events() {
    let choices = [choice(FIRST, Some("small")), choice(SECOND, Some("large"))];
    let text = String::from_utf8(reply(&choices, false, Some(true))).unwrap();
    let mut events: Vec<&str> =
        text.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(events.len(), 5, "two of each choice, and usage");
    assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk"));
    let delta = &events[0]["choices"][0]["delta"];
    let numbers: Vec<&Value> =
        delta["tool_calls"].as_array().unwrap().iter().map(|call| &call["index"]).collect();
    assert_eq!(numbers, [&json!(0), &json!(1)]);
    assert_eq!((&events[0]["more"], &events[1]["more"]), (&json!([1]), &Value::Null));
    assert_eq!(events[1]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(
        events[2]["choices"][0],
        json!({ "index": 1, "model": "large", "finish_reason": null,
        "delta": { "role": "assistant", "content": "h\u{e9} \"x\"" } })
    );
    assert_eq!((&events[4]["choices"], &events[4]["usage"]["total_tokens"]), (&json!([]), &json!(42)));
    let without = String::from_utf8(reply(&choices, false, Some(false))).unwrap();
    assert!(!without.contains("usage") && without.ends_with("data: [DONE]\n\n"));
}

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"alias","content":[
{"type":"thinking","thinking":"hm\n","signature":"c2ln"},{"type":"redacted_thinking","data":"eHg="},
{"type":"text","text":"h\u00e9 \"x\"","citations":[{"type":"char_location","cited_text":"q"}]},
{"type":"tool_use","id":"toolu_1","name":"f","input":{"path":"a \"b\"","n":[1,2e3]}}],
"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2}}"#;

#[test]
fn a_message_is_the_backends_with_the_usage_of_all() {
    let choices = [choice_in(Dialect::AnthropicMessages, MESSAGE, None)];
    let whole = reply_in(Dialect::AnthropicMessages, &choices, false, None);
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let mut wanted: Value = serde_json::from_str(MESSAGE).unwrap();
    wanted["model"] = "small,large".into();
    wanted["usage"] = json!({ "input_tokens": 26, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
        "output_tokens": 12 });
    wanted["more"] = json!([1]);
    assert_eq!(whole, wanted);
}

#[test]
fn the_events_of_a_message_amount_to_it() {
    let one_line = one_line(MESSAGE.to_owned());
    let choices = [choice_in(Dialect::AnthropicMessages, &one_line, None)];
    let whole: Value =
        serde_json::from_slice(&reply_in(Dialect::AnthropicMessages, &choices, false, None)).unwrap();
    let events = typed_events(&reply_in(Dialect::AnthropicMessages, &choices, false, Some(false)));
    // As an Anthropic client puts a stream together.
    let mut message = events[0]["message"].clone();
    assert_eq!((&message["content"], &message["usage"]["output_tokens"]), (&json!([]), &json!(0)));
    let mut input = String::new();
    for event in &events[1..] {
        let content = message["content"].as_array_mut().unwrap();
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        let delta = &event["delta"];
        let mut append = |member: &str| {
            let so_far = content[index][member].as_str().unwrap();
            let text = format!("{so_far}{}", delta[member].as_str().unwrap());
            content[index][member] = text.into();
        };
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, content.len());
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => match delta["type"].as_str().unwrap() {
                "text_delta" => append("text"),
                "thinking_delta" => append("thinking"),
                "signature_delta" => append("signature"),
                "input_json_delta" => input += delta["partial_json"].as_str().unwrap(),
                "citations_delta" => content[index]["citations"] = json!([delta["citation"]]),
                other => panic!("{other}"),
            },
            "content_block_stop" if content[index]["type"] == "tool_use" => {
                content[index]["input"] = serde_json::from_str(&input).unwrap();
            }
            "message_delta" => {
                message["stop_reason"] = delta["stop_reason"].clone();
                message["usage"]["output_tokens"] = event["usage"]["output_tokens"].clone();
            }
            "content_block_stop" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    assert_eq!(message, whole);
}

const RESPONSE: &str = r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"alias","output":[
{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"x"},
{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"h\u00e9",
"annotations":[{"type":"url_citation","url":"u"}],"logprobs":[{"token":"a","logprob":-0.5}]},{"type":"refusal","refusal":"no"}]},
{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"f","arguments":"{\"a\":1}"},
{"id":"ws_1","type":"web_search_call","status":"completed"}],"usage":{"input_tokens":1}}"#;
const OTHER_RESPONSE: &str = r#"{"id":"resp_2","status":"completed","output":[{"id":"msg_2","type":"message","role":"assistant",
"status":"completed","content":[{"type":"output_text","text":"other","annotations":[],"logprobs":[]}]}]}"#;

#[test]
fn a_response_has_the_output_of_all_under_the_id_of_the_first() {
    let of = |body| choice_in(Dialect::OpenAiResponses, body, None);
    let whole = |logprobs| -> Value {
        let choices = [of(RESPONSE), of(OTHER_RESPONSE)];
        serde_json::from_slice(&reply_in(Dialect::OpenAiResponses, &choices, logprobs, None)).unwrap()
    };
    let mut wanted: Value = serde_json::from_str(RESPONSE).unwrap();
    let other: Value = serde_json::from_str(OTHER_RESPONSE).unwrap();
    wanted["output"].as_array_mut().unwrap().push(other["output"][0].clone());
    wanted["model"] = "small,large".into();
    wanted["usage"] = json!({ "input_tokens": 30, "input_tokens_details": { "cached_tokens": 4 }, "output_tokens": 12,
        "output_tokens_details": { "reasoning_tokens": 7 }, "total_tokens": 42 });
    wanted["more"] = json!([1]);
    assert_eq!(whole(true), wanted);
    wanted["output"][1]["content"][0]["logprobs"] = json!([]);
    assert_eq!(whole(false), wanted);
}

/// Under the id of the first answer nobody could be told what came of another one's calls, and a client would make
/// twice what two models want done.
#[test]
fn only_the_first_answer_of_a_response_calls_tools_of_the_client() {
    let of = |body| choice_in(Dialect::OpenAiResponses, body, None);
    let types = |choices: &[Choice<'_>]| -> Vec<String> {
        let whole: Value =
            serde_json::from_slice(&reply_in(Dialect::OpenAiResponses, choices, false, None)).unwrap();
        let kind = |item: &Value| item["type"].as_str().unwrap().to_owned();
        whole["output"].as_array().unwrap().iter().map(kind).collect()
    };
    let own = types(&[of(RESPONSE)]);
    assert!(own.contains(&"function_call".to_owned()), "{own:?}");
    let mut wanted = vec!["message".to_owned()];
    wanted.extend(own.iter().filter(|kind| *kind != "function_call").cloned());
    assert_eq!(types(&[of(OTHER_RESPONSE), of(RESPONSE)]), wanted);
    assert_eq!(types(&[of(RESPONSE), of(OTHER_RESPONSE)]), [own, vec!["message".to_owned()]].concat());
}

#[test]
fn the_events_of_a_response_amount_to_it() {
    let one_line = one_line(RESPONSE.to_owned());
    let choices = [choice_in(Dialect::OpenAiResponses, &one_line, None)];
    let whole: Value =
        serde_json::from_slice(&reply_in(Dialect::OpenAiResponses, &choices, true, None)).unwrap();
    let events = typed_events(&reply_in(Dialect::OpenAiResponses, &choices, true, Some(false)));
    let mut items: Vec<Value> = Vec::new();
    for (nth, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], nth);
        let kind = event["type"].as_str().unwrap();
        let index = event["output_index"].as_u64().unwrap_or(0) as usize;
        match kind {
            "response.created" | "response.in_progress" => {
                let response = &event["response"];
                assert_eq!((&response["status"], &response["output"]), (&json!("in_progress"), &json!([])));
            }
            "response.output_item.added" => {
                assert_eq!(index, items.len());
                items.push(event["item"].clone());
            }
            "response.output_item.done" => {
                assert_eq!(event["item"], whole["output"][index]);
                assert_eq!(event["item"]["id"], items[index]["id"]);
            }
            "response.completed" => assert_eq!(event["response"], whole),
            kind => assert_eq!(event["item_id"], items[index]["id"], "{kind}"),
        }
    }
    let said = |kind: &str, member: &str| -> Value {
        let event = events.iter().find(|event| event["type"] == kind);
        event.map_or_else(|| panic!("no {kind}"), |event| event[member].clone())
    };
    assert_eq!(said("response.output_text.delta", "delta"), "h\u{e9}");
    assert_eq!(said("response.output_text.done", "logprobs")[0]["token"], "a");
    assert_eq!(said("response.output_text.annotation.added", "annotation")["url"], "u");
    assert_eq!(said("response.refusal.done", "refusal"), "no");
    assert_eq!(said("response.function_call_arguments.done", "arguments"), "{\"a\":1}");
    assert_eq!(said("response.reasoning_summary_text.done", "text"), "hm");
    assert_eq!(events.last().unwrap()["type"], "response.completed");
    let cut = one_line.replacen("completed", "incomplete", 1);
    let choices = [choice_in(Dialect::OpenAiResponses, &cut, None)];
    let events = typed_events(&reply_in(Dialect::OpenAiResponses, &choices, true, Some(false)));
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
}

#[test]
fn a_gang_ends_its_members_in_the_order_in_which_they_end() {
    let mut gang = Gang::new();
    // Far enough apart: those behind the one that ends are not polled in its turn.
    for turns in [9u32, 1, 4] {
        let mut left = turns;
        gang.add(std::future::poll_fn(move |context| {
            left -= 1;
            context.waker().wake_by_ref();
            if left == 0 { std::task::Poll::Ready(turns) } else { std::task::Poll::Pending }
        }));
    }
    let mut ended = Vec::new();
    {
        let mut waiting = std::pin::pin!(async {
            while let Some(turns) = gang.next().await {
                ended.push(turns);
            }
        });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while waiting.as_mut().poll(&mut context).is_pending() {}
    }
    assert_eq!(ended, [1, 4, 9]);
}
