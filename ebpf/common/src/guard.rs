//! Guard: which SYNs may come in.

/// Version of what the maps mean; processes with another do not share them.
pub const LAYOUT: u32 = 1;
/// Rules per address family.
pub const RULES: u32 = 16_384;
/// Sources whose rate is remembered; the least recently seen is forgotten.
pub const SOURCES: u32 = 65_536;
/// Ports that are guarded.
pub const PORTS: u32 = 64;
/// Number of [`Counters`].
pub const COUNTERS: u32 = 8;

/// Nothing is looked at.
pub const MODE_OFF: u32 = 0;
/// SYNs are judged and counted, and pass.
pub const MODE_COUNT: u32 = 1;
/// SYNs that are denied or too many are dropped.
pub const MODE_ENFORCE: u32 = 2;

/// The rule denies.
pub const DENY: u32 = 0;
/// The rule allows, and exempts from the rate limit.
pub const ALLOW: u32 = 1;

/// What applies to all sources.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// One of the `MODE_` values.
    pub mode: u32,
    /// 1: every TCP port is guarded; 0: only those in the port map.
    pub all_ports: u32,
    /// Nanoseconds per SYN of one source; 0: no limit.
    pub interval_ns: u64,
    /// How far a source may run ahead of its rate, in nanoseconds.
    pub burst_ns: u64,
    /// Not used.
    pub reserved: u64,
}

/// One entry of the longest-prefix list.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Rule {
    /// `CLOCK_BOOTTIME` in nanoseconds at which it ends; 0: never.
    pub expires_ns: u64,
    /// SYNs that it decided.
    pub hits: u64,
    /// [`DENY`] or [`ALLOW`].
    pub verdict: u32,
    /// Where it comes from: 0 the configuration, 1 an operator. The kernel does not care.
    pub origin: u32,
}

/// One source: an IPv4 address, or the first 64 bits of an IPv6 address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Source {
    /// Theoretical arrival time of the generic cell rate algorithm, in nanoseconds of `CLOCK_BOOTTIME`.
    pub due_ns: u64,
    /// SYNs seen.
    pub syns: u64,
    /// Those above the rate.
    pub over: u64,
}

/// What happened to SYNs, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// SYNs to a guarded port.
    pub syns: u64,
    /// Those that a rule denies.
    pub denied: u64,
    /// Those that a rule allows.
    pub allowed: u64,
    /// Those above their source's rate.
    pub over_rate: u64,
    /// Denied ones that were dropped.
    pub dropped_denied: u64,
    /// Those above their source's rate that were dropped.
    pub dropped_over_rate: u64,
    /// Packets with headers too deep to look at, passed.
    pub unreadable: u64,
    /// Sources that the table had no room for.
    pub unremembered: u64,
}
