//! Promise: every response's id leads to a document that says why, by hand, by program and as numbers.

use pintle_standin::{Options, StandIn};
use pintle_tests::{Agent, ConfigFile, Gateway, Model};
use serde_json::{Value, json};

fn pair() -> (StandIn, StandIn) {
    let start = |name| StandIn::spawn(Options::for_model(name)).unwrap();
    (start("small"), start("large"))
}

fn gateway(small: &StandIn, large: &StandIn) -> Gateway {
    Gateway::start(&ConfigFile::tempting(vec![Model::on(&[small], 0.1, 0.4), Model::on(&[large], 3.0, 0.9)]))
}

#[test]
fn a_flow_tells_the_whole_way_of_a_turn() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    let mut agent = Agent { stream: true, ..Agent::new("s1") };
    assert_eq!(agent.say(&mut connection, "use read_file").status, 200);
    let response = agent.hand_in(&mut connection);
    let id = response.flow();
    let flow = gateway.flow(&id);
    assert_eq!(flow["version"], 1);
    assert_eq!(flow["id"], id.as_str());
    assert_eq!(flow["request"]["path"], "/v1/chat/completions");
    assert_eq!(flow["request"]["model"], "auto");
    assert_eq!(flow["request"]["stream"], true);
    assert_eq!(flow["facts"]["tools"]["results"], 1);
    let evidence = flow["evidence"].as_array().unwrap();
    assert!(evidence.iter().any(|e| e["signal"] == "conversation:results"), "{evidence:?}");
    let decisions = flow["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 3, "every decision is shown, not only the chosen one");
    assert_eq!(flow["verdict"]["target"], "small");
    assert_eq!(flow["upstream"][0]["status"], 200);
    assert_eq!(flow["upstream"][0]["address"], small.address().to_string());
    assert!(flow["timings"]["total_us"].as_u64().unwrap() >= flow["timings"]["routing_us"].as_u64().unwrap());
    assert_eq!(flow["outcome"]["committed"], true);
    assert_eq!(flow["outcome"]["finish_reason"], "stop");
    assert!(flow["cost_usd"].as_f64().unwrap() > 0.0);
    assert!(!flow.to_string().contains("fn main"), "texts do not go into the journal");
}

#[test]
fn usage_comes_from_the_backend_when_it_tells_and_is_marked_when_it_does_not() {
    let small = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&small);
    let mut connection = gateway.connect();
    let mut told = Agent::new("told");
    let usage = told.say(&mut connection, "hello [tokens:9]").json()["usage"].clone();
    let response = told.say(&mut connection, "more");
    let flow = gateway.flow(&response.flow());
    assert_eq!(flow["usage"]["source"], "backend");
    assert_eq!(flow["usage"]["cached"], response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]);
    assert!(flow["usage"]["cached"].as_u64().unwrap() > 0);
    assert_eq!(usage["completion_tokens"], 9);
    let (prompt, cached, completion) =
        (&flow["usage"]["prompt"], &flow["usage"]["cached"], &flow["usage"]["completion"]);
    let count = |v: &Value| v.as_f64().unwrap();
    let cost = ((count(prompt) - count(cached)) * 0.1 + count(cached) * 0.01 + count(completion) * 0.4) / 1e6;
    assert!((count(&flow["cost_usd"]) - cost).abs() < 1e-12, "{} is not {cost}", flow["cost_usd"]);

    let body = json!({ "model": "auto", "stream": true, "messages": [{ "role": "user", "content": "[tokens:30]" }] });
    let flow = gateway.flow(&connection.chat("untold", &body).flow());
    assert_eq!(flow["usage"]["source"], "estimate", "{}", flow["usage"]);
    assert!(flow["usage"]["completion"].as_u64().unwrap() > 5);
}

#[test]
fn explain_prints_for_a_person_and_for_a_program() {
    let (small, large) = pair();
    let mut gateway = gateway(&small, &large);
    let mut agent = Agent::new("s1");
    let mut connection = gateway.connect();
    agent.say(&mut connection, "use read_file");
    let id = agent.hand_in(&mut connection).flow();
    gateway.flow(&id);
    for running in [true, false] {
        if !running {
            gateway.signal(rustix::process::Signal::TERM);
            gateway.wait();
        }
        let output = gateway.explain(&id, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for word in [id.as_str(), "small", "tool"] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
        let output = gateway.explain(&id, &["--json"]);
        assert!(output.status.success());
        let flow: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(flow["id"], id.as_str());
    }
    let output = gateway.explain("01ARZ3NDEKTSV4RRFFQ69G5FAV", &[]);
    assert!(!output.status.success());
    assert!(!output.stderr.is_empty());
}

#[test]
fn refused_requests_have_flows_too() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    for (response, status) in
        [(connection.chat_bytes("s1", b"{\"model\":"), 400), (connection.get("/v1/embeddings"), 404)]
    {
        assert_eq!(response.status, status);
        let flow = gateway.flow(&response.flow());
        assert_eq!(flow["outcome"]["status"], status);
        assert_eq!(flow["outcome"]["fault"], "client");
    }
}

#[test]
fn metrics_count_what_happened() {
    let small = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&small);
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s1");
    for _ in 0..3 {
        assert_eq!(agent.say(&mut connection, "hello [tokens:10]").status, 200);
    }
    assert_eq!(connection.chat_bytes("s1", b"nonsense").status, 400);
    assert_eq!(agent.say(&mut connection, "[error:503]").status, 503);
    pintle_tests::until("the scrape shows the requests", || {
        gateway.metric("llm_model_requests_total", &["model=\"small\""]) >= 3.0
    });
    assert!(gateway.metric("llm_model_completion_tokens_total", &["small"]) >= 30.0);
    assert!(gateway.metric("llm_request_errors_total", &[]) >= 1.0);
    let metrics = gateway.metrics();
    for name in [
        "llm_model_ttft_seconds",
        "llm_model_completion_latency_seconds",
        "llm_model_routing_latency_seconds",
        "llm_model_cost_total",
        "llm_decision_match_total",
    ] {
        assert!(metrics.contains(&format!("\n{name}")), "{name} is missing in\n{metrics}");
    }
    assert!(metrics.contains("# TYPE "), "the exposition is typed");
    assert!(!metrics.contains("s1\""), "no session key becomes a label");
}
