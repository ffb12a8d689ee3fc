//! Promise: a limit is met before the upstream, in the client's dialect, and what a limit refuses leaves no trace.

use pintle_standin::{Options, StandIn};
use pintle_tests::{ConfigFile, Connection, Gateway, Model, Response};
use serde_json::{Value, json};

/// Two workers share the limits; identities are believed.
fn gateway(stand_in: &StandIn, rules: &str) -> Gateway {
    let mut config = ConfigFile::plain(vec![Model::on(&[stand_in], 0.1, 0.5)])
        .with("workers: 2")
        .with("trusted_identity: true");
    config.global = format!(
        "  services:\n    ratelimit:\n      providers:\n        - type: local-limiter\n          rules:\n{rules}"
    );
    Gateway::start(&config)
}

fn stand_in() -> StandIn {
    StandIn::spawn(Options::for_model("small")).unwrap()
}

fn ask(connection: &mut Connection, path: &str, user: &str, body: &Value) -> Response {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: test\r\nx-session-id: {user}\r\nx-authz-user-id: {user}");
    connection.request(&head, body.to_string().as_bytes());
    connection.response()
}

fn chat(connection: &mut Connection, user: &str, text: &str) -> Response {
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] });
    ask(connection, "/v1/chat/completions", user, &body)
}

const THREE_A_DAY: &str =
    "            - {name: daily, match: {user: '*'}, requests_per_unit: 3, unit: day}\n";

#[test]
fn requests_are_bounded_per_user_over_all_workers() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, THREE_A_DAY);
    for user in ["ann", "bob"] {
        for _ in 0..3 {
            assert_eq!(chat(&mut gateway.connect(), user, "hi").status, 200);
        }
        let refused = chat(&mut gateway.connect(), user, "hi");
        let message = refused.assert_openai_error(429);
        assert!(message.contains("3 requests"), "{message}");
        assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
        assert_eq!(
            (refused.header("x-ratelimit-limit"), refused.header("x-ratelimit-remaining")),
            ("3", "0")
        );
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=28_800).contains(&wait), "{wait}");
        let flow = gateway.flow(&refused.flow());
        assert_eq!(flow["outcome"]["status"], 429);
        assert_eq!(flow["outcome"]["fault"], "client");
        assert_eq!(flow["outcome"]["committed"], false);
        assert_eq!(flow["outcome"]["error"], message);
        assert_eq!(flow["upstream"], json!([]));
    }
    assert_eq!(stand_in.stats().requests, 6);
    assert_eq!(gateway.metric("pintle_requests_limited_total", &["rule=\"daily\""]), 2.0);
}

#[test]
fn a_429_is_worded_in_the_clients_dialect() {
    let stand_in = stand_in();
    let rule = "            - {name: none, match: {model: small}, requests_per_unit: 1, unit: day}\n";
    let gateway = gateway(&stand_in, rule);
    let mut connection = gateway.connect();
    assert_eq!(chat(&mut connection, "ann", "hi").status, 200);
    let body = json!({ "model": "auto", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let refused = ask(&mut connection, "/v1/messages", "ann", &body);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.json()["type"], "error");
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!(refused.json()["request_id"], refused.flow());
    let refused = ask(&mut connection, "/v1/responses", "ann", &json!({ "model": "auto", "input": "hi" }));
    refused.assert_openai_error(429);
}

#[test]
fn a_failed_request_gets_its_charge_back() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, THREE_A_DAY);
    let mut connection = gateway.connect();
    for _ in 0..5 {
        assert_eq!(chat(&mut connection, "ann", "[error:503]").status, 503);
    }
    assert_eq!(chat(&mut connection, "ann", "hi").status, 200);
}

#[test]
fn tokens_are_charged_as_the_backend_counts_them() {
    let stand_in = stand_in();
    let rule = "            - {name: tokens, tokens_per_unit: 1000, unit: day}\n";
    let gateway = gateway(&stand_in, rule);
    let mut connection = gateway.connect();
    // The prompt is small and the answer is not: only the backend's count can exhaust the limit.
    let answered = chat(&mut connection, "ann", "[tokens:1000]");
    assert_eq!((answered.status, answered.json()["usage"]["completion_tokens"].as_u64()), (200, Some(1000)));
    let refused = chat(&mut connection, "ann", "hi");
    assert!(refused.assert_openai_error(429).contains("1000 tokens"));
    assert_eq!(chat(&mut connection, "bob", "hi").status, 200);
}

#[test]
fn a_refused_turn_does_not_count_in_its_session() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, THREE_A_DAY);
    let mut connection = gateway.connect();
    for _ in 0..3 {
        assert_eq!(chat(&mut connection, "ann", "hi").status, 200);
    }
    for _ in 0..2 {
        let flow = gateway.flow(&chat(&mut connection, "ann", "hi").flow());
        assert_eq!(flow["session"]["before"]["turns"], 3, "{flow}");
    }
}
