//! The control thread as a service: signals in, notifications to the service manager out.
//!
//! Both belong to a whole process, so each test runs this test binary again, with one of the ignored
//! tests below as the service, and plays the service manager towards it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pintle_control::{
    AdminOptions, ControlHooks, ControlOptions, ControlThread, Drained, Driver, Exit, JournalOptions,
    ReloadReport, ReloadResult,
};
use serde_json::json;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const WATCHDOG_USEC: &str = "100000";

/// A running service, and the socket on which it reports.
struct Service {
    child: Child,
    manager: UnixDatagram,
    _dir: TempDir,
}

impl Service {
    /// Starts the ignored test `role` in a process of its own.
    fn start(role: &str) -> Service {
        let dir = TempDir::new().expect("temporary directory");
        let socket = dir.path().join("notify.sock");
        let manager = UnixDatagram::bind(&socket).expect("bound");
        manager.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", role, "--ignored", "--nocapture"])
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", WATCHDOG_USEC)
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        Service { child, manager, _dir: dir }
    }

    fn message(&self) -> io::Result<String> {
        let mut buffer = [0; 4096];
        let length = self.manager.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// The next notification that has `wanted` in it; others are passed over.
    fn wait_for(&self, wanted: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.message() {
                Ok(message) if message.contains(wanted) => return message,
                Ok(_) => {}
                Err(error) => panic!("no {wanted}: {error}"),
            }
        }
        panic!("no {wanted} in {PATIENCE:?}");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh").success(), "{kill}");
    }

    fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("waited")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_reports_its_whole_life() {
    let service = Service::start("role_well");
    let ready = service.wait_for("READY=1");
    assert!(ready.contains("STATUS=serving 2 models\n"), "{ready}");
    service.wait_for("WATCHDOG=1");

    service.signal("HUP");
    let reloading = service.wait_for("RELOADING=1");
    let stamp = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("stamp");
    assert!(stamp.parse::<u64>().expect("number") > 0);
    let done = service.wait_for("READY=1");
    assert!(done.contains("STATUS=reload 1\n"), "{done}");
    service.signal("USR1");
    service.signal("HUP");
    assert!(service.wait_for("READY=1").contains("STATUS=reload 2\n"), "SIGUSR1 neither ends nor reloads");

    service.signal("TERM");
    let stopping = service.wait_for("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    assert!(service.wait().success());
}

#[test]
fn an_interrupt_ends_it_like_a_termination() {
    let service = Service::start("role_well");
    service.wait_for("READY=1");
    service.signal("INT");
    service.wait_for("STOPPING=1");
    assert!(service.wait().success());
}

#[test]
fn a_second_termination_hurries() {
    let service = Service::start("role_slow_to_drain");
    service.wait_for("READY=1");
    service.signal("TERM");
    service.wait_for("STOPPING=1");
    service.signal("TERM");
    assert!(service.wait().success(), "the role checks that it was hurried");
}

#[test]
fn the_watchdog_is_silent_while_the_data_plane_is_stuck() {
    let service = Service::start("role_stuck");
    service.wait_for("READY=1");
    service.wait_for("STATUS=worker 0 is stuck");
    for _ in 0..5 {
        let message = service.message().expect("complaints go on");
        assert!(!message.contains("WATCHDOG=1"), "{message}");
    }
    service.signal("TERM");
    service.wait_for("STOPPING=1");
    service.wait_for("WATCHDOG=1");
    service.signal("TERM");
    assert!(service.wait().success());
}

fn serve(alive: Result<(), &'static str>, drain: impl FnOnce(Duration) -> Drained + Send + 'static) -> Exit {
    let dir = TempDir::new().expect("temporary directory");
    let options = ControlOptions {
        admin: AdminOptions::default(),
        journal: JournalOptions {
            dir: dir.path().to_path_buf(),
            max_bytes: 1 << 20,
            segment_bytes: 1 << 16,
            queue: 16,
        },
        driver: Driver::Auto,
        drain: PATIENCE,
        retire: PATIENCE,
        handle_signals: true,
    };
    let reloads = AtomicU32::new(0);
    let hooks = ControlHooks {
        reload: Arc::new(move || ReloadReport {
            result: ReloadResult::Applied,
            policy_digest: String::new(),
            summary: format!("reload {}", reloads.fetch_add(1, Ordering::SeqCst) + 1),
            findings: json!([]),
        }),
        drain: Box::new(drain),
        alive: Arc::new(move || alive.map_err(str::to_owned)),
        ready: Arc::new(|| Ok(())),
        status: Arc::new(|| json!({})),
        config: Arc::new(|| json!({})),
        retire: Box::new(|_limit| Drained::default()),
        upgrade: None,
        sessions: None,
        feedback: None,
        periodic: Vec::new(),
    };
    let control = ControlThread::spawn(options, hooks).expect("starts");
    control.announce_ready("serving 2\nmodels");
    control.join().expect("no panic")
}

/// Blocks for as long as it may, as a data plane does whose clients do not end.
fn never_drained(limit: Duration) -> Drained {
    let (_open, closed) = std::sync::mpsc::channel::<()>();
    // Times out: nothing is ever sent.
    let _ = closed.recv_timeout(limit);
    Drained { cut_off: 1 }
}

#[test]
#[ignore = "runs as the service of the tests above"]
fn role_well() {
    assert_eq!(serve(Ok(()), |_| Drained::default()), Exit::Drained);
}

#[test]
#[ignore = "runs as the service of the tests above"]
fn role_slow_to_drain() {
    assert_eq!(serve(Ok(()), never_drained), Exit::Hurried);
}

#[test]
#[ignore = "runs as the service of the tests above"]
fn role_stuck() {
    assert_eq!(serve(Err("worker 0 is stuck"), never_drained), Exit::Hurried);
}
