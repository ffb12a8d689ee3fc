use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Finish, ReportedError, Summary, says_something};

fn body(value: &Value) -> Summary {
    let mut summary = Summary::new();
    assert!(summary.read_body(value.to_string().as_bytes()));
    summary
}

fn stream(events: &[&str]) -> Summary {
    let mut summary = Summary::new();
    for event in events {
        summary.read_event(event.as_bytes());
    }
    summary
}

#[test]
fn reads_a_chat_completion() {
    let summary = body(&json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "qwen", "created": 1,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "\"usage\"", "tool_calls": []},
            "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 1}},
    }));
    assert_eq!((summary.id.as_str(), summary.model.as_str()), ("chatcmpl-1", "qwen"));
    assert_eq!((summary.finish, summary.finish_reason.as_str()), (Some(Finish::Stop), "stop"));
    assert!(!summary.tool_calls && summary.error.is_none());
    let usage = summary.usage;
    assert_eq!((usage.prompt_tokens(), usage.cached_tokens()), (Some(100), Some(64)));
    assert_eq!((usage.completion_tokens(), usage.total_tokens()), (Some(7), Some(107)));
    assert_eq!(usage.reasoning_tokens(), Some(5));
}

#[test]
fn tool_calls_win_over_other_choices() {
    let choice = |reason: &str| json!({"finish_reason": reason, "message": {}});
    let mut answer = json!({"choices": [choice("stop"), choice("tool_calls"), choice("length")]});
    answer["choices"][1]["message"] = json!({"tool_calls": [{"id": "a"}]});
    let summary = body(&answer);
    assert_eq!((summary.finish, summary.tool_calls), (Some(Finish::ToolCalls), true));
    assert!(body(&json!({"choices": [{"message": {"function_call": {"name": "f"}}}]})).tool_calls);
}

#[test]
fn reads_a_chat_stream_and_parses_only_what_tells() {
    let summary = stream(&[
        r#"{"id":"c1","model":"m","choices":[{"delta":{"role":"assistant"},"finish_reason":null}]}"#,
        r#"{"id":"c1","model":"m","choices":[{"delta":{"content":"finish_reason\": \"stop\""},"finish_reason" : null}],"usage":null}"#,
        "{not json, and not looked at",
        r#"{"id":"c1","choices":[{"delta":{"tool_calls":[{"index":0,"id":"t"}]},"finish_reason":null}]}"#,
        r#"{"id":"c1","choices":[{"delta":{},"finish_reason" :	"tool_calls"}]}"#,
        r#"{"id":"c1","choices":[],"usage": {"prompt_tokens":5,"completion_tokens":2}}"#,
        " [DONE] ",
    ]);
    assert_eq!(
        (summary.id.as_str(), summary.finish, summary.tool_calls),
        ("c1", Some(Finish::ToolCalls), true)
    );
    assert_eq!((summary.usage.total_tokens(), summary.usage.cached_tokens()), (Some(7), None));
    assert!(summary.ended);
    assert_eq!(summary.malformed, 0);
}

#[test]
fn adds_up_anthropic_usage() {
    let summary = stream(&[
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":10,"cache_read_input_tokens":300,"cache_creation_input_tokens":20,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":44}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    assert_eq!((summary.id.as_str(), summary.model.as_str()), ("msg_1", "claude"));
    assert_eq!((summary.finish, summary.tool_calls, summary.ended), (Some(Finish::ToolCalls), true, true));
    let usage = summary.usage;
    assert_eq!((usage.prompt_tokens(), usage.cached_tokens()), (Some(330), Some(300)));
    assert_eq!((usage.cache_creation_tokens(), usage.completion_tokens()), (Some(20), Some(44)));
    assert_eq!(usage.total_tokens(), Some(374));

    let whole = body(&json!({"id": "msg_2", "type": "message", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "t"}], "usage": {"input_tokens": 1, "output_tokens": 2}}));
    assert_eq!((whole.finish, whole.tool_calls), (Some(Finish::Stop), true));
}

#[test]
fn reads_responses_events_and_bodies() {
    let summary = stream(&[
        r#"{"type":"response.created","response":{"id":"resp_1","object":"response","status":"in_progress","model":"m","error":null,"usage":null,"output":[]}}"#,
        r#"{"type":"response.output_text.delta","delta":"a \"usage\": {"}"#,
        r#"{"type":"response.output_item.added","item":{"type":"function_call","id":"fc","call_id":"c"}}"#,
        r#"{"type":"response.completed","response":{"id":"resp_1","object":"response","status":"completed","output":[{"type":"function_call"}],"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":3,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":12}}}"#,
    ]);
    assert_eq!((summary.id.as_str(), summary.model.as_str()), ("resp_1", "m"));
    assert_eq!((summary.finish, summary.tool_calls, summary.ended), (Some(Finish::Stop), true, true));
    assert_eq!((summary.usage.prompt_tokens(), summary.usage.cached_tokens()), (Some(9), Some(4)));
    assert_eq!(summary.usage.reasoning_tokens(), Some(2));

    let cut =
        body(&json!({"object": "response", "status": "incomplete", "output": [{"type": "web_search_call"}],
        "incomplete_details": {"reason": "max_output_tokens"}}));
    assert_eq!((cut.finish, cut.tool_calls), (Some(Finish::Length), false));
}

#[test]
fn reads_errors_of_every_kind() {
    let error =
        |kind: &str, message: &str| Some(ReportedError { kind: kind.into(), message: message.into() });
    for (value, expected) in [
        (
            json!({"error": {"message": "no", "type": "invalid_request_error", "code": "x"}}),
            error("invalid_request_error", "no"),
        ),
        (json!({"error": {"message": "no", "type": null, "code": "x"}}), error("x", "no")),
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
            error("overloaded_error", "busy"),
        ),
        (json!({"type": "error", "code": "rate", "message": "slow"}), error("rate", "slow")),
        (
            json!({"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}),
            error("BadRequestError", "bad"),
        ),
        (json!({"error": "plain"}), error("", "plain")),
        (json!({"error": null}), None),
    ] {
        assert_eq!(body(&value).error, expected, "{value}");
    }
    let broken = stream(&[r#"{"id":"a"}"#, r#"{"error":{"message":"engine died","type":"server_error"}}"#]);
    assert_eq!(broken.error, error("server_error", "engine died"));
    let failed = stream(&[
        r#"{"type":"response.failed","response":{"id":"r","error":{"code":"server_error","message":"x"}}}"#,
    ]);
    assert_eq!((failed.error, failed.ended), (error("server_error", "x"), true));
}

#[test]
fn keeps_what_came_before_a_syntax_error_and_bounds_texts() {
    let mut summary = Summary::new();
    assert!(!summary.read_body(br#"{"id":"a","usage":{"prompt_tokens":3},"choices":[}"#));
    assert_eq!((summary.id.as_str(), summary.usage.prompt_tokens(), summary.malformed), ("a", Some(3), 1));
    summary.clear();
    assert!(summary.id.is_empty() && summary.usage.is_empty() && summary.malformed == 0);
    assert!(summary.read_body(format!(r#"{{"id":"{}"}}"#, "é".repeat(5000)).as_bytes()));
    assert_eq!(summary.id.len(), 1024);
    summary.clear();
    assert!(summary.read_body(b"{\"id\":\"ok\xff\"}"));
    assert_eq!(summary.id, "ok");
}

#[test]
fn white_space_anywhere_hides_nothing() {
    for event in
        ["{ \"usage\"\n:\t{ } }", "{\"finish_reason\" : \"stop\"}", "{\"a\":\"tool_use\"}", "{\"usage\":nul"]
    {
        assert!(says_something(event.as_bytes()), "{event}");
    }
    for event in
        ["{ \"usage\"\n:\tnull }", "{\"finish_reason\":null,\"usage\":null}", r#"{"content":"\"usage\":1"}"#]
    {
        assert!(!says_something(event.as_bytes()), "{event}");
    }
}

proptest! {
    #[test]
    fn filtering_loses_nothing(
        reasons in prop::collection::vec(prop::option::of(prop::sample::select(vec!["stop", "length", "tool_calls"])), 1..6),
        usage in prop::option::of((0u64..1000, 0u64..1000)),
        pretty in any::<bool>(),
        content in ".{0,30}",
    ) {
        let mut filtered = Summary::new();
        let mut parsed = Summary::new();
        for (index, reason) in reasons.iter().enumerate() {
            let mut event = json!({"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}], "usage": null});
            if let (Some((prompt, completion)), true) = (usage, index + 1 == reasons.len()) {
                event["usage"] = json!({"prompt_tokens": prompt, "completion_tokens": completion});
            }
            let event = if pretty { serde_json::to_string_pretty(&event).unwrap() } else { event.to_string() };
            filtered.read_event(event.as_bytes());
            parsed.read_body(event.as_bytes());
        }
        prop_assert_eq!(filtered.finish, parsed.finish);
        prop_assert_eq!(filtered.usage, parsed.usage);
        prop_assert_eq!(filtered.id, parsed.id);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut summary = Summary::new();
        summary.read_event(&bytes);
        summary.read_body(&bytes);
    }
}
