//! The sums without the kernel's help.

use std::collections::HashMap;

use super::{Endpoint, MAX_ENDPOINTS, Sums};
use crate::tcp_info::TcpInfo;

/// What one worker's connections say of themselves. Belongs to one thread; [`Self::merge`] makes one of many.
#[derive(Debug, Clone, Default)]
pub struct Polled {
    endpoints: HashMap<Endpoint, Sums>,
}

impl Polled {
    /// A connection was established, in `connect_us` microseconds if that was measured.
    pub fn established(&mut self, endpoint: Endpoint, connect_us: Option<u64>) {
        let Some(sums) = self.of(endpoint) else { return };
        sums.established += 1;
        if let Some(us) = connect_us {
            sums.connect_us += us;
            sums.connects += 1;
        }
    }

    /// A connection could not be established.
    pub fn failed(&mut self, endpoint: Endpoint) {
        if let Some(sums) = self.of(endpoint) {
            sums.failed += 1;
        }
    }

    /// Looks at a connection: at the end of each request, and before it is closed. `before` is what the same
    /// connection said the last time, none at the first.
    pub fn look(&mut self, endpoint: Endpoint, before: Option<&TcpInfo>, now: &TcpInfo) {
        let Some(sums) = self.of(endpoint) else { return };
        let counted = before.map_or(0, |before| before.retransmits);
        sums.retransmits += u64::from(now.retransmits.saturating_sub(counted));
        if now.srtt_us == 0 {
            return;
        }
        let srtt = u64::from(now.srtt_us);
        sums.samples += 1;
        sums.srtt_us += srtt;
        sums.last_srtt_us = srtt;
        let min = u64::from(now.min_rtt_us);
        if min != 0 && (sums.min_rtt_us == 0 || min < sums.min_rtt_us) {
            sums.min_rtt_us = min;
        }
        let bits = (u64::BITS - srtt.leading_zeros()) as usize;
        sums.histogram[bits.saturating_sub(6).min(super::BUCKETS - 1)] += 1;
    }

    /// A connection was closed; `aborted` without farewell.
    pub fn closed(&mut self, endpoint: Endpoint, aborted: bool) {
        let Some(sums) = self.of(endpoint) else { return };
        sums.closed += 1;
        sums.aborted += u64::from(aborted);
    }

    /// Adds another worker's sums to these.
    pub fn merge(&mut self, other: &Self) {
        for (endpoint, theirs) in &other.endpoints {
            let Some(ours) = self.of(*endpoint) else { continue };
            for (sum, addend) in [
                (&mut ours.established, theirs.established),
                (&mut ours.failed, theirs.failed),
                (&mut ours.aborted, theirs.aborted),
                (&mut ours.closed, theirs.closed),
                (&mut ours.retransmits, theirs.retransmits),
                (&mut ours.connect_us, theirs.connect_us),
                (&mut ours.connects, theirs.connects),
                (&mut ours.samples, theirs.samples),
                (&mut ours.srtt_us, theirs.srtt_us),
            ] {
                *sum += addend;
            }
            if theirs.last_srtt_us != 0 {
                ours.last_srtt_us = theirs.last_srtt_us;
            }
            if theirs.min_rtt_us != 0 && (ours.min_rtt_us == 0 || theirs.min_rtt_us < ours.min_rtt_us) {
                ours.min_rtt_us = theirs.min_rtt_us;
            }
            for (sum, addend) in ours.histogram.iter_mut().zip(theirs.histogram) {
                *sum += addend;
            }
        }
    }

    /// The sums of every endpoint, in no order.
    pub fn read(&self) -> Vec<(Endpoint, Sums)> {
        self.endpoints.iter().map(|(endpoint, sums)| (*endpoint, sums.clone())).collect()
    }

    /// As in the kernel's table, there is an end to how many are kept; here it is the first that stay.
    fn of(&mut self, endpoint: Endpoint) -> Option<&mut Sums> {
        if self.endpoints.len() >= MAX_ENDPOINTS as usize && !self.endpoints.contains_key(&endpoint) {
            return None;
        }
        Some(self.endpoints.entry(endpoint).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_once_however_often_it_is_looked_at() {
        let endpoint = Endpoint::Listener(80);
        let first = TcpInfo { srtt_us: 100, min_rtt_us: 90, retransmits: 2, ..TcpInfo::default() };
        let second = TcpInfo { srtt_us: 40, min_rtt_us: 30, retransmits: 5, ..TcpInfo::default() };
        let mut polled = Polled::default();
        polled.established(endpoint, Some(120));
        polled.look(endpoint, None, &first);
        polled.look(endpoint, Some(&first), &second);
        polled.closed(endpoint, true);
        let mut both = Polled::default();
        both.failed(endpoint);
        both.merge(&polled);
        let [(_, sums)] = &both.read()[..] else { panic!("one endpoint") };
        assert_eq!((sums.retransmits, sums.samples, sums.srtt_us), (5, 2, 140));
        assert_eq!((sums.min_rtt_us, sums.last_srtt_us), (30, 40));
        assert_eq!((sums.established, sums.failed, sums.closed, sums.aborted), (1, 1, 1, 1));
        assert_eq!((sums.connects, sums.connect_us), (1, 120));
        // 40 is below 2^6, 100 is below 2^7.
        assert_eq!(sums.histogram[..3], [1, 1, 0]);
    }

    #[test]
    fn there_is_an_end_to_the_endpoints() {
        let mut polled = Polled::default();
        for port in 0..=MAX_ENDPOINTS as u16 {
            polled.failed(Endpoint::Listener(port));
        }
        polled.failed(Endpoint::Listener(0));
        assert_eq!(polled.read().len(), MAX_ENDPOINTS as usize);
    }
}
