//! Promise: every path has a clear answer in the client's dialect, and every answer carries a flow id.

use pintle_standin::{Options, StandIn};
use pintle_tests::{ConfigFile, Gateway, Model};

#[test]
fn health_ready_and_models_answer_without_a_backend() {
    let mut stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    stand_in.stop();
    let mut connection = gateway.connect();
    for path in ["/health", "/ready"] {
        let response = connection.get(path);
        assert_eq!(response.status, 200, "{path}");
        response.flow();
    }
    let response = connection.get("/v1/models");
    assert_eq!(response.status, 200);
    response.flow();
    let models = response.json();
    assert_eq!(models["object"], "list");
    let entry = &models["data"][0];
    assert!(entry["id"].is_string() && entry["object"] == "model" && entry["created"].is_u64(), "{models}");
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().filter_map(|m| m["id"].as_str()).collect();
    assert!(ids.contains(&"MoM") || ids.contains(&"auto"), "the automatic name is listed: {ids:?}");
}

#[test]
fn unknown_paths_are_404_and_wrong_verbs_405_in_the_openai_dialect() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    for path in ["/v1/embeddings", "/v1/completions", "/v1/chat", "/v1/chat/completions/x", "/nowhere", "/"] {
        gateway.connect().get(path).assert_openai_error(404);
    }
    for (verb, path, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("DELETE", "/health", "GET"),
    ] {
        let mut connection = gateway.connect();
        connection.request(&format!("{verb} {path} HTTP/1.1\r\nhost: test"), b"");
        let response = connection.response();
        response.assert_openai_error(405);
        assert!(response.header("allow").contains(allowed), "{verb} {path}: {:?}", response.headers);
    }
    assert_eq!(stand_in.stats().requests, 0);
}

#[test]
fn a_wrong_verb_with_a_body_leaves_the_connection_in_step() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let mut connection = gateway.connect();
    connection.request("PUT /nowhere HTTP/1.1\r\nhost: test", b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n");
    let response = connection.response();
    response.assert_openai_error(404);
    if response.header("connection") == "close" {
        connection.assert_closed();
    } else {
        assert_eq!(connection.get("/health").status, 200);
        assert!(connection.get("/v1/models").text().contains("\"list\""));
    }
}

#[test]
fn flow_ids_are_unique() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway =
        Gateway::start(&ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]).with("workers: 2"));
    let ids: std::collections::HashSet<String> = (0..8)
        .flat_map(|_| {
            let mut connection = gateway.connect();
            (0..25).map(move |_| connection.get("/health").flow()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(ids.len(), 200);
}
