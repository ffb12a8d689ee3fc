//! Counts retransmissions to and from watched endpoints, whoever's connections they are: also those that were
//! open before, or belong to another cgroup. Needs CAP_BPF and CAP_PERFMON.
//!
//! Rust has no relocations by type, so the loader reads the offsets of fields from the kernel's BTF.

#![no_std]
#![no_main]

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::PerCpuHashMap;
use aya_ebpf::programs::BtfTracePointContext;
use pintle_ebpf_common::telemetry::{
    ACTIVE, Endpoint, Offsets, PASSIVE, Retransmitted, WATCHED as MAX_WATCHED,
};
use pintle_ebpf_programs::{object, read};

object!();

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Set by the loader.
#[unsafe(no_mangle)]
static OFFSETS: Offsets =
    Offsets { family: 0, state: 0, daddr: 0, daddr6: 0, dport: 0, num: 0, srtt: 0, reserved: 0 };

/// Entries are made by the loader.
#[map]
static WATCHED: PerCpuHashMap<Endpoint, Retransmitted> = PerCpuHashMap::with_max_entries(MAX_WATCHED, 0);

/// A field of the kernel's structure at `sk`.
macro_rules! field {
    ($sk:ident . $field:ident as $kind:ty) => {{
        // SAFETY: a constant of this object; the helper refuses addresses that cannot be read.
        unsafe {
            let offset = read(&raw const OFFSETS.$field) as usize;
            bpf_probe_read_kernel($sk.add(offset).cast::<$kind>()).ok()?
        }
    }};
}

#[inline(always)]
fn retransmitted(sk: *const u8) -> Option<()> {
    let remote: [u32; 4] = match field!(sk.family as u16) {
        AF_INET => [0, 0, 0xffff_u32.to_be(), field!(sk.daddr as u32)],
        AF_INET6 => field!(sk.daddr6 as [u32; 4]),
        _ => return None,
    };
    let active = Endpoint { address: remote, port: u16::from_be(field!(sk.dport as u16)), role: ACTIVE };
    let passive = Endpoint { address: [0; 4], port: field!(sk.num as u16), role: PASSIVE };
    let numbers = match WATCHED.get_ptr_mut(active) {
        Some(numbers) => numbers,
        None => WATCHED.get_ptr_mut(passive)?,
    };
    let srtt = field!(sk.srtt as u32) >> 3;
    // SAFETY: the verifier has seen the null check; nobody else writes this CPU's values.
    unsafe {
        (*numbers).segments += 1;
        if srtt != 0 {
            (*numbers).last_srtt_us = u64::from(srtt);
        }
    }
    Some(())
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn pintle_retransmit(ctx: BtfTracePointContext) -> i32 {
    retransmitted(ctx.arg::<*const u8>(0));
    0
}
