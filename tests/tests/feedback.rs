//! Promise: feedback changes what is preferred, for every worker, over reloads, restarts and `kill -9`, and a
//! decision that read of it can be taken again.

use pintle_standin::{Options, StandIn};
use pintle_tests::http::Response;
use pintle_tests::{ConfigFile, Connection, Gateway, Model, pintle, until};
use rustix::process::Signal;
use serde_json::{Value, json};

fn config(small: &StandIn, large: &StandIn, algorithm: &str) -> ConfigFile {
    let mut config = ConfigFile::plain(vec![Model::on(&[small], 0.1, 0.5), Model::on(&[large], 1.0, 0.5)]);
    config.routing = format!(
        "  decisions:
    - name: rated
      description: all requests
      priority: 1
      rules: {{operator: AND, conditions: []}}
      modelRefs: [{{model: small}}, {{model: large}}]
      algorithm: {{type: {algorithm}}}
"
    );
    config
}

fn pair() -> (StandIn, StandIn) {
    let start = |name| StandIn::spawn(Options::for_model(name)).unwrap();
    (start("small"), start("large"))
}

fn say(gateway: &Gateway, opinion: &Value) -> Response {
    let mut connection = Connection::open(gateway.admin_address());
    let head = "POST /api/v1/feedback HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json";
    connection.request(head, opinion.to_string().as_bytes());
    connection.response()
}

/// Who serves the first turn of a new session.
#[track_caller]
fn preferred(gateway: &Gateway, session: &str) -> String {
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": "hi" }] });
    let response = gateway.connect().chat(session, &body);
    assert_eq!(response.status, 200, "{}", response.text());
    gateway.flow(&response.flow());
    response.model().to_owned()
}

#[track_caller]
fn preferred_soon(gateway: &Gateway, wanted: &str) {
    let mut n = 0;
    until("the workers have heard of it", || {
        n += 1;
        preferred(gateway, &format!("{wanted}{n}")) == wanted
    });
}

#[test]
fn what_users_prefer_is_preferred_over_reloads_and_restarts_and_replays() {
    let (small, large) = pair();
    let file = config(&small, &large, "elo");
    let mut gateway = Gateway::start(&file);
    assert_eq!(preferred(&gateway, "s"), "small", "equal ratings: the first");
    let opinion =
        json!({ "winner_model": "large", "loser_model": "small", "category": "rated", "query": "hi" });
    let response = say(&gateway, &opinion);
    assert_eq!((response.status, &response.json()["success"]), (200, &json!(true)), "{}", response.text());
    preferred_soon(&gateway, "large");
    let ratings = gateway.admin("/api/v1/ratings").json();
    assert_eq!((&ratings["count"], &ratings["category"]), (&json!(2), &json!("global")));
    assert_eq!(
        ratings["ratings"][0],
        json!({ "model": "large", "rating": 1516.0, "wins": 1, "losses": 0, "ties": 0 })
    );
    assert_eq!(gateway.metric("llm_model_feedback_total", &["winner=\"large\"", "category=\"rated\""]), 1.0);

    let policy = gateway.folder().join("config.yaml").display().to_string();
    let state = gateway.state_dir().display().to_string();
    let output = pintle(&["replay", "verify", "--policy", &policy, "--state-dir", &state]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("decided differently: 0\n"), "{report}");

    let text = std::fs::read_to_string(&policy).unwrap();
    gateway.write_config_text(&text.replace("description: all requests", "description: every request"));
    gateway.signal(Signal::HUP);
    until("the reload is done", || gateway.metric("pintle_generation", &[]) >= 2.0);
    assert_eq!(preferred(&gateway, "after the reload"), "large");
    gateway.signal(Signal::TERM);
    gateway.wait();
    gateway.restart();
    preferred_soon(&gateway, "large");
    assert_eq!(preferred(&gateway, "again"), "large");
}

#[test]
fn what_was_taken_outlives_a_process_that_is_killed_in_the_next_moment() {
    let (small, large) = pair();
    let mut gateway = Gateway::start(&config(&small, &large, "elo"));
    let opinion = json!({ "winner_model": "large", "loser_model": "small", "decision_name": "rated" });
    let mut wins = 0;
    for round in 1..=3 {
        for _ in 0..round {
            assert_eq!(say(&gateway, &opinion).status, 200);
            wins += 1;
        }
        gateway.signal(Signal::KILL);
        gateway.wait();
        gateway.restart();
        let ratings = gateway.admin("/api/v1/ratings").json();
        assert_eq!(ratings["ratings"][0]["wins"], wins, "{ratings}");
    }
    preferred_soon(&gateway, "large");
}

#[test]
fn what_was_taken_before_an_upgrade_the_next_process_knows() {
    let (small, large) = pair();
    let mut gateway = Gateway::start(&config(&small, &large, "elo"));
    let opinion = json!({ "winner_model": "large", "loser_model": "small", "decision_name": "rated" });
    for wins in 1..=4 {
        assert_eq!(say(&gateway, &opinion).status, 200);
        gateway.upgrade();
        let ratings = gateway.admin("/api/v1/ratings").json();
        assert_eq!(ratings["ratings"][0]["wins"], wins, "{ratings}");
    }
}

#[test]
fn what_is_inferred_counts_less_and_a_session_has_its_own_successes() {
    let (small, large) = pair();
    let mut gateway = Gateway::start(&config(&small, &large, "rl_driven"));
    let inferred = json!({ "winner_model": "large", "decision_name": "rated", "feedback_type": "satisfied",
        "confidence": 0.5, "user_id": "ada", "session_id": "s1" });
    assert_eq!(say(&gateway, &inferred).status, 200);
    // Half the configured weight, which is a half.
    let flow = say(&gateway, &json!({ "winner_model": "small", "session_id": "0123456789abcdef" }));
    assert_eq!(flow.status, 400, "a key that no session has: {}", flow.text());
    gateway.signal(Signal::TERM);
    gateway.wait();
    let kept = std::fs::read_to_string(gateway.state_dir().join("experience.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["overall"]["beliefs"]["large"]["alpha"], json!(1.25), "{kept}");
    assert_eq!(kept["sessions"].as_object().unwrap().len(), 1, "{kept}");
    assert!(!kept.to_string().contains("ada"), "users are known by a hash");
}

#[test]
fn what_cannot_be_taken_in_is_refused() {
    let (small, large) = pair();
    let gateway = Gateway::start(&config(&small, &large, "elo"));
    let refused = |opinion: Value| {
        let response = say(&gateway, &opinion);
        (response.status, response.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let invalid = |code: &str| (400, code.to_owned());
    assert_eq!(refused(json!({})), invalid("MISSING_WINNER"));
    assert_eq!(refused(json!({ "winner_model": "no-such" })), invalid("INVALID_INPUT"));
    let elsewhere = json!({ "winner_model": "large", "decision_name": "no-such" });
    assert_eq!(refused(elsewhere), invalid("INVALID_INPUT"));
    assert_eq!(gateway.admin("/api/v1/ratings").json()["count"], 0);
    let fixed = Gateway::start(&config(&small, &large, "static"));
    let response = say(&fixed, &json!({ "winner_model": "large" }));
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.json()["error"]["code"], "NO_SELECTOR_CONFIGURED");
}
