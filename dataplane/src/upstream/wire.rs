//! The way to a backend, as the kernel knows it from the connections that go there.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use pintle_routing::flow::KernelView;

/// A new sample counts for one part of this many in [`Wire::distance_us`].
const INERTIA: u32 = 8;

/// What connections to one backend told, added up. Shared by all workers, kept across reloads.
#[derive(Debug, Default)]
pub struct Wire {
    srtt_us: AtomicU32,
    min_rtt_us: AtomicU32,
    distance_us: AtomicU32,
    retransmits: AtomicU64,
    connects: AtomicU64,
    connect_us: AtomicU64,
    failures: AtomicU64,
}

impl Wire {
    /// A TCP connection was established after so long.
    pub fn connected(&self, after: Duration) {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.connect_us.fetch_add(after.as_micros() as u64, Ordering::Relaxed);
    }

    /// There was no TCP connection.
    pub fn unconnected(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What the kernel knew of a connection at the end of a request, and how many of its retransmissions are new.
    pub fn observe(&self, view: &KernelView, retransmits: u32) {
        if retransmits != 0 {
            self.retransmits.fetch_add(retransmits.into(), Ordering::Relaxed);
        }
        let us = |micros: u64| u32::try_from(micros).unwrap_or(u32::MAX);
        let (srtt, min) = (us(view.srtt_us.get()), us(view.min_rtt_us.get()));
        if srtt == 0 {
            return;
        }
        self.srtt_us.store(srtt, Ordering::Relaxed);
        if min == 0 {
            return;
        }
        let least = self.min_rtt_us.load(Ordering::Relaxed);
        if least == 0 || min < least {
            self.min_rtt_us.store(min, Ordering::Relaxed);
        }
        // Workers may race for it; a sample more or less is none the worse.
        let mean = match self.distance_us.load(Ordering::Relaxed) {
            0 => min,
            mean => mean - mean / INERTIA + min / INERTIA,
        };
        self.distance_us.store(mean.max(1), Ordering::Relaxed);
    }

    /// Newest smoothed round-trip time in microseconds; 0: none yet.
    pub fn srtt_us(&self) -> u32 {
        self.srtt_us.load(Ordering::Relaxed)
    }

    /// Smallest round-trip time ever in microseconds; 0: none yet.
    pub fn min_rtt_us(&self) -> u32 {
        self.min_rtt_us.load(Ordering::Relaxed)
    }

    /// Round-trip time without queues and delayed acknowledgements, in microseconds: the mean over recent requests
    /// of what is the smallest of their connection's last minutes. 0: none yet.
    ///
    /// A smoothed round-trip time would not do. A model's server that thinks for a while lets its kernel delay the
    /// acknowledgement of the request, by up to 40 ms, wherever it is.
    pub fn distance_us(&self) -> u32 {
        self.distance_us.load(Ordering::Relaxed)
    }

    /// Segments sent again, SYNs included.
    pub fn retransmits(&self) -> u64 {
        self.retransmits.load(Ordering::Relaxed)
    }

    /// TCP connections established, and the microseconds that this took altogether.
    pub fn connects(&self) -> (u64, u64) {
        (self.connects.load(Ordering::Relaxed), self.connect_us.load(Ordering::Relaxed))
    }

    /// TCP connections that were not established.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use pintle_routing::units::Micros;

    use super::*;

    fn view(srtt: u64, min: u64) -> KernelView {
        KernelView { srtt_us: Micros(srtt), min_rtt_us: Micros(min), ..KernelView::default() }
    }

    #[test]
    fn the_distance_follows_slowly_and_the_minimum_stays() {
        let wire = Wire::default();
        assert_eq!((wire.distance_us(), wire.min_rtt_us(), wire.srtt_us()), (0, 0, 0));
        wire.observe(&view(0, 0), 1);
        assert_eq!((wire.distance_us(), wire.retransmits()), (0, 1), "no sample yet, but a SYN sent twice");
        wire.observe(&view(50_000, 10_000), 0);
        assert_eq!((wire.distance_us(), wire.min_rtt_us(), wire.srtt_us()), (10_000, 10_000, 50_000));
        for _ in 0..100 {
            wire.observe(&view(30_000, 20_000), 2);
        }
        assert!((19_900..=20_000).contains(&wire.distance_us()), "{}", wire.distance_us());
        assert_eq!((wire.min_rtt_us(), wire.srtt_us(), wire.retransmits()), (10_000, 30_000, 201));
    }

    #[test]
    fn connecting_is_added_up() {
        let wire = Wire::default();
        wire.connected(Duration::from_micros(300));
        wire.connected(Duration::from_micros(500));
        wire.unconnected();
        assert_eq!((wire.connects(), wire.failures()), ((2, 800), 1));
    }
}
