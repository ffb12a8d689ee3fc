//! A process is killed while everything is attached: nothing is left. Another is told apart from its programs.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pintle_ebpf::guard::{self, Guard};
use pintle_ebpf::loaded::{self, Loaded};
use pintle_ebpf::steer::Program;
use pintle_ebpf::telemetry::{self, Telemetry};

mod room;

use room::Group;

/// Set in the process that is to be killed.
const VICTIM: &str = "PINTLE_EBPF_VICTIM";

#[expect(clippy::disallowed_methods, reason = "how the test tells its two processes apart")]
fn is_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

/// Attaches everything, says so, and waits to be killed or for its input to end.
fn victim() {
    let group = Group::enter();
    let guard = Guard::attach(&guard::Options { interfaces: vec!["lo".into()], ..guard::Options::default() })
        .unwrap();
    guard.deny("192.0.2.0/24".parse().unwrap(), None).unwrap();
    let options = telemetry::Options { cgroup: Some(group.path().to_owned()), system_retransmits: true };
    let telemetry = Telemetry::attach(&options).unwrap();
    let listeners = room::listeners("127.0.0.1:0".parse().unwrap(), 2);
    let borrowed: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    let program = Program::load().unwrap();
    // Loaded is not attached: those that no address needed go with the loader.
    let steering_programs = program.programs();
    let _steering = program.attach(&[&borrowed]).unwrap();
    let programs = [guard.programs(), telemetry.programs(), &steering_programs[..]].concat();
    println!("PROGRAMS {}", programs.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    let _ = std::io::stdin().read(&mut [0]);
}

struct Victim {
    process: Child,
    programs: Vec<u32>,
}

impl Victim {
    fn start(test: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(VICTIM, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let line =
            out.lines().map_while(Result::ok).find(|line| line.contains("PROGRAMS ")).expect("it attaches");
        let (_, programs) = line.split_once("PROGRAMS ").unwrap();
        let programs = programs.split(' ').map(|id| id.parse().unwrap()).collect();
        Self { process, programs }
    }

    fn loaded(&self) -> Vec<Loaded> {
        let all = loaded::loaded().unwrap();
        all.into_iter().filter(|program| self.programs.contains(&program.id)).collect()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // The kernel lets go a moment later.
        let end = Instant::now() + Duration::from_secs(60);
        while !self.loaded().is_empty() {
            assert!(Instant::now() < end, "left behind: {:?}", self.loaded());
        }
    }
}

#[test]
fn a_killed_process_leaves_nothing() {
    room::alone(|| {
        if is_victim() {
            return victim();
        }
        let mut victim = Victim::start("a_killed_process_leaves_nothing");
        let loaded = victim.loaded();
        for (feature, least) in [("steering", 1), ("guard", 1), ("telemetry", 2)] {
            let count = loaded.iter().filter(|program| program.feature == feature).count();
            assert!(count >= least, "{feature}: {loaded:?}");
        }
        victim.kill();
        // Its control group is empty, and goes with the next test's.
        let name = format!("pintle-test-{}-", victim.process.id());
        let group = Group::enter();
        let others = std::fs::read_dir(group.path().parent().unwrap()).unwrap();
        assert!(!others.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&name)));
    });
}

#[test]
fn attachments_of_a_process_that_hangs_can_be_taken_off() {
    room::alone(|| {
        if is_victim() {
            return victim();
        }
        let mut victim = Victim::start("attachments_of_a_process_that_hangs_can_be_taken_off");
        // Its rules can be seen and changed from here.
        let denied: guard::Prefix = "192.0.2.0/24".parse().unwrap();
        let rules = |guard: &Guard| guard.rules().iter().any(|rule| rule.prefix == denied);
        let guards = Guard::running().unwrap();
        let theirs = guards.iter().find(|guard| rules(guard)).expect("its guard");
        assert!(theirs.remove(denied).unwrap());
        assert_eq!(theirs.mode(), guard::Mode::Count);
        for program in victim.loaded() {
            for link in &program.links {
                let result = loaded::detach(*link);
                // Tracing ends with its process only.
                assert_eq!(
                    result.is_ok(),
                    !program.name.starts_with("pintle_retransm"),
                    "{program:?} {result:?}"
                );
            }
        }
        let attached = victim.loaded().iter().filter(|program| program.feature == "guard").count();
        assert!(attached >= 1, "the process still holds them");
        assert_eq!(loaded::detach(u32::MAX).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        victim.kill();
    });
}
