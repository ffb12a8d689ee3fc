//! The start as an unprivileged user with exactly the capabilities that a feature takes, and without them.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pintle_ebpf::caps::{self, BPF, NET_ADMIN, PERFMON, SYS_ADMIN};
use pintle_ebpf::guard::{self, Mode as GuardMode};
use pintle_ebpf::steer::Program;
use pintle_ebpf::telemetry::{self, Endpoint};
use pintle_ebpf::{Inherited, Mode, Options, Started, start};

mod room;

use room::Group;

const NOBODY: libc::c_long = 65534;

/// What `capget(2)` and `capset(2)` take: a version, a thread, and twice three words.
#[repr(C)]
struct Sets {
    version: u32,
    thread: i32,
    words: [u32; 6],
}

/// Makes this thread that of another user with these capabilities and no others, now or ever.
fn become_nobody(capabilities: &[u32]) {
    // SAFETY: takes integers; by the system calls themselves, for libc's functions change all threads.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0), 0);
        assert_eq!(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()), 0);
        assert_eq!(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY), 0);
        assert_eq!(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY), 0);
    }
    let mut sets = Sets { version: 0x2008_0522, thread: 0, words: [0; 6] };
    for capability in capabilities {
        let word = (*capability / 32 * 3) as usize;
        sets.words[word] |= 1 << (capability % 32);
        sets.words[word + 1] |= 1 << (capability % 32);
    }
    // SAFETY: the head and the words behind it live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut sets, sets.words.as_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn everything(group: &Group) -> Options {
    Options {
        steering: true,
        guard: Some(guard::Options {
            interfaces: vec!["lo".into()],
            mode: GuardMode::Enforce,
            ..guard::Options::default()
        }),
        telemetry: Some(telemetry::Options {
            cgroup: Some(group.path().to_owned()),
            system_retransmits: true,
        }),
    }
}

fn started(capabilities: &'static [u32], check: fn(Started)) {
    room::alone(move || {
        let group = Group::enter();
        let options = everything(&group);
        // Its capabilities are this thread's own; the group is left by the one that entered it.
        let thread = std::thread::spawn(move || {
            become_nobody(capabilities);
            assert!(capabilities.iter().all(|capability| caps::has(*capability)));
            let started = start(&options, Inherited::default());
            println!("{}", started.report);
            let mut dropped = started.dropped.clone();
            dropped.sort_unstable();
            assert_eq!(dropped, capabilities);
            for capability in [BPF, NET_ADMIN, PERFMON, SYS_ADMIN] {
                assert!(!caps::has(capability), "{capability} is left");
            }
            assert!(Program::load().is_err(), "nothing can be loaded any more");
            check(started);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Steering works after the capabilities are gone, from attaching on.
fn steers(started: &mut Started) {
    let listeners = room::listeners("127.0.0.1:0".parse().unwrap(), 2);
    let borrowed: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    let steering = started.steering.take().expect("steering").attach(&[&borrowed]).expect("attaches");
    let cells = [steering.load_cell(0), steering.load_cell(1)];
    cells[0].set_load(100_000);
    let to = listeners[0].local_addr().unwrap();
    let _clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(to).unwrap()).collect();
    assert_eq!((cells[0].picked(), cells[1].picked()), (0, 5));
    steering.set_active(&[0]).unwrap();
    let _more = TcpStream::connect(to).unwrap();
    assert_eq!(cells[0].picked(), 1);
    steering.remove(0).unwrap();
}

/// Rules can be made and read after the capabilities are gone.
fn guards(started: &Started) {
    let guard = started.guard.as_ref().expect("guard");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let from: IpAddr = "127.0.0.5".parse().unwrap();
    let wait = Duration::from_millis(200);
    guard.deny("127.0.0.5".parse().unwrap(), None).unwrap();
    assert!(room::connect_from(from, to, wait).is_err());
    let ends = std::time::Instant::now() + Duration::from_secs(60);
    while guard.counters().dropped_denied == 0 || guard.rules()[0].hits == 0 {
        assert!(std::time::Instant::now() < ends, "it was not the guard");
    }
    assert!(guard.remove("127.0.0.5".parse().unwrap()).unwrap());
    assert!(room::connect_from(from, to, Duration::from_secs(5)).is_ok());
}

/// Sums can be read after the capabilities are gone.
fn watches(started: &Started) {
    let telemetry = started.telemetry.as_ref().expect("telemetry");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let _client = TcpStream::connect(to).unwrap();
    telemetry.watch(&[Endpoint::Upstream(to)]);
    let sums = telemetry.read();
    assert!(sums.iter().any(|(endpoint, sums)| *endpoint == Endpoint::Upstream(to) && sums.established == 1));
}

#[test]
fn without_capabilities_everything_is_off() {
    started(&[], |started| {
        let report = started.report;
        for status in [&report.steering, &report.guard, &report.telemetry] {
            assert_eq!((status.mode, status.why.as_str()), (Mode::Off, "CAP_BPF is missing"));
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["steering"], serde_json::json!({ "mode": "off", "why": "CAP_BPF is missing" }));
    });
}

#[test]
fn cap_bpf_steers() {
    started(&[BPF], |mut started| {
        assert_eq!(started.report.steering.mode, Mode::Kernel);
        for status in [&started.report.guard, &started.report.telemetry] {
            assert_eq!((status.mode, status.why.as_str()), (Mode::Off, "CAP_NET_ADMIN is missing"));
        }
        steers(&mut started);
    });
}

#[test]
fn cap_net_admin_guards_and_watches() {
    started(&[NET_ADMIN, BPF], |mut started| {
        assert_eq!(started.report.guard.why, "enforces, xdp on lo");
        assert_eq!(started.report.telemetry.mode, Mode::Kernel);
        let why = &started.report.telemetry.why;
        assert!(why.ends_with("no system-wide retransmissions: CAP_PERFMON is missing"), "{why}");
        steers(&mut started);
        guards(&started);
        watches(&started);
    });
}

#[test]
fn cap_perfmon_traces() {
    started(&[NET_ADMIN, PERFMON, BPF], |mut started| {
        let telemetry = started.telemetry.as_ref().expect("telemetry");
        assert_eq!(telemetry.without_system(), None);
        steers(&mut started);
        guards(&started);
        watches(&started);
    });
}

#[test]
fn what_is_not_asked_for_is_off_and_the_capabilities_go_all_the_same() {
    room::alone(|| {
        let started = start(&Options::default(), Inherited::default());
        assert_eq!(
            started.report.to_string(),
            "steering: off (not asked for); guard: off (not asked for); telemetry: off (not asked for)"
        );
        assert!(!caps::has(BPF) && !caps::has(SYS_ADMIN));
        // Threads that are started from now on have none either.
        assert!(!std::thread::spawn(|| caps::has(NET_ADMIN)).join().unwrap());
        // SAFETY: takes integers.
        let bounding = unsafe { libc::prctl(libc::PR_CAPBSET_READ, u64::from(BPF), 0, 0, 0) };
        assert_eq!(bounding, 0, "nor programs that it executes");
        assert!(caps::has(10), "CAP_NET_BIND_SERVICE is of use and stays");
    });
}
