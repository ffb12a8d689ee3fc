//! Promise: a reload drops no request, and a rejected configuration leaves the old one serving.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pintle_standin::{Options, StandIn};
use pintle_tests::{Agent, ConfigFile, Gateway, Model, OnDrop, until};
use rustix::process::Signal;
use serde_json::json;

fn stand_in(name: &str) -> StandIn {
    StandIn::spawn(Options::for_model(name)).unwrap()
}

#[test]
fn reloads_under_load_fail_no_request() {
    let (small, large) = (stand_in("small"), stand_in("large"));
    let to = |first: &StandIn, second: &StandIn| {
        let models = vec![Model::on(&[first], 0.1, 0.4), Model::on(&[second], 3.0, 0.9)];
        ConfigFile::plain(models).with("workers: 2")
    };
    let gateway = Gateway::start(&to(&small, &large));
    let stop = AtomicBool::new(false);
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // If an assertion below fails, the clients must end too, or the scope would wait for them forever.
        let _stop = OnDrop(&stop);
        for client in 0..4 {
            let (gateway, stop, served) = (&gateway, &stop, &served);
            scope.spawn(move || {
                let mut connection = gateway.connect();
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = json!({ "model": "auto", "stream": turn % 2 == 0,
                        "messages": [{ "role": "user", "content": format!("{client} {turn}") }] });
                    let response = connection.chat(&format!("{client}-{turn}"), &body);
                    assert_eq!(response.status, 200, "{}", response.text());
                    assert!(response.body.ends_with(b"}") || response.body.ends_with(b"data: [DONE]\n\n"));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..6 {
            let (config, busy) =
                if round % 2 == 0 { (to(&large, &small), &large) } else { (to(&small, &large), &small) };
            gateway.write_config(&config);
            let before = busy.stats().completed;
            gateway.signal(Signal::HUP);
            until("the new configuration serves", || busy.stats().completed > before + 20);
        }
    });
    assert!(served.load(Ordering::Relaxed) > 100);
    assert_eq!(small.stats().aborted + large.stats().aborted, 0);
}

#[test]
fn a_bad_file_is_refused_with_a_report_and_the_old_one_serves_on() {
    let small = stand_in("small");
    let gateway = Gateway::plain(&small);
    let chat = json!({ "model": "auto", "messages": [{ "role": "user", "content": "hi" }] });
    let mut connection = gateway.connect();
    assert_eq!(connection.chat("s1", &chat).status, 200);
    for (bad, clue) in [
        ("version: v0.3\nrouting:\n  decisions: 7\n", "decisions"),
        ("version: v0.3\nrouting: [unclosed\n", "config.yaml"),
        ("", "config.yaml"),
    ] {
        let logged = gateway.log().len();
        gateway.write_config_text(bad);
        gateway.signal(Signal::HUP);
        until("the refusal is logged", || gateway.log()[logged..].contains(clue));
        assert_eq!(connection.chat("s1", &chat).status, 200, "{bad}");
        assert_eq!(gateway.connect().get("/ready").status, 200);
    }
}

#[test]
fn a_reload_in_a_tool_loop_keeps_the_lock() {
    let (small, large) = (stand_in("small"), stand_in("large"));
    let models = || vec![Model::on(&[&small], 0.1, 0.4), Model::on(&[&large], 3.0, 0.9)];
    let gateway = Gateway::start(&ConfigFile::tempting(models()));
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s1");
    assert_eq!(agent.say(&mut connection, "use read_file").model(), "small");
    let mut turned = ConfigFile::tempting(models().into_iter().rev().collect());
    turned.models.reverse();
    gateway.write_config(&turned);
    gateway.signal(Signal::HUP);
    let mut probe = 0;
    until("the new configuration serves", || {
        probe += 1;
        Agent::new(&format!("probe-{probe}")).say(&mut connection, "hello").model() == "large"
    });
    let response = agent.hand_in(&mut connection);
    assert_eq!((response.status, response.model()), (200, "small"), "{}", response.text());
    assert_eq!(large.stats().violations, 0);
}
