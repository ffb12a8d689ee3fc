use pintle_routing::flow::{Usage, UsageSource};
use pintle_routing::units::Tokens;
use serde_json::{Value, json};

use super::compose::{Choice, Reply};
use super::gang::Gang;
use crate::json::completion::Completion;

const FIRST: &str = r#"{"id":"a","choices":[{"finish_reason":"tool_calls","index":7,"logprobs":{"content":[]},
"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}},
{"index":9,"id":"call_2","type":"function","function":{"name":"g","arguments":"{\"x\":1}"}}],"odd":[1e2]}}]}"#;
const SECOND: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"h\u00e9 \"x\""},"finish_reason":"stop","model":"alias"}]}"#;

fn reply(choices: &[Choice<'_>], logprobs: bool, events: Option<bool>) -> Vec<u8> {
    let usage = Usage {
        prompt: Tokens(30),
        cached: Some(Tokens(4)),
        completion: Tokens(12),
        source: UsageSource::Backend,
    };
    let more = br#","more":[1]"#;
    let reply = Reply { id: "F", created: 5, model: "small,large", choices, usage, logprobs, more };
    events.map_or_else(|| reply.whole(), |include_usage| reply.events(include_usage))
}

fn choice<'a>(body: &'a str, model: Option<&'a str>) -> Choice<'a> {
    Choice { body, at: Completion::read(body).unwrap().choice, model }
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
                       "prompt_tokens_details": { "cached_tokens": 4 } },
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
