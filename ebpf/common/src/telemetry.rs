//! Telemetry: what the kernel knows of TCP connections, added up per endpoint.

/// Version of what the maps mean; processes with another do not share them.
pub const LAYOUT: u32 = 1;
/// Endpoints; the least recently seen is forgotten.
pub const ENDPOINTS: u32 = 1_024;
/// Connections whose connect time is being taken.
pub const CONNECTING: u32 = 65_536;
/// Endpoints whose retransmissions are watched system-wide.
pub const WATCHED: u32 = 1_024;
/// Bytes of the ring of events.
pub const RING_BYTES: u32 = 256 * 1024;

/// Connections that this machine opened, by their remote address and port.
pub const ACTIVE: u16 = 1;
/// Connections that this machine accepted, by their local port.
pub const PASSIVE: u16 = 2;

/// What numbers are added up for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IPv6 address, or IPv4-mapped, as words in network order; zero for [`PASSIVE`]. Not bytes: without
    /// CAP_PERFMON the verifier takes no loop that fills them.
    pub address: [u32; 4],
    /// Port, in the machine's byte order.
    pub port: u16,
    /// [`ACTIVE`] or [`PASSIVE`].
    pub role: u16,
}

/// What is added up, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Aggregate {
    /// Connections established.
    pub established: u64,
    /// Connections that ended before they were established.
    pub failed: u64,
    /// Established connections that ended without the peers' farewell: reset, timed out.
    pub aborted: u64,
    /// Connections closed, by whatever way.
    pub closed: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Of these, SYNs.
    pub syn_retransmits: u64,
    /// Microseconds from connect to established, added up over `connects`.
    pub connect_us: u64,
    /// Established connections whose connect time was taken.
    pub connects: u64,
    /// Smoothed round-trip time at the newest sample, in microseconds.
    pub last_srtt_us: u64,
    /// `CLOCK_MONOTONIC` of the newest sample, in nanoseconds.
    pub last_ns: u64,
    /// Smallest round-trip time, in microseconds; 0: none yet.
    pub min_rtt_us: u64,
}

/// A connection that is being made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Connecting {
    /// `CLOCK_MONOTONIC` of the connect, in nanoseconds.
    pub since_ns: u64,
}

/// A segment was sent again.
pub const EVENT_RETRANSMIT: u16 = 1;
/// A connection ended before it was established.
pub const EVENT_FAILED: u16 = 2;
/// An established connection was aborted.
pub const EVENT_ABORTED: u16 = 3;

/// Something that should be rare.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub at_ns: u64,
    /// Whose connection.
    pub endpoint: Endpoint,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: u32,
    /// Smallest round-trip time in microseconds.
    pub min_rtt_us: u32,
    /// Segments that this connection has sent again so far.
    pub total_retransmits: u32,
    /// The other end's port, or for [`ACTIVE`] the local one.
    pub other_port: u16,
    /// One of the `EVENT_` values.
    pub kind: u16,
    /// TCP state before.
    pub old_state: u32,
    /// TCP state after, or at the time.
    pub new_state: u32,
    /// Not used.
    pub reserved: u32,
}

/// Retransmissions that the tracepoint saw, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Retransmitted {
    /// Segments sent again.
    pub segments: u64,
    /// Smoothed round-trip time at the newest of them, in microseconds.
    pub last_srtt_us: u64,
}

/// Where the running kernel keeps the fields of `struct sock_common` and `struct tcp_sock`, in bytes from
/// the start; read from its BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `sock_common.skc_family`.
    pub family: u32,
    /// `sock_common.skc_state`.
    pub state: u32,
    /// `sock_common.skc_daddr`.
    pub daddr: u32,
    /// `sock_common.skc_v6_daddr`.
    pub daddr6: u32,
    /// `sock_common.skc_dport`, big-endian.
    pub dport: u32,
    /// `sock_common.skc_num`.
    pub num: u32,
    /// `tcp_sock.srtt_us`, in eighths of a microsecond.
    pub srtt: u32,
    /// Not used.
    pub reserved: u32,
}
