//! The gateway under test: the real binary in a folder of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use pintle_standin::StandIn;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::config::ConfigFile;
use crate::http::{Connection, Response};
use crate::ports::Port;
use crate::{io_uring_works, until};

/// How a worker waits for its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// What the kernel allows.
    Auto,
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// Both drivers that this machine can run; says which it cannot.
    pub fn usable(test: &str) -> Vec<Self> {
        if io_uring_works() {
            return vec![Self::Epoll, Self::IoUring];
        }
        crate::skip(&format!("{test} (io_uring)"), "this kernel or sandbox refuses io_uring_setup");
        vec![Self::Epoll]
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// What a gateway is started with, apart from its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The driver.
    pub driver: Driver,
    /// Workers; the configuration's number when absent.
    pub workers: Option<usize>,
}

impl Default for Start {
    fn default() -> Self {
        Self { driver: Driver::Auto, workers: None }
    }
}

/// A running gateway; killed when dropped, and its log shown if the test failed.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    start: Start,
    /// What the binary is started by, if not directly.
    wrapper: Vec<String>,
    port: Port,
    admin: Port,
    folder: TempDir,
    /// Processes that took over, the newest last.
    successors: Vec<Pid>,
}

impl Gateway {
    /// Starts the binary with this configuration and waits until it is ready.
    #[track_caller]
    pub fn start(config: &ConfigFile) -> Self {
        Self::start_with(config, Start::default())
    }

    /// Starts the binary in a certain way.
    #[track_caller]
    pub fn start_with(config: &ConfigFile, start: Start) -> Self {
        Self::start_under(config, start, &[])
    }

    /// Starts the binary by a program such as setpriv(1), which may make it another user's.
    #[track_caller]
    pub fn start_under(config: &ConfigFile, start: Start, wrapper: &[&str]) -> Self {
        let wrapper: Vec<String> = wrapper.iter().map(|&word| word.to_owned()).collect();
        let (port, admin) = (Port::take(), Port::take());
        let folder = tempfile::Builder::new().prefix("pintle-test-").tempdir().expect("a temporary folder");
        write_config(config, &port, &admin, folder.path());
        if !wrapper.is_empty() {
            let all = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(folder.path(), all).expect("the folder can be opened to others");
        }
        let child = serve(folder.path(), start, &wrapper);
        let mut gateway = Self { child, start, wrapper, port, admin, folder, successors: Vec::new() };
        gateway.await_ready();
        gateway
    }

    /// One model on one stand-in, nothing else.
    #[track_caller]
    pub fn plain(stand_in: &StandIn) -> Self {
        Self::start(&ConfigFile::plain(vec![crate::Model::on(&[stand_in], 0.1, 0.5)]))
    }

    #[track_caller]
    fn await_ready(&mut self) {
        let address = self.address();
        until("the gateway is ready", || {
            if let Some(status) = self.child.try_wait().expect("the gateway can be watched") {
                panic!("the gateway ended with {status} before it was ready\n{}", self.log());
            }
            let Ok(mut connection) = Connection::try_open(address) else { return false };
            let request = "GET /ready HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
            connection.try_send(request) && connection.try_response().is_ok_and(|r| r.status == 200)
        });
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number()))
    }

    /// Where the admin endpoint listens.
    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.admin.number()))
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// A `GET` on the admin endpoint.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Response {
        let mut connection = Connection::open(self.admin_address());
        connection.request(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close"), b"");
        connection.response()
    }

    /// The Prometheus exposition.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let response = self.admin("/metrics");
        assert_eq!(response.status, 200);
        response.text()
    }

    /// Sum over the series of a metric whose labels contain all of `labels`.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.metrics();
        let series = metrics.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once(' '));
        let wanted = series.filter(|(key, _)| {
            key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label))
        });
        wanted.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
    }

    /// The flow document of an id, once the journal has it.
    #[track_caller]
    pub fn flow(&self, id: &str) -> serde_json::Value {
        let mut document = serde_json::Value::Null;
        until("the journal has the flow", || {
            let response = self.admin(&format!("/v1/flows/{id}"));
            if response.status == 200 {
                document = response.json();
            }
            response.status == 200
        });
        document
    }

    /// Its folder: configuration, state and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Replaces its configuration file; it is read at the next reload or start.
    pub fn write_config(&self, config: &ConfigFile) {
        write_config(config, &self.port, &self.admin, self.folder.path());
    }

    /// Replaces its configuration file by this text.
    pub fn write_config_text(&self, text: &str) {
        std::fs::write(self.folder.path().join("config.yaml"), text)
            .expect("the configuration can be written");
    }

    /// Replaces the process by another one with `pintle upgrade`; returns its process id.
    #[track_caller]
    pub fn upgrade(&mut self) -> i32 {
        let output = self.try_upgrade();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
        let text = String::from_utf8(output.stdout).expect("text");
        let pid = text.split_whitespace().nth(1).and_then(|pid| pid.parse().ok());
        self.follow(pid.unwrap_or_else(|| panic!("no process id in {text:?}")))
    }

    /// Ends it as soon as it has logged something that contains `word`, while it starts.
    #[track_caller]
    pub fn start_and_end_at(&mut self, word: &str) -> ExitStatus {
        assert!(self.child.try_wait().expect("the gateway can be watched").is_some(), "it still runs");
        let logged = self.log().len();
        self.child = serve(self.folder.path(), self.start, &self.wrapper);
        until("it starts", || self.log()[logged..].contains(word));
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Runs `pintle upgrade`.
    pub fn try_upgrade(&self) -> Output {
        let state = self.state_dir();
        pintle(&["upgrade".as_ref(), "--state-dir".as_ref(), state.as_os_str()])
    }

    /// From now on process `pid` is the gateway; it has taken over.
    pub fn follow(&mut self, pid: i32) -> i32 {
        self.successors.push(Pid::from_raw(pid).expect("a process id"));
        pid
    }

    /// Process id of the gateway that answers.
    #[track_caller]
    pub fn answering(&self) -> i32 {
        let pid = self.admin("/status").json()["pid"].as_i64().expect("a process id");
        pid.try_into().expect("process ids are small")
    }

    /// Sends a signal to the process that took over last.
    pub fn signal_successor(&self, signal: Signal) {
        kill_process(*self.successors.last().expect("one took over"), signal).expect("it runs");
    }

    /// Waits for the end of every process that took over.
    #[track_caller]
    pub fn wait_for_successors(&mut self) {
        for pid in std::mem::take(&mut self.successors) {
            until("the process that took over has ended", || !runs(pid));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the gateway runs");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the gateway has ended", || {
            status = self.child.try_wait().expect("the gateway can be watched");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// Starts it again, after it ended, on the same ports with the same state.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.child.try_wait().expect("the gateway can be watched").is_some(), "it still runs");
        self.child = serve(self.folder.path(), self.start, &self.wrapper);
        self.await_ready();
    }

    /// Runs `pintle explain` on its state.
    pub fn explain(&self, id: &str, extra: &[&str]) -> Output {
        let state = self.state_dir();
        let mut args: Vec<&OsStr> =
            vec!["explain".as_ref(), id.as_ref(), "--state-dir".as_ref(), state.as_ref()];
        args.extend(extra.iter().map(OsStr::new));
        pintle(&args)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for pid in &self.successors {
            if runs(*pid) {
                let _ = kill_process(*pid, Signal::KILL);
            }
        }
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- gateway log ---\n{}\n--- end of log ---", self.log());
        }
    }
}

/// Whether a process runs; a dead one that nobody has waited for does not.
pub fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Runs the binary to its end.
pub fn pintle(args: &[impl AsRef<OsStr>]) -> Output {
    Command::new(binary()).args(args).stdin(Stdio::null()).output().expect("the binary runs")
}

/// Path of the binary under test.
///
/// # Panics
/// It has not been built.
pub fn binary() -> PathBuf {
    let path = environment("PINTLE_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
        profile.join("pintle")
    });
    assert!(path.is_file(), "{} is missing: run `cargo build -p pintle`", path.display());
    path
}

#[expect(clippy::disallowed_methods, reason = "the test harness has an environment of its own")]
pub(crate) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn write_config(config: &ConfigFile, port: &Port, admin: &Port, folder: &Path) {
    let text = config.render(port.number(), admin.number(), folder);
    std::fs::write(folder.join("config.yaml"), text).expect("the configuration can be written");
}

fn serve(folder: &Path, start: Start, wrapper: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
    let binary = binary();
    let mut words = wrapper.iter().map(OsStr::new).chain([binary.as_os_str()]);
    let mut command = Command::new(words.next().expect("the binary at least"));
    command.args(words).arg("serve").arg("--config").arg(folder.join("config.yaml"));
    command.arg("--state-dir").arg(folder.join("state"));
    command.args(["--driver", start.driver.name()]);
    if let Some(workers) = start.workers {
        command.arg("--workers").arg(workers.to_string());
    }
    let error = log.try_clone().expect("a log file");
    command.stdin(Stdio::null()).stdout(log).stderr(error).spawn().expect("the binary starts")
}
