use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pintle_routing::flow::{FlowDocument, FlowRecord};
use pintle_routing::flow_id::{FlowId, FlowIds};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::Drained;
use crate::book::{SessionBook, SessionView};
use crate::hooks::{ReloadReport, ReloadResult};
use crate::testing::{policy, record};

const NOWHERE: &str = "127.0.0.1:0";
const KEY: u128 = 0x00112233_44556677_8899AABB_CCDDEEFF;

/// What the hooks of a test share with it.
#[derive(Default)]
struct World {
    stuck: AtomicBool,
    no_backend: AtomicBool,
    bad_file: AtomicBool,
    reloads: AtomicU32,
    drains: AtomicU32,
    ticks: AtomicU32,
    unpinned: AtomicBool,
}

impl SessionBook for World {
    fn list(&self, limit: usize, model: Option<&str>, _now_ms: u64) -> Vec<SessionView> {
        let one = SessionView { key: format!("{KEY:032x}"), model: "small".to_owned(), ..Default::default() };
        vec![one].into_iter().filter(|view| model.is_none_or(|name| name == view.model)).take(limit).collect()
    }

    fn show(&self, key: u128, now_ms: u64) -> Option<SessionView> {
        (key == KEY && !self.unpinned.load(Ordering::SeqCst)).then(|| self.list(1, None, now_ms).remove(0))
    }

    fn resolve(&self, prefix: u128, digits: usize) -> Vec<u128> {
        if KEY >> (4 * (32 - digits)) == prefix { vec![KEY] } else { Vec::new() }
    }

    fn unpin(&self, key: u128) -> bool {
        key == KEY && !self.unpinned.swap(true, Ordering::SeqCst)
    }

    fn publish(&self) {}

    fn describe(&self, _now_ms: u64) -> Value {
        json!({ "capacity": 16, "held": 1 })
    }
}

fn hooks(world: &Arc<World>) -> ControlHooks {
    let check = |flag: fn(&World) -> &AtomicBool, reason: &'static str| -> Check {
        let world = Arc::clone(world);
        Arc::new(move || if flag(&world).load(Ordering::SeqCst) { Err(reason.to_owned()) } else { Ok(()) })
    };
    let (reloading, draining, ticking) = (Arc::clone(world), Arc::clone(world), Arc::clone(world));
    let book: Arc<dyn SessionBook> = Arc::clone(world) as _;
    ControlHooks {
        reload: Arc::new(move || {
            reloading.reloads.fetch_add(1, Ordering::SeqCst);
            let bad = reloading.bad_file.load(Ordering::SeqCst);
            ReloadReport {
                result: if bad { ReloadResult::Refused } else { ReloadResult::Applied },
                policy_digest: "00ff".to_owned(),
                summary: "as asked".to_owned(),
                findings: json!([]),
            }
        }),
        drain: Box::new(move |_limit| {
            draining.drains.fetch_add(1, Ordering::SeqCst);
            Drained { cut_off: 2 }
        }),
        alive: check(|world| &world.stuck, "worker 3 is stuck"),
        ready: check(|world| &world.no_backend, "no backend is up"),
        status: Arc::new(|| json!({ "workers": 2 })),
        config: Arc::new(|| json!({ "listeners": [] })),
        retire: Box::new(|_limit| Drained::default()),
        upgrade: None,
        sessions: Some(book),
        feedback: None,
        periodic: vec![(
            Duration::from_millis(1),
            Box::new(move || {
                ticking.ticks.fetch_add(1, Ordering::SeqCst);
            }),
        )],
    }
}

/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    dir: TempDir,
    world: Arc<World>,
    control: ControlHandle,
}

impl Bench {
    fn options(dir: &TempDir, driver: Driver) -> ControlOptions {
        ControlOptions {
            admin: AdminOptions {
                listen: Some(NOWHERE.parse().expect("address")),
                allow_remote: false,
                socket: Some(dir.path().join("run/admin.sock")),
            },
            journal: JournalOptions {
                dir: dir.path().join("flows"),
                max_bytes: 1 << 20,
                segment_bytes: 1 << 16,
                queue: 64,
            },
            driver,
            drain: Duration::from_secs(5),
            retire: Duration::from_secs(5),
            handle_signals: false,
        }
    }

    fn start(driver: Driver) -> Bench {
        let dir = TempDir::new().expect("temporary directory");
        let world = Arc::new(World::default());
        let options = Bench::options(&dir, driver);
        let control = ControlThread::spawn(options, hooks(&world)).expect("control thread starts");
        Bench { dir, world, control }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/admin.sock")
    }

    /// Sends one request over TCP; status and body.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let address = self.control.admin_address().expect("TCP is configured");
        let stream = TcpStream::connect(address).expect("connects");
        exchange(stream, &format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
    }

    fn json(&self, method: &str, path: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, path);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    fn wait_until(&self, path: &str, wanted: u16) {
        let end = Instant::now() + PATIENCE;
        while self.ask("GET", path).0 != wanted {
            assert!(Instant::now() < end, "{path} never answered {wanted}");
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("status");
    (status, body.to_owned())
}

fn flow() -> (FlowId, Box<FlowRecord>) {
    let id = FlowIds::new(1, 5).next(unix_millis());
    (id, record(id, "Prove it."))
}

fn on_each_driver(test: impl Fn(Driver)) {
    test(Driver::Blocking);
    match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(_) => test(Driver::IoUring),
        Err(error) => println!("SKIP io_uring half: {error}"),
    }
}

#[test]
fn a_flow_is_served_as_soon_as_it_was_offered() {
    on_each_driver(|driver| {
        let bench = Bench::start(driver);
        let (id, flow) = flow();
        bench.control.journal().offer(flow.clone(), policy()).expect("room");
        let (status, body) = bench.ask("GET", &format!("/v1/flows/{id}"));
        assert_eq!(
            (status, serde_json::from_str::<FlowDocument>(&body).expect("document")),
            (200, flow.document(policy().legend()).expect("its own legend"))
        );
        let (status, listed) = bench.json("GET", "/v1/flows?limit=5");
        assert_eq!((status, &listed["flows"][0]["id"]), (200, &json!(id.to_string())));
        assert_eq!(bench.json("GET", "/v1/flows/nonsense").0, 400);
        assert_eq!(bench.json("GET", "/v1/flows/00000000000000000000000000").0, 404);
        assert_eq!(bench.json("GET", "/v1/flows?limit=0").0, 400);
        assert_eq!(bench.json("GET", "/v1/flows?colour=red").0, 400);
    });
}

#[test]
fn the_end_is_drain_then_journal_then_gone() {
    on_each_driver(|driver| {
        let bench = Bench::start(driver);
        let Bench { dir, world, control } = bench;
        let (id, flow) = flow();
        control.journal().offer(flow, policy()).expect("room");
        control.shutdown();
        assert_eq!(control.join(), Ok(Exit::CutOff(2)));
        assert_eq!(world.drains.load(Ordering::SeqCst), 1);
        assert!(crate::journal::find(&dir.path().join("flows"), id).expect("readable").is_some());
        assert!(!dir.path().join("run/admin.sock").exists(), "the socket file is removed");
    });
}

#[test]
fn who_has_connected_is_answered_though_another_process_has_taken_over() {
    let bench = Bench::start(Driver::Auto);
    bench.control.announce_ready("serving");
    bench.wait_until("/ready", 200);
    let address = bench.control.admin_address().expect("TCP is configured");
    let silent = TcpStream::connect(address).expect("connects");
    assert_eq!(bench.ask("GET", "/health").0, 200, "accepted after the silent one");
    assert!(bench.control.remote().hand_over(7));
    let asked = format!("GET /ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    assert_eq!(exchange(silent, &asked).0, 200, "the service is as ready as before");
    assert_eq!(bench.control.join(), Ok(Exit::Drained));
}

#[test]
fn a_hand_over_that_was_given_up_does_not_happen_later() {
    let dir = TempDir::new().expect("temporary directory");
    let world = Arc::new(World::default());
    let (enter, entered) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let mut hooks = hooks(&world);
    hooks.status = Arc::new(move || {
        enter.send(()).expect("the test waits");
        released.lock().expect("no panic").recv().expect("the test lets go");
        json!({})
    });
    let control = ControlThread::spawn(Bench::options(&dir, Driver::Auto), hooks).expect("starts");
    let bench = Bench { dir, world, control };
    bench.control.announce_ready("serving");
    bench.wait_until("/ready", 200);
    let mut asking = TcpStream::connect(bench.control.admin_address().expect("TCP")).expect("connects");
    asking.write_all(b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    entered.recv().expect("asked");
    assert!(!bench.control.remote().hand_over(7), "the control thread is busy");
    release.send(()).expect("it waits");
    // Whatever the order has become: these come after it.
    for _ in 0..3 {
        assert_eq!(bench.ask("GET", "/ready").0, 200);
    }
    bench.control.shutdown();
    assert_eq!(bench.control.join(), Ok(Exit::CutOff(2)));
}

#[test]
fn health_and_readiness_follow_the_process() {
    let bench = Bench::start(Driver::Auto);
    assert_eq!(bench.json("GET", "/ready"), (503, json!({"status": "not ready", "reason": "starting"})));
    bench.control.announce_ready("serving");
    bench.wait_until("/ready", 200);
    bench.world.no_backend.store(true, Ordering::SeqCst);
    assert_eq!(bench.json("GET", "/ready").1["reason"], "no backend is up");
    assert_eq!(bench.ask("GET", "/health").0, 200);
    bench.world.stuck.store(true, Ordering::SeqCst);
    assert_eq!(bench.json("GET", "/health").1["reason"], "worker 3 is stuck");
    let (status, body) = bench.json("GET", "/status");
    assert_eq!((status, &body["phase"], &body["data_plane"]["workers"]), (200, &json!("running"), &json!(2)));
    assert_eq!(body["health"], "worker 3 is stuck");
    assert_eq!(bench.json("GET", "/config"), (200, json!({ "listeners": [] })));
}

#[test]
fn a_reload_answers_with_its_report() {
    let bench = Bench::start(Driver::Auto);
    let (status, body) = bench.json("POST", "/-/reload");
    assert_eq!(status, 409, "not before the start is complete: {body}");
    bench.control.announce_ready("serving");
    bench.wait_until("/ready", 200);
    let (status, body) = bench.json("POST", "/-/reload");
    assert_eq!((status, &body["result"], &body["policy_digest"]), (200, &json!("applied"), &json!("00ff")));
    bench.world.bad_file.store(true, Ordering::SeqCst);
    let (status, body) = bench.json("POST", "/-/reload");
    assert_eq!((status, &body["result"]), (422, &json!("refused")));
    assert_eq!(bench.json("GET", "/status").1["last_reload"]["result"], "refused");
    assert_eq!(bench.world.reloads.load(Ordering::SeqCst), 2);
    assert_eq!(bench.ask("GET", "/-/reload").0, 405);
}

#[test]
fn sessions_are_listed_shown_and_forgotten() {
    let bench = Bench::start(Driver::Auto);
    let path = format!("/v1/sessions/{KEY:032X}");
    assert_eq!(bench.json("GET", "/v1/sessions").1["sessions"][0]["model"], "small");
    assert_eq!(bench.json("GET", "/v1/sessions?model=large").1["sessions"], json!([]));
    assert_eq!(bench.json("GET", &path).0, 200);
    assert_eq!(bench.json("GET", &path[..path.len() - 16]).0, 200, "as flow documents show the key");
    assert_eq!(bench.json("GET", "/v1/sessions/0000000000000000").0, 404);
    assert_eq!(bench.json("DELETE", &path).0, 200);
    assert_eq!(bench.json("GET", &path).0, 404);
    assert_eq!(bench.json("DELETE", &path).0, 404);
    assert_eq!(bench.json("GET", "/v1/sessions/abc").0, 400);
}

#[test]
fn metrics_are_exposed_with_the_control_threads_own() {
    let bench = Bench::start(Driver::Auto);
    let (_, flow) = flow();
    bench.control.journal().offer(flow, policy()).expect("room");
    assert_eq!(bench.ask("GET", "/v1/flows").0, 200);
    let (status, text) = bench.ask("GET", "/metrics");
    assert_eq!(status, 200);
    for metric in [
        "pintle_journal_documents_total",
        "pintle_journal_disk_bytes",
        "pintle_build_info",
        "process_start_time_seconds",
    ] {
        assert!(text.lines().any(|line| line.starts_with(metric)), "{metric} in {text}");
    }
}

#[test]
fn wrong_paths_and_foreign_pages_are_refused_in_json() {
    let bench = Bench::start(Driver::Auto);
    assert_eq!(bench.json("GET", "/nowhere").1["error"]["code"], "not_found");
    assert_eq!(bench.json("DELETE", "/metrics").1["error"]["code"], "method_not_allowed");
    let address = bench.control.admin_address().expect("TCP");
    let with = |headers: &str| {
        let stream = TcpStream::connect(address).expect("connects");
        exchange(stream, &format!("GET /status HTTP/1.1\r\n{headers}connection: close\r\n\r\n")).0
    };
    assert_eq!(with("host: localhost\r\n"), 200);
    assert_eq!(with("host: localhost:9190\r\n"), 200);
    assert_eq!(with("host: [::1]:9190\r\n"), 200);
    assert_eq!(with("host: 127.0.0.1\r\n"), 200);
    assert_eq!(with("host: rebound.example\r\n"), 403);
    assert_eq!(with("host: rebound.example:9190\r\n"), 403);
    assert_eq!(with("host: localhost\r\norigin: https://page.example\r\n"), 403);
    assert_eq!(with(&format!("host: localhost\r\nx: {}\r\n", "y".repeat(HUGE_HEADER))), 431);
}

/// Longer than the admin API's bound on a head.
const HUGE_HEADER: usize = crate::admin::HEAD_BYTES + 1;

#[test]
fn the_unix_socket_serves_owner_and_group_only() {
    let bench = Bench::start(Driver::Auto);
    let mode = std::fs::metadata(bench.socket()).expect("socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let stream = UnixStream::connect(bench.socket()).expect("connects");
    let (status, _) = exchange(stream, "GET /health HTTP/1.1\r\nhost: pintle\r\nconnection: close\r\n\r\n");
    assert_eq!(status, 200);
}

#[test]
fn a_socket_left_by_a_crash_is_replaced_but_a_live_one_is_not() {
    let bench = Bench::start(Driver::Auto);
    let other = TempDir::new().expect("temporary directory");
    let mut options = Bench::options(&other, Driver::Auto);
    options.admin.socket = Some(bench.socket());
    let taken = ControlThread::spawn(options, hooks(&bench.world)).expect_err("the socket is in use");
    assert!(matches!(taken, ControlError::Admin(AdminBindError::InUse(_))), "{taken}");

    let stale = other.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).expect("bound"));
    let mut options = Bench::options(&other, Driver::Auto);
    options.admin.socket = Some(stale.clone());
    let control = ControlThread::spawn(options, hooks(&bench.world)).expect("starts over a stale socket");
    assert!(UnixStream::connect(&stale).is_ok());
    drop(control);
}

#[test]
fn an_address_that_others_can_reach_must_be_allowed() {
    let dir = TempDir::new().expect("temporary directory");
    let world = Arc::new(World::default());
    let mut options = Bench::options(&dir, Driver::Auto);
    options.admin.listen = Some("0.0.0.0:0".parse().expect("address"));
    let refused = ControlThread::spawn(options.clone(), hooks(&world)).expect_err("refused");
    assert!(matches!(refused, ControlError::Admin(AdminBindError::NotLoopback(_))), "{refused}");
    options.admin.allow_remote = true;
    let control = ControlThread::spawn(options, hooks(&world)).expect("allowed");
    let port = control.admin_address().expect("TCP").port();
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let (status, _) =
        exchange(stream, "GET /health HTTP/1.1\r\nhost: gateway-7:9190\r\nconnection: close\r\n\r\n");
    assert_eq!(status, 200, "a name is fine where remote access is");
}

#[test]
fn periodic_work_is_done() {
    let bench = Bench::start(Driver::Auto);
    let end = Instant::now() + PATIENCE;
    while bench.world.ticks.load(Ordering::SeqCst) < 3 {
        assert!(Instant::now() < end, "the hook was called too rarely");
        std::thread::yield_now();
    }
}

#[test]
fn dropping_the_handle_ends_the_thread() {
    let Bench { dir, world, control } = Bench::start(Driver::Auto);
    drop(control);
    let end = Instant::now() + PATIENCE;
    while dir.path().join("run/admin.sock").exists() {
        assert!(Instant::now() < end, "the control thread goes on without an owner");
        std::thread::yield_now();
    }
    assert_eq!(world.drains.load(Ordering::SeqCst), 1);
}
