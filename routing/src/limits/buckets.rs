//! Levels of buckets, in bounded memory.

use super::Rate;
use crate::units::UnixMillis;

/// Slots that a key may lie in.
const WAYS: usize = 8;

/// What was consumed of each limit.
///
/// Memory is taken once, 48 bytes a bucket. A bucket that has refilled says no more than an absent one, and
/// makes room for others first; beyond that, the one that would be full soonest is forgotten and counted.
#[derive(Debug, Default)]
pub struct Buckets {
    slots: Box<[Slot]>,
    forgotten: u64,
}

/// Key 0 is an empty slot. `level` is as of `at`.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    key: u128,
    level: i64,
    at: u64,
    full_at: u64,
}

const _: () = assert!(size_of::<Slot>() == 48);

impl Buckets {
    /// Buckets kept for the process, if nothing says otherwise: 3 MiB.
    pub const DEFAULT_CAPACITY: usize = 65_536;

    /// Room for about `capacity` buckets that are not full, rounded up to a power of two of at least eight.
    pub fn new(capacity: usize) -> Self {
        let slots = capacity.max(WAYS).next_power_of_two();
        Self { slots: vec![Slot::default(); slots].into_boxed_slice(), forgotten: 0 }
    }

    /// Buckets that were forgotten before they were full, for want of room: as many users had part of their
    /// limit back early.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The level of a bucket; full if nothing was taken from it, or none of that is remembered.
    pub(super) fn level(&self, key: u128, rate: Rate, now: UnixMillis) -> i64 {
        let ways = self.slots.get(self.ways(key)).unwrap_or_default();
        ways.iter().find(|slot| slot.key == key).map_or(rate.full(), |slot| slot.level_at(rate, now))
    }

    /// Takes `cost` out of a bucket, or puts it back if negative. It never holds more than is full.
    pub(super) fn take(&mut self, key: u128, rate: Rate, cost: i64, now: UnixMillis) {
        let level = self.level(key, rate, now).saturating_sub(cost).min(rate.full());
        let full_at = now.get().saturating_add(rate.until_full(level));
        let ways = self.ways(key);
        let Some(ways) = self.slots.get_mut(ways) else { return };
        let new = Slot { key, level, at: now.get(), full_at };
        if let Some(slot) = ways.iter_mut().find(|slot| slot.key == key) {
            *slot = new;
            return;
        }
        if full_at == now.get() {
            return;
        }
        if let Some(victim) = ways.iter_mut().min_by_key(|slot| slot.full_at) {
            self.forgotten += u64::from(victim.full_at > now.get());
            *victim = new;
        }
    }

    fn ways(&self, key: u128) -> std::ops::Range<usize> {
        let sets = (self.slots.len() / WAYS).max(1);
        let first = (key as usize & (sets - 1)) * WAYS;
        first..first + WAYS
    }
}

impl Slot {
    /// A clock that went backwards adds nothing.
    fn level_at(&self, rate: Rate, now: UnixMillis) -> i64 {
        let gone = now.since(UnixMillis(self.at)).min(i64::MAX.unsigned_abs()).cast_signed();
        self.level.saturating_add(gone.saturating_mul(rate.per_unit)).min(rate.full())
    }
}
