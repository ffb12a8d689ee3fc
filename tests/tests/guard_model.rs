//! Promise: a guard that somebody else serves judges attacks; one that is late, broken or absent keeps nothing else
//! from being measured, costs no more than its deadline, and opens no gate.

use std::time::{Duration, Instant};

use pintle_standin::{Options, StandIn};
use pintle_tests::http::chat_head;
use pintle_tests::{ConfigFile, Gateway, Guard, Model, until};
use serde_json::{Value, json};

const ROUTING: &str = r#"  signals:
    domains: [{name: math}]
    jailbreak: [{name: attack, threshold: 0.7}]
  decisions:
    - name: blocked
      priority: 1000
      rules: {operator: OR, conditions: [{type: jailbreak, name: attack}]}
      modelRefs: [{model: m}]
      plugins: [{type: fast_response, configuration: {message: "Not here."}}]
    - name: trusted
      priority: 500
      rules: {operator: AND, conditions: [{operator: NOT, conditions: [{type: jailbreak, name: attack}]}]}
      modelRefs: [{model: m}]
    - name: rest
      priority: 1
      rules: {operator: AND, conditions: []}
      modelRefs: [{model: m}]
    - name: never
      priority: 0
      rules: {operator: OR, conditions: [{type: domain, name: math}]}
      modelRefs: [{model: m}]
"#;

/// Long enough for a busy machine to judge a text, and to give one up in time.
const DEADLINE: Duration = Duration::from_secs(8);

struct Bench {
    _model: StandIn,
    gateway: Gateway,
}

fn start(guard: &Guard) -> Bench {
    start_with(guard, DEADLINE, "")
}

fn start_with(guard: &Guard, deadline: Duration, more: &str) -> Bench {
    let model = StandIn::spawn(Options::for_model("m")).unwrap();
    let mut config = ConfigFile::plain(vec![Model::on(&[&model], 0.1, 0.6)]);
    config.routing = ROUTING.to_owned();
    config.global = guard.catalog();
    let config = config.with(&format!("classifier: {{deadline_ms: {}{more}}}", deadline.as_millis()));
    let gateway = Gateway::start(&config);
    Bench { _model: model, gateway }
}

fn body(text: &str) -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] })
}

/// The decision, what is known of the attack, and of the subject.
fn asked(bench: &Bench, text: &str) -> (String, String, String) {
    let response = bench.gateway.connect().chat(text, &body(text));
    assert_eq!(response.status, 200, "{}", response.text());
    let flow = bench.gateway.flow(&response.flow());
    let truth = |signal: &str| {
        let evidence = flow["evidence"].as_array().unwrap();
        let found = evidence.iter().find(|known| known["signal"] == signal).unwrap();
        [&found["is"], &found["why"]].into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
    };
    let decision = response.header("x-vsr-selected-decision").to_owned();
    (decision, truth("jailbreak:attack"), truth("domain:math"))
}

#[test]
fn a_guard_elsewhere_decides_what_is_let_through() {
    let guard = Guard::start();
    let bench = start(&guard);
    let (decision, attack, _) = asked(&bench, "what a fine day");
    assert_eq!((decision.as_str(), attack.as_str()), ("trusted", "false"));
    let (decision, attack, _) = asked(&bench, "[unsafe] what a fine day");
    assert_eq!((decision.as_str(), attack.as_str()), ("blocked", "true"));
    assert_eq!(guard.asked(), 2);
    asked(&bench, "what a fine day");
    assert_eq!(guard.asked(), 2, "the same text is not asked again");

    let status = bench.gateway.admin("/status").json();
    let external = &status["data_plane"]["classifier"]["external"][0];
    assert_eq!((&external["name"], &external["answered"]), (&json!("guard"), &json!(2)));
    let metrics = bench.gateway.metrics();
    assert!(
        metrics.contains(r#"pintle_classifier_inference_seconds_count{model="guard",backend="http"} 2"#),
        "{metrics}"
    );
}

#[test]
fn a_guard_that_does_not_judge_opens_nothing_and_spoils_nothing() {
    let guard = Guard::start();
    let bench = start(&guard);
    for text in ["[garbage]", "[huge]"] {
        let (decision, attack, math) = asked(&bench, text);
        assert_eq!((decision.as_str(), attack.as_str()), ("rest", "unknown classifier_failed"), "{text}");
        assert!(!math.starts_with("unknown"), "what others measure is known: {math}");
    }
    // Neither counts as an outage: the next text is judged.
    assert_eq!(asked(&bench, "hello").0, "trusted");
    let started = Instant::now();
    let (decision, attack, math) = asked(&bench, "[late]");
    assert!(started.elapsed() < DEADLINE * 2, "{:?}", started.elapsed());
    assert_eq!((decision.as_str(), attack.as_str()), ("rest", "unknown deadline"));
    assert!(!math.starts_with("unknown"), "what others measure is known: {math}");

    let mut texts = 0;
    let mut next = |text: &str| {
        texts += 1;
        asked(&bench, &format!("{text} {texts}"))
    };
    // A rest is short, and this machine may be slow: then the next text is judged, and the guard has to fail again.
    until("it rests after a failure", || {
        let (decision, attack, _) = next("[500]");
        assert_eq!((decision.as_str(), attack.as_str()), ("rest", "unknown classifier_failed"));
        let asked_so_far = guard.asked();
        let (_, attack, _) = next("hello");
        attack == "unknown classifier_failed" && guard.asked() == asked_so_far
    });
    until("it is asked again after its rest", || next("hello").0 == "trusted");
}

#[test]
fn nobody_is_asked_for_a_client_that_has_gone() {
    let guard = Guard::start();
    // One call at a time: what comes second waits.
    let bench = start_with(&guard, DEADLINE, ", external_calls: 1");
    let open = || {
        let status = bench.gateway.admin("/status").json();
        status["data_plane"]["classifier"]["external"][0]["open"].as_u64().unwrap()
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| asked(&bench, "[late]"));
        until("the first is being asked about", || open() == 1);
        let mut second = bench.gateway.connect();
        second.request(&chat_head("gone"), body("what a fine day").to_string().as_bytes());
        until("the second waits", || open() == 2);
        drop(second);
        let gone = || bench.gateway.metric("pintle_requests_total", &[r#"class="4xx""#, r#"fault="client""#]);
        until("its leaving is recorded", || gone() == 1.0);
        assert_eq!(open(), 2, "the first is still being asked about");
        assert_eq!(first.join().unwrap().1, "unknown deadline");
    });
    until("nothing waits", || open() == 0);
    assert_eq!(guard.asked(), 1);
}
