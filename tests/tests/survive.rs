//! Promise: session memory outlives the process, however it ends, and what follows keeps its locks.

use std::sync::atomic::{AtomicBool, Ordering};

use pintle_standin::{Options, StandIn};
use pintle_tests::{Agent, ConfigFile, Connection, Driver, Gateway, Model, OnDrop, Start};
use rustix::process::Signal;

fn pair() -> (StandIn, StandIn) {
    let start = |name| StandIn::spawn(Options::for_model(name)).unwrap();
    (start("small"), start("large"))
}

fn gateway(small: &StandIn, large: &StandIn, driver: Driver) -> Gateway {
    let models = vec![Model::on(&[small], 0.1, 0.4), Model::on(&[large], 3.0, 0.9)];
    Gateway::start_with(&ConfigFile::tempting(models), Start { driver, workers: None })
}

#[test]
fn kill_9_in_a_tool_loop_does_not_break_it() {
    for driver in Driver::usable("kill_9_in_a_tool_loop_does_not_break_it") {
        let (small, large) = pair();
        let mut gateway = gateway(&small, &large, driver);
        let mut agents: Vec<Agent> = (0..5).map(|n| Agent::new(&format!("s{n}"))).collect();
        let mut connection = gateway.connect();
        for agent in &mut agents {
            assert_eq!(agent.say(&mut connection, "look [steps:2]").model(), "small");
        }
        gateway.signal(Signal::KILL);
        assert!(!gateway.wait().success());
        gateway.restart();
        let mut connection = gateway.connect();
        for agent in &mut agents {
            for _ in 0..2 {
                let response = agent.hand_in(&mut connection);
                assert_eq!((response.status, response.model()), (200, "small"), "{}", response.text());
                let flow = gateway.flow(&response.flow());
                assert!(!flow["session"]["before"].is_null(), "the session was remembered, not new: {flow}");
            }
        }
        assert_eq!((small.stats().violations, large.stats().violations), (0, 0), "{driver:?}");
    }
}

#[test]
fn kill_9_under_load_leaves_a_readable_session_file() {
    let (small, large) = pair();
    let mut gateway = gateway(&small, &large, Driver::Auto);
    let address = gateway.address();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // If an assertion below fails, the clients must end too, or the scope would wait for them forever.
        let _stop = OnDrop(&stop);
        let stop = &stop;
        let mut clients = Vec::new();
        for n in 0..4 {
            clients.push(scope.spawn(move || {
                let mut last = None;
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let mut agent = Agent::new(&format!("load-{n}-{turn}"));
                    agent.messages.push(serde_json::json!({ "role": "user", "content": "use read_file" }));
                    let body = agent.body().to_string();
                    let Ok(mut connection) = Connection::try_open(address) else { break };
                    let head = pintle_tests::http::chat_head(&agent.session);
                    if !connection.try_send(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
                    {
                        break;
                    }
                    let Ok(response) = connection.try_response() else { break };
                    assert_eq!(response.status, 200);
                    let message = response.json()["choices"][0]["message"].clone();
                    agent.open_calls.push(message["tool_calls"][0]["id"].as_str().unwrap().to_owned());
                    agent.messages.push(message);
                    last = Some(agent);
                }
                last
            }));
        }
        pintle_tests::until("there is load", || small.stats().completed > 200);
        gateway.signal(Signal::KILL);
        gateway.wait();
        gateway.restart();
        // One that was slow to connect has met the new process, and would go on.
        stop.store(true, Ordering::Relaxed);
        let mut connection = gateway.connect();
        for client in clients {
            let mut agent = client.join().unwrap().expect("a turn was answered");
            assert_eq!(agent.hand_in(&mut connection).model(), "small");
        }
    });
    assert_eq!(large.stats().violations, 0);
}

#[test]
fn an_orderly_restart_keeps_sessions_and_flows() {
    let (small, large) = pair();
    let mut gateway = gateway(&small, &large, Driver::Auto);
    let mut agent = Agent::new("s1");
    let response = agent.say(&mut gateway.connect(), "use read_file");
    assert_eq!(response.model(), "small");
    gateway.flow(&response.flow());
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().success());
    let files: Vec<_> =
        std::fs::read_dir(gateway.state_dir()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!files.is_empty(), "session memory and journal lie in the state folder");
    gateway.restart();
    assert_eq!(gateway.flow(&response.flow())["id"], response.flow());
    assert_eq!(agent.hand_in(&mut gateway.connect()).model(), "small");
}

#[test]
fn an_unreadable_session_file_is_set_aside_not_overwritten() {
    let (small, large) = pair();
    let mut gateway = gateway(&small, &large, Driver::Auto);
    assert_eq!(Agent::new("s1").say(&mut gateway.connect(), "hello").status, 200);
    gateway.signal(Signal::TERM);
    gateway.wait();
    let files = std::fs::read_dir(gateway.state_dir()).unwrap().map(|f| f.unwrap().path());
    let session_file = files
        .filter(|p| p.file_name().unwrap().to_string_lossy().contains("session"))
        .max_by_key(|p| p.metadata().unwrap().len())
        .expect("a session file");
    let mut bytes = std::fs::read(&session_file).unwrap();
    bytes[..64].fill(0xa5);
    std::fs::write(&session_file, &bytes).unwrap();
    gateway.restart();
    assert_eq!(Agent::new("s1").say(&mut gateway.connect(), "hello").status, 200);
    let kept = std::fs::read_dir(gateway.state_dir()).unwrap().map(|f| f.unwrap().path());
    let mut kept = kept.filter(|p| p.is_file() && *p != session_file);
    assert!(kept.any(|p| std::fs::read(&p).is_ok_and(|b| b == bytes)), "the unknown file is still there");
}
