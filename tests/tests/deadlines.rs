//! Promise: every wait has a deadline; a slow or vanished peer costs itself a connection and nobody else.

use std::time::{Duration, Instant};

use pintle_standin::{Options, StandIn};
use pintle_tests::http::chat_head;
use pintle_tests::{ConfigFile, Connection, Gateway, Model, until};
use serde_json::json;

/// Far beyond the deadlines of these tests, and before anything else would end the wait.
const LATE: Duration = Duration::from_secs(20);

fn gateway(stand_in: &StandIn, timeouts: &str) -> Gateway {
    let config = ConfigFile::plain(vec![Model::on(&[stand_in], 0.1, 0.5)]);
    Gateway::start(&config.with(&format!("timeouts: {{{timeouts}}}")))
}

fn stand_in() -> StandIn {
    StandIn::spawn(Options::for_model("small")).unwrap()
}

/// The server ended the connection, with a 408 or without a word, not before the given time.
#[track_caller]
fn assert_timed_out(connection: &mut Connection, since: Instant, millis: u64) {
    if let Ok(response) = connection.try_response() {
        response.assert_openai_error(408);
        connection.assert_closed();
    }
    let waited = since.elapsed();
    assert!(waited >= Duration::from_millis(millis), "closed after {waited:?}");
    assert!(waited < LATE, "closed after {waited:?}");
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "head_ms: 400");
    let start = Instant::now();
    let mut connection = gateway.connect();
    // If this thread is held up here, the deadline has passed before the first byte: an end without a word.
    connection.try_send("GET /health HTTP/1.1\r\nhost: te");
    assert_timed_out(&mut connection, start, 400);
}

#[test]
fn dripping_bytes_do_not_extend_the_head_deadline() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "head_ms: 500");
    let start = Instant::now();
    let mut connection = gateway.connect();
    connection.try_send("GET /health HTTP/1.1\r\nx: ");
    until("the gateway gives up", || {
        std::thread::park_timeout(Duration::from_millis(50));
        !connection.try_send("a") || start.elapsed() > LATE
    });
    assert!(start.elapsed() < LATE, "dripping kept the connection alive");
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "body_idle_ms: 400");
    let mut connection = gateway.connect();
    let start = Instant::now();
    connection.send(format!("{}\r\ncontent-length: 500\r\n\r\n{{\"model\":", chat_head("s1")));
    assert_timed_out(&mut connection, start, 400);
    assert_eq!(stand_in.stats().requests, 0);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "keep_alive_ms: 1500, head_ms: 1500");
    let mut connection = gateway.connect();
    assert_eq!(connection.get("/health").status, 200);
    let start = Instant::now();
    connection.assert_closed();
    assert!(start.elapsed() < LATE);
}

#[test]
fn a_client_that_does_not_read_is_given_up_and_frees_the_model() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "client_write_ms: 500");
    let mut connection = gateway.connect();
    let body = json!({ "model": "auto", "stream": true,
        "messages": [{ "role": "user", "content": "[tokens:100000]" }] });
    connection.request(&chat_head("s1"), body.to_string().as_bytes());
    until("the model was told to stop", || stand_in.stats().aborted == 1);
    assert_eq!(gateway.connect().get("/health").status, 200);
}

#[test]
fn a_half_closed_client_gets_its_answer_or_an_end_but_no_hang() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "keep_alive_ms: 1000");
    let mut connection = gateway.connect();
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "[delay:300]" }] });
    connection.request(&chat_head("s1"), body.to_string().as_bytes());
    connection.finish_sending();
    let start = Instant::now();
    if let Ok(response) = connection.try_response() {
        assert_eq!(response.status, 200);
    }
    connection.assert_closed();
    assert!(start.elapsed() < LATE);
    until("nothing is left behind", || stand_in.stats().in_flight == 0);
}

#[test]
fn a_model_that_does_not_begin_is_a_504() {
    let stand_in = stand_in();
    let gateway = gateway(&stand_in, "first_byte_ms: 400");
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "[delay:600000]" }] });
    let start = Instant::now();
    let response = gateway.connect().chat("s1", &body);
    response.assert_openai_error(504);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(400) && waited < LATE, "{waited:?}");
    until("the model was told to stop", || stand_in.stats().aborted == 1);
    assert_eq!(stand_in.stats().requests, 1, "a request that was sent is not sent twice");
    let flow = gateway.flow(&response.flow());
    assert_eq!(flow["outcome"]["fault"], "upstream");
    assert_eq!(flow["outcome"]["committed"], false);
}

#[test]
fn a_stream_that_stalls_is_cut() {
    let stand_in =
        StandIn::spawn(Options { tokens_per_second: 0.04, ..Options::for_model("small") }).unwrap();
    let gateway = gateway(&stand_in, "stream_idle_ms: 400");
    let mut connection = gateway.connect();
    let body = json!({ "model": "auto", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
    connection.request(&chat_head("s1"), body.to_string().as_bytes());
    let (_, mut framing) = connection.try_head().unwrap();
    let start = Instant::now();
    let ended = loop {
        match connection.try_piece(&mut framing) {
            Ok(Some(piece)) => assert!(!piece.ends_with(b"[DONE]\n\n")),
            ended => break ended,
        }
    };
    assert!(ended.is_err(), "a cut stream must not look complete");
    assert!(start.elapsed() < LATE);
    until("the model was told to stop", || stand_in.stats().aborted == 1);
}
