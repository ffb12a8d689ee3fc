//! Promise: SIGTERM lets answers finish, takes no new work, and ends with 0.

use std::time::{Duration, Instant};

use pintle_standin::{Options, StandIn};
use pintle_tests::http::chat_head;
use pintle_tests::{ConfigFile, Connection, Driver, Gateway, Model, Start, until};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn a_stream_in_progress_is_drained() {
    for driver in Driver::usable("a_stream_in_progress_is_drained") {
        let stand_in =
            StandIn::spawn(Options { tokens_per_second: 40.0, ..Options::for_model("small") }).unwrap();
        let config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]);
        let mut gateway = Gateway::start_with(&config, Start { driver, workers: None });
        let mut idle = gateway.connect();
        assert_eq!(idle.get("/health").status, 200);
        let mut connection = gateway.connect();
        let body = json!({ "model": "auto", "stream": true,
            "messages": [{ "role": "user", "content": "[tokens:40]" }] });
        connection.request(&chat_head("s1"), body.to_string().as_bytes());
        let (mut response, mut framing) = connection.try_head().unwrap();
        gateway.signal(Signal::TERM);
        until("no new connection is taken", || Connection::try_open(gateway.address()).is_err());
        while let Some(piece) = connection.try_piece(&mut framing).unwrap() {
            response.body.extend_from_slice(&piece);
        }
        assert!(response.body.ends_with(b"data: [DONE]\n\n"), "{driver:?}");
        assert_eq!(gateway.wait().code(), Some(0), "{driver:?}");
        assert_eq!(stand_in.stats().aborted, 0);
        idle.assert_closed();
    }
}

#[test]
fn an_idle_gateway_ends_at_once() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::plain(&stand_in);
        let mut connection = gateway.connect();
        assert_eq!(connection.get("/health").status, 200);
        let start = Instant::now();
        gateway.signal(signal);
        assert_eq!(gateway.wait().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}

#[test]
fn draining_has_a_deadline() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]).with("timeouts: {drain_ms: 500}");
    let mut gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "[delay:600000]" }] });
    connection.request(&chat_head("s1"), body.to_string().as_bytes());
    until("the model is at work", || stand_in.stats().in_flight == 1);
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0));
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(500) && waited < Duration::from_secs(20), "{waited:?}");
}
