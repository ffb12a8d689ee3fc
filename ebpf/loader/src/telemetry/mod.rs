//! Telemetry: round trips, retransmissions, connect times and failures, added up per endpoint, by the kernel, for all
//! connections of a control group.
//!
//! Programs run when a connection is made, changes state, or sends again, and never per segment: what a connection
//! that lives for long knows in between is for its owner to ask (`TCP_INFO`).

mod cgroup;

use std::collections::HashSet;
use std::fs::File;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues, RingBuf};
use aya::programs::{BtfTracePoint, SockOps};
use aya::{Btf, EbpfLoader};
use pintle_ebpf_common::telemetry::{
    ACTIVE, Aggregate, EVENT_ABORTED, EVENT_FAILED, EVENT_RETRANSMIT, Endpoint as RawEndpoint,
    Event as RawEvent, LAYOUT, Offsets, PASSIVE, Retransmitted,
};
use serde::{Deserialize, Serialize};

pub use pintle_ebpf_common::telemetry::{ENDPOINTS as MAX_ENDPOINTS, WATCHED as MAX_WATCHED};

use crate::btf::Types;
use crate::handed::Handed;
use crate::status::Unavailable;
use crate::sys::{self, Place};
use crate::{caps, object};

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Directory of the control group (version 2) whose connections are watched; `None`: the one that this process
    /// is in. Connections count if their socket was made in it.
    pub cgroup: Option<PathBuf>,
    /// Count retransmissions of watched endpoints system-wide too, which takes CAP_PERFMON.
    pub system_retransmits: bool,
}

/// What numbers are added up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Connections that were opened to this address.
    Upstream(SocketAddr),
    /// Connections that were accepted on this port.
    Listener(u16),
}

impl Endpoint {
    fn of(raw: RawEndpoint) -> Self {
        if raw.role == PASSIVE {
            return Self::Listener(raw.port);
        }
        let v6 = Ipv6Addr::from_bits(
            raw.address.iter().fold(0, |bits, word| bits << 32 | u128::from(u32::from_be(*word))),
        );
        let ip = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
        Self::Upstream(SocketAddr::new(ip, raw.port))
    }

    fn raw(self) -> RawEndpoint {
        match self {
            Self::Listener(port) => RawEndpoint { address: [0; 4], port, role: PASSIVE },
            Self::Upstream(address) => {
                let v6 = match address.ip() {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let word = |index: u32| ((v6.to_bits() >> (96 - 32 * index)) as u32).to_be();
                RawEndpoint {
                    address: [word(0), word(1), word(2), word(3)],
                    port: address.port(),
                    role: ACTIVE,
                }
            }
        }
    }
}

/// The sums of one endpoint. They only grow, except for the newest and the smallest round-trip time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sums {
    /// Connections established.
    pub established: u64,
    /// Connections that ended before they were established.
    pub failed: u64,
    /// Established connections that ended without farewell: reset, timed out, or closed with data unread.
    pub aborted: u64,
    /// Connections closed, by whatever way.
    pub closed: u64,
    /// Segments sent again, SYNs included.
    pub retransmits: u64,
    /// Of these, SYNs.
    pub syn_retransmits: u64,
    /// Segments sent again to or from this endpoint by anybody on this machine, where that is watched.
    pub system_retransmits: u64,
    /// Microseconds from connect to established, added up over `connects`.
    pub connect_us: u64,
    /// Connections whose connect time was taken.
    pub connects: u64,
    /// The newest smoothed round-trip time in microseconds, from when a connection began, sent again, or ended; 0:
    /// none yet.
    pub last_srtt_us: u64,
    /// The smallest round-trip time in microseconds; 0: none yet.
    pub min_rtt_us: u64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A segment was sent again.
    Retransmit,
    /// A connection ended before it was established.
    Failed,
    /// An established connection ended without farewell.
    Aborted,
}

/// Something that should be rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub at_ns: u64,
    /// What.
    pub what: What,
    /// Whose connection.
    pub endpoint: Endpoint,
    /// The connection's other port: local for an upstream's, the client's for a listener's.
    pub other_port: u16,
    /// Smoothed round-trip time in microseconds; 0: none.
    pub srtt_us: u32,
    /// Smallest round-trip time in microseconds; 0: none.
    pub min_rtt_us: u32,
    /// Segments that this connection sent again so far.
    pub total_retransmits: u32,
}

/// What is said of telemetry that is handed to another process. Its descriptors are those of the tables, with one
/// more for the system-wide count, then the attachments'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    layout: u32,
    cgroup: PathBuf,
    /// Why there is no system-wide count, if it was asked for.
    without_system: Option<String>,
    /// There is one.
    system: bool,
}

const NAMES: [&str; 3] = ["AGGREGATES", "EVENTS", "LOST"];

struct Tables {
    aggregates: PerCpuHashMap<MapData, RawEndpoint, Aggregate>,
    lost: PerCpuArray<MapData, u64>,
    watched: Option<PerCpuHashMap<MapData, RawEndpoint, Retransmitted>>,
    /// Opened by whoever takes the first event: a reader knows where it stands by itself.
    events: Option<RingBuf<MapData>>,
}

/// Programs on a control group, until it and all that was [handed over](Self::hand_over) of it is dropped.
pub struct Telemetry {
    tables: Mutex<Tables>,
    terms: Terms,
    /// Of the tables.
    descriptors: Vec<OwnedFd>,
    /// Closing the last descriptor of each detaches.
    links: Vec<OwnedFd>,
    programs: Vec<u32>,
    adopted: bool,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("cgroup", &self.terms.cgroup).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Attaches to a control group. Needs CAP_BPF and CAP_NET_ADMIN; nothing later does. If only the system-wide
    /// count cannot be had, the rest is there and [`Self::without_system`] says why.
    ///
    /// # Errors
    /// Why the kernel does not do the sums.
    pub fn attach(options: &Options) -> Result<Self, Unavailable> {
        let needs = [(caps::BPF, "CAP_BPF"), (caps::NET_ADMIN, "CAP_NET_ADMIN")];
        let mut ebpf = object::load(&mut EbpfLoader::new(), object::TELEMETRY, &needs)?;
        let cgroup = match &options.cgroup {
            Some(cgroup) => cgroup.clone(),
            None => cgroup::own()?,
        };
        let directory = File::open(&cgroup)
            .map_err(|error| Unavailable::new(format!("control group {}: {error}", cgroup.display())))?;
        let mut descriptors = object::descriptors(&ebpf, &NAMES)?;
        let program: &mut SockOps = object::program(&mut ebpf, "pintle_sock_ops")?;
        program
            .load()
            .map_err(|error| Unavailable::because("the kernel takes no sock_ops program", &error))?;
        let refused =
            |error: &dyn std::error::Error| Unavailable::because("the control group takes no program", error);
        let fd = program.fd().map_err(|error| refused(&error))?;
        let mut programs: Vec<u32> = program.info().ok().map(|info| info.id()).into_iter().collect();
        let place = Place::Sockets(directory.as_fd());
        let mut links = vec![sys::attach(fd.as_fd(), place).map_err(|error| refused(&error))?];
        let mut without_system = None;
        if options.system_retransmits {
            match retransmits() {
                Ok(Retransmits { watched, link, program }) => {
                    descriptors.push(watched);
                    links.push(link);
                    programs.extend(program);
                }
                Err(unavailable) => without_system = Some(unavailable.why),
            }
        }
        let system = options.system_retransmits && without_system.is_none();
        let terms = Terms { layout: LAYOUT, cgroup, without_system, system };
        let tables = Mutex::new(Tables::of(&descriptors)?);
        Ok(Self { tables, terms, descriptors, links, programs, adopted: false })
    }

    /// Goes on with what another process attached. Sums stay as they are. Needs no capability.
    ///
    /// # Errors
    /// The other process's tables are not these.
    pub fn adopt(handed: Handed<Terms>) -> Result<Self, Unavailable> {
        let Handed { terms, mut descriptors } = handed;
        let system = usize::from(terms.system);
        if terms.layout != LAYOUT || descriptors.len() != NAMES.len() + 1 + 2 * system {
            return Err(Unavailable::new("the process before has telemetry of another version"));
        }
        let links = descriptors.split_off(NAMES.len() + system);
        let tables = Mutex::new(Tables::of(&descriptors)?);
        Ok(Self { tables, terms, descriptors, links, programs: Vec::new(), adopted: true })
    }

    /// What another process needs to go on while this one ends. One of the two may take [events](Self::events) from
    /// then on.
    ///
    /// # Errors
    /// This process is out of descriptors.
    pub fn hand_over(&self) -> Result<Handed<Terms>, Unavailable> {
        Handed::copy(self.terms.clone(), self.descriptors.iter().chain(&self.links))
    }

    /// What is watched, in a few words for an operator.
    pub fn describe(&self) -> String {
        let before = if self.adopted { "taken over: " } else { "" };
        let mut text = format!("{before}control group {}", self.terms.cgroup.display());
        if let Some(lacking) = self.without_system() {
            text.push_str("; no system-wide retransmissions: ");
            text.push_str(lacking);
        }
        text
    }

    /// The kernel's numbers of the programs, where this process loaded them.
    pub fn programs(&self) -> &[u32] {
        &self.programs
    }

    /// Whose connections are watched.
    pub fn cgroup(&self) -> &Path {
        &self.terms.cgroup
    }

    /// Why [`Sums::system_retransmits`] are not counted although they were asked for.
    pub fn without_system(&self) -> Option<&str> {
        self.terms.without_system.as_deref()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the endpoints whose retransmissions are counted system-wide, in place of those named before. At most
    /// [`MAX_WATCHED`]; further ones are not counted.
    pub fn watch(&self, endpoints: &[Endpoint]) {
        let mut tables = self.tables();
        let Some(watched) = &mut tables.watched else { return };
        let wanted: HashSet<RawEndpoint> = endpoints.iter().map(|endpoint| endpoint.raw()).collect();
        let present: HashSet<RawEndpoint> = watched.keys().filter_map(Result::ok).collect();
        for endpoint in present.difference(&wanted) {
            // One that is gone is what was wanted.
            let _ = watched.remove(endpoint);
        }
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        for endpoint in wanted.difference(&present) {
            if let Ok(zero) = PerCpuValues::try_from(vec![Retransmitted::default(); cpus]) {
                // Beyond the map's size there is no entry, as said above.
                let _ = watched.insert(endpoint, zero, 0);
            }
        }
    }

    /// The sums of every endpoint, in no order. A few microseconds per endpoint.
    pub fn read(&self) -> Vec<(Endpoint, Sums)> {
        let tables = self.tables();
        let mut all: Vec<(Endpoint, Sums)> = tables
            .aggregates
            .iter()
            .filter_map(Result::ok)
            .map(|(endpoint, cpus)| (Endpoint::of(endpoint), sum(&cpus)))
            .collect();
        let Some(watched) = &tables.watched else { return all };
        for (endpoint, cpus) in watched.iter().filter_map(Result::ok) {
            let segments = cpus.iter().map(|cpu| cpu.segments).sum();
            let endpoint = Endpoint::of(endpoint);
            match all.iter_mut().find(|(other, _)| *other == endpoint) {
                Some((_, sums)) => sums.system_retransmits = segments,
                None => all.push((endpoint, Sums { system_retransmits: segments, ..Sums::default() })),
            }
        }
        all
    }

    /// Takes up to `most` events out of the ring, oldest first.
    pub fn events(&self, most: usize) -> Vec<Event> {
        let mut tables = self.tables();
        let mut events = Vec::new();
        if tables.events.is_none() {
            tables.events = object::map(&self.descriptors[1]).ok();
        }
        let Some(ring) = &mut tables.events else { return events };
        while events.len() < most {
            let Some(item) = ring.next() else { break };
            events.extend(event(&item));
        }
        events
    }

    /// Events that nobody took before the ring was full.
    pub fn lost_events(&self) -> u64 {
        self.tables().lost.get(&0, 0).map_or(0, |cpus| cpus.iter().sum())
    }
}

impl Tables {
    /// By their descriptors: those of [`NAMES`], then perhaps that of the system-wide count.
    fn of(descriptors: &[OwnedFd]) -> Result<Self, Unavailable> {
        let [aggregates, _, lost, watched @ ..] = descriptors else {
            return Err(Unavailable::new("a table is missing"));
        };
        Ok(Self {
            aggregates: object::map(aggregates)?,
            lost: object::map(lost)?,
            watched: watched.first().map(object::map).transpose()?,
            events: None,
        })
    }
}

fn sum(cpus: &PerCpuValues<Aggregate>) -> Sums {
    let mut sums = Sums::default();
    let mut newest = 0;
    for cpu in cpus.iter() {
        sums.established += cpu.established;
        sums.failed += cpu.failed;
        sums.aborted += cpu.aborted;
        sums.closed += cpu.closed;
        sums.retransmits += cpu.retransmits;
        sums.syn_retransmits += cpu.syn_retransmits;
        sums.connect_us += cpu.connect_us;
        sums.connects += cpu.connects;
        if cpu.last_ns > newest {
            newest = cpu.last_ns;
            sums.last_srtt_us = cpu.last_srtt_us;
        }
        if cpu.min_rtt_us != 0 && (sums.min_rtt_us == 0 || cpu.min_rtt_us < sums.min_rtt_us) {
            sums.min_rtt_us = cpu.min_rtt_us;
        }
    }
    sums
}

fn event(bytes: &[u8]) -> Option<Event> {
    if bytes.len() != size_of::<RawEvent>() {
        return None;
    }
    // SAFETY: as many bytes as the structure has, and any bytes are one.
    let raw: RawEvent = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
    let what = match raw.kind {
        EVENT_RETRANSMIT => What::Retransmit,
        EVENT_FAILED => What::Failed,
        EVENT_ABORTED => What::Aborted,
        _ => return None,
    };
    Some(Event {
        at_ns: raw.at_ns,
        what,
        endpoint: Endpoint::of(raw.endpoint),
        other_port: raw.other_port,
        srtt_us: raw.srtt_us,
        // The kernel's word for no sample.
        min_rtt_us: if raw.min_rtt_us == u32::MAX { 0 } else { raw.min_rtt_us },
        total_retransmits: raw.total_retransmits,
    })
}

/// The program on retransmissions.
struct Retransmits {
    watched: OwnedFd,
    link: OwnedFd,
    program: Option<u32>,
}

fn retransmits() -> Result<Retransmits, Unavailable> {
    let unknown = |error: crate::btf::BtfError| Unavailable::new(error.to_string());
    let types = Types::running().map_err(unknown)?;
    let common = |member| types.offset("sock_common", member).map_err(unknown);
    let offsets = Offsets {
        family: common("skc_family")?,
        state: common("skc_state")?,
        daddr: common("skc_daddr")?,
        daddr6: common("skc_v6_daddr")?,
        dport: common("skc_dport")?,
        num: common("skc_num")?,
        srtt: types.offset("tcp_sock", "srtt_us").map_err(unknown)?,
        reserved: 0,
    };
    let needs = [(caps::BPF, "CAP_BPF"), (caps::PERFMON, "CAP_PERFMON")];
    let mut loader = EbpfLoader::new();
    loader.override_global("OFFSETS", &offsets, true);
    let mut ebpf = object::load(&mut loader, object::RETRANSMIT, &needs)?;
    let watched = object::descriptors(&ebpf, &["WATCHED"])?.remove(0);
    let kernel = Btf::from_sys_fs().map_err(|error| Unavailable::because("the kernel's types", &error))?;
    let program: &mut BtfTracePoint = object::program(&mut ebpf, "pintle_retransmit")?;
    let refused = |error: &dyn std::error::Error| {
        Unavailable::because("the kernel does not let itself be traced", error)
    };
    program.load("tcp_retransmit_skb", &kernel).map_err(|error| refused(&error))?;
    let id = program.info().ok().map(|info| info.id());
    let fd = program.fd().map_err(|error| refused(&error))?;
    let link = sys::attach(fd.as_fd(), Place::Tracing).map_err(|error| refused(&error))?;
    Ok(Retransmits { watched, link, program: id })
}
