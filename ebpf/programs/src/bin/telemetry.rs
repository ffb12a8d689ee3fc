//! Adds up what the kernel knows of the TCP connections of one cgroup. Needs CAP_BPF and CAP_NET_ADMIN.
//!
//! Only the stable context of `sock_ops` is read, so the object runs on any kernel that has its callbacks. Nothing
//! runs per segment or acknowledgement: round-trip times are taken when a connection begins, sends again, and ends.

#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns};
use aya_ebpf::macros::{map, sock_ops};
use aya_ebpf::maps::{Array, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::SockOpsContext;
use pintle_ebpf_common::telemetry::{
    ACTIVE, Aggregate, CONNECTING as MAX_CONNECTING, Connecting, ENDPOINTS as MAX_ENDPOINTS, EVENT_ABORTED,
    EVENT_FAILED, EVENT_RETRANSMIT, Endpoint, Event, PASSIVE, RING_BYTES, WATCHED,
};
use pintle_ebpf_programs::{object, read, zero};

object!();

// `BPF_SOCK_OPS_*` of linux/bpf.h.
const TCP_CONNECT_CB: u32 = 3;
const ACTIVE_ESTABLISHED_CB: u32 = 4;
const PASSIVE_ESTABLISHED_CB: u32 = 5;
const RETRANS_CB: u32 = 9;
const STATE_CB: u32 = 10;
// `BPF_SOCK_OPS_*_CB_FLAG`.
const RETRANS_FLAG: i32 = 2;
const STATE_FLAG: i32 = 4;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

const TCP_ESTABLISHED: u32 = 1;
const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_FIN_WAIT1: u32 = 4;
const TCP_CLOSE: u32 = 7;
const TCP_CLOSE_WAIT: u32 = 8;

#[map]
static AGGREGATES: LruPerCpuHashMap<Endpoint, Aggregate> =
    LruPerCpuHashMap::with_max_entries(MAX_ENDPOINTS, 0);
/// What a new endpoint begins with: zeros.
#[map]
static NOTHING: Array<Aggregate> = Array::with_max_entries(1, 0);
/// By socket cookie.
#[map]
static CONNECTING: LruHashMap<u64, Connecting> = LruHashMap::with_max_entries(MAX_CONNECTING, 0);
/// Ports that a connection was accepted on: tells who opened a connection.
#[map]
static LISTENING: LruHashMap<u16, u8> = LruHashMap::with_max_entries(WATCHED, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
/// Events that the ring had no room for.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes no pointers.
    unsafe { bpf_ktime_get_ns() }
}

/// The remote address. All words are read whatever the family is: the verifier wants each at a constant place of
/// the context, and LLVM would make one read with a computed place of two in two branches.
#[inline(always)]
fn remote_address(ctx: &SockOpsContext) -> [u32; 4] {
    let ops = ctx.ops;
    // SAFETY: the context is valid during the call.
    let (v4, v6) = unsafe {
        (
            read(&raw const (*ops).remote_ip4),
            [
                read(&raw const (*ops).remote_ip6[0]),
                read(&raw const (*ops).remote_ip6[1]),
                read(&raw const (*ops).remote_ip6[2]),
                read(&raw const (*ops).remote_ip6[3]),
            ],
        )
    };
    if ctx.family() == AF_INET { [0, 0, 0xffff_u32.to_be(), v4] } else { v6 }
}

#[inline(always)]
fn endpoint(ctx: &SockOpsContext, passive: bool) -> Endpoint {
    if passive {
        let zero = zero();
        Endpoint { address: [zero, zero, zero, zero], port: ctx.local_port() as u16, role: PASSIVE }
    } else {
        let port = u32::from_be(ctx.remote_port()) as u16;
        Endpoint { address: remote_address(ctx), port, role: ACTIVE }
    }
}

#[inline(always)]
fn aggregate(endpoint: &Endpoint) -> Option<*mut Aggregate> {
    if let Some(found) = AGGREGATES.get_ptr_mut(endpoint) {
        return Some(found);
    }
    // Another CPU may have been first; then the lookup finds that one.
    let _ = AGGREGATES.insert(endpoint, NOTHING.get(0)?, 1);
    AGGREGATES.get_ptr_mut(endpoint)
}

#[inline(always)]
fn rtts(ctx: &SockOpsContext) -> (u32, u32) {
    // SAFETY: the context is valid during the call. The kernel keeps eighths of a microsecond.
    unsafe { (read(&raw const (*ctx.ops).srtt_us) >> 3, read(&raw const (*ctx.ops).rtt_min)) }
}

#[inline(always)]
fn announce(ctx: &SockOpsContext, kind: u16, endpoint: Endpoint, old_state: u32, new_state: u32) {
    let Some(mut event) = EVENTS.reserve::<Event>(0) else {
        if let Some(lost) = LOST.get_ptr_mut(0) {
            // SAFETY: the verifier has seen the null check; this CPU's value.
            unsafe { *lost += 1 };
        }
        return;
    };
    let (srtt_us, min_rtt_us) = rtts(ctx);
    let other_port = if endpoint.role == ACTIVE { ctx.local_port() } else { u32::from_be(ctx.remote_port()) };
    event.write(Event {
        at_ns: now(),
        endpoint,
        srtt_us,
        min_rtt_us,
        // SAFETY: the context is valid during the call.
        total_retransmits: unsafe { read(&raw const (*ctx.ops).total_retrans) },
        other_port: other_port as u16,
        kind,
        old_state,
        new_state,
        reserved: 0,
    });
    event.submit(0);
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the context of this call.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn sample(ctx: &SockOpsContext, numbers: *mut Aggregate) {
    let (srtt, min) = rtts(ctx);
    if srtt == 0 {
        return;
    }
    let (srtt, min) = (u64::from(srtt), u64::from(min));
    // SAFETY: the verifier has seen the null check; nobody else writes this CPU's values.
    unsafe {
        let numbers = &mut *numbers;
        numbers.last_srtt_us = srtt;
        numbers.last_ns = now();
        if min != 0 && (numbers.min_rtt_us == 0 || min < numbers.min_rtt_us) {
            numbers.min_rtt_us = min;
        }
    }
}

#[inline(always)]
fn established(ctx: &SockOpsContext, passive: bool) -> Option<()> {
    let _ = ctx.set_cb_flags(RETRANS_FLAG | STATE_FLAG);
    if passive {
        let port = ctx.local_port() as u16;
        if LISTENING.get_ptr(port).is_none() {
            let _ = LISTENING.insert(port, 1, 0);
        }
    }
    let numbers = aggregate(&endpoint(ctx, passive))?;
    // SAFETY: the verifier has seen the null check; nobody else writes this CPU's values.
    unsafe { (*numbers).established += 1 };
    if !passive {
        let cookie = cookie(ctx);
        if let Some(began) = CONNECTING.get_ptr(cookie) {
            // SAFETY: as above.
            unsafe {
                (*numbers).connect_us += (now() - read(&raw const (*began).since_ns)) / 1000;
                (*numbers).connects += 1;
            }
            let _ = CONNECTING.remove(cookie);
        }
    }
    sample(ctx, numbers);
    Some(())
}

#[inline(always)]
fn retransmitted(ctx: &SockOpsContext, state: u32) -> Option<()> {
    let endpoint = endpoint(ctx, is_passive(ctx));
    let numbers = aggregate(&endpoint)?;
    let segments = u64::from(ctx.arg(1));
    // SAFETY: the verifier has seen the null check; nobody else writes this CPU's values.
    unsafe {
        (*numbers).retransmits += segments;
        if state == TCP_SYN_SENT || state == TCP_SYN_RECV {
            (*numbers).syn_retransmits += segments;
        }
    }
    sample(ctx, numbers);
    announce(ctx, EVENT_RETRANSMIT, endpoint, state, state);
    Some(())
}

#[inline(always)]
fn changed(ctx: &SockOpsContext, old: u32, new: u32) -> Option<()> {
    if new != TCP_CLOSE {
        return None;
    }
    let endpoint = endpoint(ctx, is_passive(ctx));
    let numbers = aggregate(&endpoint)?;
    // SAFETY: the verifier has seen the null check; nobody else writes this CPU's values.
    unsafe { (*numbers).closed += 1 };
    sample(ctx, numbers);
    match old {
        TCP_SYN_SENT | TCP_SYN_RECV => {
            // SAFETY: as above.
            unsafe { (*numbers).failed += 1 };
            let _ = CONNECTING.remove(cookie(ctx));
            announce(ctx, EVENT_FAILED, endpoint, old, new);
        }
        TCP_ESTABLISHED | TCP_FIN_WAIT1 | TCP_CLOSE_WAIT => {
            // SAFETY: as above.
            unsafe { (*numbers).aborted += 1 };
            announce(ctx, EVENT_ABORTED, endpoint, old, new);
        }
        _ => {}
    }
    Some(())
}

#[inline(always)]
fn is_passive(ctx: &SockOpsContext) -> bool {
    LISTENING.get_ptr(ctx.local_port() as u16).is_some()
}

#[sock_ops]
pub fn pintle_sock_ops(ctx: SockOpsContext) -> u32 {
    let family = ctx.family();
    if family != AF_INET && family != AF_INET6 {
        return 1;
    }
    // SAFETY: the context is valid during the call.
    let state = unsafe { read(&raw const (*ctx.ops).state) };
    match ctx.op() {
        TCP_CONNECT_CB => {
            // From the first SYN on: its retransmissions and its failure are news too.
            let _ = ctx.set_cb_flags(RETRANS_FLAG | STATE_FLAG);
            let _ = CONNECTING.insert(cookie(&ctx), Connecting { since_ns: now() }, 0);
        }
        ACTIVE_ESTABLISHED_CB => {
            established(&ctx, false);
        }
        PASSIVE_ESTABLISHED_CB => {
            established(&ctx, true);
        }
        RETRANS_CB => {
            retransmitted(&ctx, state);
        }
        STATE_CB => {
            changed(&ctx, ctx.arg(0), ctx.arg(1));
        }
        _ => {}
    }
    1
}
