//! Chooses the worker of a new connection. Needs CAP_BPF and nothing else.
//!
//! Power of two choices: of two workers drawn at random the less loaded one is taken. A scan for the least
//! loaded of all would send every connection of a burst to one worker, because what workers publish is a
//! moment old, and its loop would need CAP_PERFMON to pass the verifier. What makes bursts even is the number
//! of connections picked and not yet accepted, which is counted here.

#![no_std]
#![no_main]

use aya_ebpf::bindings::{BPF_F_MMAPABLE, sk_action::SK_PASS};
use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_ebpf::macros::{map, sk_reuseport};
use aya_ebpf::maps::{Array, ReusePortSockArray};
use aya_ebpf::programs::SkReuseportContext;
use pintle_ebpf_common::steer::{Cell, GROUPS, PENDING_MAX, SLOTS, STREAM, active_range};
use pintle_ebpf_programs::{add, object, read};

object!();

/// Listening sockets: `group * SLOTS + slot`.
#[map]
static LISTENERS: ReusePortSockArray = ReusePortSockArray::with_max_entries(GROUPS * SLOTS, 0);
/// A cell per slot.
#[map]
static CELLS: Array<Cell> = Array::with_max_entries(SLOTS, BPF_F_MMAPABLE);
/// Two lists of slots, of which `ACTIVE` names one.
#[map]
static ORDER: Array<u32> = Array::with_max_entries(2 * SLOTS, BPF_F_MMAPABLE);
/// See `active_word`.
#[map]
static ACTIVE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The slot at `index` of the list, and its cell. A lookup for each: indexing inside one map value needs a
/// bound that LLVM proves away before the verifier sees it.
#[inline(always)]
fn candidate(index: u32) -> Option<(u32, *mut Cell)> {
    let at = ORDER.get_ptr(index)?;
    // SAFETY: the verifier has seen the null check; a map's value is aligned to 8 bytes.
    let slot = unsafe { read(at) };
    Some((slot, CELLS.get_ptr_mut(slot)?))
}

#[inline(always)]
fn weight(cell: *mut Cell) -> u64 {
    // SAFETY: `candidate` gives pointers into the map.
    let (load, resolved, picked) = unsafe {
        (read(&raw const (*cell).load), read(&raw const (*cell).resolved), read(&raw const (*cell).picked))
    };
    let pending = picked.wrapping_sub(resolved);
    // The counters are read one after the other, so the difference may be below zero for a moment.
    let pending = if pending > u64::MAX / 2 { 0 } else { pending };
    load.wrapping_add((if pending > PENDING_MAX { PENDING_MAX } else { pending }) * STREAM)
}

#[inline(always)]
fn give(ctx: &SkReuseportContext, group: u32, slot: u32, cell: *mut Cell, migrating: bool) -> bool {
    // A closed listener leaves the array by itself.
    if LISTENERS.select_reuseport(ctx, group * SLOTS + slot).is_err() {
        return false;
    }
    // SAFETY: `candidate` gives pointers into the map.
    unsafe {
        add(&raw mut (*cell).picked, 1);
        if migrating {
            add(&raw mut (*cell).migrated, 1);
        }
    }
    true
}

/// Without a choice the kernel takes its hash of the connection's addresses.
#[inline(always)]
fn steer(ctx: &SkReuseportContext, group: u32) -> Option<()> {
    // SAFETY: the verifier has seen the null check.
    let (first, count) = active_range(unsafe { read(ACTIVE.get_ptr(0)?) });
    if count == 0 {
        return None;
    }
    // SAFETY: takes no pointers.
    let random = unsafe { bpf_get_prandom_u32() };
    let a = ((random & 0xffff) * count) >> 16;
    let others = if count > 1 { count - 1 } else { 1 };
    let mut b = a + 1 + (((random >> 16) * others) >> 16);
    if b >= count {
        b -= count;
    }
    let (mut near, mut far) = (candidate(first + a)?, candidate(first + b)?);
    if weight(far.1) < weight(near.1) {
        core::mem::swap(&mut near, &mut far);
    }
    let migrating = ctx.migrating_sk().is_some();
    if !give(ctx, group, near.0, near.1, migrating) {
        give(ctx, group, far.0, far.1, migrating);
    }
    Some(())
}

/// One program per listening address: a program chooses among the sockets of its own group only.
macro_rules! groups {
    ($($name:ident $group:literal),+ $(,)?) => {
        $(
            #[sk_reuseport(migrate)]
            pub fn $name(ctx: SkReuseportContext) -> u32 {
                steer(&ctx, $group);
                SK_PASS
            }
        )+
    };
}

groups! {
    pintle_steer_0 0, pintle_steer_1 1, pintle_steer_2 2, pintle_steer_3 3,
    pintle_steer_4 4, pintle_steer_5 5, pintle_steer_6 6, pintle_steer_7 7,
}
