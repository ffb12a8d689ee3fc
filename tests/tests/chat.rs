//! Promise: a chat request reaches the chosen model and its answer reaches the client; of the body, only the
//! model's name changes.

use pintle_standin::{Options, StandIn};
use pintle_tests::{Agent, ConfigFile, Gateway, Model, until};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

fn digest(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

#[test]
fn a_whole_answer_comes_back_with_its_headers() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "hello [tokens:7]" }] });
    let response = gateway.connect().chat("s1", &body);
    assert_eq!(response.status, 200, "{}", response.text());
    let json = response.json();
    assert!(json["choices"][0]["message"]["content"].as_str().unwrap().starts_with("(small)"));
    assert_eq!(json["usage"]["completion_tokens"], 7);
    assert_eq!(response.model(), "small");
    assert_eq!(response.header("x-vsr-selected-decision"), "everything");
    assert_eq!(response.header("x-vsr-session-phase"), "user_turn");
    assert_eq!(response.header("x-stand-in-model"), "small", "the backend's own headers pass");
    let confidence: f64 = response.header("x-vsr-selected-confidence").parse().unwrap();
    assert!((0.0..=1.0).contains(&confidence));
    assert!(response.header("x-vsr-context-token-count").parse::<u64>().unwrap() > 0);
    response.flow();
}

#[test]
fn a_stream_arrives_while_it_is_spoken() {
    let stand_in =
        StandIn::spawn(Options { tokens_per_second: 10.0, ..Options::for_model("small") }).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let body = json!({ "model": "auto", "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "go on [tokens:40]" }] });
    let mut connection = gateway.connect();
    connection.request(&pintle_tests::http::chat_head("s1"), body.to_string().as_bytes());
    let (mut response, mut framing) = connection.try_head().unwrap();
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").starts_with("text/event-stream"));
    response.flow();
    response.body = connection.try_piece(&mut framing).unwrap().unwrap();
    assert_eq!(stand_in.stats().in_flight, 1, "the first piece is here while the model still speaks");
    let mut pieces = 1;
    while let Some(piece) = connection.try_piece(&mut framing).unwrap() {
        response.body.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(pieces > 20, "{pieces} pieces of some 43 events");
    assert!(response.body.ends_with(b"data: [DONE]\n\n"));
    let events = response.events();
    let text: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text.split(' ').count(), 40);
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 40);
    assert_eq!(connection.get("/health").status, 200, "the connection lives on after a stream");
}

#[test]
fn a_streamed_tool_call_is_put_together_by_the_client() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    let mut agent = Agent { stream: true, ..Agent::new("s1") };
    assert_eq!(agent.say(&mut connection, "use read_file [calls:3]").status, 200);
    assert_eq!(agent.open_calls.len(), 3);
    assert!(agent.open_calls[0].starts_with("call_small_"));
    let arguments = &agent.messages.last().unwrap()["tool_calls"][2]["function"]["arguments"];
    assert!(serde_json::from_str::<Value>(arguments.as_str().unwrap()).unwrap()["path"].is_string());
    let response = agent.hand_in(&mut connection);
    assert_eq!((response.status, agent.open_calls.len()), (200, 0));
    assert_eq!(response.header("x-vsr-session-phase"), "tool_loop");
}

#[test]
fn every_byte_but_the_models_name_passes_unchanged() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    let bodies = [
        r#"{"model":"auto","messages":[{"role":"user","content":"plain"}]}"#.to_owned(),
        "\t{ \"messages\" : [ {\"role\":\"user\",\"content\":\"white   space\"} ] ,\r\n \"model\"\t:\n\"auto\" } \n"
            .to_owned(),
        r#"{"messages":[{"role":"user","content":"say \"model\":\"auto\" \u00e9 \ud83e\udd80 \/ é 🦀 \\"}],"model":"auto","x":{"model":"auto"}}"#
            .to_owned(),
        r#"{"temperature":1.0e-1,"seed":123456789012345678901234567890,"model":"\u0061uto","messages":[{"role":"user","content":""},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],"z":[[],{},null,true,-0.0]}"#
            .to_owned(),
        format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"{}"}}],"deep":{}1{}}}"#, "long ".repeat(50_000), "[".repeat(60), "]".repeat(60)),
    ];
    for body in &bodies {
        let response = connection.chat_bytes("s1", body.as_bytes());
        assert_eq!(response.status, 200, "{body:.200}: {}", response.text());
        let expected = patched(body);
        assert_eq!(response.header("x-stand-in-body-xxh3"), digest(expected.as_bytes()), "{body:.200}");
        assert_eq!(stand_in.seen().last().unwrap().body_bytes, expected.len() as u64);
    }
}

/// The body with the value of its top-level `model` replaced, found by the text that stands there.
fn patched(body: &str) -> String {
    for spelled in ["\"model\":\"auto\"", "\"model\"\t:\n\"auto\"", "\"model\":\"\\u0061uto\""] {
        let at =
            if body.contains("\"x\":{") { body.find("\"model\":\"auto\",\"x\"") } else { body.find(spelled) };
        if let Some(at) = at {
            let value = spelled.rfind(":").unwrap() + at;
            let start = body[value..].find('"').unwrap() + value + 1;
            let end = body[start..].find('"').unwrap() + start;
            return format!("{}small{}", &body[..start], &body[end..]);
        }
    }
    panic!("no model in {body}");
}

#[test]
fn a_body_of_sixteen_mebibytes_passes() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let filler = "0123456789abcdef".repeat(1 << 20);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{filler}"}}],"model":"auto"}}"#);
    let response = gateway.connect().chat_bytes("s1", body.as_bytes());
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("x-stand-in-body-xxh3"), digest(patched(&body).as_bytes()));
}

#[test]
fn a_named_model_is_served_by_that_model() {
    let small = StandIn::spawn(Options::for_model("small")).unwrap();
    let large = StandIn::spawn(Options::for_model("large")).unwrap();
    let models = vec![Model::on(&[&small], 0.1, 0.5), Model::on(&[&large], 1.0, 0.9)];
    let gateway = Gateway::start(&ConfigFile::tempting(models));
    let mut connection = gateway.connect();
    for (asked, stand_in) in [("large", &large), ("small", &small)] {
        let before = stand_in.stats().requests;
        let body = json!({ "model": asked, "messages": [{ "role": "user", "content": "hi" }] });
        let response = connection.chat("", &body);
        assert_eq!((response.status, response.model()), (200, asked), "{}", response.text());
        assert_eq!(stand_in.stats().requests, before + 1);
        assert_eq!(response.header("x-stand-in-body-xxh3"), digest(body.to_string().as_bytes()));
    }
    let unknown = json!({ "model": "no-such-model", "messages": [{ "role": "user", "content": "hi" }] });
    let message = connection.chat("", &unknown).assert_openai_error(404);
    assert!(message.contains("no-such-model"), "{message}");
}

#[test]
fn the_head_that_reaches_the_backend_is_clean() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let body = br#"{"model":"auto","messages":[{"role":"user","content":"hi"}]}"#;
    let mut connection = gateway.connect();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway.example\r\nconnection: keep-alive, x-private\r\n\
        x-private: secret\r\nkeep-alive: timeout=5\r\nte: trailers\r\nproxy-authorization: Basic eA==\r\n\
        x-vsr-looper-request: true\r\nx-request-id: req-7\r\nx-kept: yes\r\ntraceparent: 00-1-2-01";
    connection.request(head, body);
    assert_eq!(connection.response().status, 200);
    let seen = stand_in.seen().pop().unwrap();
    for gone in ["x-private", "keep-alive", "proxy-authorization", "te", "x-vsr-looper-request"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    for (kept, value) in [("x-kept", "yes"), ("traceparent", "00-1-2-01"), ("x-request-id", "req-7")] {
        assert_eq!(seen.header(kept), Some(value), "{kept}");
    }
    assert_eq!(seen.header("host"), Some(stand_in.address().to_string().as_str()));
    assert_eq!(seen.header("content-length"), Some((body.len() + 1).to_string().as_str()));
    assert_eq!(seen.headers.iter().filter(|(n, _)| n == "content-length").count(), 1);
}

#[test]
fn the_backends_key_is_used_and_neither_key_shows_anywhere_else() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let model = Model { api_key: Some("sk-of-the-backend".to_owned()), ..Model::on(&[&stand_in], 0.1, 0.5) };
    let gateway = Gateway::start(&ConfigFile::plain(vec![model]));
    let head = format!("{}\r\nauthorization: Bearer sk-of-the-client", pintle_tests::http::chat_head("s1"));
    let mut connection = gateway.connect();
    connection.request(&head, br#"{"model":"auto","messages":[{"role":"user","content":"hi"}]}"#);
    let response = connection.response();
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = stand_in.seen().pop().unwrap();
    let sent: Vec<_> = seen.headers.iter().filter(|(n, _)| n == "authorization").collect();
    assert_eq!(sent, [&("authorization".to_owned(), "Bearer sk-of-the-backend".to_owned())]);
    let flow = gateway.flow(&response.flow()).to_string();
    for place in [&flow, &gateway.log(), &gateway.metrics(), &format!("{:?}", response.headers)] {
        assert!(!place.contains("sk-of-the-"), "{place}");
    }
}

#[test]
fn a_client_that_leaves_frees_the_model() {
    let stand_in =
        StandIn::spawn(Options { tokens_per_second: 20.0, ..Options::for_model("small") }).unwrap();
    let gateway = Gateway::plain(&stand_in);
    for (n, (stream, text)) in [(true, "[tokens:100000]"), (false, "[delay:600000]")].into_iter().enumerate()
    {
        let mut connection = gateway.connect();
        let body =
            json!({ "model": "auto", "stream": stream, "messages": [{ "role": "user", "content": text }] });
        connection.request(&pintle_tests::http::chat_head("s1"), body.to_string().as_bytes());
        until("the model is at work", || stand_in.stats().in_flight == 1);
        if stream {
            let (_, mut framing) = connection.try_head().unwrap();
            connection.try_piece(&mut framing).unwrap();
        }
        drop(connection);
        until("the model was told to stop", || stand_in.stats().aborted == n as u64 + 1);
    }
    assert_eq!(stand_in.stats().in_flight, 0);
}
