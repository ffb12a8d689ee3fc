//! Promise: what the kernel knows of the connections to backends is told, in every flow and by backend, without any
//! privilege; and a near backend is preferred where that is asked for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use pintle_standin::{Options, StandIn};
use pintle_tests::alone::alone;
use pintle_tests::gateway::binary;
use pintle_tests::ports::NOBODY;
use pintle_tests::{Backend, ConfigFile, Driver, Gateway, Model, Start, skip, until};
use serde_json::{Value, json};

fn hello() -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": "hello [tokens:3]" }] })
}

#[test]
fn answers_and_failures_say_what_the_kernel_knew() {
    // A server that takes a request and goes away.
    let rude = TcpListener::bind("127.0.0.1:0").unwrap();
    let rude_address = rude.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in rude.incoming() {
            let _ = stream.and_then(|mut stream| stream.read(&mut [0; 4096]));
        }
    });
    for driver in Driver::usable("answers_and_failures_say_what_the_kernel_knew") {
        let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
        let mut model = Model::on(&[&stand_in], 0.1, 0.5);
        model.backends.push(Backend::at(rude_address));
        let config = ConfigFile::plain(vec![model]).with("telemetry: userspace");
        let gateway = Gateway::start_with(&config, Start { driver, workers: None });
        let flows: Vec<Value> = (0..2)
            .map(|n| gateway.flow(&gateway.connect().chat(&format!("s{n}"), &hello()).flow()))
            .collect();
        let attempts: Vec<&Value> =
            flows.iter().flat_map(|flow| flow["upstream"].as_array().unwrap()).collect();
        let (good, bad) =
            (attempts.iter().find(|a| a["status"] == 200), attempts.iter().find(|a| !a["error"].is_null()));
        for attempt in [good.expect("one that answers"), bad.expect("one that fails")] {
            let kernel = &attempt["kernel"];
            assert!(
                kernel["srtt_us"].as_u64() > Some(0) && kernel["min_rtt_us"].as_u64() > Some(0),
                "{attempt}"
            );
            assert_eq!(kernel["retransmits"], 0, "{attempt}");
        }
        let received = &good.unwrap()["kernel"]["bytes_received"];
        assert!(received.as_u64() > Some(100), "{received}");
        until("the backends' numbers are published", || {
            ["backend-0", "backend-1"].iter().all(|backend| {
                let of = |name| gateway.metric(name, &["model=\"small\"", &format!("backend=\"{backend}\"")]);
                of("pintle_backend_srtt_seconds") > 0.0
                    && of("pintle_backend_min_rtt_seconds") > 0.0
                    && of("pintle_backend_connects_total") >= 1.0
                    && of("pintle_backend_connect_microseconds_total") > 0.0
            })
        });
        let why = gateway.admin("/status").json()["data_plane"]["kernel"]["telemetry"].clone();
        assert_eq!(why["mode"], "userspace");
        assert_eq!(why["why"], "TCP_INFO at the end of each call: as configured");
    }
}

#[test]
fn connects_that_fail_are_counted_and_nothing_is_told_where_telemetry_is_off() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut model = Model::on(&[&stand_in], 0.1, 0.5);
    model.backends.push(Backend::at(NOBODY));
    let config = ConfigFile::plain(vec![model]);
    let gateway = Gateway::start(&config);
    for n in 0..4 {
        assert_eq!(
            gateway.connect().chat(&format!("s{n}"), &hello()).status,
            200,
            "the other backend serves"
        );
    }
    until("failures are counted", || {
        gateway.metric("pintle_backend_connect_failures_total", &["backend=\"backend-1\""]) >= 1.0
    });
    assert_eq!(gateway.metric("pintle_backend_connects_total", &["backend=\"backend-1\""]), 0.0);
    let silent = Gateway::start(&config.with("telemetry: \"off\""));
    let flow = silent.flow(&silent.connect().chat("s", &hello()).flow());
    assert!(!flow["upstream"][0]["address"].is_null(), "{flow}");
    until("gauges are there", || silent.metrics().contains("pintle_backend_up"));
    assert!(!silent.metrics().contains("pintle_backend_srtt_seconds"));
    assert_eq!(silent.admin("/status").json()["data_plane"]["kernel"]["telemetry"]["mode"], "off");
}

/// A child that ends with this value.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Helper {
    /// Starts a program that says so when it is ready.
    fn start(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        let mut child =
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "{program} {args:?} ended");
        Self(child)
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip(8)");
    assert!(status.success(), "ip {arguments}");
}

/// A stand-in in a network namespace of its own, at the end of a wire that takes 10 ms in each direction.
fn far_stand_in() -> (SocketAddr, [Helper; 2]) {
    ip("link add near0 type veth peer name middle0");
    ip("link add far0 type veth peer name middle1");
    for interface in ["near0", "middle0", "middle1"] {
        ip(&format!("link set {interface} up"));
    }
    ip("address add 10.98.0.1/24 dev near0");
    let wire = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/delayed_wire.py");
    let wire = Helper::start("python3", &[wire, "middle0", "middle1", "0.01"]);
    let script = "echo here; read there; ip link set lo up; ip address add 10.98.0.2/24 dev far0; ip link set far0 up; \
                  exec \"$0\" stand-in-model --listen 10.98.0.2:8000 --model small";
    let pintle = binary();
    let mut far = Helper::start("unshare", &["--net", "sh", "-c", script, pintle.to_str().expect("a path")]);
    ip(&format!("link set far0 netns {}", far.0.id()));
    far.0.stdin.as_mut().expect("piped").write_all(b"there\n").expect("it reads");
    let address = SocketAddr::from(([10, 98, 0, 2], 8000));
    until("the far stand-in answers", || std::net::TcpStream::connect(address).is_ok());
    (address, [wire, far])
}

#[test]
fn a_near_backend_is_preferred_where_that_is_asked_for() {
    const TEST: &str = "a_near_backend_is_preferred_where_that_is_asked_for";
    if Command::new("python3").arg("--version").output().is_err() {
        return skip(TEST, "no python3, which delays packets for this test");
    }
    alone(TEST, || {
        let near = StandIn::spawn(Options::for_model("small")).unwrap();
        let (far, _helpers) = far_stand_in();
        let mut model = Model::on(&[&near], 0.1, 0.5);
        model.backends.push(Backend::at(far));
        let plain = ConfigFile::plain(vec![model]);
        const REQUESTS: u64 = 68;
        let mut shares = Vec::new();
        for balance in ["weights", "near"] {
            let gateway = Gateway::start(&plain.clone().with(&format!("balance: {balance}")));
            let ask = |n: u64| {
                let answer = gateway.connect().chat(&format!("{balance}-{n}"), &hello());
                assert_eq!(answer.status, 200, "{}", answer.text());
            };
            // Both get to be known first.
            (0..8).for_each(ask);
            let distance = |backend: &str| gateway.metric("pintle_backend_min_rtt_seconds", &[backend]);
            until("both have been asked", || distance("backend-0") > 0.0 && distance("backend-1") > 0.0);
            assert!(distance("backend-1") >= 0.02, "the kernel measures it: {}", distance("backend-1"));
            assert!(distance("backend-0") < 0.01, "{}", distance("backend-0"));
            let before = near.stats().requests;
            (8..8 + REQUESTS).for_each(ask);
            shares.push(near.stats().requests - before);
        }
        println!("of {REQUESTS} requests the near backend got {shares:?}");
        assert_eq!(shares[0], REQUESTS / 2);
        // Sixteen to one, and the far one is not forgotten.
        assert!((REQUESTS * 9 / 10..REQUESTS).contains(&shares[1]), "{shares:?}");
    });
}
