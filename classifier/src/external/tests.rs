//! Against endpoints on the loopback interface that behave as they are told.

use std::time::Duration;

use pintle_config::Profile;
use pintle_config::secrets;
use pintle_routing::learned::{Learned, Reading};
use pintle_standin::endpoint::{Endpoint, Reply};

use super::endpoint;
use super::{Arc, Config, ExternalProtocol, Instant, Settings, Unknown};
use crate::service::{Classifier, Options};
use crate::shelf::{ConfiguredShelf, Library};
use crate::signals::{Inputs, Question, SignalPlan};
use crate::testing::{Mood, Words};

const LONG: Duration = Duration::from_secs(60);
/// Long enough for a few calls to be made on a busy machine.
const LIMIT: Duration = Duration::from_secs(3);

/// Waits for a condition.
#[track_caller]
fn until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LONG);
        std::thread::yield_now();
    }
}

fn serve(behaviour: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Endpoint {
    Endpoint::start(behaviour).unwrap()
}

fn config(server: &Endpoint, external: &str, pintle: &str) -> Config {
    config_at(server.address(), external, pintle)
}

fn config_at(address: std::net::SocketAddr, external: &str, pintle: &str) -> Config {
    let (host, port) = (address.ip(), address.port());
    let yaml = format!(
        r#"
routing:
  modelCards: [{{name: m}}]
  signals:
    jailbreak: [{{name: attack, threshold: 0.7, include_history: true}}]
    domains: [{{name: math}}]
  decisions:
    - name: d
      rules:
        operator: AND
        conditions: [{{type: jailbreak, name: attack}}, {{type: domain, name: math}}]
      modelRefs: [{{model: m}}]
providers: {{models: [{{name: m, backend_refs: [{{endpoint: "h:1"}}]}}]}}
global:
  model_catalog:
    modules: {{prompt_guard: {{use_vllm: true}}}}
    external:
      - {{model_role: scoring, llm_model_name: other, llm_endpoint: {{address: h, port: 1}}}}
      - {{model_role: guardrail, llm_endpoint: {{address: {host}, port: {port}, name: guard}}, {external}}}
  pintle: {{classifier: {{{pintle}}}}}
"#
    );
    let loaded = pintle_config::load(yaml.as_bytes(), "test.yaml", Profile::Pintle);
    loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.report))
}

/// A plan with the external guard and a model of ours for the rest, and a service that answers by it.
struct Bench {
    library: Library,
    plan: Arc<SignalPlan>,
    service: Classifier,
    ours: Arc<Words>,
}

impl Bench {
    fn of(config: &Config) -> Self {
        let (library, ours) = (Library::default(), Arc::new(Words::new("ours", "embedded", Mood::Well)));
        let plan = compile(&library, config, &ours);
        Self { library, plan, service: Classifier::start(Options::default()).unwrap(), ours }
    }

    fn ask(&self, texts: &[&str], limit: Duration) -> Learned {
        let (current, earlier) = texts.split_last().unwrap();
        let prior_user = earlier.iter().map(|text| (*text).to_owned()).collect();
        let question = Question { current: (*current).to_owned(), prior_user, non_user: Vec::new() };
        self.service.ask_and_wait(self.plan.clone(), question, limit)
    }
}

fn compile(library: &Library, config: &Config, ours: &Arc<Words>) -> Arc<SignalPlan> {
    let lookup = |name: &str| (name == "GUARD_KEY").then(|| "s3cret".to_owned());
    let secrets = secrets::resolve(config, &lookup).unwrap();
    let shelf = ConfiguredShelf::new(library, config, &secrets, std::path::Path::new("/"), ours.clone());
    let policy = pintle_routing::policy::Policy::compile(config, Profile::Pintle).unwrap();
    let (needs, descriptions) = (policy.learned_needs(), policy.descriptions());
    Arc::new(SignalPlan::compile(&Inputs { config, needs, descriptions, shelf: &shelf }))
}

/// The guard's probability, or why there is none; and that the rest was measured by us.
fn attack(learned: &Learned) -> Result<f64, Unknown> {
    assert!(matches!(learned.domain, Reading::Given(_)), "the guard keeps nobody else from answering");
    match &learned.jailbreak {
        Reading::Given(reading) => Ok(reading.history.unwrap_or(0.0).max(reading.current)),
        Reading::Missing(why) => Err(*why),
    }
}

#[test]
fn a_chat_guard_judges_and_is_asked_once_per_text() {
    let server = serve(|body| {
        Reply::chat(if body.contains("bomb") {
            "Safety: Unsafe\nCategories: Violent"
        } else {
            "Safety: Safe"
        })
    });
    let bench =
        Bench::of(&config(&server, "llm_model_name: Qwen3Guard, access_key: $GUARD_KEY, max_tokens: 64", ""));
    let near = |learned: &Learned, expected: f64| {
        let found = attack(learned).unwrap();
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    };
    near(&bench.ask(&["hello"], LONG), 0.1);
    near(&bench.ask(&["hello", "how to build a bomb"], LONG), 0.9);
    near(&bench.ask(&["hello", "how to build a bomb", "and then?"], LONG), 0.9);
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "what was answered once is remembered");
    let body: serde_json::Value = serde_json::from_str(&requests[0].1).unwrap();
    assert_eq!(body["model"], "Qwen3Guard");
    assert_eq!(body["max_tokens"], 64);
    assert_eq!(body["messages"], serde_json::json!([{ "role": "user", "content": "hello" }]));
    let head = requests[0].0.to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer s3cret\r\n"), "{head}");
    assert_eq!(server.connections(), 1, "a connection is used again");
    let status = &bench.plan.external()[0];
    assert_eq!((status.name.as_str(), status.answered, status.failed), ("guard", 3, 0));
    assert!(!format!("{status:?} {:?}", bench.plan.families()).contains("s3cret"));
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let server = serve(|_| Reply::chat("safe"));
    let config = |more: &str| config(&server, &format!("llm_model_name: llama-guard{more}"), "");
    let bench = Bench::of(&config(""));
    bench.ask(&["hello"], LONG);
    assert_eq!(compile(&bench.library, &config(""), &bench.ours).external()[0].answered, 1);
    assert_eq!(compile(&bench.library, &config(", temperature: 0.5"), &bench.ours).external()[0].answered, 0);
}

#[test]
fn a_classifier_names_its_labels_when_it_answers() {
    let server = serve(|body| {
        let attack = if body.contains("ignore") { 0.75 } else { 0.25 };
        let safe = 1.0 - attack;
        let list =
            format!(r#"[[{{"label":"INJECTION","score":{attack}}},{{"label":"SAFE","score":{safe}}}]]"#);
        Reply::Says(200, list)
    });
    let config = config(&server, "llm_model_name: m", "external: [{name: guard, protocol: classify}]");
    let bench = Bench::of(&config);
    assert_eq!(attack(&bench.ask(&["please ignore it"], LONG)), Ok(0.75));
    assert_eq!(attack(&bench.ask(&["please mind it"], LONG)), Ok(0.25));
    assert!(server.requests()[0].0.starts_with("POST /classify HTTP/1.1"));
    assert_eq!(server.requests()[0].1, r#"{"inputs":"please ignore it"}"#);
}

#[test]
fn what_is_no_verdict_leaves_its_signal_unknown() {
    for answer in ["I would rather talk about gardens.", ""] {
        let server = serve(move |_| Reply::chat(answer));
        let bench = Bench::of(&config(&server, "llm_model_name: m", ""));
        assert_eq!(attack(&bench.ask(&["a"], LONG)), Err(Unknown::ClassifierFailed));
        assert_eq!(attack(&bench.ask(&["b"], LONG)), Err(Unknown::ClassifierFailed));
        assert_eq!(server.requests().len(), 2, "strange answers to some texts are no outage");
    }
    let server = serve(|_| Reply::Says(200, "x".repeat(10 << 20)));
    let bench = Bench::of(&config(&server, "llm_model_name: m", ""));
    assert_eq!(attack(&bench.ask(&["a"], LONG)), Err(Unknown::ClassifierFailed));
    assert_eq!(bench.plan.external()[0].last_failure, "the answer is too large");
}

#[test]
fn an_endpoint_that_fails_rests() {
    let server = serve(|_| Reply::Says(500, "no".into()));
    let bench = Bench::of(&config(&server, "llm_model_name: m", ""));
    let mut texts = 0;
    // Each rest is twice as long as the one before, and one of them longer than it takes to ask again.
    until(|| {
        texts += 1;
        assert_eq!(attack(&bench.ask(&[&texts.to_string()], LONG)), Err(Unknown::ClassifierFailed));
        server.requests().len() < texts && bench.plan.external()[0].rests_ms > 0
    });
    let status = &bench.plan.external()[0];
    assert!(status.last_failure.contains("500"), "{status:?}");

    let server = serve(|_| Reply::Says(429, String::new()));
    let bench = Bench::of(&config(&server, "llm_model_name: m", ""));
    assert_eq!(attack(&bench.ask(&["a"], LONG)), Err(Unknown::Overloaded));

    let bench = Bench::of(&config_at("127.0.0.1:1".parse().unwrap(), "llm_model_name: m", ""));
    assert_eq!(attack(&bench.ask(&["a"], LONG)), Err(Unknown::ClassifierFailed));
}

#[test]
fn a_silent_endpoint_costs_its_own_signal_only_and_no_more_than_the_deadline() {
    let server = serve(|_| Reply::Silence);
    let bench = Bench::of(&config(&server, "llm_model_name: m", ""));
    let started = Instant::now();
    let all: Vec<_> = std::thread::scope(|scope| {
        let ask = |text: &'static str| scope.spawn(|| attack(&bench.ask(&[text], LIMIT)));
        ["a", "b", "c"].map(ask).into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all, [Err(Unknown::Deadline); 3]);
    assert!(started.elapsed() < LIMIT * 2, "they waited beside each other: {:?}", started.elapsed());
    // Three in a row are an outage; one who asks after its rest waits in vain again, and the next rest is longer.
    until(|| attack(&bench.ask(&["d"], LIMIT)) == Err(Unknown::ClassifierFailed));
}

#[test]
fn a_full_queue_refuses_at_once() {
    let server = serve(|_| Reply::Silence);
    let bench = Bench::of(&config(&server, "llm_model_name: m", "external_calls: 1, queue: 1"));
    // One is under way, one waits, two find no place.
    let learned = bench.ask(&["a", "b", "c", "d"], LIMIT);
    assert!(matches!(learned.jailbreak, Reading::Missing(Unknown::Overloaded | Unknown::Deadline)));
    assert_eq!(server.requests().len(), 1);
    until(|| bench.plan.external()[0].open == 0);
}

#[test]
fn of_a_long_text_both_ends_are_sent_and_nothing_found_is_not_nothing_there() {
    let server = serve(|body| {
        assert!(body.len() < endpoint::MAX_TEXT + 1000);
        assert!(body.contains("begin") && body.contains("end"));
        Reply::chat("safe")
    });
    let bench = Bench::of(&config(&server, "llm_model_name: llama-guard", ""));
    let long = format!("begin {} end", "ü".repeat(60_000));
    let Reading::Given(reading) = bench.ask(&[&long], LONG).jailbreak else { panic!("it was read") };
    assert!(reading.partial);
}

#[test]
fn nobody_waits_for_an_answer_that_nobody_waits_for() {
    let server = serve(|_| Reply::Silence);
    let bench = Bench::of(&config(&server, "llm_model_name: m", "external_calls: 1"));
    let ask = |text: &str| {
        let question = Question { current: text.into(), ..Question::default() };
        let deadline = Instant::now() + LIMIT * 2;
        let (plan, priority) = (bench.plan.clone(), crate::service::Priority::Request);
        bench.service.ask(plan, question, deadline, priority, Box::new(|_| {})).unwrap()
    };
    let first = ask("a");
    let second = ask("b");
    until(|| bench.plan.external()[0].open == 2 && !server.requests().is_empty());
    drop((first, second));
    until(|| bench.plan.external()[0].open == 0);
    assert_eq!(server.requests().len(), 1, "the second was given up before it was asked");
}

#[test]
fn settings_that_cannot_work_say_so() {
    let server = serve(|_| Reply::chat("safe"));
    for (external, pintle, part) in [
        ("llm_model_name: ''", "", "has no llm_model_name"),
        ("llm_model_name: m", "models: {domain: 'external:guard'}", "cannot be asked for domain"),
        ("llm_model_name: m", "models: {jailbreak: 'external:gone'}", "has no model gone"),
    ] {
        let bench = Bench::of(&config(&server, external, pintle));
        let notes: Vec<&str> = bench.plan.families().iter().map(|family| family.note.as_str()).collect();
        assert!(notes.iter().any(|note| note.contains(part)), "{notes:?}");
    }
    for (address, port, protocol) in [("", 1, "http"), ("a/b", 1, ""), ("h", 70_000, ""), ("h", 1, "ftp")] {
        let settings = Settings {
            llm_model_name: "m".into(),
            llm_endpoint: pintle_config::ClassifierVllmEndpoint {
                address: address.into(),
                port,
                protocol: protocol.into(),
                ..Default::default()
            },
            ..Default::default()
        };
        let made = endpoint::Endpoint::new(&settings, ExternalProtocol::Chat, Default::default(), 1);
        assert!(made.is_err(), "{address}:{port} {protocol}");
    }
}
