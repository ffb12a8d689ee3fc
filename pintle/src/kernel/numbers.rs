//! The kernel's numbers as metrics.

use std::collections::VecDeque;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use pintle_ebpf::guard::{Counters, Guard, Origin, Verdict};
use pintle_ebpf::telemetry::{Endpoint, Event, Sums, Telemetry};
use serde::Serialize;
use tracing::debug;

/// Events taken at one look; what is left waits in the kernel's ring.
const EVENTS_AT_ONCE: usize = 1024;
/// Events that `/status` shows.
const EVENTS_KEPT: usize = 32;

/// Registers help texts and units.
pub(crate) fn describe() {
    describe_counter!(
        "pintle_guard_syns_total",
        "SYNs that the guard judged, by verdict and what became of them"
    );
    describe_counter!("pintle_guard_unreadable_total", "Packets with headers too deep for the guard, passed");
    describe_counter!("pintle_guard_unremembered_total", "Sources that the guard's table had no room for");
    describe_gauge!("pintle_guard_rules", "Rules of the guard in force");
    describe_gauge!("pintle_tcp_srtt_seconds", Unit::Seconds, "Newest smoothed round-trip time");
    describe_gauge!("pintle_tcp_min_rtt_seconds", Unit::Seconds, "Smallest round-trip time");
    describe_counter!("pintle_tcp_retransmits_total", "Segments sent again, SYNs included");
    describe_counter!("pintle_tcp_syn_retransmits_total", "SYNs sent again");
    describe_counter!(
        "pintle_tcp_system_retransmits_total",
        "Segments sent again to or from the endpoint by anybody on this machine"
    );
    describe_counter!("pintle_tcp_connections_total", "Connections established");
    describe_counter!("pintle_tcp_connect_failures_total", "Connections ended before they were established");
    describe_counter!("pintle_tcp_aborts_total", "Established connections ended without farewell");
    describe_counter!("pintle_tcp_connect_microseconds_total", "From connect to established, added up");
    describe_counter!("pintle_tcp_events_lost_total", "Events that the kernel had no room for");
}

/// What the guard did and has.
pub(super) fn publish_guard(guard: &Guard) {
    let counters = guard.counters();
    for (verdict, action, count) in syns(&counters) {
        counter!("pintle_guard_syns_total", "verdict" => verdict, "action" => action).absolute(count);
    }
    counter!("pintle_guard_unreadable_total").absolute(counters.unreadable);
    counter!("pintle_guard_unremembered_total").absolute(counters.unremembered);
    let rules = guard.rules();
    for (verdict, verdict_name) in [(Verdict::Deny, "deny"), (Verdict::Allow, "allow")] {
        for (origin, origin_name) in
            [(Origin::Configuration, "configuration"), (Origin::Operator, "operator")]
        {
            let of_these = |rule: &&_| is(rule, verdict, origin);
            let count = rules.iter().filter(of_these).count();
            gauge!("pintle_guard_rules", "verdict" => verdict_name, "origin" => origin_name)
                .set(count as f64);
        }
    }
}

fn is(rule: &pintle_ebpf::guard::RuleView, verdict: Verdict, origin: Origin) -> bool {
    (rule.verdict, rule.origin) == (verdict, origin)
}

/// Each SYN in one place. The counters are read one after the other, so one may be a little ahead of another.
fn syns(counters: &Counters) -> [(&'static str, &'static str, u64); 6] {
    let &Counters { syns, denied, allowed, over_rate, dropped_denied, dropped_over_rate, .. } = counters;
    let judged = denied + allowed + over_rate;
    [
        ("denied", "dropped", dropped_denied),
        ("denied", "passed", denied.saturating_sub(dropped_denied)),
        ("over_rate", "dropped", dropped_over_rate),
        ("over_rate", "passed", over_rate.saturating_sub(dropped_over_rate)),
        ("allowed", "passed", allowed),
        ("none", "passed", syns.saturating_sub(judged)),
    ]
}

/// What telemetry told last.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Recent {
    /// The newest last.
    events: VecDeque<Event>,
    #[serde(skip)]
    watched: Vec<Endpoint>,
}

impl Recent {
    pub(super) fn publish(&mut self, telemetry: &Telemetry, endpoints: &[Endpoint]) {
        if self.watched != endpoints {
            self.watched = endpoints.to_vec();
            telemetry.watch(endpoints);
        }
        for (endpoint, sums) in telemetry.read() {
            if endpoints.contains(&endpoint) {
                publish_sums(endpoint, &sums);
            }
        }
        for event in telemetry.events(EVENTS_AT_ONCE) {
            if endpoints.contains(&event.endpoint) {
                self.keep(event);
            }
        }
        counter!("pintle_tcp_events_lost_total").absolute(telemetry.lost_events());
    }

    fn keep(&mut self, event: Event) {
        debug!(?event, "the kernel tells");
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

fn publish_sums(endpoint: Endpoint, sums: &Sums) {
    let name = match endpoint {
        Endpoint::Upstream(address) => format!("upstream {address}"),
        Endpoint::Listener(port) => format!("listener {port}"),
    };
    for (metric, us) in
        [("pintle_tcp_srtt_seconds", sums.last_srtt_us), ("pintle_tcp_min_rtt_seconds", sums.min_rtt_us)]
    {
        gauge!(metric, "endpoint" => name.clone()).set(us as f64 / 1e6);
    }
    for (metric, count) in [
        ("pintle_tcp_retransmits_total", sums.retransmits),
        ("pintle_tcp_syn_retransmits_total", sums.syn_retransmits),
        ("pintle_tcp_system_retransmits_total", sums.system_retransmits),
        ("pintle_tcp_connections_total", sums.established),
        ("pintle_tcp_connect_failures_total", sums.failed),
        ("pintle_tcp_aborts_total", sums.aborted),
        ("pintle_tcp_connect_microseconds_total", sums.connect_us),
    ] {
        counter!(metric, "endpoint" => name.clone()).absolute(count);
    }
}

#[cfg(test)]
mod tests {
    use pintle_ebpf::telemetry::What;

    use super::*;

    #[test]
    fn every_syn_is_counted_in_one_place() {
        let counters = Counters {
            syns: 100,
            denied: 30,
            allowed: 20,
            over_rate: 10,
            dropped_denied: 25,
            dropped_over_rate: 10,
            ..Counters::default()
        };
        let places = syns(&counters);
        assert_eq!(places.iter().map(|(.., count)| count).sum::<u64>(), 100);
        let passed: u64 = places.iter().filter(|place| place.1 == "passed").map(|place| place.2).sum();
        assert_eq!(passed, 65);
    }

    #[test]
    fn the_last_events_are_kept() {
        let mut recent = Recent::default();
        for at_ns in 0..100 {
            let endpoint = Endpoint::Listener(80);
            recent.keep(Event {
                at_ns,
                what: What::Aborted,
                endpoint,
                other_port: 1,
                srtt_us: 0,
                min_rtt_us: 0,
                total_retransmits: 0,
            });
        }
        assert_eq!(recent.events.len(), EVENTS_KEPT);
        let shown = serde_json::to_value(&recent).unwrap();
        assert_eq!((&shown[31]["at_ns"], &shown[31]["what"]), (&99.into(), &"aborted".into()));
    }
}
