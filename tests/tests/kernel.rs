//! Promise: what the kernel may do for the gateway it does, operators can see and change it, an upgrade leaves no gap,
//! and a process that ends leaves nothing. Everything works without it.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pintle_standin::{Options, StandIn};
use pintle_tests::alone::{Group, alone, connect_from, links};
use pintle_tests::{ConfigFile, Connection, Gateway, Model, OnDrop, Start, pintle, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// An address of the loopback interface that no client uses but the one which is to be kept out.
const FOE: &str = "127.0.0.2";
/// Long enough for one SYN.
const ONE_SYN: Duration = Duration::from_millis(200);
/// Long enough for a SYN that is lost and one that is not, on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

fn hello() -> Value {
    json!({ "model": "auto", "messages": [{ "role": "user", "content": "hello [tokens:3]" }] })
}

fn config(stand_in: &StandIn, guard: &str) -> ConfigFile {
    ConfigFile::plain(vec![Model::on(&[stand_in], 0.1, 0.5)])
        .with("workers: 2")
        .with(&format!("guard: {guard}"))
}

fn from_foe(gateway: &Gateway, patience: Duration) -> std::io::Result<TcpStream> {
    connect_from(SocketAddr::new(FOE.parse().unwrap(), 0), gateway.address(), patience)
}

/// Runs a command of the binary that must succeed.
#[track_caller]
fn run(args: &[&str]) -> String {
    let output = pintle(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pintle {args:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

fn kernel(gateway: &Gateway) -> Value {
    gateway.admin("/status").json()["data_plane"]["kernel"].clone()
}

/// What `pintle guard ls` says of the guard on this gateway's interface.
fn guard() -> Value {
    serde_json::from_str(run(&["guard", "ls", "--json"]).trim()).expect("one guard")
}

/// Attachments of ours in the whole machine.
fn attached() -> Vec<u64> {
    let programs: Value = serde_json::from_str(run(&["ebpf", "ls", "--json"]).trim()).expect("JSON");
    let links = programs.as_array().unwrap().iter().flat_map(|program| program["links"].as_array().unwrap());
    links.filter_map(Value::as_u64).collect()
}

fn none_is_left(links: &[u32]) {
    // The kernel lets go a moment later.
    until("nothing is attached", || {
        let attached = attached();
        links.iter().all(|link| !attached.contains(&u64::from(*link)))
    });
}

#[test]
fn capabilities_decide_who_does_what() {
    alone("capabilities_decide_who_does_what", || {
        let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
        let config = config(&stand_in, "{interfaces: [lo], mode: enforce}");
        let group = Group::enter();
        let watches = format!("/{}", group.name());
        let (bpf, both) = ("CAP_BPF is missing", "CAP_NET_ADMIN is missing");
        let alone = format!("{watches}; no system-wide retransmissions: CAP_PERFMON is missing");
        let cases = [
            ("-all", [("userspace", bpf), ("off", bpf), ("userspace", bpf)]),
            ("-all,+bpf", [("kernel", "two workers"), ("off", both), ("userspace", both)]),
            (
                "-all,+bpf,+net_admin",
                [("kernel", "two workers"), ("kernel", "enforces, xdp on lo"), ("kernel", &*alone)],
            ),
            (
                "-all,+bpf,+net_admin,+perfmon",
                [("kernel", "two workers"), ("kernel", "enforces, xdp on lo"), ("kernel", &*watches)],
            ),
        ];
        for (capabilities, expected) in cases {
            let wrapper = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
            let sets =
                ["--inh-caps", capabilities, "--ambient-caps", capabilities, "--bounding-set", capabilities];
            let gateway = Gateway::start_under(&config, Start::default(), &[&wrapper[..], &sets].concat());
            let answer = gateway.connect().chat("s", &hello());
            assert_eq!(answer.status, 200);
            let flow = gateway.flow(&answer.flow());
            assert!(flow["upstream"][0]["kernel"]["srtt_us"].as_u64().unwrap() > 0, "{flow}");
            let kernel = kernel(&gateway);
            let admin = gateway.admin_address().to_string();
            let said = run(&["status", "--admin", &admin]);
            let log = gateway.log();
            for (feature, (mode, why)) in ["steering", "guard", "telemetry"].into_iter().zip(expected) {
                let status = &kernel[feature];
                let reason = status["why"].as_str().unwrap();
                assert_eq!(status["mode"], mode, "{capabilities}: {kernel}");
                assert!(reason.ends_with(why), "{capabilities}: {feature}: {reason}");
                let line = format!("{feature}: {mode} ({reason})");
                assert!(said.contains(&line) && log.contains(&line), "{line}\n{said}\n{log}");
            }
            let pid = gateway.answering();
            let process = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                let line = process.lines().find(|line| line.starts_with(set)).unwrap();
                assert!(line.ends_with("\t0000000000000000"), "{capabilities}: {line}");
            }
            assert!(process.contains("Uid:\t65534\t65534"), "{process}");
            if expected[2].0 == "kernel" {
                let listener = format!("endpoint=\"listener {}\"", gateway.address().port());
                let upstream = format!("endpoint=\"upstream {}\"", stand_in.address());
                until("the kernel's sums are published", || {
                    let count = |labels| gateway.metric("pintle_tcp_connections_total", &[labels]);
                    count(&listener) > 0.0 && count(&upstream) > 0.0
                });
            }
            // Whatever counts in the kernel, Pintle's own connections tell of their backends.
            until("the backend's numbers are published", || {
                let of = |name| gateway.metric(name, &["model=\"small\"", "backend=\"backend-0\""]);
                of("pintle_backend_srtt_seconds") > 0.0
                    && of("pintle_backend_min_rtt_seconds") > 0.0
                    && of("pintle_backend_connects_total") >= 1.0
                    && of("pintle_backend_connect_microseconds_total") > 0.0
            });
        }
    });
}

#[test]
fn the_guard_is_managed_by_command_and_by_configuration() {
    alone("the_guard_is_managed_by_command_and_by_configuration", || {
        let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
        let gateway = Gateway::start(&config(&stand_in, "{interfaces: [lo], mode: enforce}"));
        let there_before = from_foe(&gateway, PATIENT).expect("nobody denies it yet");
        run(&["guard", "deny", FOE, "--for", "1h"]);
        assert!(from_foe(&gateway, ONE_SYN).is_err());
        assert_eq!(gateway.connect().chat("s", &hello()).status, 200, "others come in");
        // What is there stays.
        let mut there_before = Connection::over(there_before);
        assert_eq!(there_before.chat("s", &hello()).status, 200);
        until("the packet has been judged", || guard()["rules"][0]["hits"].as_u64() >= Some(1));
        let rule = &guard()["rules"][0];
        assert_eq!(
            (&rule["prefix"], &rule["verdict"], &rule["origin"]),
            (&json!(FOE), &json!("deny"), &json!("operator"))
        );
        assert!(rule["expires_in_s"].as_u64() > Some(3000), "{rule}");
        let table = run(&["guard", "ls"]);
        assert!(table.starts_with("the guard enforces: ") && table.contains(FOE), "{table}");
        until("the guard's numbers are published", || {
            gateway.metric("pintle_guard_syns_total", &["verdict=\"denied\"", "action=\"dropped\""]) >= 1.0
                && gateway.metric("pintle_guard_syns_total", &["verdict=\"none\"", "action=\"passed\""])
                    >= 1.0
                && gateway.metric("pintle_guard_rules", &["verdict=\"deny\"", "origin=\"operator\""]) == 1.0
        });
        run(&["guard", "allow", FOE]);
        assert!(from_foe(&gateway, PATIENT).is_ok());
        run(&["guard", "rm", FOE]);
        assert!(!pintle(&["guard", "rm", FOE]).status.success(), "there is none any more");
        assert!(guard()["rules"].as_array().unwrap().is_empty());

        let reload = |guard: &str| {
            let generation = gateway.admin("/status").json()["data_plane"]["generation"].clone();
            gateway.write_config(&config(&stand_in, guard));
            gateway.signal(Signal::HUP);
            until("the configuration is in force", || {
                gateway.admin("/status").json()["data_plane"]["generation"] != generation
            });
        };
        reload("{interfaces: [lo], mode: enforce, deny: [127.0.0.2/32]}");
        assert!(from_foe(&gateway, ONE_SYN).is_err());
        assert_eq!(guard()["rules"][0]["origin"], "configuration");
        reload("{interfaces: [lo], mode: count, deny: [127.0.0.2/32]}");
        assert!(from_foe(&gateway, PATIENT).is_ok(), "it only counts");
        assert_eq!(guard()["mode"], "count");
        assert_eq!(kernel(&gateway)["guard"]["why"], "counts, xdp on lo");
        reload("{interfaces: [lo, elsewhere], mode: enforce, syns_per_second: 1, burst: 2}");
        let log = gateway.log();
        assert!(log.contains("the guard changes its interfaces at a restart"), "{log}");
        until("one of many is over the rate", || from_foe(&gateway, ONE_SYN).is_err());
        assert!(guard()["counters"]["dropped_over_rate"].as_u64() >= Some(1));
        reload("{}");
        assert_eq!(kernel(&gateway)["guard"]["why"], "switched off, xdp on lo");
        assert!((0..4).all(|_| from_foe(&gateway, PATIENT).is_ok()));
    });
}

#[test]
fn an_upgrade_leaves_no_gap_in_guard_and_telemetry() {
    alone("an_upgrade_leaves_no_gap_in_guard_and_telemetry", || {
        let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
        let _group = Group::enter();
        let mut gateway =
            Gateway::start(&config(&stand_in, "{interfaces: [lo], mode: enforce, deny: [192.0.2.0/24]}"));
        run(&["guard", "deny", FOE, "--for", "1h"]);
        assert_eq!(gateway.connect().chat("s", &hello()).status, 200);
        let held = links(gateway.answering());
        assert_eq!(held.len(), 3, "XDP, control group, tracepoint");
        let address = gateway.address();
        let (stop, tried, entered) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let count = |guard: &Value| guard["counters"]["denied"].as_u64().unwrap();
        let endpoint = format!("endpoint=\"listener {}\"", address.port());
        std::thread::scope(|scope| {
            let _stop = OnDrop(&stop);
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let foe = SocketAddr::new(FOE.parse().unwrap(), 0);
                    let came_in = connect_from(foe, address, Duration::from_millis(5)).is_ok();
                    tried.fetch_add(1, Ordering::Relaxed);
                    entered.fetch_add(came_in.into(), Ordering::Relaxed);
                }
            });
            for upgrade in 0..3 {
                let (before, seen) = (guard(), gateway.metric("pintle_tcp_connections_total", &[&endpoint]));
                // What the configuration says goes into force with the process that reads it.
                let deny = format!("{{interfaces: [lo], mode: enforce, deny: [198.51.100.{upgrade}]}}");
                gateway.write_config(&config(&stand_in, &deny));
                gateway.upgrade();
                let told = kernel(&gateway);
                assert_eq!(told["guard"]["why"], "taken over: enforces, xdp on lo");
                assert!(
                    told["telemetry"]["why"].as_str().unwrap().starts_with("taken over: control group "),
                    "{told}"
                );
                assert_eq!(told["steering"]["mode"], "kernel", "{told}");
                if upgrade == 0 {
                    assert!(
                        gateway.wait().success(),
                        "the first process has ended, and with it its descriptors"
                    );
                }
                let wanted = tried.load(Ordering::Relaxed) + 20;
                until("more were turned away", || tried.load(Ordering::Relaxed) >= wanted);
                let after = guard();
                assert!(count(&after) > count(&before), "{after}");
                let prefixes: Vec<&str> = after["rules"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|rule| rule["prefix"].as_str().unwrap())
                    .collect();
                assert_eq!(prefixes, [FOE, &format!("198.51.100.{upgrade}")]);
                assert_eq!(gateway.connect().chat("s", &hello()).status, 200);
                until("the sums go on", || {
                    gateway.metric("pintle_tcp_connections_total", &[&endpoint]) > seen
                });
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(entered.load(Ordering::Relaxed), 0, "of {}", tried.load(Ordering::Relaxed));
        assert_eq!(links(gateway.answering()), held, "the same attachments all the time");
        gateway.signal_successor(Signal::TERM);
        gateway.wait_for_successors();
        none_is_left(&held);
        assert!(TcpStream::connect_timeout(&address, ONE_SYN).is_err(), "nobody listens");
    });
}

#[test]
fn what_hangs_is_taken_off_and_what_is_killed_leaves_nothing() {
    alone("what_hangs_is_taken_off_and_what_is_killed_leaves_nothing", || {
        let stand_in = StandIn::spawn(Options::for_model("small")).unwrap();
        let _group = Group::enter();
        let config = config(&stand_in, &format!("{{interfaces: [lo], mode: enforce, deny: [{FOE}]}}"));
        let mut gateway = Gateway::start(&config);
        let held = links(gateway.answering());
        let table = run(&["ebpf", "ls"]);
        for name in ["pintle_guard_xd", "pintle_sock_ops", "pintle_retransm", "pintle_steer_0"] {
            assert!(table.contains(name), "{table}");
        }
        assert!(from_foe(&gateway, ONE_SYN).is_err());
        gateway.signal(Signal::STOP);
        let mut args = vec!["ebpf".to_owned(), "detach".to_owned()];
        args.extend(held.iter().map(|link| format!("--link={link}")));
        let output = pintle(&args);
        // Tracing ends with its process only, and steering with its sockets: both are said.
        let (text, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{text}{error}");
        assert!(
            text.contains("2 detached, 1 left") && error.contains("of pintle_retransm stays"),
            "{text}{error}"
        );
        assert!(from_foe(&gateway, PATIENT).is_ok(), "nobody judges any more");
        gateway.signal(Signal::CONT);
        assert_eq!(gateway.connect().chat("s", &hello()).status, 200, "it serves on");
        gateway.signal(Signal::KILL);
        gateway.wait();
        none_is_left(&held);
        gateway.restart();
        assert!(from_foe(&gateway, ONE_SYN).is_err(), "nothing stood in its way");
        // In the middle of an upgrade, too: whoever is left guards on, and the last one's end is the end.
        let upgrading = std::thread::scope(|scope| {
            let asked = scope.spawn(|| gateway.try_upgrade());
            until("another process has been started", || gateway.log().matches("taking over").count() > 0);
            gateway.signal(Signal::KILL);
            asked.join().expect("no panic")
        });
        let said = String::from_utf8_lossy(&upgrading.stderr);
        println!("the upgrade: {} {said}", upgrading.status);
        gateway.wait();
        none_is_left(&held);
        let address = gateway.address();
        until("whoever took over, or did not, is known", || {
            Connection::try_open(address).is_err() || from_foe(&gateway, ONE_SYN).is_err()
        });
        let successors = processes_on(gateway.folder());
        let theirs: Vec<u32> = successors.iter().flat_map(|pid| links(*pid)).collect();
        for pid in successors {
            let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        none_is_left(&theirs);
    });
}

/// Processes whose command line names this folder.
fn processes_on(folder: &std::path::Path) -> Vec<i32> {
    let folder = folder.to_string_lossy().into_owned();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder)
        })
        .collect()
}
