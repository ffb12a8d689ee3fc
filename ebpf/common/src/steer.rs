//! Steering: which worker gets a new connection.

/// Slots: workers of all processes that serve the same listeners at one time.
pub const SLOTS: u32 = 256;
/// Addresses that one process can steer; each has a program of its own, for it has a socket per slot.
pub const GROUPS: u32 = 8;
/// What one connection that was picked and not yet accepted counts, and the unit of [`Cell::load`].
pub const STREAM: u64 = 256;
/// Most connections that count as picked and not yet accepted, so that SYNs which never complete cannot keep
/// a worker without work for long.
pub const PENDING_MAX: u64 = 64;

/// One slot's numbers: the first cache line is written by its worker, the second by the kernel.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cell {
    /// Outstanding work in units of 1/[`STREAM`] of a stream.
    pub load: u64,
    /// Picks that are not outstanding any more: accepted, or given up.
    pub resolved: u64,
    /// Keeps the writers' cache lines apart.
    pub worker_line: [u64; 6],
    /// Connections sent to this slot since the start, migrated ones included.
    pub picked: u64,
    /// Connections that a closing listener left and that were sent to this slot.
    pub migrated: u64,
    /// As `worker_line`.
    pub kernel_line: [u64; 6],
}

/// The list of slots that take connections, as one word that changes at once: which half of the slot table,
/// and how many of its entries.
#[must_use]
pub const fn active_word(half: u32, count: u32) -> u64 {
    ((half as u64) << 32) | count as u64
}

/// Index of the first entry, and number of entries, that `word` names.
#[must_use]
pub const fn active_range(word: u64) -> (u32, u32) {
    let half = ((word >> 32) & 1) as u32;
    let count = word as u32;
    (half * SLOTS, if count > SLOTS { SLOTS } else { count })
}
