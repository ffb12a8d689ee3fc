//! Promise: a backend that speaks TLS is as good as one that does not, if it is who it should be; if not, it
//! never sees a request.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pintle_standin::{Options, StandIn};
use pintle_tests::http::chat_head;
use pintle_tests::tls::{Handshake, Issued};
use pintle_tests::{
    Agent, Authority, Behind, ConfigFile, Driver, Gateway, Manners, Model, Response, Start, TlsServer, until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

/// An authority, its file, and a stand-in.
struct Room {
    authority: Authority,
    folder: TempDir,
    stand_in: StandIn,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.write(&folder.path().join("ca.pem"));
        Self { authority, folder, stand_in: stand_in("small") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A well-behaved server before the stand-in.
    fn server(&self) -> TlsServer {
        TlsServer::before(self.stand_in.address(), &self.authority)
    }

    /// A server before the stand-in with this certificate.
    fn server_with(&self, certificate: &Issued, manners: Manners) -> TlsServer {
        let behind = Behind::Server(self.stand_in.address());
        TlsServer::spawn(behind, &self.authority, certificate, manners)
    }

    /// Models that trust this authority alone.
    fn config(&self, models: Vec<Model>) -> ConfigFile {
        let ca = self.file("ca.pem");
        ConfigFile::plain(models).with(&format!("tls: {{system_roots: false, ca_file: {}}}", ca.display()))
    }

    fn gateway(&self, server: &TlsServer) -> Gateway {
        Gateway::start(&self.config(vec![server.model("small")]))
    }
}

fn stand_in(model: &str) -> StandIn {
    StandIn::spawn(Options::for_model(model)).unwrap()
}

fn chat(text: &str) -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": text }] })
}

fn seen(server: &TlsServer) -> Vec<Handshake> {
    server.handshakes().into_iter().map(|handshake| handshake.expect("a handshake")).collect()
}

/// The upstream's part of the flow document of an answer that failed because of it.
#[track_caller]
fn failed_attempt(gateway: &Gateway, response: &Response) -> Value {
    let flow = gateway.flow(&response.flow());
    assert_eq!(flow["outcome"]["fault"], "upstream", "{flow}");
    assert_eq!(flow["outcome"]["committed"], false, "{flow}");
    let attempt = flow["upstream"][0].clone();
    assert_eq!(attempt["fault"], "upstream", "{attempt}");
    attempt
}

/// Asks once; the gateway must refuse the server, say `words`, count `reason`, and send nothing.
#[track_caller]
fn assert_refused(room: &Room, gateway: &Gateway, reason: &str, words: &str) {
    let response = gateway.connect().chat("s1", &chat("the secret plan"));
    let message = response.assert_openai_error(502);
    let attempt = failed_attempt(gateway, &response);
    assert!(attempt["error"].as_str().unwrap().contains(words), "{attempt}");
    assert!(message.contains(words), "{message}");
    let reason = format!("reason=\"{reason}\"");
    assert_eq!(gateway.metric("pintle_upstream_failures_total", &[&reason]), 1.0);
    assert_eq!(room.stand_in.stats().requests, 0, "a server that is not trusted has seen a request");
}

#[test]
fn answers_come_whole_and_connections_are_kept_on_both_drivers() {
    for driver in Driver::usable("tls") {
        let room = Room::new();
        let server = room.server();
        let config = room.config(vec![server.model("small")]);
        let gateway = Gateway::start_with(&config, Start { driver, workers: None });
        let mut connection = gateway.connect();
        for turn in 0..6 {
            let mut body = chat("hello [tokens:200]");
            body["stream"] = json!(turn % 2 == 1);
            let response = connection.chat("s1", &body);
            assert_eq!(response.status, 200, "{}", response.text());
            if turn % 2 == 1 {
                assert!(response.body.ends_with(b"data: [DONE]\n\n"));
                assert!(response.events().len() > 100, "{}", response.events().len());
            } else {
                assert_eq!(response.json()["usage"]["completion_tokens"], 200);
            }
            let flow = gateway.flow(&response.flow());
            assert_eq!(flow["outcome"]["committed"], true, "{flow}");
        }
        let expected = Handshake {
            server_name: None,
            protocol: Some("http/1.1".to_owned()),
            resumed: false,
            tls13: true,
        };
        assert_eq!(seen(&server), [expected], "one connection for all, {driver:?}");
        assert_eq!(room.stand_in.stats().completed, 6);
    }
}

#[test]
fn sixteen_mebibytes_pass_in_either_version_on_both_drivers() {
    let filler = "0123456789abcdef".repeat(1 << 20);
    let body = |model: &str| {
        format!(
            r#"{{"messages":[{{"role":"user","content":"[tokens:50000] {filler}"}}],"model":"{model}","z":1}}"#
        )
    };
    for driver in Driver::usable("tls bodies") {
        for version in rustls::ALL_VERSIONS {
            let room = Room::new();
            let manners = Manners { versions: vec![version], ..Manners::default() };
            let server = room.server_with(&room.authority.issue(&["127.0.0.1"]), manners);
            // A slow build on a busy machine reads such a body for seconds, and serves nobody meanwhile.
            let config = room.config(vec![server.model("small")]).with("timeouts: {connect_ms: 20000}");
            let gateway = Gateway::start_with(&config, Start { driver, workers: None });
            let response = gateway.connect().chat_bytes("s1", body("auto").as_bytes());
            assert_eq!(response.status, 200, "{driver:?} {version:?}: {}", response.text());
            let digest = format!("{:016x}", xxh3_64(body("small").as_bytes()));
            assert_eq!(response.header("x-stand-in-body-xxh3"), digest, "{driver:?} {version:?}");
            // The answer is long, too.
            assert_eq!(response.json()["usage"]["completion_tokens"], 50_000);
            assert_eq!(seen(&server)[0].tls13, version.version == rustls::ProtocolVersion::TLSv1_3);
        }
    }
}

#[test]
fn many_at_once_do_not_mix() {
    let room = Room::new();
    let server = room.server();
    let gateway = Gateway::start(&room.config(vec![server.model("small")]).with("workers: 2"));
    std::thread::scope(|scope| {
        for client in 0..16 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut connection = gateway.connect();
                for turn in 0..8 {
                    let mut body = chat(&format!("client {client} turn {turn} [tokens:{}]", 1 + client * 40));
                    body["stream"] = json!(client % 2 == 0);
                    let sent = body.to_string().replace("\"auto\"", "\"small\"");
                    let response = connection.chat(&format!("s{client}"), &body);
                    assert_eq!(response.status, 200, "{}", response.text());
                    let digest = format!("{:016x}", xxh3_64(sent.as_bytes()));
                    assert_eq!(response.header("x-stand-in-body-xxh3"), digest);
                }
            });
        }
    });
    assert_eq!(room.stand_in.stats().completed, 16 * 8);
}

#[test]
fn sessions_are_resumed_and_outlive_a_reload() {
    for version in rustls::ALL_VERSIONS {
        let room = Room::new();
        let manners = Manners { versions: vec![version], ..Manners::default() };
        let server = room.server_with(&room.authority.issue(&["127.0.0.1"]), manners);
        let config = room.config(vec![server.model("small")]).with("pool: {idle_per_backend: 0}");
        let gateway = Gateway::start(&config);
        let mut connection = gateway.connect();
        for turn in 0..4 {
            if turn == 2 {
                gateway.signal(Signal::HUP);
                until("it has reloaded", || gateway.metric("pintle_generation", &[]) == 2.0);
            }
            assert_eq!(connection.chat("s1", &chat("hello")).status, 200);
        }
        let resumed: Vec<_> = seen(&server).iter().map(|handshake| handshake.resumed).collect();
        assert_eq!(resumed, [false, true, true, true], "{version:?}");
        let metric = "pintle_upstream_tls_handshakes_total";
        assert_eq!(gateway.metric(metric, &["kind=\"resumed\""]), 3.0);
        assert_eq!(gateway.metric(metric, &["kind=\"full\""]), 1.0);
    }
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let room = Room::new();
    let server = room.server_with(&room.authority.issue(&["model.example", "127.0.0.2"]), Manners::default());
    let gateway = room.gateway(&server);
    assert_refused(&room, &gateway, "upstream_certificate", "certificate not valid for name");
    until("the server was told why", || {
        server
            .handshakes()
            .iter()
            .any(|handshake| handshake.as_ref().is_err_and(|error| error.contains("received fatal alert")))
    });
}

#[test]
fn an_expired_certificate_is_refused() {
    let room = Room::new();
    let server = room.server_with(&room.authority.issue_expired(&["127.0.0.1"]), Manners::default());
    assert_refused(&room, &room.gateway(&server), "upstream_certificate", "expired");
}

#[test]
fn an_unknown_authority_is_refused_and_the_backend_rests() {
    let room = Room::new();
    let stranger = Authority::new();
    let server = room.server_with(&stranger.issue(&["127.0.0.1"]), Manners::default());
    let gateway = room.gateway(&server);
    assert_refused(&room, &gateway, "upstream_certificate", "UnknownIssuer");
    // It rests after the third failure in a row, longer with each further one; the gauge is set now and then.
    until("log and gauge say that it rests", || {
        let status = gateway.connect().chat("s1", &chat("hi")).status;
        assert!(matches!(status, 502 | 503), "{status}");
        gateway.log().contains("backend is down") && gateway.metric("pintle_backend_up", &[]) == 0.0
    });
    assert_eq!(room.stand_in.stats().requests, 0);
}

#[test]
fn a_refused_server_is_followed_by_another() {
    let room = Room::new();
    let bad = room.server_with(&room.authority.issue_expired(&["127.0.0.1"]), Manners::default());
    let good = room.server();
    let mut model = bad.model("small");
    model.backends.push(good.backend());
    let gateway = Gateway::start(&room.config(vec![model]));
    let mut connection = gateway.connect();
    for n in 0..8 {
        assert_eq!(connection.chat(&format!("s{n}"), &chat("hi")).status, 200);
    }
    assert_eq!(room.stand_in.stats().completed, 8);
}

#[test]
fn a_handshake_that_stalls_meets_the_connect_deadline() {
    for driver in Driver::usable("tls handshake") {
        let room = Room::new();
        // Accepted by the kernel; nobody says a word.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = room.server();
        let mut model = server.model("small");
        model.backends[0].place = Some(format!("endpoint: https://{}", silent.local_addr().unwrap()));
        let config = room.config(vec![model]).with("timeouts: {connect_ms: 400}");
        let gateway = Gateway::start_with(&config, Start { driver, workers: None });
        let start = Instant::now();
        let response = gateway.connect().chat("s1", &chat("hi"));
        let waited = start.elapsed();
        let message = response.assert_openai_error(504);
        assert!(message.contains("handshake"), "{message}");
        assert!(waited >= Duration::from_millis(400) && waited < Duration::from_secs(30), "{waited:?}");
        let attempt = failed_attempt(&gateway, &response);
        assert!(attempt["connect_us"].as_u64().unwrap() >= 400_000, "{attempt}");
    }
}

#[test]
fn a_server_without_tls_is_named_as_that() {
    let room = Room::new();
    let mut model = room.server().model("small");
    let plain = room.stand_in.address();
    model.backends[0].place = Some(format!("endpoint: https://{plain}"));
    let gateway = Gateway::start(&room.config(vec![model]));
    assert_refused(&room, &gateway, "upstream_tls", "plain HTTP");
}

/// What a client gets of an answer that is delimited by the connection's end, and how its flow ended.
fn until_close(driver: Driver, close_notify: bool) -> (std::io::Result<Vec<u8>>, Value) {
    let room = Room::new();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhalf an answer".to_vec();
    let manners = Manners { close_notify, ..Manners::default() };
    let certificate = room.authority.issue(&["127.0.0.1"]);
    let server = TlsServer::spawn(Behind::Bytes(answer), &room.authority, &certificate, manners);
    let config = room.config(vec![server.model("small")]);
    let gateway = Gateway::start_with(&config, Start { driver, workers: None });
    let mut connection = gateway.connect();
    connection.request(&chat_head("s1"), chat("hi").to_string().as_bytes());
    let (response, mut framing) = connection.try_head().unwrap();
    let mut received = Vec::new();
    let ended = loop {
        match connection.try_piece(&mut framing) {
            Ok(Some(piece)) => received.extend(piece),
            Ok(None) => break Ok(received),
            Err(error) => break Err(error),
        }
    };
    (ended, gateway.flow(&response.flow()))
}

#[test]
fn an_end_without_close_notify_is_a_truncation() {
    for driver in Driver::usable("tls truncation") {
        let (body, flow) = until_close(driver, true);
        assert_eq!(body.unwrap(), b"half an answer");
        assert_eq!(flow["outcome"]["fault"], "none", "{flow}");

        let (_, flow) = until_close(driver, false);
        assert_eq!(flow["outcome"]["fault"], "upstream", "{flow}");
        assert_eq!(flow["outcome"]["committed"], false, "{flow}");
        assert!(flow.to_string().contains("close_notify"), "{flow}");
    }
}

#[test]
fn a_stream_that_is_cut_does_not_look_complete() {
    for close_notify in [true, false] {
        let room = Room::new();
        let manners = Manners { close_notify, ..Manners::default() };
        let server = room.server_with(&room.authority.issue(&["127.0.0.1"]), manners);
        let gateway = room.gateway(&server);
        let mut body = chat("[cut] [tokens:40]");
        body["stream"] = json!(true);
        let mut connection = gateway.connect();
        connection.request(&chat_head("s1"), body.to_string().as_bytes());
        let (response, mut framing) = connection.try_head().unwrap();
        let ended = loop {
            match connection.try_piece(&mut framing) {
                Ok(Some(_)) => {}
                ended => break ended,
            }
        };
        assert!(ended.is_err(), "close_notify {close_notify}");
        let flow = gateway.flow(&response.flow());
        assert_eq!(flow["outcome"]["fault"], "upstream", "{flow}");
        assert_eq!(flow["outcome"]["committed"], false);
    }
}

#[test]
fn a_kept_connection_that_died_is_not_the_clients_problem() {
    for close_notify in [true, false] {
        let room = Room::new();
        let certificate = room.authority.issue(&["127.0.0.1"]);
        let manners = Manners { close_notify, ..Manners::default() };
        let server = room.server_with(&certificate, manners.clone());
        let address = server.address();
        let gateway = room.gateway(&server);
        let mut connection = gateway.connect();
        assert_eq!(connection.chat("s1", &chat("before")).status, 200);
        drop(server);
        let behind = Behind::Server(room.stand_in.address());
        let again = TlsServer::spawn_at(address, behind, &room.authority, &certificate, manners);
        assert_eq!(connection.chat("s1", &chat("after")).status, 200);
        // Whatever the one before it issued, this server never issued.
        assert_eq!(seen(&again).len(), 1);
        assert!(!seen(&again)[0].resumed);
    }
}

#[test]
fn a_client_that_leaves_frees_the_model() {
    let room = Room::new();
    let server = room.server();
    let gateway = room.gateway(&server);
    let mut connection = gateway.connect();
    let mut body = chat("[tokens:100000]");
    body["stream"] = json!(true);
    connection.request(&chat_head("s1"), body.to_string().as_bytes());
    connection.try_head().unwrap();
    drop(connection);
    until("the model was told to stop", || room.stand_in.stats().aborted == 1);
}

#[test]
fn a_tool_loop_stays_on_its_model() {
    let room = Room::new();
    let large = stand_in("large");
    let servers = [room.server(), TlsServer::before(large.address(), &room.authority)];
    let mut models = vec![servers[0].model("small"), servers[1].model("large")];
    (models[1].price, models[1].quality) = (3.0, 0.9);
    let ca = room.file("ca.pem");
    let config = ConfigFile::tempting(models)
        .with(&format!("tls: {{system_roots: false, ca_file: {}}}", ca.display()));
    let gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    for stream in [false, true] {
        let mut agent = Agent { stream, ..Agent::new(&format!("loop-{stream}")) };
        assert_eq!(agent.say(&mut connection, "look around [steps:4]").model(), "small");
        for step in 0..4 {
            let response = agent.hand_in(&mut connection);
            assert_eq!((response.status, response.model()), (200, "small"), "step {step}");
        }
        assert!(agent.open_calls.is_empty());
    }
    assert_eq!((room.stand_in.stats().violations, large.stats().violations), (0, 0));
}

#[test]
fn hosted_providers_get_their_own_hosts_paths_and_keys() {
    let openai = Room::new();
    let claude = stand_in("claude");
    let servers = [openai.server(), TlsServer::before(claude.address(), &openai.authority)];
    let mut models = vec![servers[0].model("small"), servers[1].model("claude")];
    models[0].backends =
        vec![servers[0].backend_as("base_url: https://localhost:PORT/v1\n          provider: openai")];
    models[0].api_key = Some("sk-one".to_owned());
    models[1].backends =
        vec![servers[1].backend_as("base_url: https://localhost:PORT\n          provider: anthropic")];
    models[1].api_key = Some("sk-two".to_owned());
    models[1].provider = "api_format: anthropic".to_owned();
    let gateway = Gateway::start(&openai.config(models));
    let mut connection = gateway.connect();
    let mut body =
        json!({ "model": "small", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(connection.chat("s1", &body).status, 200);
    body["model"] = json!("claude");
    connection.request(
        "POST /v1/messages HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\nx-api-key: mine",
        body.to_string().as_bytes(),
    );
    let response = connection.response();
    assert_eq!(response.status, 200, "{}", response.text());

    let expected =
        [("/v1/chat/completions", "authorization", "Bearer sk-one"), ("/v1/messages", "x-api-key", "sk-two")];
    for ((server, stand_in), (path, header, key)) in
        servers.iter().zip([&openai.stand_in, &claude]).zip(expected)
    {
        assert_eq!(seen(server)[0].server_name.as_deref(), Some("localhost"));
        let request = stand_in.seen().pop().unwrap();
        assert_eq!(request.path, path);
        let value = |name: &str| {
            let mut values = request.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
            (values.next().unwrap_or_default().to_owned(), values.count())
        };
        assert_eq!(value(header), (key.to_owned(), 0), "{:?}", request.headers);
        assert_eq!(value("host"), (format!("localhost:{}", server.address().port()), 0));
        let version = if header == "x-api-key" { "2023-06-01" } else { "" };
        assert_eq!(value("anthropic-version").0, version);
    }
}

#[test]
fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let room = Room::new();
    let manners = Manners { clients_certified: true, ..Manners::default() };
    let server = room.server_with(&room.authority.issue(&["127.0.0.1"]), manners);
    room.authority.issue(&["gateway.example"]).write(&room.file("own.pem"), &room.file("own.key"));
    let with = |more: &str| {
        let ca = room.file("ca.pem");
        ConfigFile::plain(vec![server.model("small")])
            .with(&format!("tls: {{system_roots: false, ca_file: {}{more}}}", ca.display()))
    };
    let (own, key) = (room.file("own.pem"), room.file("own.key"));
    let both = format!(", certificate_file: {}, key_file: {}", own.display(), key.display());
    let gateway = Gateway::start(&with(&both));
    assert_eq!(gateway.connect().chat("s1", &chat("hi")).status, 200);

    gateway.write_config(&with(""));
    gateway.signal(Signal::HUP);
    until("it has reloaded", || gateway.metric("pintle_generation", &[]) == 2.0);
    // Neither the connection nor the session of before may be used by one who is nobody now.
    let response = gateway.connect().chat("s1", &chat("hi"));
    response.assert_openai_error(502);
    let attempt = failed_attempt(&gateway, &response);
    assert!(attempt["error"].as_str().unwrap().contains("CertificateRequired"), "{attempt}");
}

#[test]
fn authorities_are_read_anew_at_a_reload_and_a_bad_file_is_refused() {
    let room = Room::new();
    let server = room.server();
    let gateway = room.gateway(&server);
    assert_eq!(gateway.connect().chat("s1", &chat("hi")).status, 200);

    std::fs::write(room.file("ca.pem"), "no certificate").unwrap();
    gateway.signal(Signal::HUP);
    until("the reload was refused", || gateway.log().contains("no certificate in it"));
    assert_eq!(gateway.connect().chat("s1", &chat("hi")).status, 200, "the old one serves on");

    Authority::new().write(&room.file("ca.pem"));
    gateway.signal(Signal::HUP);
    until("it has reloaded", || gateway.metric("pintle_generation", &[]) == 2.0);
    let response = gateway.connect().chat("s1", &chat("hi"));
    response.assert_openai_error(502);
    assert_eq!(room.stand_in.stats().completed, 2);
}

#[test]
fn an_upgrade_goes_on_over_tls() {
    let room = Room::new();
    let server = room.server();
    let mut gateway = room.gateway(&server);
    let mut agent = Agent::new("upgraded");
    assert_eq!(agent.say(&mut gateway.connect(), "look around [steps:2]").status, 200);
    gateway.upgrade();
    for _ in 0..2 {
        assert_eq!(agent.hand_in(&mut gateway.connect()).status, 200);
    }
    assert_eq!(room.stand_in.stats().violations, 0);
}

#[test]
fn a_start_without_anyone_to_trust_says_what_to_do() {
    let room = Room::new();
    let server = room.server();
    let config = ConfigFile::plain(vec![server.model("small")]).with("tls: {system_roots: false}");
    let file = room.file("config.yaml");
    std::fs::write(&file, config.render(1, 2, room.folder.path())).unwrap();
    let state = room.file("state");
    let output = pintle_tests::pintle(&[
        "serve".as_ref(),
        "--config".as_ref(),
        file.as_os_str(),
        "--state-dir".as_ref(),
        state.as_os_str(),
    ]);
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("ca-certificates") && words.contains("ca_file"), "{words}");
}
