//! Promise: 2,896 requests in six shapes of session, the gateway killed and begun again 20 times in between,
//! and no tool result and no response id ever reaches a model that did not ask for it.
//!
//! The shapes are those of the session benchmark; the number of requests is that of the published live run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pintle_standin::{Options, StandIn};
use pintle_tests::{Agent, ConfigFile, Connection, Gateway, Model, OnDrop, PATIENCE, Response, until};
use rustix::process::Signal;
use serde_json::{Value, json};

const REQUESTS: u64 = 2_896;
const RESTARTS: u64 = 20;
/// Sessions at a time of each shape.
const CLIENTS: u64 = 2;
/// Answers that make a session.
const TURNS: usize = 12;

/// What users say, in turn; the words choose decisions, the directives tool loops.
#[derive(Debug, Clone, Copy)]
struct Shape {
    name: &'static str,
    says: &'static [&'static str],
    stateful: bool,
    /// A request on the side after every so many answers, which ends on another model; never if 0.
    side_every: usize,
}

const SHAPES: [Shape; 6] = [
    Shape { name: "balanced", says: &["plan", "look [steps:2]", "prove it"], stateful: false, side_every: 0 },
    Shape {
        name: "tool-heavy",
        says: &["look [steps:4][calls:2]", "audit, look [steps:3]"],
        stateful: false,
        side_every: 3,
    },
    Shape {
        name: "frontier-heavy",
        says: &["prove it [steps:2]", "deadlock?", "prove more"],
        stateful: false,
        side_every: 0,
    },
    Shape { name: "idle-heavy", says: &["hello", "look [steps:1]", "bye"], stateful: false, side_every: 5 },
    Shape {
        name: "stateful-heavy",
        says: &["prove it", "plan [steps:2]", "audit", "more"],
        stateful: true,
        side_every: 0,
    },
    Shape {
        name: "drift-heavy",
        says: &["plan", "prove it", "audit [steps:1]", "deadlock?", "audit"],
        stateful: false,
        side_every: 4,
    },
];

struct Marathon<'a> {
    address: std::net::SocketAddr,
    served: &'a AtomicU64,
    retried: &'a AtomicU64,
    stop: &'a AtomicBool,
}

impl Marathon<'_> {
    /// Sends until a whole answer comes, as a client whose connection broke does.
    fn send(&self, connection: &mut Option<Connection>, session: &str, body: &Value) -> Option<Response> {
        let body = body.to_string();
        let head = pintle_tests::http::chat_head(session);
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        // The gateway is away for as long as this machine needs to start it.
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if connection.is_none() {
                *connection = Connection::try_open(self.address).ok();
            }
            let response = connection
                .as_mut()
                .and_then(|open| if open.try_send(&request) { open.try_response().ok() } else { None });
            let whole = response.filter(|response| {
                response.status != 200
                    || response.body.ends_with(b"}")
                    || response.body.ends_with(b"[DONE]\n\n")
            });
            if let Some(response) = whole {
                assert_eq!(response.status, 200, "{session}: {}", response.text());
                self.served.fetch_add(1, Ordering::Relaxed);
                return Some(response);
            }
            *connection = None;
            self.retried.fetch_add(1, Ordering::Relaxed);
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("{session}: no answer in {PATIENCE:?}");
    }

    /// One session from its first word to its last open call; `None` if the marathon is over.
    fn session(&self, shape: Shape, name: &str) -> Option<()> {
        let mut connection = None;
        let mut agent = Agent::new(name);
        let mut says = shape.says.iter().cycle();
        // Id of the last answer and who made it, of a session whose state is at its provider.
        let mut previous: Option<(String, String)> = None;
        let mut answers = 0;
        while answers < TURNS || !agent.open_calls.is_empty() {
            let asker = agent.open_calls.first().cloned();
            if agent.open_calls.is_empty() {
                let text = says.next().expect("a cycle");
                agent.messages.push(json!({ "role": "user", "content": text }));
            }
            for id in agent.open_calls.drain(..) {
                agent.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": "x" }));
            }
            let mut body = agent.body();
            if let Some((id, _)) = &previous {
                body["previous_response_id"] = id.as_str().into();
            }
            let response = self.send(&mut connection, name, &body)?;
            answers += 1;
            if let Some(asker) = asker {
                let model = response.model();
                assert!(asker.starts_with(&format!("call_{model}_")), "{name}: {asker} handed to {model}");
            }
            if let Some((id, maker)) = &previous {
                assert_eq!(response.model(), maker, "{name}: {id} went elsewhere");
            }
            let answer = response.json();
            if shape.stateful {
                let id = answer["id"].as_str().expect("an id").to_owned();
                previous = Some((id, response.model().to_owned()));
            }
            let message = answer["choices"][0]["message"].clone();
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            agent.open_calls = calls.map(|call| call["id"].as_str().expect("an id").to_owned()).collect();
            agent.messages.push(message);
            if shape.side_every > 0 && answers % shape.side_every == 0 {
                let mut side = Agent::new(name);
                side.messages.push(json!({ "role": "user", "content": "deadlock, in five words" }));
                self.send(&mut connection, name, &side.body())?;
            }
        }
        Some(())
    }
}

#[test]
fn killed_twenty_times_in_2896_requests_without_a_violation() {
    let models = ["small", "medium", "large"].map(|name| StandIn::spawn(Options::for_model(name)).unwrap());
    for model in &models {
        // An answer takes as long as the machine needs, but some are under way whenever the gateway dies.
        model.set_pace(|pace| pace.tokens_per_second = 20_000.0);
    }
    let [small, medium, large] = &models;
    let mut config = ConfigFile::tempting(vec![
        Model::on(&[small], 0.1, 0.4),
        Model::on(&[medium], 0.8, 0.7),
        Model::on(&[large], 3.0, 0.9),
    ]);
    config.routing = three_ways(&config.routing);
    let mut gateway = Gateway::start(&config.with("workers: 2"));
    let (served, retried) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let shapes_done = Mutex::new(std::collections::HashMap::<&str, u64>::new());
    let mut restarts = 0;
    std::thread::scope(|scope| {
        let _stop = OnDrop(&stop);
        let address = gateway.address();
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            for shape in SHAPES {
                let (served, retried, stop) = (&served, &retried, &stop);
                let shapes_done = &shapes_done;
                clients.push(scope.spawn(move || {
                    let marathon = Marathon { address, served, retried, stop };
                    for round in 0.. {
                        if served.load(Ordering::Relaxed) >= REQUESTS {
                            return;
                        }
                        let name = format!("{}-{client}-{round}", shape.name);
                        if marathon.session(shape, &name).is_none() {
                            return;
                        }
                        *shapes_done.lock().unwrap().entry(shape.name).or_default() += 1;
                    }
                }));
            }
        }
        for restart in 1..=RESTARTS {
            let due = REQUESTS * restart / (RESTARTS + 1);
            until("more requests are served", || {
                served.load(Ordering::Relaxed) >= due || clients.iter().any(|client| client.is_finished())
            });
            assert!(served.load(Ordering::Relaxed) >= due, "a client ended early");
            gateway.signal(Signal::KILL);
            assert!(!gateway.wait().success());
            gateway.restart();
            restarts += 1;
        }
        for client in clients {
            client.join().expect("every session went through");
        }
    });
    let stats = models.each_ref().map(|model| model.stats());
    let (served, retried) = (served.into_inner(), retried.into_inner());
    let done = shapes_done.into_inner().unwrap();
    println!("{served} requests, {retried} tries more, {restarts} restarts, {done:?}");
    assert!(served >= REQUESTS, "{served}");
    assert_eq!(restarts, RESTARTS);
    assert!(retried > 0, "no request was under way when the gateway died");
    assert!(SHAPES.iter().all(|shape| done.get(shape.name).is_some_and(|count| *count > 0)), "{done:?}");
    for stats in &stats {
        assert_eq!(stats.violations, 0, "{stats:?}");
        assert!(stats.completed > 100, "every model had its part: {stats:?}");
        assert!(stats.tool_calls > 0, "every model called tools: {stats:?}");
    }
}

/// A third way beside those of [`ConfigFile::tempting`]: audits go to the model in the middle.
fn three_ways(routing: &str) -> String {
    let keyword = "    keywords:\n      - {name: audit, operator: OR, keywords: [audit]}\n";
    let decision = "  decisions:
    - name: audit
      description: audits
      priority: 400
      rules: {operator: AND, conditions: [{type: keyword, name: audit}]}
      modelRefs: [{model: medium}]
      algorithm: {type: static}
";
    routing.replacen("    keywords:\n", keyword, 1).replacen("  decisions:\n", decision, 1)
}
