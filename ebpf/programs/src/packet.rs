//! Finds the SYN in a packet.

use aya_ebpf::programs::{TcContext, XdpContext};

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
    /// A copy of what lies at `offset`, if it lies inside the packet.
    fn at<T: Copy>(&self, offset: usize) -> Option<T>;
}

impl Bytes for XdpContext {
    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        let start = self.data();
        if start + offset + size_of::<T>() > self.data_end() {
            return None;
        }
        // SAFETY: between start and end, as just compared; the verifier demands it too.
        Some(unsafe { core::ptr::read_unaligned((start + offset) as *const T) })
    }
}

impl Bytes for TcContext {
    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        self.load(offset).ok()
    }
}

/// Who sends it. IPv4 addresses are mapped into IPv6.
#[derive(Clone, Copy)]
pub enum Source {
    /// IPv4, in network order.
    V4([u8; 4]),
    /// IPv6, in network order.
    V6([u8; 16]),
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
    seen(packet).unwrap_or(Seen::Other)
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
    tcp(packet, ip + usize::from(words & 0x0f) * 4, Source::V4(source))
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
    tcp(packet, at, Source::V6(source))
}

#[inline(always)]
fn is_extension(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

#[inline(always)]
fn extension(packet: &impl Bytes, header: u8, at: usize) -> Option<(u8, usize)> {
    // In one piece: the verifier learns nothing from a check for a single byte at a variable place.
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
