//! Promise: a turn inside a tool loop never changes model, whatever the policy would rather do.

use pintle_standin::{Options, StandIn};
use pintle_tests::{Agent, ConfigFile, Driver, Gateway, Model, Start};

fn pair() -> (StandIn, StandIn) {
    let start = |name| StandIn::spawn(Options::for_model(name)).unwrap();
    (start("small"), start("large"))
}

fn models(small: &StandIn, large: &StandIn) -> Vec<Model> {
    vec![Model::on(&[small], 0.1, 0.4), Model::on(&[large], 3.0, 0.9)]
}

#[test]
fn the_policy_of_these_tests_does_tempt() {
    let (small, large) = pair();
    let gateway = Gateway::start(&ConfigFile::tempting(models(&small, &large)));
    let mut connection = gateway.connect();
    let mut agent = Agent::new("easy");
    assert_eq!(agent.say(&mut connection, "hello").model(), "small");
    let mut agent = Agent::new("hard");
    let response = agent.say(&mut connection, "prove it");
    assert_eq!((response.model(), response.header("x-vsr-selected-decision")), ("large", "hard"));
}

#[test]
fn a_tool_loop_stays_on_the_model_that_opened_it() {
    let (small, large) = pair();
    let gateway = Gateway::start(&ConfigFile::tempting(models(&small, &large)));
    let mut connection = gateway.connect();
    for stream in [false, true] {
        let mut agent = Agent { stream, ..Agent::new(&format!("loop-{stream}")) };
        let response = agent.say(&mut connection, "look around [steps:4]");
        assert_eq!((response.status, response.model()), (200, "small"));
        for step in 0..4 {
            let response = agent.hand_in(&mut connection);
            assert_eq!(response.status, 200, "step {step}: {}", response.text());
            assert_eq!(response.model(), "small", "step {step}");
            assert_eq!(response.header("x-vsr-session-phase"), "tool_loop");
            let flow = gateway.flow(&response.flow());
            assert!(flow["session"]["action"].to_string().contains("tool_loop"), "{}", flow["session"]);
            assert!(!flow["session"]["reason"].as_str().unwrap().is_empty());
        }
        assert!(agent.open_calls.is_empty());
    }
    assert_eq!((small.stats().violations, large.stats().violations), (0, 0));
}

#[test]
fn a_user_who_interrupts_a_tool_loop_does_not_break_it() {
    let (small, large) = pair();
    let gateway = Gateway::start(&ConfigFile::tempting(models(&small, &large)));
    let mut connection = gateway.connect();
    let mut agent = Agent::new("interrupted");
    assert_eq!(agent.say(&mut connection, "use read_file").model(), "small");
    for id in std::mem::take(&mut agent.open_calls) {
        agent.messages.push(serde_json::json!({ "role": "tool", "tool_call_id": id, "content": "x" }));
    }
    let response = agent.say(&mut connection, "and prove that there is no deadlock");
    assert_eq!((response.status, response.model()), (200, "small"), "{}", response.text());
    assert_eq!(large.stats().violations, 0);
}

#[test]
fn a_lock_holds_under_a_decision_without_session_policy() {
    let (small, large) = pair();
    let mut config = ConfigFile::tempting(models(&small, &large));
    config.routing = config.routing.replace(
        "{type: session_aware, session_aware: {base_method: static, min_turns_before_switch: 0}}",
        "{type: static}",
    );
    assert!(config.routing.contains("{type: static}"));
    let gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s1");
    assert_eq!(agent.say(&mut connection, "use read_file").model(), "small");
    let response = agent.hand_in(&mut connection);
    assert_eq!((response.status, response.model()), (200, "small"), "{}", response.text());
}

#[test]
fn a_session_without_any_header_is_recognised_by_its_conversation() {
    let (small, large) = pair();
    let gateway = Gateway::start(&ConfigFile::tempting(models(&small, &large)));
    let mut connection = gateway.connect();
    let mut agent = Agent::new("");
    agent.messages[0]["content"] = "You are one of a kind.".into();
    assert_eq!(agent.say(&mut connection, "use read_file [steps:2]").model(), "small");
    for _ in 0..2 {
        let response = agent.hand_in(&mut connection);
        assert_eq!((response.status, response.model()), (200, "small"), "{}", response.text());
    }
}

#[test]
fn a_failed_turn_is_not_remembered() {
    let (small, large) = pair();
    let gateway = Gateway::start(&ConfigFile::tempting(models(&small, &large)));
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s1");
    assert_eq!(agent.say(&mut connection, "prove it [error:503]").model(), "large");
    agent.messages.pop();
    let response = agent.say(&mut connection, "hello");
    assert_eq!(response.model(), "small", "no turn was served, so nothing holds the session");
    assert_eq!(gateway.flow(&response.flow())["session"]["action"]["kind"], "new");
}

#[test]
fn eight_parallel_sessions_of_twelve_turns_without_a_violation() {
    for driver in Driver::usable("eight_parallel_sessions_of_twelve_turns_without_a_violation") {
        let (small, large) = pair();
        small.set_pace(|pace| pace.tokens_per_second = 4_000.0);
        let start = Start { driver, workers: Some(2) };
        let gateway = Gateway::start_with(&ConfigFile::tempting(models(&small, &large)), start);
        let wanted = if driver == Driver::Epoll { "epoll" } else { "io_uring" };
        assert!(gateway.log().contains(wanted), "the log names the driver\n{}", gateway.log());
        std::thread::scope(|scope| {
            let sessions: Vec<_> = (0..8)
                .map(|n| {
                    scope.spawn({
                        let gateway = &gateway;
                        move || twelve_turns(gateway, n)
                    })
                })
                .collect();
            for session in sessions {
                assert_eq!(session.join().expect("the session went through"), 12);
            }
        });
        let (small, large) = (small.stats(), large.stats());
        assert_eq!((small.violations, large.violations), (0, 0), "{driver:?}");
        assert_eq!(small.completed + large.completed, 96, "{driver:?}");
        assert!(small.completed > 0 && large.completed > 0, "{driver:?}: both models were used");
        assert!(small.refused + large.refused == 0);
    }
}

/// Twelve turns: talk, loops of two and three rounds, hard questions; each on a new connection now and then.
fn twelve_turns(gateway: &Gateway, session: usize) -> usize {
    let mut agent = Agent { stream: session.is_multiple_of(2), ..Agent::new(&format!("session-{session}")) };
    let mut connection = gateway.connect();
    let words = [
        "plan the work",
        "look [steps:2][calls:2]",
        "fix it",
        "prove it [steps:3]",
        "deadlock? [tokens:200]",
    ];
    let mut words = words.iter().cycle().skip(session % 2);
    for turn in 0..12 {
        if turn % 5 == session % 5 {
            connection = gateway.connect();
        }
        let response = if agent.open_calls.is_empty() {
            agent.say(&mut connection, words.next().expect("a cycle"))
        } else {
            agent.hand_in(&mut connection)
        };
        assert_eq!(response.status, 200, "session {session} turn {turn}: {}", response.text());
        for id in &agent.open_calls {
            assert!(id.starts_with(&format!("call_{}_", response.model())), "{id} from {}", response.model());
        }
    }
    agent.messages.iter().filter(|m| m["role"] == "assistant").count()
}
