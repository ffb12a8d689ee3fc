//! The tables that the guard's programs and this process share.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use pintle_ebpf_common::guard::{
    ALLOW, Counters, DENY, MODE_COUNT, MODE_ENFORCE, MODE_OFF, Rule, Settings, Source,
};

use super::{GuardError, Mode, Options, Origin, Prefix, Verdict};
use crate::status::Unavailable;
use crate::{object, sys};

/// Their names, in the order in which descriptors are passed on.
pub(super) const NAMES: [&str; 6] = ["SETTINGS", "PORTS", "RULES4", "RULES6", "SOURCES", "COUNTERS"];

pub(super) struct Tables {
    pub(super) settings: Array<MapData, Settings>,
    pub(super) ports: HashMap<MapData, u16, u8>,
    rules4: LpmTrie<MapData, [u8; 4], Rule>,
    rules6: LpmTrie<MapData, [u8; 16], Rule>,
    pub(super) sources: HashMap<MapData, [u8; 16], Source>,
    pub(super) counters: PerCpuArray<MapData, Counters>,
}

impl Tables {
    /// By their descriptors, in the order of [`NAMES`].
    pub(super) fn of(descriptors: &[OwnedFd; NAMES.len()]) -> Result<Self, Unavailable> {
        let [settings, ports, rules4, rules6, sources, counters] = descriptors;
        Ok(Self {
            settings: object::map(settings)?,
            ports: object::map(ports)?,
            rules4: object::map(rules4)?,
            rules6: object::map(rules6)?,
            sources: object::map(sources)?,
            counters: object::map(counters)?,
        })
    }

    pub(super) fn insert(&mut self, prefix: Prefix, rule: Rule) -> Result<(), GuardError> {
        let bits = u32::from(prefix.bits());
        match prefix.address() {
            IpAddr::V4(v4) => self.rules4.insert(&Key::new(bits, v4.octets()), rule, 0)?,
            IpAddr::V6(v6) => self.rules6.insert(&Key::new(bits, v6.octets()), rule, 0)?,
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, prefix: Prefix) -> Result<bool, GuardError> {
        let bits = u32::from(prefix.bits());
        forget(match prefix.address() {
            IpAddr::V4(v4) => self.rules4.remove(&Key::new(bits, v4.octets())),
            IpAddr::V6(v6) => self.rules6.remove(&Key::new(bits, v6.octets())),
        })
    }

    pub(super) fn rules(&self) -> Vec<(Prefix, Rule)> {
        let v4 = self.rules4.iter().filter_map(Result::ok);
        let v6 = self.rules6.iter().filter_map(Result::ok);
        v4.map(|(key, rule)| (IpAddr::from(key.data()), key.prefix_len(), rule))
            .chain(v6.map(|(key, rule)| (IpAddr::from(key.data()), key.prefix_len(), rule)))
            .filter_map(|(address, bits, rule)| Some((Prefix::new(address, bits as u8).ok()?, rule)))
            .collect()
    }
}

/// What was not there needs not be removed.
pub(super) fn forget(result: Result<(), MapError>) -> Result<bool, GuardError> {
    match result {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(false),
        Err(MapError::SyscallError(call)) if call.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn settings(options: &Options) -> Settings {
    let (interval_ns, burst_ns) = options.rate.map_or((0, 0), |rate| {
        let interval = 1_000_000_000 / u64::from(rate.per_second.max(1));
        (interval.max(1), interval.max(1) * u64::from(rate.burst.max(1) - 1))
    });
    let mode = match options.mode {
        Mode::Off => MODE_OFF,
        Mode::Count => MODE_COUNT,
        Mode::Enforce => MODE_ENFORCE,
    };
    Settings { mode, all_ports: options.ports.is_empty().into(), interval_ns, burst_ns, reserved: 0 }
}

pub(super) fn rule(verdict: Verdict, origin: Origin, lasting: Option<Duration>, hits: u64) -> Rule {
    let expires_ns = lasting.map_or(0, |lasting| {
        sys::boot_ns().saturating_add(u64::try_from(lasting.as_nanos()).unwrap_or(u64::MAX))
    });
    let verdict = match verdict {
        Verdict::Deny => DENY,
        Verdict::Allow => ALLOW,
    };
    Rule { expires_ns, hits, verdict, origin: origin as u32 }
}
