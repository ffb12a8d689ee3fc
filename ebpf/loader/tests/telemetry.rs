//! Telemetry on a real kernel, on a control group of the test's own.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use pintle_ebpf::telemetry::{Endpoint, Options, Sums, Telemetry, What};

mod room;

use room::{Far, Group, NEAR, connect_from};

fn attach(group: &Group, system_retransmits: bool) -> Telemetry {
    Telemetry::attach(&Options { cgroup: Some(group.path().to_owned()), system_retransmits })
        .expect("attaches")
}

fn sums(telemetry: &Telemetry, endpoint: Endpoint) -> Sums {
    let all = telemetry.read();
    all.into_iter().find(|(other, _)| *other == endpoint).map(|(_, sums)| sums).unwrap_or_default()
}

/// Waits for what the kernel does a moment later.
fn until(what: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if what() {
            return true;
        }
    }
    false
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the value lives through the call.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        )
    };
    assert_eq!(result, 0);
}

/// Smoothed round-trip time in microseconds, as the owner of a socket is told it.
fn srtt(stream: &TcpStream) -> u64 {
    // SAFETY: zero is valid for a structure of integers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    let at = (&raw mut info).cast();
    // SAFETY: the kernel writes at most `length` bytes.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut length)
    };
    assert_eq!(result, 0);
    info.tcpi_rtt.into()
}

fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn connections_are_added_up_for_both_ends() {
    room::alone(|| {
        let group = Group::enter();
        let telemetry = attach(&group, false);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let to: SocketAddr = listener.local_addr().unwrap();
            let mut streams = Vec::new();
            for _ in 0..5 {
                let (mut client, mut server) = pair(&listener);
                for _ in 0..20 {
                    client.write_all(b"question").unwrap();
                    server.read_exact(&mut [0; 8]).unwrap();
                    server.write_all(b"answer").unwrap();
                    client.read_exact(&mut [0; 6]).unwrap();
                }
                streams.push((client, server));
            }
            let upstream = sums(&telemetry, Endpoint::Upstream(to));
            let here = sums(&telemetry, Endpoint::Listener(to.port()));
            assert_eq!((upstream.established, upstream.connects, upstream.closed), (5, 5, 0));
            assert_eq!((here.established, here.connects), (5, 0));
            assert!(upstream.connect_us > 0 && upstream.connect_us < 60_000_000, "{upstream:?}");
            assert!(upstream.min_rtt_us > 0 && upstream.min_rtt_us <= upstream.last_srtt_us, "{upstream:?}");
            let (last, other_end) = streams.pop().unwrap();
            drop(streams);
            assert!(until(|| sums(&telemetry, Endpoint::Upstream(to)).closed == 4));
            // The ends say goodbye, which is one more measurement of the round trip, while the descriptor stays.
            last.shutdown(Shutdown::Write).unwrap();
            drop(other_end);
            let both = || {
                sums(&telemetry, Endpoint::Upstream(to)).closed == 5
                    && sums(&telemetry, Endpoint::Listener(to.port())).closed == 5
            };
            assert!(until(both), "{:?}", telemetry.read());
            let upstream = sums(&telemetry, Endpoint::Upstream(to));
            assert_eq!((upstream.aborted, upstream.failed, upstream.retransmits), (0, 0, 0));
            assert_eq!(upstream.last_srtt_us, srtt(&last), "the last to close says what it knew last");
        }
    });
}

#[test]
fn failures_and_resets_are_told_apart() {
    room::alone(|| {
        let group = Group::enter();
        let telemetry = attach(&group, false);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let (client, server) = pair(&listener);
        reset(client);
        assert!(until(|| sums(&telemetry, Endpoint::Listener(to.port())).aborted == 1));
        drop(server);
        assert_eq!(sums(&telemetry, Endpoint::Upstream(to)).aborted, 1);
        drop(listener);
        assert!(TcpStream::connect(to).is_err());
        let refused = sums(&telemetry, Endpoint::Upstream(to));
        assert_eq!((refused.failed, refused.established, refused.connects), (1, 1, 1));
        let events = telemetry.events(100);
        let count =
            |what, endpoint| events.iter().filter(|e| e.what == what && e.endpoint == endpoint).count();
        assert_eq!(count(What::Aborted, Endpoint::Upstream(to)), 1);
        assert_eq!(count(What::Aborted, Endpoint::Listener(to.port())), 1);
        assert_eq!(count(What::Failed, Endpoint::Upstream(to)), 1);
        assert!(events.iter().all(|event| event.at_ns > 0 && event.other_port != 0));
        assert!(telemetry.events(100).is_empty(), "they were taken");
        assert_eq!(telemetry.lost_events(), 0);
    });
}

#[test]
fn a_syn_that_nobody_answers_is_counted_again() {
    room::alone(|| {
        let _far = Far::make();
        let group = Group::enter();
        let telemetry = attach(&group, true);
        assert_eq!(telemetry.without_system(), None);
        // A neighbour that is not there.
        room::ip("neighbour add 10.99.7.7 lladdr 02:00:00:00:07:07 dev near0");
        let to: SocketAddr = "10.99.7.7:9".parse().unwrap();
        let endpoint = Endpoint::Upstream(to);
        telemetry.watch(&[endpoint, Endpoint::Listener(9)]);
        let from: IpAddr = NEAR[0].parse().unwrap();
        // The kernel itself gives up after one more SYN: however late this thread is, there is no third.
        for (setting, value) in [("tcp_syn_retries", "1"), ("tcp_syn_linear_timeouts", "0")] {
            let set = std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), value);
            // Before Linux 6.5 all waits grow.
            assert!(set.is_ok() || setting == "tcp_syn_linear_timeouts", "{setting}: {set:?}");
        }
        let given_up = connect_from(from, to, Duration::from_secs(60)).unwrap_err();
        assert_eq!(given_up.kind(), std::io::ErrorKind::TimedOut, "{given_up}");
        assert!(until(|| sums(&telemetry, endpoint).failed == 1), "{:?}", telemetry.read());
        let seen = sums(&telemetry, endpoint);
        assert_eq!((seen.retransmits, seen.syn_retransmits, seen.established), (1, 1, 0), "{seen:?}");
        assert_eq!(seen.system_retransmits, 1);
        assert_eq!(sums(&telemetry, Endpoint::Listener(9)).system_retransmits, 0);
        let event = telemetry.events(10).into_iter().find(|event| event.what == What::Retransmit).unwrap();
        assert_eq!((event.endpoint, event.total_retransmits), (endpoint, 1));
        // What is watched no more is forgotten.
        telemetry.watch(&[]);
        assert_eq!(sums(&telemetry, endpoint).system_retransmits, 0);
    });
}

#[test]
fn other_groups_are_not_looked_at() {
    room::alone(|| {
        let group = Group::enter();
        let telemetry = attach(&group, false);
        group.leave();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _streams = pair(&listener);
        assert!(telemetry.read().is_empty(), "{:?}", telemetry.read());
        drop(telemetry);
    });
}

#[test]
fn a_group_that_is_none_is_refused_with_a_reason() {
    room::alone(|| {
        let options = |path: &str| Options { cgroup: Some(path.into()), system_retransmits: false };
        let why = Telemetry::attach(&options("/proc")).unwrap_err().why;
        assert!(why.starts_with("the control group takes no program"), "{why}");
        let why = Telemetry::attach(&options("/absent")).unwrap_err().why;
        assert!(why.starts_with("control group /absent: "), "{why}");
    });
}

#[test]
fn the_root_of_all_groups_is_not_taken_for_our_own() {
    room::alone(|| match Telemetry::attach(&Options::default()) {
        Ok(telemetry) => assert!(telemetry.cgroup().join("cgroup.events").exists()),
        Err(unavailable) => assert!(unavailable.why.contains("control group"), "{unavailable}"),
    });
}

#[test]
fn nothing_runs_while_a_connection_only_talks() {
    room::alone(|| {
        let group = Group::enter();
        let telemetry = attach(&group, true);
        let _statistics = room::statistics();
        let runs = || {
            let programs = pintle_ebpf::loaded::loaded().unwrap();
            let ours = programs.iter().filter(|program| telemetry.programs().contains(&program.id));
            // The tracepoint of retransmissions is the whole machine's: whatever anybody sends again here runs it.
            let ours = ours.filter(|program| !program.name.starts_with("pintle_retransm"));
            ours.map(|program| program.runs).sum::<u64>()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut client, mut server) = pair(&listener);
        let before = runs();
        assert!(before > 0, "connecting is seen");
        for _ in 0..100 {
            client.write_all(b"question").unwrap();
            server.read_exact(&mut [0; 8]).unwrap();
            server.write_all(b"answer").unwrap();
            client.read_exact(&mut [0; 6]).unwrap();
        }
        assert_eq!(runs(), before);
        drop((client, server));
        assert!(until(|| runs() > before), "closing is seen");
    });
}

#[test]
fn sums_and_events_go_on_in_another_holder() {
    room::alone(|| {
        let group = Group::enter();
        let telemetry = attach(&group, true);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        reset(pair(&listener).0);
        assert!(until(|| sums(&telemetry, Endpoint::Upstream(to)).aborted == 1));
        assert_eq!(telemetry.events(1).len(), 1);
        let mut short = telemetry.hand_over().unwrap();
        short.descriptors.pop();
        assert!(Telemetry::adopt(short).unwrap_err().why.contains("another version"));
        let next = Telemetry::adopt(telemetry.hand_over().unwrap()).unwrap();
        assert_eq!(next.without_system(), None);
        next.watch(&[Endpoint::Upstream(to)]);
        drop(telemetry);
        reset(pair(&listener).0);
        assert!(until(|| sums(&next, Endpoint::Upstream(to)).aborted == 2), "it is still attached");
        assert_eq!(sums(&next, Endpoint::Upstream(to)).established, 2);
        // One of each of the two ends was taken by the holder before.
        assert!(until(|| sums(&next, Endpoint::Listener(to.port())).aborted == 2));
        assert_eq!(next.events(100).len(), 3);
        assert!(next.describe().starts_with("taken over: control group "), "{}", next.describe());
    });
}
