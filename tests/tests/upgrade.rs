//! Promise: the gateway is replaced by another process without a request that fails, and what it began it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pintle_standin::{Options, StandIn};
use pintle_tests::gateway::{binary, runs};
use pintle_tests::http::chat_head;
use pintle_tests::{Agent, ConfigFile, Connection, Driver, Gateway, Model, OnDrop, Start, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Upgrades in a row.
const UPGRADES: u64 = 20;
/// Requests between two of them, at least.
const BETWEEN: u64 = 500;

fn question(stream: bool, text: &str) -> Value {
    json!({ "model": "auto", "stream": stream, "messages": [{ "role": "user", "content": text }] })
}

/// What the clients of a load have seen.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    streams: AtomicU64,
    tool_loops: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Seen {
    fn failed(&self, what: String) {
        self.failures.lock().expect("no client panics").push(what);
    }
}

/// Asks one question after the other on one connection until the server says that it is the last.
fn keep_asking(address: std::net::SocketAddr, client: usize, seen: &Seen, stop: &AtomicBool) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut connection = match Connection::try_open(address) {
            Ok(connection) => connection,
            Err(error) => return seen.failed(format!("client {client} was refused: {error}")),
        };
        loop {
            turn += 1;
            let body = question(false, "hello [tokens:3]").to_string();
            let head = chat_head(&format!("keeping-{client}-{}", turn % 7));
            let sent = connection.try_send(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            let answer = connection.try_response();
            match answer {
                Ok(response) if sent && response.status == 200 => {
                    seen.requests.fetch_add(1, Ordering::Relaxed);
                    if response.header("connection") == "close" || stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(response) => return seen.failed(format!("{}: {}", response.status, response.text())),
                Err(error) => return seen.failed(format!("client {client}, turn {turn}: {error}")),
            }
        }
    }
}

/// Asks every question on a connection of its own.
fn ask_anew(address: std::net::SocketAddr, client: usize, seen: &Seen, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let body = question(false, "hello [tokens:3]").to_string();
        let head = format!("{}\r\nconnection: close", chat_head(&format!("anew-{client}")));
        let answer = Connection::try_open(address).and_then(|mut connection| {
            connection.try_send(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            connection.try_response()
        });
        match answer {
            Ok(response) if response.status == 200 => drop(seen.requests.fetch_add(1, Ordering::Relaxed)),
            Ok(response) => return seen.failed(format!("{}: {}", response.status, response.text())),
            Err(error) => return seen.failed(format!("a new connection of {client}: {error}")),
        }
    }
}

/// Streams answers that take a while.
fn keep_streaming(address: std::net::SocketAddr, client: usize, seen: &Seen, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let body = question(true, "tell [tokens:60]").to_string();
        let head = chat_head(&format!("streaming-{client}"));
        let answer = Connection::try_open(address).and_then(|mut connection| {
            connection.try_send(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            connection.try_response()
        });
        match answer {
            Ok(response) if response.body.ends_with(b"data: [DONE]\n\n") => {
                seen.streams.fetch_add(1, Ordering::Relaxed);
            }
            Ok(response) => return seen.failed(format!("a stream was cut: {}", response.text())),
            Err(error) => return seen.failed(format!("a stream of {client}: {error}")),
        }
    }
}

/// Plays tool loops, whose calls and results meet in session memory whichever process serves them.
fn keep_calling(address: std::net::SocketAddr, client: usize, seen: &Seen, stop: &AtomicBool) {
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut agent = Agent::new(&format!("calling-{client}-{round}"));
        let asked = agent.say(&mut Connection::open(address), "look [steps:1]");
        let answered = agent.hand_in(&mut Connection::open(address));
        seen.requests.fetch_add(2, Ordering::Relaxed);
        if (asked.status, answered.status, asked.model()) != (200, 200, answered.model()) {
            return seen.failed(format!(
                "{} then {}: a tool loop was broken",
                asked.model(),
                answered.model()
            ));
        }
        seen.tool_loops.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn twenty_upgrades_under_load_fail_no_request() {
    let small = StandIn::spawn(Options::for_model("small")).unwrap();
    let large = StandIn::spawn(Options::for_model("large")).unwrap();
    let slow =
        StandIn::spawn(Options { tokens_per_second: 60.0, any_model: true, ..Options::for_model("slow") });
    let slow = slow.unwrap();
    let models = vec![Model::on(&[&small], 0.1, 0.4), Model::on(&[&large], 3.0, 0.9)];
    let config = ConfigFile::tempting(models).with("workers: 2").with("session: {capacity: 65536}");
    let slow_config = ConfigFile::plain(vec![Model::on(&[&slow], 0.1, 0.5)]);
    let mut gateway = Gateway::start(&config);
    let mut streaming = Gateway::start(&slow_config);
    let (address, stream_address) = (gateway.address(), streaming.address());
    // Begun before the first upgrade, and ended after the last one by the process that it began in.
    let mut longest = streaming.connect();
    longest.request(&chat_head("longest"), question(true, "tell [tokens:3000]").to_string().as_bytes());
    let (mut long_response, mut framing) = longest.try_head().unwrap();
    let (seen, stop) = (Seen::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop = OnDrop(&stop);
        let (seen, stop) = (&seen, &stop);
        for client in 0..4 {
            scope.spawn(move || keep_asking(address, client, seen, stop));
        }
        for client in 0..2 {
            scope.spawn(move || ask_anew(address, client, seen, stop));
            scope.spawn(move || keep_streaming(stream_address, client, seen, stop));
        }
        scope.spawn(move || keep_calling(address, 0, seen, stop));
        for upgrade in 0..UPGRADES {
            let wanted = seen.requests.load(Ordering::Relaxed) + BETWEEN;
            until("the load goes on", || {
                let failures = seen.failures.lock().expect("no client panics");
                assert!(failures.is_empty(), "after {upgrade} upgrades: {failures:?}");
                seen.requests.load(Ordering::Relaxed) >= wanted
            });
            let pid = gateway.upgrade();
            assert_eq!(gateway.answering(), pid, "the admin API is the new process's at once");
            streaming.upgrade();
        }
        let wanted = (seen.requests.load(Ordering::Relaxed) + BETWEEN).max(10_000);
        until("there were enough requests", || {
            !seen.failures.lock().expect("no client panics").is_empty()
                || seen.requests.load(Ordering::Relaxed) >= wanted
        });
        stop.store(true, Ordering::Relaxed);
    });
    let failures = seen.failures.into_inner().expect("no client panics");
    assert!(failures.is_empty(), "{failures:?}");
    assert!(seen.requests.load(Ordering::Relaxed) >= 10_000);
    assert!(seen.tool_loops.load(Ordering::Relaxed) > UPGRADES);
    assert_eq!((small.stats().violations, large.stats().violations), (0, 0));
    while let Some(piece) = longest.try_piece(&mut framing).unwrap() {
        long_response.body.extend_from_slice(&piece);
    }
    assert!(long_response.body.ends_with(b"data: [DONE]\n\n"), "{}", long_response.text());
    println!(
        "{} requests, {} streams, {} tool loops, 0 failures over {UPGRADES} upgrades of each of two gateways",
        seen.requests.load(Ordering::Relaxed),
        seen.streams.load(Ordering::Relaxed),
        seen.tool_loops.load(Ordering::Relaxed)
    );
    for gateway in [&mut gateway, &mut streaming] {
        assert!(gateway.wait().success(), "the first process has ended its requests and itself");
        gateway.signal_successor(Signal::TERM);
        gateway.wait_for_successors();
    }
}

#[test]
fn what_the_old_process_ends_the_new_one_knows() {
    for driver in Driver::usable("what_the_old_process_ends_the_new_one_knows") {
        let stand_in =
            StandIn::spawn(Options { tokens_per_second: 40.0, ..Options::for_model("small") }).unwrap();
        let config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]);
        let mut gateway = Gateway::start_with(&config, Start { driver, workers: None });
        let mut idle = gateway.connect();
        assert_eq!(idle.get("/health").status, 200);
        let mut first = gateway.connect();
        first.request(&chat_head("s1"), question(true, "tell [tokens:80]").to_string().as_bytes());
        let (mut begun, mut framing) = first.try_head().unwrap();
        let mut asking = Connection::open(gateway.admin_address());
        gateway.signal(Signal::USR2);
        let old = gateway.answering();
        until("another process answers", || gateway.answering() != old);
        let new = gateway.answering();
        gateway.follow(new);
        assert_eq!(gateway.admin("/status").json()["data_plane"]["took_over_from"], old);
        // Nor is one who had connected to the admin API and not yet asked: whoever accepted that, answers.
        asking.request("GET /status HTTP/1.1\r\nhost: localhost", b"");
        assert_eq!(asking.response().status, 200, "{driver:?}");
        // An idle client is not cut off: its next request is served, and told to be the last.
        let last = idle.get("/ready");
        assert_eq!((last.status, last.header("connection")), (200, "close"), "{driver:?}");
        idle.assert_closed();
        let mut second = gateway.connect();
        let other = second.chat("s2", &question(false, "hello [tokens:3]"));
        assert_eq!(other.status, 200);
        while let Some(piece) = first.try_piece(&mut framing).unwrap() {
            begun.body.extend_from_slice(&piece);
        }
        assert!(begun.body.ends_with(b"data: [DONE]\n\n"), "{driver:?}");
        assert!(gateway.wait().success(), "the old process ended its stream, then itself");
        // The old process may have taken the second connection in its last moment; then it was told to end.
        if other.header("connection") == "close" {
            second = gateway.connect();
        }
        let next = second.chat("s1", &question(false, "and then? [tokens:3]"));
        let flow = gateway.flow(&next.flow());
        assert_eq!(flow["session"]["before"]["turns"], 1, "{flow}");
        // The journal of both is one journal.
        assert_eq!(gateway.flow(&begun.flow())["outcome"]["committed"], true);
        assert_eq!(gateway.flow(&other.flow())["outcome"]["status"], 200);
        gateway.signal_successor(Signal::TERM);
        gateway.wait_for_successors();
        gateway.restart();
        let again = gateway.connect().chat("s1", &question(false, "and then? [tokens:3]"));
        assert_eq!(gateway.flow(&again.flow())["session"]["before"]["turns"], 2);
    }
}

#[test]
fn upgrades_follow_each_other_without_a_pause() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut gateway = Gateway::plain(&stand_in);
    for _ in 0..8 {
        // Nothing holds the old process: it ends as soon as it may, which is not before all is said.
        let pid = gateway.upgrade();
        assert_eq!(gateway.answering(), pid);
        assert_eq!(gateway.connect().get("/ready").status, 200);
    }
    assert!(gateway.wait().success());
    gateway.signal_successor(Signal::TERM);
    gateway.wait_for_successors();
    assert_eq!(gateway.log().matches("drained; bye").count(), 1, "of nine, one was the last");
    assert!(!gateway.state_dir().join("upgrade.sock").exists(), "and closed the door");
}

#[test]
fn who_had_connected_to_the_admin_api_is_answered_by_a_process_that_has_nothing_else_to_do() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut gateway = Gateway::plain(&stand_in);
    let mut silent = Connection::open(gateway.admin_address());
    // Whoever comes next is accepted after it.
    gateway.answering();
    gateway.upgrade();
    until("the old process has served all that it had", || gateway.log().contains("drained"));
    silent.request("GET /ready HTTP/1.1\r\nhost: localhost", b"");
    assert_eq!(silent.response().status, 200, "the service is as ready as before");
    assert!(gateway.wait().success());
}

#[test]
fn a_process_that_is_told_to_end_while_it_starts_ends() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut gateway = Gateway::plain(&stand_in);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().success());
    for word in ["flow journal open", "admin API listens", "worker runs", "ready"] {
        for _ in 0..3 {
            assert!(gateway.start_and_end_at(word).success(), "at {word:?}");
        }
    }
    gateway.restart();
    assert_eq!(gateway.connect().chat("s", &question(false, "hello")).status, 200);
}

#[test]
fn a_successor_that_is_told_to_end_while_it_starts_takes_nothing_along() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let mut gateway = Gateway::plain(&stand_in);
    assert_eq!(gateway.connect().chat("s", &question(false, "hello")).status, 200);
    let pid = gateway.answering();
    for word in ["flow journal open", "worker runs"] {
        let logged = gateway.log().len();
        let output = std::thread::scope(|scope| {
            let asked = scope.spawn(|| gateway.try_upgrade());
            until("another process starts", || {
                gateway.log().get(logged..).is_some_and(|log| log.contains(word))
            });
            let child = started(&gateway.log()[logged..]);
            // It may have taken over by now; then it is the gateway that ends.
            let _ = rustix::process::kill_process(child, Signal::TERM);
            asked.join().expect("no panic")
        });
        if output.status.success() {
            println!("at {word:?} it was too late");
            return;
        }
        assert_eq!(gateway.answering(), pid, "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(gateway.connect().chat("s", &question(false, "hello")).status, 200);
    }
    // Its door, its memory and its journal are as they were.
    let next = gateway.upgrade();
    assert_eq!(gateway.answering(), next);
    let answer = gateway.connect().chat("s", &question(false, "hello"));
    assert_eq!(gateway.flow(&answer.flow())["session"]["before"]["turns"], 3);
}

/// The process that was started to take over, by the log.
fn started(log: &str) -> rustix::process::Pid {
    let line = log.lines().find(|line| line.contains("starting a process to take over")).expect("logged");
    let pid = line.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("its number");
    // Fields may be coloured.
    let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
    rustix::process::Pid::from_raw(digits.parse().expect("a number")).expect("a process id")
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]);
    let mut gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    assert_eq!(connection.chat("s", &question(false, "hello")).status, 200);
    let pid = gateway.answering();
    gateway.write_config_text("version: v0.3\nlisteners: nonsense\n");
    let output = gateway.try_upgrade();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("the new process ended"), "{error}");
    assert_eq!(gateway.answering(), pid);
    assert_eq!(connection.chat("s", &question(false, "hello")).status, 200, "not even told to go");
    // The names that the failed process may have given are no one's harm, and a later upgrade works.
    gateway.write_config(&config);
    assert_eq!(gateway.admin("/ready").status, 200);
    let next = gateway.upgrade();
    assert_eq!(gateway.answering(), next);
    assert_eq!(gateway.connect().chat("s", &question(false, "hello")).status, 200);
    assert!(gateway.wait().success());
}

#[test]
fn more_workers_fewer_workers_and_another_port() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let plain = || ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]);
    let mut gateway = Gateway::start(&plain().with("workers: 3"));
    for workers in [1, 4, 2] {
        gateway.write_config(&plain().with(&format!("workers: {workers}")));
        gateway.upgrade();
        assert_eq!(gateway.admin("/status").json()["data_plane"]["workers"], workers);
        // Enough that every queue is met: one without a worker would leave its connection waiting.
        for _ in 0..40 {
            assert_eq!(gateway.connect().chat("s", &question(false, "hello")).status, 200);
        }
    }
}

#[test]
fn a_hurried_end_does_not_wait_for_streams() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]).with("timeouts: {drain_ms: 300}");
    let mut gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    connection.request(&chat_head("s"), question(false, "[delay:600000]").to_string().as_bytes());
    until("the model is at work", || stand_in.stats().in_flight == 1);
    gateway.upgrade();
    assert_eq!(gateway.connect().chat("s2", &question(false, "hello")).status, 200);
    assert_eq!(stand_in.stats().in_flight, 1, "the old process is patient");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().success());
}

#[test]
fn nobody_takes_over_unasked() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let gateway = Gateway::plain(&stand_in);
    let config = gateway.folder().join("config.yaml");
    let state = gateway.state_dir();
    let args = [
        "serve".as_ref(),
        "--config".as_ref(),
        config.as_os_str(),
        "--state-dir".as_ref(),
        state.as_os_str(),
    ];
    let output = pintle_tests::pintle(&args);
    let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && log.contains("in use by another process"), "{log}");
    assert_eq!(gateway.connect().get("/health").status, 200);
    let nobody = tempfile::tempdir().unwrap();
    let output =
        pintle_tests::pintle(&["upgrade".as_ref(), "--state-dir".as_ref(), nobody.path().as_os_str()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("cannot be reached"), "{error}");
}

/// Datagrams of a service manager's socket, one text each.
fn next_message(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = manager.recv(&mut bytes).expect("the gateway tells its service manager");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn await_message(manager: &UnixDatagram, part: &str) -> String {
    for _ in 0..100 {
        let message = next_message(manager);
        if message.contains(part) {
            return message;
        }
    }
    panic!("the service manager was not told {part}");
}

#[test]
fn the_service_manager_follows_and_keeps_the_sockets() {
    let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(pintle_tests::PATIENCE)).unwrap();
    let (port, admin) = (pintle_tests::ports::Port::take(), pintle_tests::ports::Port::take());
    let config = ConfigFile::plain(vec![Model::on(&[&stand_in], 0.1, 0.5)]);
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config.render(port.number(), admin.number(), folder.path())).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.number()));
    // What systemd does with an fd store: the socket is there before the process and outlives it.
    let kept = std::net::TcpListener::bind(address).unwrap();
    let start = || {
        Command::new("sh")
            .args([
                "-c",
                "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve --config \"$1\"",
            ])
            .arg(binary())
            .arg(&file)
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(kept.try_clone().unwrap())))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let chat = || {
        let answer = Connection::try_open(address).and_then(|mut connection| {
            connection.request(&chat_head("s"), question(false, "hello").to_string().as_bytes());
            connection.try_response()
        });
        assert_eq!(answer.unwrap().status, 200);
    };
    let mut first = start();
    let stored = await_message(&manager, "FDSTORE=1");
    assert!(stored.contains(&format!("FDNAME=pintle-127.0.0.1_{}", port.number())), "{stored}");
    await_message(&manager, "READY=1");
    chat();
    let pid = rustix::process::Pid::from_child(&first);
    rustix::process::kill_process(pid, Signal::USR2).unwrap();
    let main = await_message(&manager, "MAINPID=");
    let new: i32 = main.trim().trim_start_matches("MAINPID=").parse().unwrap();
    let ready = next_message(&manager);
    assert!(ready.contains("READY=1"), "ready is said by the new one, after it is the main process: {ready}");
    chat();
    assert!(first.wait().unwrap().success());
    let new = rustix::process::Pid::from_raw(new).unwrap();
    rustix::process::kill_process(new, Signal::TERM).unwrap();
    await_message(&manager, "STOPPING=1");
    until("the second process has ended", || !runs(new));
    // Between two processes a connection waits in the socket that the service manager has.
    let mut waiting = Connection::open(address);
    waiting.request(&chat_head("s"), question(false, "hello").to_string().as_bytes());
    let mut last = start();
    assert_eq!(waiting.response().status, 200);
    rustix::process::kill_process(rustix::process::Pid::from_child(&last), Signal::TERM).unwrap();
    assert!(last.wait().unwrap().success());
    let log = BufReader::new(last.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.into_iter().any(|line| line.contains("inherited_sockets=1")));
}
