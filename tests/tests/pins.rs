//! Promise: a tool result reaches the model that asked for it, and a response id the model that made it,
//! whatever else happened in the session meanwhile.

use pintle_standin::{Options, StandIn};
use pintle_tests::{Agent, ConfigFile, Gateway, Model};
use serde_json::json;

fn pair() -> (StandIn, StandIn) {
    let start = |name| StandIn::spawn(Options::for_model(name)).unwrap();
    (start("small"), start("large"))
}

fn gateway(small: &StandIn, large: &StandIn) -> Gateway {
    let models = vec![Model::on(&[small], 0.1, 0.4), Model::on(&[large], 3.0, 0.9)];
    Gateway::start(&ConfigFile::tempting(models))
}

#[test]
fn a_side_request_between_a_call_and_its_result_takes_nothing_away() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    let mut agent = Agent::new("s1");
    assert_eq!(agent.say(&mut connection, "use read_file").model(), "small");
    // Another request of the same session, as a client makes to name the conversation: ends on the other model.
    let mut side = Agent::new("s1");
    assert_eq!(side.say(&mut connection, "prove that this title fits").model(), "large");
    let response = agent.hand_in(&mut connection);
    assert_eq!((response.status, response.model()), (200, "small"), "{}", response.text());
    assert_eq!((small.stats().violations, large.stats().violations), (0, 0));
}

#[test]
fn results_of_two_loops_in_one_session_each_find_their_asker() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    let mut easy = Agent::new("s1");
    let mut hard = Agent::new("s1");
    assert_eq!(easy.say(&mut connection, "use read_file [steps:2]").model(), "small");
    assert_eq!(hard.say(&mut connection, "prove it, use read_file [steps:2]").model(), "large");
    for _ in 0..2 {
        assert_eq!(easy.hand_in(&mut connection).model(), "small");
        assert_eq!(hard.hand_in(&mut connection).model(), "large");
    }
    assert_eq!((small.stats().violations, large.stats().violations), (0, 0));
}

#[test]
fn a_response_id_holds_its_session_on_its_model() {
    let (small, large) = pair();
    let gateway = gateway(&small, &large);
    let mut connection = gateway.connect();
    let turn = |text: &str, previous: Option<&str>| {
        let mut body = json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] });
        if let Some(previous) = previous {
            body["previous_response_id"] = previous.into();
        }
        body
    };
    let first = connection.chat("s1", &turn("hello", None));
    assert_eq!(first.model(), "small");
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let second = connection.chat("s1", &turn("prove that there is no deadlock", Some(&id)));
    assert_eq!((second.status, second.model()), (200, "small"), "{}", second.text());
    assert_eq!(second.header("x-vsr-session-phase"), "provider_state");
    // The second answer's id is on record: it leads back without any session header, too.
    let id = second.json()["id"].as_str().unwrap().to_owned();
    let third = connection.chat("", &turn("prove it again", Some(&id)));
    assert_eq!((third.status, third.model()), (200, "small"), "{}", third.text());
}

#[test]
fn a_lock_whose_model_is_gone_is_released_or_refused_as_configured() {
    for (setting, status) in [("release", 200), ("refuse", 409)] {
        let (small, large) = pair();
        let models = || vec![Model::on(&[&small], 0.1, 0.4), Model::on(&[&large], 3.0, 0.9)];
        let line = format!("session: {{on_missing_model: {{tool_loop: {setting}}}}}");
        let gateway = Gateway::start(&ConfigFile::tempting(models()).with(&line));
        let mut connection = gateway.connect();
        let mut agent = Agent::new("s1");
        assert_eq!(agent.say(&mut connection, "use read_file").model(), "small");

        let mut without = ConfigFile::tempting(vec![Model::on(&[&large], 3.0, 0.9)]).with(&line);
        without.routing =
            without.routing.replace("{model: small}, ", "").replace("{model: small}", "{model: large}");
        gateway.write_config(&without);
        gateway.signal(rustix::process::Signal::HUP);
        pintle_tests::until("the new configuration serves", || {
            gateway.metric("pintle_generation", &[]) >= 2.0
        });

        let response = agent.hand_in(&mut connection);
        assert!(
            response.status == status
                || (setting == "release" && response.status == 409 && large.stats().violations > 0),
            "{setting}: {} {}",
            response.status,
            response.text()
        );
        let flow = gateway.flow(&response.flow());
        if setting == "refuse" {
            response.assert_openai_error(409);
            assert_eq!(large.stats().requests, 0, "nothing was sent");
        } else {
            assert_eq!(flow["session"]["breach"], true, "{}", flow["session"]);
        }
    }
}
