//! Judges SYNs before the network stack sees them: a list of denied and allowed prefixes, and a rate per source.
//! Needs CAP_BPF and CAP_NET_ADMIN. Packets of existing connections are passed after one look at their flags.

#![no_std]
#![no_main]

use core::ffi::c_void;

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};
use pintle_ebpf_common::guard::{
    ALLOW, Counters, MODE_ENFORCE, MODE_OFF, PORTS as MAX_PORTS, RULES, Rule, SOURCES as MAX_SOURCES,
    Settings, Source,
};
use pintle_ebpf_programs::packet::{self, Bytes, Seen};
use pintle_ebpf_programs::{add, object, read};

object!();

/// Leaves the verdict to the next program on the interface.
const TCX_NEXT: i32 = -1;
/// A trie grows as it is filled.
const BPF_F_NO_PREALLOC: u32 = 1;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static PORTS: HashMap<u16, u8> = HashMap::with_max_entries(MAX_PORTS, 0);
#[map]
static RULES4: LpmTrie<u32, Rule> = LpmTrie::with_max_entries(RULES, BPF_F_NO_PREALLOC);
#[map]
static RULES6: LpmTrie<[u32; 4], Rule> = LpmTrie::with_max_entries(RULES, BPF_F_NO_PREALLOC);
/// By IPv4-mapped address, or the first half of an IPv6 address: a host has a whole network of those.
#[map]
static SOURCES: LruHashMap<[u32; 4], Source> = LruHashMap::with_max_entries(MAX_SOURCES, 0);
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Counts in this CPU's counters.
macro_rules! count {
    ($counters:ident . $field:ident) => {
        // SAFETY: the verifier has seen the null check; nobody else writes this CPU's values.
        unsafe { (*$counters).$field += 1 }
    };
}

#[inline(always)]
fn rule(source: packet::Source) -> Option<*mut Rule> {
    let rule = if source.is_v4 {
        RULES4.get(Key::new(32, source.words[3]))
    } else {
        RULES6.get(Key::new(128, source.words))
    }?;
    Some(core::ptr::from_ref(rule).cast_mut())
}

/// Whether the source runs ahead of its rate by more than the burst: the generic cell rate algorithm, which
/// needs one time per source. CPUs may race for it; a SYN more or less is let through.
#[inline(always)]
fn is_over(source: packet::Source, interval: u64, burst: u64, now: u64, counters: *mut Counters) -> bool {
    let [a, b, c, d] = source.words;
    let key = if source.is_v4 { [a, b, c, d] } else { [a, b, 0, 0] };
    let Some(entry) = SOURCES.get_ptr_mut(key) else {
        let first = Source { due_ns: now + interval, syns: 1, over: 0 };
        if SOURCES.insert(key, first, 0).is_err() {
            count!(counters.unremembered);
        }
        return false;
    };
    // SAFETY: the verifier has seen the null check.
    unsafe {
        add(&raw mut (*entry).syns, 1);
        let due = read(&raw const (*entry).due_ns);
        let due = if due < now { now } else { due };
        if due - now > burst {
            add(&raw mut (*entry).over, 1);
            return true;
        }
        core::ptr::write_volatile(&raw mut (*entry).due_ns, due + interval);
    }
    false
}

/// Whether the packet is to be dropped.
#[inline(always)]
fn drops(packet: &impl Bytes) -> Option<bool> {
    let settings = SETTINGS.get_ptr(0)?;
    // SAFETY: the verifier has seen the null check.
    let (mode, all_ports) =
        unsafe { (read(&raw const (*settings).mode), read(&raw const (*settings).all_ports)) };
    if mode == MODE_OFF {
        return None;
    }
    let counters = COUNTERS.get_ptr_mut(0)?;
    let (source, port) = match packet::look(packet) {
        Seen::Syn { source, port } => (source, port),
        Seen::Other => return None,
        Seen::Deep => {
            count!(counters.unreadable);
            return None;
        }
    };
    if all_ports == 0 {
        PORTS.get_ptr(port)?;
    }
    count!(counters.syns);
    // SAFETY: takes no pointers.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if let Some(rule) = rule(source) {
        // SAFETY: the verifier has seen the null check.
        let (expires, verdict) =
            unsafe { (read(&raw const (*rule).expires_ns), read(&raw const (*rule).verdict)) };
        if expires == 0 || expires > now {
            // SAFETY: as above.
            unsafe { add(&raw mut (*rule).hits, 1) };
            if verdict == ALLOW {
                count!(counters.allowed);
                return None;
            }
            count!(counters.denied);
            if mode == MODE_ENFORCE {
                count!(counters.dropped_denied);
                return Some(true);
            }
            return None;
        }
    }
    // SAFETY: as above.
    let (interval, burst) =
        unsafe { (read(&raw const (*settings).interval_ns), read(&raw const (*settings).burst_ns)) };
    if interval != 0 && is_over(source, interval, burst, now, counters) {
        count!(counters.over_rate);
        if mode == MODE_ENFORCE {
            count!(counters.dropped_over_rate);
            return Some(true);
        }
    }
    None
}

#[xdp]
pub fn pintle_guard_xdp(ctx: XdpContext) -> u32 {
    match drops(&ctx) {
        Some(true) => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Written out, not by aya's macro: of a typed context the object would describe two structures that are only
/// declared, and LLVM puts those in the order of their addresses in its own memory, so that builds would differ.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn pintle_guard_tcx(ctx: *mut c_void) -> i32 {
    match drops(&TcContext::new(ctx.cast())) {
        Some(true) => TC_ACT_SHOT as i32,
        _ => TCX_NEXT,
    }
}
