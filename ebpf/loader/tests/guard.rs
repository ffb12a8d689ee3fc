//! The guard on a real kernel, between two network namespaces.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use pintle_ebpf::guard::{Guard, Hook, Mode, Options, Origin, Prefix, Rate, Verdict};

mod room;

use room::frames::{self, ACK, PLAIN, RST, SYN, Shape};
use room::{FAR, Far, NEAR, connect_from};

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn options(hook: Hook) -> Options {
    Options { interfaces: vec!["near0".into()], hook, mode: Mode::Enforce, ..Options::default() }
}

/// A listener on each of this side's addresses, on one port.
fn servers() -> [TcpListener; 2] {
    let v4 = TcpListener::bind((NEAR[0], 0)).expect("binds");
    let port = v4.local_addr().expect("address").port();
    [v4, TcpListener::bind((NEAR[1], port)).expect("binds")]
}

/// Whether a connection from the far side's address comes about.
fn gets_in(far: &Far, from: &str, servers: &[TcpListener; 2], wait: Duration) -> bool {
    let from: IpAddr = from.parse().expect("address");
    let to = servers[usize::from(from.is_ipv6())].local_addr().expect("address");
    far.run(move || connect_from(from, to, wait).is_ok())
}

/// Long enough for two SYNs and a machine that is busy.
fn enters(far: &Far, from: &str, servers: &[TcpListener; 2]) -> bool {
    gets_in(far, from, servers, Duration::from_secs(5))
}

/// Long enough for one SYN.
fn is_kept_out(far: &Far, from: &str, servers: &[TcpListener; 2]) -> bool {
    !gets_in(far, from, servers, Duration::from_millis(200))
}

fn both_hooks(test: fn(Hook)) {
    for hook in [Hook::Xdp, Hook::Tcx] {
        room::alone(move || test(hook));
    }
}

#[test]
fn the_longest_prefix_decides() {
    both_hooks(|hook| {
        let far = Far::make();
        let servers = servers();
        let guard = Guard::attach(&options(hook)).unwrap();
        assert!(FAR.iter().all(|from| enters(&far, from, &servers)));
        guard.deny(prefix("10.99.0.0/16"), None).unwrap();
        guard.allow(prefix("10.99.0.3"), None).unwrap();
        guard.deny(prefix("fd99:0:0:9::/64"), None).unwrap();
        for (from, goes) in FAR.iter().zip([false, true, false, true, true, false]) {
            assert!(
                if goes { enters(&far, from, &servers) } else { is_kept_out(&far, from, &servers) },
                "{from}"
            );
        }
        assert!(guard.remove(prefix("10.99.0.0/16")).unwrap());
        assert!(!guard.remove(prefix("10.99.0.0/16")).unwrap());
        assert!(enters(&far, FAR[0], &servers));
        let counters = guard.counters();
        assert!(counters.denied >= 3 && counters.dropped_denied == counters.denied, "{counters:?}");
        assert!(counters.allowed == 1 && counters.syns >= 13, "{counters:?}");
        let rules = guard.rules();
        let views: Vec<(String, Verdict)> =
            rules.iter().map(|rule| (rule.prefix.to_string(), rule.verdict)).collect();
        let expected = [("10.99.0.3".into(), Verdict::Allow), ("fd99:0:0:9::/64".into(), Verdict::Deny)];
        assert_eq!(views, expected);
        assert!(rules.iter().all(|rule| rule.hits >= 1 && rule.origin == Origin::Operator));
        let place = &guard.attachments()[0];
        assert_eq!((place.interface.as_str(), place.hook), ("near0", hook));
        drop(guard);
        assert!(enters(&far, FAR[5], &servers), "the program is gone");
    });
}

#[test]
fn counting_drops_nothing() {
    both_hooks(|hook| {
        let far = Far::make();
        let servers = servers();
        let rate = Some(Rate { per_second: 1, burst: 1 });
        let guard = Guard::attach(&Options { mode: Mode::Count, rate, ..options(hook) }).unwrap();
        guard.deny(prefix(FAR[0]), None).unwrap();
        for _ in 0..3 {
            assert!(enters(&far, FAR[0], &servers));
            assert!(enters(&far, FAR[1], &servers));
        }
        let counters = guard.counters();
        assert_eq!((counters.syns, counters.denied, counters.dropped_denied), (6, 3, 0));
        assert!((1..=2).contains(&counters.over_rate), "{counters:?}");
        guard.apply(&Options { mode: Mode::Off, ..options(hook) }).unwrap();
        assert!(enters(&far, FAR[0], &servers));
        assert_eq!(guard.counters().syns, 6);
    });
}

#[test]
fn a_source_has_its_rate() {
    both_hooks(|hook| {
        let far = Far::make();
        let rate = Some(Rate { per_second: 1, burst: 3 });
        let guard = Guard::attach(&Options { rate, ..options(hook) }).unwrap();
        let syns = |from: &[&str]| {
            let frames: Vec<Vec<u8>> = from
                .iter()
                .map(|from| {
                    let from: IpAddr = from.parse().unwrap();
                    let to = NEAR[usize::from(from.is_ipv6())].parse().unwrap();
                    frames::frame(from, to, PLAIN)
                })
                .collect();
            far.run(move || frames::send("far0", &frames)).unwrap();
        };
        // Addresses of one IPv6 network share a rate, and IPv4 addresses do not.
        syns(&[FAR[0], FAR[0], FAR[0], FAR[0], FAR[0], FAR[0], FAR[1], FAR[2]]);
        syns(&[FAR[3], FAR[4], FAR[3], FAR[4], FAR[3], FAR[4], FAR[5]]);
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while guard.counters().syns < 15 && std::time::Instant::now() < until {}
        let counters = guard.counters();
        assert_eq!((counters.syns, counters.dropped_over_rate), (15, counters.over_rate));
        let seen = |of: &str| {
            let all = guard.sources(10);
            let source = all.iter().find(|source| source.prefix == prefix(of)).unwrap();
            (source.syns, source.over_rate)
        };
        // Six at once, of which three are the burst; a slow machine may take long enough for one more.
        assert!(matches!(seen(FAR[0]), (6, 2..=3)), "{:?}", seen(FAR[0]));
        assert!(matches!(seen("fd99::/64"), (6, 2..=3)), "{:?}", seen("fd99::/64"));
        assert_eq!((seen(FAR[1]), seen(FAR[2]), seen("fd99:0:0:9::/64")), ((1, 0), (1, 0), (1, 0)));
        assert_eq!(guard.sources(1).len(), 1);
        // Whom a rule allows has no rate.
        guard.allow(prefix(FAR[0]), None).unwrap();
        let servers = servers();
        assert!((0..5).all(|_| enters(&far, FAR[0], &servers)));
    });
}

#[test]
fn connections_that_are_there_stay() {
    both_hooks(|hook| {
        let far = Far::make();
        let servers = servers();
        let guard = Guard::attach(&options(hook)).unwrap();
        let to = servers[0].local_addr().unwrap();
        let from: IpAddr = FAR[0].parse().unwrap();
        let mut client: TcpStream = far.run(move || connect_from(from, to, Duration::from_secs(5))).unwrap();
        let (mut server, _) = servers[0].accept().unwrap();
        guard.deny(prefix("0.0.0.0/0"), None).unwrap();
        assert!(is_kept_out(&far, FAR[0], &servers));
        client.write_all(b"still").unwrap();
        let mut heard = [0; 5];
        server.read_exact(&mut heard).unwrap();
        server.write_all(&[1; 100_000]).unwrap();
        client.read_exact(&mut vec![0; 100_000]).unwrap();
        drop(server);
        assert_eq!(client.read(&mut heard).unwrap(), 0, "and end in order");
    });
}

#[test]
fn other_ports_are_left_alone() {
    both_hooks(|hook| {
        let far = Far::make();
        let (guarded, free) = (servers(), servers());
        let ports = vec![guarded[0].local_addr().unwrap().port()];
        let guard = Guard::attach(&Options { ports, deny: vec![prefix(FAR[0])], ..options(hook) }).unwrap();
        assert!(is_kept_out(&far, FAR[0], &guarded));
        assert!(enters(&far, FAR[0], &free));
        let ports = vec![free[0].local_addr().unwrap().port()];
        guard.apply(&Options { ports, deny: vec![prefix(FAR[0])], ..options(hook) }).unwrap();
        assert!(enters(&far, FAR[0], &guarded));
        assert!(is_kept_out(&far, FAR[0], &free));
    });
}

#[test]
fn rules_end() {
    room::alone(|| {
        let far = Far::make();
        let servers = servers();
        let guard = Guard::attach(&options(Hook::Auto)).unwrap();
        guard.deny(prefix(FAR[0]), Some(Duration::from_secs(4))).unwrap();
        guard.deny(prefix(FAR[1]), Some(Duration::from_secs(3600))).unwrap();
        assert!(is_kept_out(&far, FAR[0], &servers));
        let expires = guard.rules()[1].expires_in_s.unwrap();
        assert!((3000..=3600).contains(&expires), "{expires}");
        assert_eq!(guard.expire(), 0);
        let ends = std::time::Instant::now() + Duration::from_secs(60);
        // It ends in the kernel by itself; forgetting it comes second.
        while is_kept_out(&far, FAR[0], &servers) {
            assert!(std::time::Instant::now() < ends);
        }
        assert_eq!(guard.rules().len(), 1);
        assert_eq!(guard.expire(), 1);
        assert!(is_kept_out(&far, FAR[1], &servers));
    });
}

#[test]
fn the_configuration_replaces_its_own_rules() {
    room::alone(|| {
        let _far = Far::make();
        let config = |deny: &[&str], allow: &[&str]| Options {
            deny: deny.iter().map(|text| prefix(text)).collect(),
            allow: allow.iter().map(|text| prefix(text)).collect(),
            ..options(Hook::Auto)
        };
        let guard = Guard::attach(&config(&["10.0.0.0/8", "2001:db8::/32"], &["10.1.0.0/16"])).unwrap();
        guard.deny(prefix("192.0.2.1"), None).unwrap();
        guard.allow(prefix("10.0.0.0/8"), None).unwrap();
        guard.apply(&config(&["10.1.0.0/16", "192.0.2.0/24"], &[])).unwrap();
        let rules: Vec<_> =
            guard.rules().iter().map(|rule| (rule.prefix.to_string(), rule.verdict, rule.origin)).collect();
        assert_eq!(
            rules,
            [
                ("10.0.0.0/8".to_owned(), Verdict::Allow, Origin::Operator),
                ("10.1.0.0/16".to_owned(), Verdict::Deny, Origin::Configuration),
                ("192.0.2.0/24".to_owned(), Verdict::Deny, Origin::Configuration),
                ("192.0.2.1".to_owned(), Verdict::Deny, Origin::Operator),
            ]
        );
    });
}

#[test]
fn a_syn_is_found_behind_whatever_stands_before_it() {
    both_hooks(|hook| {
        let far = Far::make();
        let guard = Guard::attach(&Options { ports: vec![443], ..options(hook) }).unwrap();
        guard.deny(prefix("0.0.0.0/0"), None).unwrap();
        guard.deny(prefix("::/0"), None).unwrap();
        let see = |family: usize, shape: Shape, expected: (u64, u64)| {
            let before = guard.counters();
            let (from, to): (IpAddr, IpAddr) = [
                (FAR[0].parse().unwrap(), NEAR[0].parse().unwrap()),
                (FAR[3].parse().unwrap(), NEAR[1].parse().unwrap()),
            ][family];
            let frame = frames::frame(from, to, shape);
            far.run(move || frames::send("far0", &[frame])).unwrap();
            // A frame is through the program when sendto returns, or shortly after; what is expected is waited for.
            let patience =
                if expected == (0, 0) { Duration::from_millis(100) } else { Duration::from_secs(60) };
            let until = std::time::Instant::now() + patience;
            let seen = loop {
                let after = guard.counters();
                let seen = (after.syns - before.syns, after.unreadable - before.unreadable);
                if seen != (0, 0) || std::time::Instant::now() > until {
                    break seen;
                }
            };
            assert_eq!(seen, expected, "{family} {shape:?}");
        };
        let (found, nothing, deep) = ((1, 0), (0, 0), (0, 1));
        for family in [0, 1] {
            see(family, PLAIN, found);
            see(family, Shape { flags: SYN | ACK, ..PLAIN }, nothing);
            see(family, Shape { flags: ACK, ..PLAIN }, nothing);
            see(family, Shape { flags: SYN | RST, ..PLAIN }, nothing);
            // Congestion notification asks with two more flags.
            see(family, Shape { flags: SYN | 0xc0, ..PLAIN }, found);
            see(family, Shape { tags: &[0x8100], ..PLAIN }, found);
            see(family, Shape { tags: &[0x88a8, 0x8100], ..PLAIN }, found);
            // The stack has taken one tag off before tcx sees the packet.
            let tags = &[0x88a8, 0x8100, 0x8100];
            see(family, Shape { tags, ..PLAIN }, if hook == Hook::Xdp { deep } else { found });
        }
        see(0, Shape { options: 10, ..PLAIN }, found);
        // The first fragment.
        see(0, Shape { fragment: 0x2000, ..PLAIN }, found);
        see(0, Shape { fragment: 0x2001, ..PLAIN }, nothing);
        see(1, Shape { extensions: &[(0, 0)], ..PLAIN }, found);
        see(1, Shape { extensions: &[(60, 4), (43, 2)], ..PLAIN }, found);
        see(1, Shape { extensions: &[(44, 0)], ..PLAIN }, found);
        see(1, Shape { extensions: &[(44, 0)], fragment: 5, ..PLAIN }, nothing);
        see(1, Shape { extensions: &[(0, 0), (60, 0), (43, 0)], ..PLAIN }, deep);
    });
}

#[test]
fn what_cannot_be_guarded_is_said() {
    room::alone(|| {
        let none = Guard::attach(&Options::default()).unwrap_err();
        assert_eq!(none.why, "no interfaces named");
        let absent = Options { interfaces: vec!["absent0".into()], ..Options::default() };
        let why = Guard::attach(&absent).unwrap_err().why;
        assert!(why.starts_with("absent0: "), "{why}");
        // A second program finds XDP taken and sits behind it.
        let _far = Far::make();
        let first = Guard::attach(&options(Hook::Auto)).unwrap();
        let second = Guard::attach(&options(Hook::Auto)).unwrap();
        assert_eq!((first.attachments()[0].hook, second.attachments()[0].hook), (Hook::Xdp, Hook::Tcx));
        assert!(Guard::attach(&options(Hook::Xdp)).is_err());
    });
}

#[test]
fn another_holder_guards_on_without_a_gap() {
    both_hooks(|hook| {
        let far = Far::make();
        let servers = servers();
        let rate = Some(Rate { per_second: 1, burst: 2 });
        let first = Guard::attach(&Options { rate, ..options(hook) }).unwrap();
        first.deny(prefix(FAR[0]), Some(Duration::from_secs(3600))).unwrap();
        assert!(is_kept_out(&far, FAR[0], &servers));
        assert!(enters(&far, FAR[1], &servers));
        let before = first.counters();
        let handed = || first.hand_over().unwrap();
        let elsewhere = ["lo".to_owned()];
        assert!(Guard::adopt(handed(), &elsewhere).unwrap_err().why.contains("other interfaces"));
        let mut short = handed();
        short.descriptors.pop();
        assert!(Guard::adopt(short, &elsewhere).unwrap_err().why.contains("another version"));
        let wanted = ["near0".to_owned(), "lo".to_owned()];
        let second = Guard::adopt(handed(), &wanted).unwrap();
        drop(first);
        assert!(is_kept_out(&far, FAR[0], &servers), "it is still attached");
        let after = second.counters();
        assert!(after.denied > before.denied && after.syns > before.syns, "{before:?} {after:?}");
        let expires = second.rules()[0].expires_in_s.expect("it has an end");
        assert!((3000..=3600).contains(&expires), "{expires}");
        assert_eq!(second.sources(10)[0].prefix, prefix(FAR[1]), "rates are remembered");
        let place = if hook == Hook::Xdp { "xdp" } else { "tcx" };
        let said = format!("taken over: enforces, {place} on near0; not on lo before a restart");
        assert_eq!(second.describe(), said);
        // The new holder's configuration, and its operators' rules, count now.
        second.apply(&Options { mode: Mode::Count, ..options(hook) }).unwrap();
        assert!(enters(&far, FAR[0], &servers));
        second.apply(&options(hook)).unwrap();
        assert!(is_kept_out(&far, FAR[0], &servers), "what an operator denied stays denied");
        drop(second);
        assert!(enters(&far, FAR[0], &servers), "the last holder is gone");
    });
}
