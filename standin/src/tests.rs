use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::dialect::issuer;
use crate::directives::Directives;
use crate::faults;
use crate::prefix::PrefixCache;
use crate::{Options, StandIn};

/// Sends one request on its own connection and reads until the server closes it.
fn post(server: &StandIn, path: &str, body: &Value) -> (u16, String, String) {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    exchange(server, &head)
}

fn exchange(server: &StandIn, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // A connection broken on purpose ends in an error; what arrived before it is the answer.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return (0, text, String::new()) };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
    (status, head.to_owned(), body)
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        out.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    out
}

fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|l| l.strip_prefix("data: ")).filter(|d| *d != "[DONE]");
    data.map(|d| serde_json::from_str(d).unwrap()).collect()
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "read_file", "parameters": {
        "type": "object", "required": ["path"],
        "properties": { "path": { "type": "string" }, "limit": { "type": "integer" } } } } }])
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

#[test]
fn a_chat_stream_carries_role_text_finish_usage_and_done() {
    let server = StandIn::spawn(Options::for_model("m-1")).unwrap();
    let body = json!({ "model": "m-1", "stream": true, "stream_options": { "include_usage": true },
        "messages": [user("hello [tokens:5]")] });
    let (status, head, text) = post(&server, "/v1/chat/completions", &body);
    assert_eq!(status, 200);
    assert!(head.contains("text/event-stream"));
    assert!(head.contains(&format!("x-stand-in-body-xxh3: {:016x}", xxh3_64(body.to_string().as_bytes()))));
    assert!(text.ends_with("data: [DONE]\n\n"));
    let events = events(&text);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let said: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(said.starts_with("(m-1) "), "{said}");
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    let usage = &events.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], 5);
    assert_eq!(events.last().unwrap()["choices"], json!([]));
    assert!(events[1]["usage"].is_null() && events[1].get("usage").is_some());
    assert_eq!(server.stats().completed, 1);
}

#[test]
fn streamed_arguments_join_to_the_same_call_as_the_whole_answer() {
    let server = StandIn::spawn(Options::for_model("m")).unwrap();
    let mut body = json!({ "model": "m", "tools": tools(), "messages": [user("use read_file now")] });
    let (_, _, whole) = post(&server, "/v1/chat/completions", &body);
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let call = &whole["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["id"], "call_m_1");
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "path": "src/part_0.rs" }));

    body["stream"] = json!(true);
    let (_, _, text) = post(&server, "/v1/chat/completions", &body);
    let pieces: Vec<Value> =
        events(&text).iter().map(|e| e["choices"][0]["delta"]["tool_calls"][0].clone()).collect();
    let opening = pieces.iter().find(|p| p["id"].is_string()).unwrap();
    assert_eq!(opening["id"], "call_m_2");
    assert_eq!(opening["function"]["name"], "read_file");
    let joined: String = pieces.iter().filter_map(|p| p["function"]["arguments"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&joined).unwrap(), arguments);
    assert!(pieces.iter().filter(|p| p["function"]["arguments"].is_string()).count() > 3);
}

#[test]
fn a_result_for_another_models_call_is_a_violation_until_that_loop_is_over() {
    let server = StandIn::spawn(Options::for_model("large")).unwrap();
    let call = |id: &str| {
        json!([user("go"), { "role": "assistant", "content": null, "tool_calls": [{ "id": id, "type": "function",
            "function": { "name": "read_file", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": id, "content": "text" }])
    };
    let ask = |messages: &Value| {
        post(&server, "/v1/chat/completions", &json!({ "model": "large", "messages": messages })).0
    };
    assert_eq!(ask(&call("call_large_7")), 200);
    assert_eq!(ask(&call("call_from-elsewhere")), 200);
    assert_eq!(ask(&call("call_small_7")), 409);
    assert_eq!(server.stats().violations, 1);
    let mut interrupted = call("call_small_7");
    interrupted.as_array_mut().unwrap().push(user("and now?"));
    assert_eq!(ask(&interrupted), 409);
    let mut finished = call("call_small_7");
    finished.as_array_mut().unwrap().push(json!({ "role": "assistant", "content": "done" }));
    finished.as_array_mut().unwrap().push(user("next"));
    assert_eq!(ask(&finished), 200);
    assert_eq!(server.stats().violations, 2);
}

#[test]
fn a_loop_of_n_steps_calls_n_times() {
    let server = StandIn::spawn(Options::for_model("m")).unwrap();
    let mut messages = vec![user("[steps:3][calls:2]")];
    let mut rounds = 0;
    loop {
        let body = json!({ "model": "m", "tools": tools(), "messages": messages });
        let (status, _, text) = post(&server, "/v1/chat/completions", &body);
        assert_eq!(status, 200, "{text}");
        let message = serde_json::from_str::<Value>(&text).unwrap()["choices"][0]["message"].clone();
        let Some(calls) = message["tool_calls"].as_array().cloned() else { break };
        assert_eq!(calls.len(), 2);
        messages.push(message);
        messages.extend(
            calls.iter().map(|c| json!({ "role": "tool", "tool_call_id": c["id"], "content": "ok" })),
        );
        rounds += 1;
    }
    assert_eq!(rounds, 3);
    assert_eq!(server.stats().violations, 0);
}

#[test]
fn the_prefix_cache_reports_what_an_earlier_prompt_shared() {
    let server = StandIn::spawn(Options::for_model("m")).unwrap();
    let mut messages = vec![json!({ "role": "system", "content": "be brief ".repeat(40) }), user("one")];
    let ask = |messages: &[Value]| {
        let (_, _, text) =
            post(&server, "/v1/chat/completions", &json!({ "model": "m", "messages": messages }));
        serde_json::from_str::<Value>(&text).unwrap()["usage"].clone()
    };
    let cold = ask(&messages);
    assert_eq!(cold["prompt_tokens_details"]["cached_tokens"], 0);
    messages.push(json!({ "role": "assistant", "content": "yes" }));
    messages.push(user("two"));
    let warm = ask(&messages);
    assert_eq!(warm["prompt_tokens_details"]["cached_tokens"], cold["prompt_tokens"]);
    messages[0]["content"] = json!("be long");
    assert!(ask(&messages)["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() < 10);
}

#[test]
fn a_prefix_cache_forgets_the_oldest_first_and_stays_bounded() {
    let mut cache = PrefixCache::new(2);
    assert_eq!(cache.admit(&[(1, 10), (2, 10)]), 0);
    assert_eq!(cache.admit(&[(1, 10), (2, 10)]), 20);
    assert_eq!(cache.admit(&[(3, 10)]), 0);
    assert_eq!(cache.admit(&[(1, 10), (2, 10)]), 0);
    let mut off = PrefixCache::new(0);
    assert_eq!(off.admit(&[(1, 10)]) + off.admit(&[(1, 10)]), 0);
}

#[test]
fn directives_are_read_and_nonsense_is_text() {
    let found =
        Directives::parse("a[0] [[tool:grep] [delay:50][error:700] [steps:2][steps:9] [cut] [tokens:x");
    let expected = Directives {
        tool: Some("grep".to_owned()),
        delay_ms: Some(50),
        steps: Some(2),
        cut: true,
        ..Directives::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn only_our_own_ids_name_an_issuer() {
    assert_eq!(issuer("call_qwen3-8b_12", &["call"]), Some("qwen3-8b"));
    assert_eq!(issuer("toolu_a_1", &["call", "toolu"]), Some("a"));
    for id in ["call_abc", "call__1", "call_a_x", "call_a_", "callx_a_1", ""] {
        assert_eq!(issuer(id, &["call"]), None, "{id}");
    }
}

#[test]
fn faults_come_at_their_rate_and_from_the_seed() {
    let run = |seed| (0..10_000).map(|n| faults::drawn(seed, n, 0.2)).collect::<Vec<_>>();
    let hits = run(7).iter().flatten().count();
    assert!((1_850..2_150).contains(&hits), "{hits}");
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    assert!((0..1_000).all(|n| faults::drawn(1, n, 0.0).is_none()));
    assert!((0..1_000).all(|n| faults::drawn(1, n, 1.0).is_some()));
}

#[test]
fn faults_asked_for_happen() {
    let server = StandIn::spawn(Options::for_model("m")).unwrap();
    let ask = |text: &str, stream: bool| {
        let body = json!({ "model": "m", "stream": stream, "messages": [user(text)] });
        post(&server, "/v1/chat/completions", &body)
    };
    assert_eq!(ask("[error:503]", false).0, 503);
    assert_eq!(ask("[reset]", false).0, 0);
    let (status, head, body) = ask("[cut]", false);
    let announced = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
    assert_eq!(status, 200);
    assert!(!body.is_empty() && body.len() < announced.parse().unwrap());
    assert_eq!(server.stats().faults, 3);
    assert_eq!(server.stats().aborted, 0);
}

#[test]
fn a_client_that_leaves_is_counted() {
    let server = StandIn::spawn(Options::for_model("m")).unwrap();
    let body = json!({ "model": "m", "messages": [user("[delay:600000]")] }).to_string();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    wait(|| server.stats().in_flight == 1);
    drop(stream);
    wait(|| server.stats().aborted == 1);
    assert_eq!(server.stats().in_flight, 0);
}

#[test]
fn the_pace_is_kept() {
    let server = StandIn::spawn(Options { first_token_ms: 60, ..Options::for_model("m") }).unwrap();
    server.set_pace(|pace| pace.tokens_per_second = 100.0);
    let start = Instant::now();
    let body = json!({ "model": "m", "stream": true, "messages": [user("[tokens:11]")] });
    assert_eq!(post(&server, "/v1/chat/completions", &body).0, 200);
    assert!(start.elapsed() >= Duration::from_millis(160), "{:?}", start.elapsed());
}

#[test]
fn other_models_and_broken_bodies_are_refused() {
    let server = StandIn::spawn(Options::for_model("m")).unwrap();
    let (status, _, text) = post(&server, "/v1/chat/completions", &json!({ "model": "n", "messages": [] }));
    assert_eq!((status, text.contains("model_not_found")), (404, true));
    assert_eq!(post(&server, "/v1/chat/completions", &json!({ "messages": [] })).0, 400);
    assert_eq!(post(&server, "/v1/messages", &json!({ "model": "m" })).0, 400);
    assert_eq!(exchange(&server, "GET /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").0, 405);
    assert_eq!(server.stats().refused, 3);
}

#[test]
fn messages_and_responses_follow_their_own_forms() {
    let server = StandIn::spawn(Options::for_model("m")).unwrap();
    let anthropic_tools =
        json!([{ "name": "read_file", "input_schema": { "type": "object", "properties": {} } }]);
    let mut body = json!({ "model": "m", "max_tokens": 4, "stream": true, "messages": [user("hi")] });
    let (_, _, text) = post(&server, "/v1/messages", &body);
    assert!(text.starts_with("event: message_start\n") && text.contains("event: message_stop"));
    assert!(text.contains(r#""stop_reason":"max_tokens""#));
    body["messages"] = json!([user("[tool]")]);
    body["tools"] = anthropic_tools;
    let (_, _, text) = post(&server, "/v1/messages", &body);
    assert!(text.contains(r#""id":"toolu_m_1""#) && text.contains("input_json_delta"));
    let result = json!([user("[tool]"), { "role": "user", "content": [
        { "type": "tool_result", "tool_use_id": "toolu_other_1", "content": "x" }] }]);
    assert_eq!(post(&server, "/v1/messages", &json!({ "model": "m", "messages": result })).0, 409);

    let (_, _, text) =
        post(&server, "/v1/responses", &json!({ "model": "m", "input": "hi", "stream": true }));
    let events = events(&text);
    let numbers: Vec<u64> = events.iter().map(|e| e["sequence_number"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64));
    assert_eq!(events.last().unwrap()["type"], "response.completed");
    let follow = |id: &str| {
        post(&server, "/v1/responses", &json!({ "model": "m", "input": "more", "previous_response_id": id }))
            .0
    };
    assert_eq!((follow("resp_m_1"), follow("resp_n_1")), (200, 409));
}

/// Waits for a condition; fails after a minute.
fn wait(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::yield_now();
    }
}
