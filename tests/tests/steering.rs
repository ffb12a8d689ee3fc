//! Promise: few, long connections are spread over the workers, without any privilege, and `/status` says who does it.

use pintle_standin::{Options, StandIn};
use pintle_tests::http::chat_head;
use pintle_tests::{ConfigFile, Connection, Gateway, Model, until};
use serde_json::{Value, json};

const WORKERS: usize = 8;

fn loads(gateway: &Gateway) -> Vec<f64> {
    let status = gateway.admin("/status").json();
    let loads = status["data_plane"]["loads"].as_array().expect("a load per worker").clone();
    loads.iter().map(|load| load.as_f64().expect("a number")).collect()
}

/// Busiest worker by the mean, with this many requests in progress on a connection each.
fn imbalance(steering: &str, connections: usize) -> f64 {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)])
        .with(&format!("workers: {WORKERS}"))
        .with(&format!("steering: \"{steering}\""))
        .with("timeouts: {drain_ms: 0}");
    let gateway = Gateway::start(&config);
    let body =
        json!({ "model": "auto", "messages": [{ "role": "user", "content": "[delay:600000]" }] }).to_string();
    let clients: Vec<Connection> = (0..connections)
        .map(|n| {
            let mut client = gateway.connect();
            client.request(&chat_head(&format!("s{n}")), body.as_bytes());
            client
        })
        .collect();
    until("every request is at the model", || stand_in.stats().in_flight == connections as u64);
    let loads = loads(&gateway);
    let kernel: Value = gateway.admin("/status").json()["data_plane"]["kernel"].clone();
    let wanted = if steering == "off" { "off" } else { "userspace" };
    assert_eq!(kernel["steering"]["mode"], wanted, "{kernel}");
    let mean = loads.iter().sum::<f64>() / WORKERS as f64;
    drop(clients);
    loads.iter().copied().fold(0.0, f64::max) / mean
}

#[test]
fn workers_share_long_requests_among_themselves() {
    let mean = |steering: &str, connections| {
        let runs: Vec<f64> = (0..5).map(|_| imbalance(steering, connections)).collect();
        println!("{steering:>9}  {connections:>4} connections  busiest/mean {runs:.2?}");
        runs.iter().sum::<f64>() / runs.len() as f64
    };
    let (hash, shared) = (mean("off", 64), mean("userspace", 64));
    println!("means: {hash:.2} and {shared:.2}");
    assert!(shared < 1.5, "{shared:.2}");
}
