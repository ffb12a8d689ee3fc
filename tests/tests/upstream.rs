//! Promise: a dead or failing backend gets a clear answer, and a request is tried again only if nothing of it
//! was sent.

use std::net::SocketAddr;

use pintle_standin::{Options, StandIn};
use pintle_tests::http::chat_head;
use pintle_tests::ports::NOBODY;
use pintle_tests::{Backend, ConfigFile, Gateway, Model};
use serde_json::{Value, json};

fn chat(text: &str) -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] })
}

fn model(addresses: &[SocketAddr]) -> Model {
    let backends = addresses.iter().copied().map(Backend::at).collect();
    Model {
        name: "small".to_owned(),
        price: 0.1,
        quality: 0.5,
        api_key: None,
        backends,
        provider: String::new(),
    }
}

#[test]
fn a_dead_backend_is_a_502_or_503_in_the_clients_dialect() {
    let gateway = Gateway::start(&ConfigFile::plain(vec![model(&[NOBODY])]));
    let mut connection = gateway.connect();
    for _ in 0..12 {
        let response = connection.chat("s1", &chat("hi"));
        assert!(matches!(response.status, 502 | 503), "{}", response.status);
        response.assert_openai_error(response.status);
    }
    let response = connection.chat("s1", &chat("hi"));
    let flow = gateway.flow(&response.flow());
    assert_eq!(flow["outcome"]["fault"], "upstream", "{flow}");
    assert_eq!(flow["outcome"]["committed"], false);
    assert_eq!(connection.get("/health").status, 200);
}

#[test]
fn another_backend_of_the_model_takes_over() {
    let live = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::start(&ConfigFile::plain(vec![model(&[NOBODY, live.address()])]));
    let mut connection = gateway.connect();
    for n in 0..20 {
        let response = connection.chat(&format!("s{n}"), &chat("hi"));
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(live.stats().completed, 20);
}

#[test]
fn a_retried_request_is_recorded_as_such() {
    let live = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut first = model(&[NOBODY, live.address()]);
    first.backends[0].weight = 1_000;
    let gateway = Gateway::start(&ConfigFile::plain(vec![first]));
    let response = gateway.connect().chat("s1", &chat("hi"));
    assert_eq!(response.status, 200);
    let attempts = gateway.flow(&response.flow())["upstream"].clone();
    let attempts = attempts.as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(attempts[0]["fault"], "upstream");
    assert!(attempts[0]["error"].is_string());
    assert_eq!(attempts[1]["status"], 200);
}

#[test]
fn a_pooled_connection_that_died_is_not_the_clients_problem() {
    let mut stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let address = stand_in.address();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    assert_eq!(connection.chat("s1", &chat("before")).status, 200);
    stand_in.stop();
    let again = StandIn::spawn(Options { listen: address, ..Options::for_model("small") }).unwrap();
    assert_eq!(connection.chat("s1", &chat("after")).status, 200);
    assert_eq!(again.stats().completed, 1);
}

#[test]
fn an_error_status_passes_with_its_body_and_a_flow_id() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    for status in [400, 429, 500, 503] {
        let response = connection.chat("s1", &chat(&format!("[error:{status}]")));
        assert_eq!(response.status, status);
        assert_eq!(response.json()["error"]["code"], "stand_in_fault", "{}", response.text());
        assert_eq!(response.model(), "small", "an error says who made it");
        let flow = gateway.flow(&response.flow());
        assert_eq!(flow["outcome"]["committed"], false, "{status}");
    }
    assert_eq!(stand_in.stats().requests, 4, "an answered request is not sent again");
}

#[test]
fn a_backend_that_hangs_up_before_answering_is_a_502() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    connection.chat("s1", &chat("[reset]")).assert_openai_error(502);
    assert_eq!(connection.chat("s1", &chat("still here?")).status, 200);
}

#[test]
fn a_stream_cut_by_the_backend_does_not_look_complete() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    for stream in [true, false] {
        let mut connection = gateway.connect();
        let mut body = chat("[cut] [tokens:40]");
        body["stream"] = json!(stream);
        connection.request(&chat_head("s1"), body.to_string().as_bytes());
        let (response, mut framing) = connection.try_head().unwrap();
        assert_eq!(response.status, 200);
        let mut received = Vec::new();
        let ended = loop {
            match connection.try_piece(&mut framing) {
                Ok(Some(piece)) => received.extend(piece),
                ended => break ended,
            }
        };
        assert!(ended.is_err() && !received.is_empty(), "stream {stream}: {} bytes", received.len());
        let flow = gateway.flow(&response.flow());
        assert_eq!(flow["outcome"]["fault"], "upstream", "{flow}");
        assert_eq!(flow["outcome"]["committed"], false);
    }
}

#[test]
fn weights_share_the_load() {
    let heavy = StandIn::spawn(Options::for_model("small")).unwrap();
    let light = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut shared = model(&[heavy.address(), light.address()]);
    shared.backends[0].weight = 3;
    let gateway = Gateway::start(&ConfigFile::plain(vec![shared]));
    let mut connection = gateway.connect();
    for n in 0..200 {
        assert_eq!(connection.chat(&format!("s{n}"), &chat("hi")).status, 200);
    }
    let (heavy, light) = (heavy.stats().completed, light.stats().completed);
    assert_eq!(heavy + light, 200);
    assert!((120..=180).contains(&heavy), "{heavy} to {light} at weights 3 to 1");
}

#[test]
fn a_failing_backend_at_a_tenth_of_its_requests_breaks_no_other() {
    let stand_in =
        StandIn::spawn(Options { error_rate: 0.1, seed: 11, ..Options::for_model("small") }).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let mut outcomes = [0, 0];
    let mut connection = gateway.connect();
    for n in 0..200 {
        let mut body = chat(&format!("turn {n}"));
        body["stream"] = json!(n % 2 == 0);
        connection.request(&chat_head(&format!("s{n}")), body.to_string().as_bytes());
        match connection.try_response() {
            Ok(response) => {
                assert!(matches!(response.status, 200 | 500 | 503), "{}", response.status);
                outcomes[usize::from(response.status != 200)] += 1;
                if response.header("connection") == "close" {
                    connection = gateway.connect();
                }
            }
            Err(_) => {
                outcomes[1] += 1;
                connection = gateway.connect();
            }
        }
    }
    let [served, failed] = outcomes;
    assert_eq!(served + failed, 200);
    assert_eq!(failed, stand_in.stats().faults, "what failed is what the backend failed at");
}
