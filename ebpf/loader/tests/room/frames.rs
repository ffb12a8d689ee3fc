//! Packets made by hand, and sent past the network stack.

use std::io;
use std::net::IpAddr;

/// TCP flags.
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const RST: u8 = 0x04;

/// What stands between Ethernet and TCP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Tags of the given types.
    pub(crate) tags: &'static [u16],
    /// IPv6 extension headers: kind, and further units of 8 bytes.
    pub(crate) extensions: &'static [(u8, u8)],
    /// Words of IPv4 options.
    pub(crate) options: usize,
    /// In units of 8 bytes.
    pub(crate) fragment: u16,
    /// TCP flags.
    pub(crate) flags: u8,
}

pub(crate) const PLAIN: Shape = Shape { tags: &[], extensions: &[], options: 0, fragment: 0, flags: SYN };

/// A frame to everybody's port 443; its checksums are wrong, for no stack is to answer.
pub(crate) fn frame(from: IpAddr, to: IpAddr, shape: Shape) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 9]);
    for tag in shape.tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0, 7]);
    }
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend(0x0800_u16.to_be_bytes());
            bytes.extend([0x45 + shape.options as u8, 0, 0, 40, 0, 1]);
            bytes.extend(shape.fragment.to_be_bytes());
            bytes.extend([64, 6, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.extend(vec![1; shape.options * 4]);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend(0x86dd_u16.to_be_bytes());
            let first = shape.extensions.first().map_or(6, |(kind, _)| *kind);
            bytes.extend([0x60, 0, 0, 0, 0, 20, first, 64]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            for (index, (kind, units)) in shape.extensions.iter().enumerate() {
                let next = shape.extensions.get(index + 1).map_or(6, |(kind, _)| *kind);
                let mut header = vec![0; 8 + usize::from(*units) * 8];
                header[0] = next;
                if *kind == 44 {
                    header[2..4].copy_from_slice(&(shape.fragment << 3).to_be_bytes());
                } else {
                    header[1] = *units;
                }
                bytes.extend(header);
            }
        }
        _ => panic!("addresses of two families"),
    }
    bytes.extend([0x80, 0, 443_u16.to_be_bytes()[0], 443_u16.to_be_bytes()[1]]);
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, shape.flags, 4, 0, 0, 0, 0, 0]);
    bytes
}

/// Sends frames out of `interface` of this thread's namespace.
pub(crate) fn send(interface: &str, frames: &[Vec<u8>]) -> io::Result<()> {
    let name = std::ffi::CString::new(interface).expect("a name");
    // SAFETY: takes integers, and a string that lives through the call.
    let (socket, index) = unsafe {
        (
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0),
            libc::if_nametoindex(name.as_ptr()),
        )
    };
    if socket < 0 || index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zero is a valid address structure.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = index as i32;
    to.sll_halen = 6;
    let mut result = Ok(());
    for frame in frames {
        // SAFETY: the frame and the address live through the call.
        let sent = unsafe {
            libc::sendto(
                socket,
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent != frame.len() as isize {
            result = Err(io::Error::last_os_error());
            break;
        }
    }
    // SAFETY: made above, closed once.
    unsafe { libc::close(socket) };
    result
}

/// Sets the checksums of a plain IPv4 frame, so that a stack answers it.
pub(crate) fn checksums(frame: &mut [u8]) {
    let sum = |bytes: &[u8], start: u32| {
        let words =
            bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let mut sum = start + words.sum::<u32>();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    };
    let header = sum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&header);
    // The pseudo-header: addresses, protocol, length.
    let words = frame[26..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let pseudo = words.sum::<u32>() + 6 + (frame.len() - 34) as u32;
    let tcp = sum(&frame[34..], pseudo);
    frame[50..52].copy_from_slice(&tcp);
}
