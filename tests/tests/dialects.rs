//! Promise: Anthropic's Messages and OpenAI's Responses are served like chat completions: same decisions, same
//! locks, errors in their own words.

use pintle_standin::{Options, StandIn};
use pintle_tests::{ConfigFile, Connection, Gateway, Model, Response};
use serde_json::{Value, json};

fn pair() -> (StandIn, StandIn) {
    let start = |name| StandIn::spawn(Options::for_model(name)).unwrap();
    (start("small"), start("large"))
}

fn gateway(small: &StandIn, large: &StandIn) -> Gateway {
    let models = vec![Model::on(&[small], 0.1, 0.4), Model::on(&[large], 3.0, 0.9)];
    Gateway::start(&ConfigFile::tempting(models))
}

fn post(connection: &mut Connection, path: &str, headers: &str, body: &Value) -> Response {
    let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json{headers}");
    connection.request(&head, body.to_string().as_bytes());
    connection.response()
}

fn messages(connection: &mut Connection, body: &Value) -> Response {
    post(connection, "/v1/messages", "\r\nx-session-id: s1", body)
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

const TOOL: &str = r#"{"name":"read_file","input_schema":{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}}"#;

#[test]
fn a_tool_loop_in_messages_stays_on_its_model_streamed_and_not() {
    for stream in [false, true] {
        let (small, large) = pair();
        let gateway = gateway(&small, &large);
        let mut connection = gateway.connect();
        let tools = json!([serde_json::from_str::<Value>(TOOL).unwrap()]);
        let ask = |messages: &Value| json!({ "model": "auto", "max_tokens": 100, "stream": stream, "tools": tools, "messages": messages });
        let mut thread = vec![user("use read_file [calls:2]")];
        let first = messages(&mut connection, &ask(&json!(thread)));
        assert_eq!((first.status, first.model()), (200, "small"), "{}", first.text());
        let calls: Vec<Value> = if stream {
            let blocks = first.events().into_iter().filter(|event| event["type"] == "content_block_start");
            blocks.map(|mut event| event["content_block"].take()).collect()
        } else {
            first.json()["content"].as_array().unwrap().clone()
        };
        let calls: Vec<Value> = calls.into_iter().filter(|block| block["type"] == "tool_use").collect();
        assert_eq!(calls.len(), 2);
        let results: Vec<Value> = calls
            .iter()
            .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "x" }))
            .collect();
        thread.push(json!({ "role": "assistant", "content": calls }));
        thread.push(json!({ "role": "user", "content": results }));
        let second = messages(&mut connection, &ask(&json!(thread)));
        assert_eq!((second.status, second.model()), (200, "small"), "{}", second.text());
        assert_eq!(second.header("x-vsr-session-phase"), "tool_loop");
        assert_eq!((small.stats().violations, large.stats().violations), (0, 0));
        let flow = gateway.flow(&second.flow());
        assert_eq!(flow["request"]["dialect"], "anthropic_messages");
        assert_eq!(flow["usage"]["source"], "backend", "{flow}");
        assert_eq!(flow["outcome"]["finish_reason"], "end_turn");
        assert_eq!(flow["outcome"]["committed"], true);
    }
}

#[test]
fn the_first_response_id_leads_back_to_its_model_unless_it_was_not_kept() {
    for (stream, store) in [(false, json!(null)), (true, json!(true)), (false, json!(false))] {
        let (small, large) = pair();
        let gateway = gateway(&small, &large);
        let mut connection = gateway.connect();
        let ask = |text: &str, previous: Option<&str>| {
            let mut body = json!({ "model": "auto", "input": text, "stream": stream, "store": store });
            if let Some(previous) = previous {
                body["previous_response_id"] = previous.into();
            }
            body
        };
        let first = post(&mut connection, "/v1/responses", "", &ask("hello", None));
        assert_eq!((first.status, first.model()), (200, "small"), "{}", first.text());
        let id = if stream {
            first.events().last().unwrap()["response"]["id"].clone()
        } else {
            first.json()["id"].clone()
        };
        // Another text, so another fingerprint: only the id tells whose turn this is.
        let second = post(&mut connection, "/v1/responses", "", &ask("prove it", id.as_str()));
        let kept = store != json!(false);
        assert_eq!(second.header("x-vsr-session-phase"), "provider_state");
        if kept {
            assert_eq!((second.status, second.model()), (200, "small"), "{}", second.text());
            let flow = gateway.flow(&second.flow());
            assert_eq!(
                flow["session"]["action"],
                json!({ "kind": "held", "why": "provider_state" }),
                "{flow}"
            );
        }
        let violations = small.stats().violations + large.stats().violations;
        assert_eq!(violations == 0, kept);
    }
}

#[test]
fn a_function_call_is_answered_by_the_model_that_made_it() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    let tool = json!({ "type": "function", "name": "read_file", "parameters": {} });
    let ask = |input: Value, previous: &Value| json!({ "model": "auto", "tools": [tool], "input": input, "previous_response_id": previous });
    let first = post(&mut connection, "/v1/responses", "", &ask(json!("use read_file"), &Value::Null));
    assert_eq!((first.status, first.model()), (200, "small"), "{}", first.text());
    let answer = first.json();
    let call =
        answer["output"].as_array().unwrap().iter().find(|item| item["type"] == "function_call").unwrap();
    let output = json!([{ "type": "function_call_output", "call_id": call["call_id"], "output": "x" }]);
    let second = post(&mut connection, "/v1/responses", "", &ask(output, &answer["id"]));
    assert_eq!((second.status, second.model()), (200, "small"), "{}", second.text());
    assert_eq!(second.header("x-vsr-session-phase"), "tool_loop");
    assert_eq!((small.stats().violations, large.stats().violations), (0, 0));
}

#[test]
fn a_response_goes_back_to_the_backend_that_keeps_it() {
    let backends: Vec<StandIn> =
        (0..3).map(|_| StandIn::spawn(Options::for_model("small")).unwrap()).collect();
    let model = Model::on(&backends.iter().collect::<Vec<_>>(), 0.1, 0.5);
    let gateway = Gateway::start(&ConfigFile::plain(vec![model]));
    let mut connection = gateway.connect();
    for turn in 0..4 {
        let input = format!("begin {turn}");
        let first = post(&mut connection, "/v1/responses", "", &json!({ "model": "auto", "input": input }));
        let served = gateway.flow(&first.flow())["upstream"][0]["backend"].clone();
        let mut id = first.json()["id"].clone();
        for _ in 0..4 {
            let body = json!({ "model": "auto", "input": "go on", "previous_response_id": id });
            let next = post(&mut connection, "/v1/responses", "", &body);
            assert_eq!(gateway.flow(&next.flow())["upstream"][0]["backend"], served);
            id = next.json()["id"].clone();
        }
    }
}

#[test]
fn errors_come_in_the_dialect_of_the_path() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    let anthropic = |response: &Response, status: u16, kind: &str| {
        assert_eq!(response.status, status, "{}", response.text());
        let json = response.json();
        assert_eq!((&json["type"], &json["error"]["type"]), (&json!("error"), &json!(kind)), "{json}");
        assert!(json["error"]["message"].is_string() && json["request_id"] == response.flow());
    };
    anthropic(&messages(&mut connection, &json!({ "model": "auto" })), 400, "invalid_request_error");
    anthropic(
        &messages(&mut connection, &json!({ "model": "none", "messages": [] })),
        404,
        "not_found_error",
    );
    let failing = json!({ "model": "auto", "max_tokens": 5, "messages": [user("[error:500]")] });
    assert_eq!(messages(&mut connection, &failing).json()["error"]["type"], "api_error");
    let elsewhere = post(&mut gateway.connect(), "/v1/messages/count_tokens", "", &json!({}));
    anthropic(&elsewhere, 404, "not_found_error");
    anthropic(&gateway.connect().get("/v1/messages"), 405, "invalid_request_error");
    post(&mut connection, "/v1/responses", "", &json!({ "model": "auto" })).assert_openai_error(400);
    gateway.connect().get("/v1/responses").assert_openai_error(405);
}

#[test]
fn a_model_of_another_api_is_refused_in_words_and_never_asked() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let model = Model { provider: "api_format: anthropic".into(), ..Model::on(&[&stand_in], 0.1, 0.5) };
    let gateway = Gateway::start(&ConfigFile::plain(vec![model]));
    let mut connection = gateway.connect();
    let body = json!({ "model": "auto", "max_tokens": 5, "messages": [user("hi")] });
    let answered = post(&mut connection, "/v1/messages?beta=true", "\r\nx-api-key: k", &body);
    assert_eq!(answered.status, 200, "{}", answered.text());
    let seen = stand_in.seen().pop().unwrap();
    assert_eq!(seen.path, "/v1/messages?beta=true");
    assert_eq!((seen.header("anthropic-version"), seen.header("x-api-key")), (Some("2023-06-01"), Some("k")));
    let refused = connection.chat("s", &body);
    let message = refused.assert_openai_error(400);
    assert!(message.contains("/v1/messages"), "{message}");
    assert_eq!(refused.json()["error"]["code"], "unsupported_api");
    assert_eq!(stand_in.stats().requests, 1);
}

#[test]
fn fixed_answers_and_matched_signals_are_told_in_every_dialect() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]);
    config.routing = "  signals:
    keywords:
      - {name: secret, operator: OR, keywords: [password]}
      - {name: greeting, operator: OR, keywords: [hello]}
  decisions:
    - name: refuse
      description: no secrets
      priority: 2
      rules: {operator: OR, conditions: [{type: keyword, name: secret}]}
      modelRefs: [{model: small}]
      plugins:
        - type: fast_response
          configuration: {message: Not here.}
    - name: everything
      description: all requests
      priority: 1
      rules: {operator: OR, conditions: [{type: keyword, name: greeting}, {operator: AND, conditions: []}]}
      modelRefs: [{model: small}]
"
    .to_owned();
    let gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    for (path, at) in [
        ("/v1/chat/completions", "/choices/0/message/content"),
        ("/v1/messages", "/content/0/text"),
        ("/v1/responses", "/output/0/content/0/text"),
    ] {
        let ask = |text: &str| match path {
            "/v1/responses" => json!({ "model": "auto", "input": text }),
            _ => json!({ "model": "auto", "max_tokens": 9, "messages": [user(text)] }),
        };
        let fast = post(&mut connection, path, "", &ask("my password"));
        assert_eq!((fast.status, fast.header("x-vsr-fast-response")), (200, "true"), "{}", fast.text());
        assert_eq!(fast.header("x-vsr-selected-decision"), "refuse");
        assert_eq!(fast.json().pointer(at).unwrap(), "Not here.");
        let answered = post(&mut connection, path, "", &ask("hello"));
        assert_eq!(answered.status, 200, "{}", answered.text());
        assert_eq!(answered.header("x-vsr-matched-keywords"), "greeting");
    }
    assert_eq!(stand_in.stats().requests, 3);
}
