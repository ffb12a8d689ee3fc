//! Promise: a recorded decision can be taken again, another policy can be tried on it, and what a request would
//! lead to can be asked without sending it.

use std::path::{Path, PathBuf};
use std::process::Output;

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

/// A session with two tool loops, one of them on either model; returns the flow ids.
fn play(gateway: &Gateway) -> Vec<String> {
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s1");
    let mut flows = vec![
        agent.say(&mut connection, "hello").flow(),
        agent.say(&mut connection, "use read_file").flow(),
        agent.hand_in(&mut connection).flow(),
        agent.say(&mut connection, "thanks").flow(),
    ];
    let mut other = Agent::new("s2");
    flows.push(other.say(&mut connection, "prove it, use read_file").flow());
    flows.push(other.hand_in(&mut connection).flow());
    for id in &flows {
        gateway.flow(id);
    }
    flows
}

fn verify(gateway: &Gateway, policy: &Path, extra: &[&str]) -> (Output, String) {
    let (policy, state) = (policy.display().to_string(), gateway.state_dir().display().to_string());
    let mut args = vec!["replay", "verify", "--policy", &policy, "--state-dir", &state];
    args.extend(extra);
    let output = pintle_tests::pintle(&args);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

fn own_policy(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("config.yaml")
}

/// Writes the gateway's configuration, edited, beside the one that it serves by.
#[track_caller]
fn edited(gateway: &Gateway, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(own_policy(gateway)).unwrap();
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    let path = gateway.folder().join("edited.yaml");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    path
}

#[track_caller]
fn contains(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
}

#[test]
fn every_recorded_decision_is_taken_again() {
    let (small, large) = pair();
    let mut gateway = gateway(&small, &large);
    let flows = play(&gateway);
    let refused = gateway.connect().chat_bytes("s1", b"{\"model\":");
    gateway.flow(&refused.flow());
    let policy = own_policy(&gateway);
    for running in [true, false] {
        if !running {
            gateway.signal(rustix::process::Signal::TERM);
            gateway.wait();
        }
        let (output, text) = verify(&gateway, &policy, &["--since", &flows[0]]);
        contains(
            &text,
            &[
                "Recorded under this policy: 6\n",
                "decided the same again: 6\n",
                "decided differently: 0\n",
                "Without a decision to take again: 1\n",
            ],
        );
        assert!(output.status.success(), "{text}");
    }
    let (_, text) = verify(&gateway, &policy, &["--since", &flows[4]]);
    contains(&text, &["Recorded under this policy: 2\n"]);
    let (output, text) = verify(&gateway, &policy, &["--since", "2999-01-01T00:00:00Z"]);
    contains(&text, &["Recorded under this policy: 0\n"]);
    assert!(output.status.success(), "{text}");
}

#[test]
fn a_decision_that_comes_out_differently_is_shown_with_its_place() {
    let (small, large) = pair();
    let mut gateway = gateway(&small, &large);
    let flows = play(&gateway);
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait();
    // Records have checksums. The documents, on lines as earlier versions wrote them, have none.
    let lines = flows.iter().map(|id| {
        let text = String::from_utf8(gateway.explain(id, &["--json"]).stdout).unwrap();
        // As text: a JSON library may round the numbers that it rewrites.
        let line: String = text.lines().map(str::trim).collect();
        let forged = if *id == flows[0] {
            line.replace(r#""target": "small","decision""#, r#""target": "large","decision""#)
        } else if *id == flows[2] {
            line.replacen(r#""confidence": 1.0,"chosen""#, r#""confidence": 0.25,"chosen""#, 1)
        } else {
            return format!("{line}\n");
        };
        assert_ne!(forged, line);
        format!("{forged}\n")
    });
    let lines: String = lines.collect();
    let journal = std::fs::read_dir(gateway.state_dir().join("flows")).unwrap();
    let segments = journal.map(|entry| entry.unwrap().path());
    for segment in segments.filter(|path| path.extension().is_some_and(|kind| kind == "pfl")) {
        std::fs::write(segment.with_extension("jsonl"), &lines).unwrap();
        std::fs::remove_file(segment).unwrap();
    }
    let policy = own_policy(&gateway);
    let (output, text) = verify(&gateway, &policy, &[]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    contains(
        &text,
        &[
            "decided the same again: 4\n",
            "decided differently: 2\n",
            &format!("{}  verdict.target: recorded \"large\", now \"small\"\n", flows[0]),
            &format!("{}  decisions[0].confidence: recorded 0.25, now ", flows[2]),
        ],
    );
    let (_, text) = verify(&gateway, &policy, &["--limit", "1"]);
    contains(&text, &["and 1 more"]);
}

#[test]
fn another_policy_is_tried_on_what_was_recorded() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let flows = play(&gateway);
    let everyday = "modelRefs:\n        - model: small\n        - model: large\n";
    let dearer = edited(&gateway, everyday, "modelRefs:\n        - model: large\n        - model: small\n");
    let (output, text) = verify(&gateway, &dearer, &[]);
    contains(
        &text,
        &[
            "Recorded under this policy: 0\n",
            "Recorded under other policies: 6.",
            "the decision of 0\n",
            &format!("{}  small (everyday) -> large (everyday)\n", flows[0]),
            "turns whose model a lock held: 2\n",
            "on another model: 0\n",
            "cost of 6 turns",
        ],
    );
    assert!(!text.contains(&format!("{}  small", flows[2])), "the open tool loop stays on its model\n{text}");
    assert!(output.status.success(), "{text}");
    // Prices are the same in both files: small costs 0.1, 0.4 and 0.01 dollars a million, large thirty times that.
    let price = |usage: &Value, of: f64, cached: f64| {
        let count = |name: &str| usage[name].as_f64().unwrap_or(0.0);
        let cached = cached * count("cached");
        of * ((count("prompt") - cached) + 0.1 * cached + 4.0 * count("completion")) / 1e6
    };
    let (mut before, mut cold) = (0.0, 0.0);
    for id in &flows {
        let flow = gateway.flow(id);
        let served = if flow["upstream"][0]["model"] == "small" { 0.1 } else { 3.0 };
        let moved = text.contains(&format!("{id}  small (everyday) -> large"));
        before += price(&flow["usage"], served, 1.0);
        cold += if moved { price(&flow["usage"], 3.0, 0.0) } else { price(&flow["usage"], served, 1.0) };
    }
    contains(&text, &[&format!("on the models that served: ${before:.6}\n"), &format!("or ${cold:.6} (")]);
    assert!(cold > before, "{text}");

    let renamed = edited(&gateway, "- name: everyday\n", "- name: everything\n");
    let (_, text) = verify(&gateway, &renamed, &[]);
    contains(&text, &[&format!("{}  small (everyday) -> small (everything)\n", flows[0])]);
    assert!(!text.contains("the decision of 0\n"), "{text}");
}

#[test]
fn a_policy_that_breaks_locks_is_found_out() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let flows = play(&gateway);
    let compat =
        edited(&gateway, "  pintle:\n    state_dir:", "  pintle:\n    profile: compat\n    state_dir:");
    let (output, text) = verify(&gateway, &compat, &[]);
    contains(&text, &["turns whose model a lock held: 2\n", "on another model: 1\n"]);
    contains(&text, &[&format!("{}  small (results) -> large (results)\n", flows[2])]);
    assert_eq!(output.status.code(), Some(1), "{text}");
}

/// Asks what a request would lead to.
fn route(gateway: &Gateway, body: &Value, before: &Value, at: &str, extra: &[&str]) -> Output {
    let (request, session) = (gateway.folder().join("request.json"), gateway.folder().join("session.json"));
    let headers = json!({ "x-session-id": "s1", "content-type": "application/json" });
    std::fs::write(&request, json!({ "headers": headers, "body": body }).to_string()).unwrap();
    std::fs::write(&session, before.to_string()).unwrap();
    let [config, request, session] =
        [own_policy(gateway), request, session].map(|path| path.display().to_string());
    let mut args =
        vec!["route", "--config", &config, "--request", &request, "--session", &session, "--at", at];
    args.extend(extra);
    pintle_tests::pintle(&args)
}

/// Candidates, and their scores apart: a flow id tells when the request came, and its session has cooled a little
/// longer when it is decided, so that these are near each other and no more.
fn candidates(flow: &Value) -> (Value, Vec<f64>) {
    let mut candidates = flow["selection"]["candidates"].clone();
    let take = |candidate: &mut Value| candidate["adjusted_score"].take().as_f64().unwrap();
    let scores = candidates.as_array_mut().unwrap().iter_mut().map(take).collect();
    (candidates, scores)
}

#[test]
fn a_request_is_decided_as_the_gateway_decides_it_and_nothing_is_sent() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s1");
    let mut turns = Vec::new();
    for text in ["hello", "prove it, use read_file", ""] {
        let mut asked = agent.clone();
        let response = if text.is_empty() {
            for id in &agent.open_calls {
                asked.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": "fn main() {}" }));
            }
            agent.hand_in(&mut connection)
        } else {
            asked.messages.push(json!({ "role": "user", "content": text }));
            agent.say(&mut connection, text)
        };
        turns.push((asked.body(), response.flow()));
    }
    let served = [small.stats().requests, large.stats().requests];
    for (body, id) in &turns {
        let flow = gateway.flow(id);
        let output = route(&gateway, body, &flow["session"]["before"], id, &["--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(planned["policy_digest"], flow["policy_digest"]);
        for part in ["evidence", "decisions", "verdict"] {
            assert_eq!(planned[part], flow[part], "{part} of {id}");
        }
        for part in ["before", "phase", "action"] {
            assert_eq!(planned["session"][part], flow["session"][part], "{part} of {id}");
        }
        let ((planned_candidates, planned_scores), (candidates, scores)) =
            (candidates(&planned), candidates(&flow));
        assert_eq!(planned_candidates, candidates, "{id}");
        let near = |(one, other): (&f64, &f64)| (one - other).abs() < 0.01;
        assert!(planned_scores.iter().zip(&scores).all(near), "{planned_scores:?} {scores:?}");
        assert_eq!(planned["upstream"], json!([]));
        assert_eq!(planned["usage"], Value::Null);
        let target = flow["verdict"]["target"].as_str().unwrap();
        let output = route(&gateway, body, &flow["session"]["before"], id, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        contains(&text, &["Dry run", "nothing was sent", &format!("{target} would be asked.")]);
    }
    assert_eq!([small.stats().requests, large.stats().requests], served, "a dry run asks no model");
}

#[test]
fn a_request_is_read_in_the_api_of_its_path() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let said = |text: &str| json!([{ "role": "user", "content": text }]);
    for (path, body) in [
        ("/v1/messages?beta=true", json!({ "model": "auto", "max_tokens": 9, "messages": said("prove it") })),
        ("/v1/responses", json!({ "model": "auto", "input": said("hello"), "instructions": "Be brief." })),
    ] {
        let mut connection = gateway.connect();
        connection.request(
            &format!("POST {path} HTTP/1.1\r\nhost: test\r\nx-session-id: s9"),
            body.to_string().as_bytes(),
        );
        let live = connection.response();
        assert_eq!(live.status, 200, "{}", live.text());
        let flow = gateway.flow(&live.flow());
        let request = gateway.folder().join("request.json");
        let headers = json!({ "x-session-id": "s9" });
        let file = json!({
            "path": path, "headers": headers, "body": body, "session": flow["session"]["before"],
        });
        std::fs::write(&request, file.to_string()).unwrap();
        let (config, request) = (own_policy(&gateway).display().to_string(), request.display().to_string());
        let at = live.flow();
        let output = pintle_tests::pintle(&[
            "route",
            "--dry-run",
            "--config",
            &config,
            "--request",
            &request,
            "--at",
            &at,
            "--json",
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
        for part in ["facts", "evidence", "decisions", "verdict"] {
            assert_eq!(planned[part], flow[part], "{part} of {path}");
        }
        for part in ["dialect", "path", "model", "stream", "bytes"] {
            assert_eq!(planned["request"][part], flow["request"][part], "{part} of {path}");
        }
        std::fs::write(
            gateway.folder().join("request.json"),
            file.to_string().replace(path, "/v1/embeddings"),
        )
        .unwrap();
        let output = pintle_tests::pintle(&["route", "--config", &config, "--request", &request]);
        let text = String::from_utf8(output.stdout).unwrap();
        contains(&text, &["Refused with 404 (not_found)"]);
        assert_eq!(output.status.code(), Some(1), "{text}");
    }
}

#[test]
fn what_the_gateway_would_refuse_is_refused() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let at = "2026-01-31T12:00:00Z";
    let nobody = json!({ "model": "no-such", "messages": [{ "role": "user", "content": "hello" }] });
    let no_model = json!({ "messages": [{ "role": "user", "content": "hello" }] });
    for body in [nobody, no_model] {
        let live = gateway.connect().chat("s1", &body);
        let output = route(&gateway, &body, &Value::Null, at, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        let code = live.json()["error"]["code"].as_str().unwrap().to_owned();
        contains(&text, &[&format!("Refused with {} ({code})", live.status)]);
        assert_eq!(output.status.code(), Some(1), "{text}");
    }
    let body = json!({ "model": "auto", "messages": [] });
    let output = route(&gateway, &body, &json!({ "model": 1 }), at, &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("session.json: invalid type"), "{error}");
}

#[test]
fn a_policy_in_the_shadow_of_its_own_record_never_differs() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    play(&gateway);
    let state = gateway.state_dir().display().to_string();
    let shadow = |policy: &Path| {
        let policy = policy.display().to_string();
        let output =
            pintle_tests::pintle(&["sessions", "shadow", "--policy", &policy, "--state-dir", &state]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let all = |text: &str| -> Vec<String> {
        let line =
            text.lines().find(|line| line.starts_with("all 2 sessions")).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().skip(3).map(str::to_owned).collect()
    };
    // Turns, turns that differ, switches on either side, dollars on either side.
    let own = all(&shadow(&own_policy(&gateway)));
    assert_eq!((own[0].as_str(), own[1].as_str()), ("6", "0"), "{own:?}");
    assert_eq!((&own[2], &own[4]), (&own[3], &own[5]), "as many switches, as many dollars: {own:?}");
}
