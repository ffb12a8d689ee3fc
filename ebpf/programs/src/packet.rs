//! Finds the SYN in a packet.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::keep_apart;

const ETHERNET: usize = 14;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_PROVIDER_VLAN: u16 = 0x88a8;
const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// FIN would do too; a connection begins with SYN and without RST and ACK.
const SYN_RST_ACK: u8 = 0x16;
const SYN: u8 = 0x02;

/// Bytes of a packet, from its Ethernet header on.
pub trait Bytes {
    /// A copy of what lies at a place known beforehand, if it lies in the part that is at hand.
    fn near<T: Copy, const OFFSET: usize>(&self) -> Option<T>;

    /// A copy of what lies at `offset`, if it lies inside the packet.
    fn at<T: Copy>(&self, offset: usize) -> Option<T>;
}

impl Bytes for XdpContext {
    #[inline(always)]
    fn near<T: Copy, const OFFSET: usize>(&self) -> Option<T> {
        let start = self.data();
        if start + OFFSET + size_of::<T>() > self.data_end() {
            return None;
        }
        // SAFETY: between start and end, as just compared; the verifier demands it too.
        Some(unsafe { core::ptr::read_unaligned((start + OFFSET) as *const T) })
    }

    /// By the helper: without CAP_PERFMON nothing may be added to a pointer into a packet but constants.
    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        let mut bytes = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes as many bytes as the value has, or says that it did not.
        unsafe {
            let size = size_of::<T>() as u32;
            match bpf_xdp_load_bytes(self.ctx, offset as u32, bytes.as_mut_ptr().cast(), size) {
                0 => Some(bytes.assume_init()),
                _ => None,
            }
        }
    }
}

impl Bytes for TcContext {
    #[inline(always)]
    fn near<T: Copy, const OFFSET: usize>(&self) -> Option<T> {
        self.load(OFFSET).ok()
    }

    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        self.load(offset).ok()
    }
}

/// Who sends it. All of it always has a value: without CAP_PERFMON nothing may be copied that was never set.
#[derive(Clone, Copy)]
pub struct Source {
    /// The address in words of network order; IPv4 is mapped into IPv6.
    pub words: [u32; 4],
    /// It is an IPv4 address.
    pub is_v4: bool,
}

impl Source {
    #[inline(always)]
    fn v4(address: u32) -> Self {
        Self { words: [0, 0, 0xffff_u32.to_be(), address], is_v4: true }
    }

    #[inline(always)]
    fn v6(words: [u32; 4]) -> Self {
        Self { words, is_v4: false }
    }
}

/// What a packet is.
pub enum Seen {
    /// The first packet of a connection.
    Syn {
        /// Who sends it.
        source: Source,
        /// To which port, in the machine's order.
        port: u16,
    },
    /// Anything else.
    Other,
    /// More headers than are looked at.
    Deep,
}

/// Looks at up to two VLAN tags and two IPv6 extension headers.
#[inline(always)]
pub fn look(packet: &impl Bytes) -> Seen {
    match plain(packet) {
        Some(seen) => seen,
        None => seen(packet).unwrap_or(Seen::Other),
    }
}

/// Nearly all packets: no tag, no options, no extension headers.
#[inline(always)]
fn plain(packet: &impl Bytes) -> Option<Seen> {
    match u16::from_be(packet.near::<u16, 12>()?) {
        TYPE_IPV4 => {
            if packet.near::<u8, 14>()? != 0x45 {
                return None;
            }
            if packet.near::<u8, 23>()? != TCP || u16::from_be(packet.near::<u16, 20>()?) & 0x1fff != 0 {
                return Some(Seen::Other);
            }
            if packet.near::<u8, 47>()? & SYN_RST_ACK != SYN {
                return Some(Seen::Other);
            }
            let source = Source::v4(packet.near::<u32, 26>()?);
            let port = u16::from_be(packet.near::<u16, 36>()?);
            Some(Seen::Syn { source, port: keep_apart::<0xffff>(port) })
        }
        TYPE_IPV6 => {
            let next = packet.near::<u8, 20>()?;
            if is_extension(next) {
                return None;
            }
            if next != TCP || packet.near::<u8, 67>()? & SYN_RST_ACK != SYN {
                return Some(Seen::Other);
            }
            let source = Source::v6(packet.near::<[u32; 4], 22>()?);
            let port = u16::from_be(packet.near::<u16, 56>()?);
            Some(Seen::Syn { source, port: keep_apart::<0x1_ffff>(port) })
        }
        TYPE_VLAN | TYPE_PROVIDER_VLAN => None,
        _ => Some(Seen::Other),
    }
}

#[inline(always)]
fn seen(packet: &impl Bytes) -> Option<Seen> {
    let mut kind = u16::from_be(packet.at(ETHERNET - 2)?);
    let mut ip = ETHERNET;
    if is_vlan(kind) {
        kind = u16::from_be(packet.at(ip + 2)?);
        ip += 4;
    }
    if is_vlan(kind) {
        kind = u16::from_be(packet.at(ip + 2)?);
        ip += 4;
    }
    match kind {
        TYPE_IPV4 => ipv4(packet, ip),
        TYPE_IPV6 => ipv6(packet, ip),
        _ if is_vlan(kind) => Some(Seen::Deep),
        _ => None,
    }
}

#[inline(always)]
fn is_vlan(kind: u16) -> bool {
    kind == TYPE_VLAN || kind == TYPE_PROVIDER_VLAN
}

#[inline(always)]
fn ipv4(packet: &impl Bytes, ip: usize) -> Option<Seen> {
    let words: u8 = packet.at(ip)?;
    if packet.at::<u8>(ip + 9)? != TCP {
        return None;
    }
    // A later fragment begins with no header of TCP.
    if u16::from_be(packet.at(ip + 6)?) & 0x1fff != 0 {
        return None;
    }
    let source = packet.at(ip + 12)?;
    tcp(packet, ip + usize::from(words & 0x0f) * 4, Source::v4(source))
}

#[inline(always)]
fn ipv6(packet: &impl Bytes, ip: usize) -> Option<Seen> {
    let mut next: u8 = packet.at(ip + 6)?;
    let source = packet.at(ip + 8)?;
    let mut at = ip + 40;
    if is_extension(next) {
        (next, at) = extension(packet, next, at)?;
    }
    if is_extension(next) {
        (next, at) = extension(packet, next, at)?;
    }
    if is_extension(next) {
        return Some(Seen::Deep);
    }
    if next != TCP {
        return None;
    }
    tcp(packet, at, Source::v6(source))
}

#[inline(always)]
fn is_extension(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

#[inline(always)]
fn extension(packet: &impl Bytes, header: u8, at: usize) -> Option<(u8, usize)> {
    let [next, eights, high, low]: [u8; 4] = packet.at(at)?;
    if header == FRAGMENT {
        if u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
            return None;
        }
        return Some((next, at + 8));
    }
    Some((next, at + 8 + usize::from(eights) * 8))
}

#[inline(always)]
fn tcp(packet: &impl Bytes, at: usize, source: Source) -> Option<Seen> {
    let port = u16::from_be(packet.at(at + 2)?);
    let flags: u8 = packet.at(at + 13)?;
    if flags & SYN_RST_ACK != SYN {
        return None;
    }
    Some(Seen::Syn { source, port })
}
