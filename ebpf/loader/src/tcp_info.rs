//! `TCP_INFO`: the kernel's view of one connection, for whoever holds its socket. Takes no privilege.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use serde::Serialize;

/// Bytes of `struct tcp_info` that are asked for; what an older kernel does not fill stays zero.
const BYTES: usize = 168;

/// What the kernel knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TcpInfo {
    /// Smoothed round-trip time in microseconds; 0: none measured.
    pub srtt_us: u32,
    /// Its mean deviation in microseconds.
    pub rttvar_us: u32,
    /// Smallest round-trip time in microseconds; 0: none measured.
    pub min_rtt_us: u32,
    /// Segments sent again since the connection began, SYNs included.
    pub retransmits: u32,
    /// Segments sent and neither acknowledged nor given up.
    pub unacked: u32,
    /// Congestion window in segments.
    pub congestion_window: u32,
    /// Bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Delivery rate measured last, in bytes per second; 0: none.
    pub delivery_rate: u64,
}

impl TcpInfo {
    /// Asks about `socket`. About half a microsecond.
    ///
    /// # Errors
    /// What `getsockopt(2)` answered: no TCP socket.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut bytes = [0_u8; BYTES];
        let mut length = BYTES as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                bytes.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Self::read(&bytes)) }
    }

    /// The fields of `struct tcp_info` of linux/tcp.h that are used, at their places.
    fn read(bytes: &[u8; BYTES]) -> Self {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        // Their alignment is that of the structure, so a long number is two words in the machine's order.
        let long = |at: usize| {
            let (first, second) = (u64::from(word(at)), u64::from(word(at + 4)));
            if cfg!(target_endian = "little") { first | second << 32 } else { first << 32 | second }
        };
        let min_rtt_us = word(148);
        Self {
            srtt_us: word(68),
            rttvar_us: word(72),
            // The kernel's word for no sample.
            min_rtt_us: if min_rtt_us == u32::MAX { 0 } else { min_rtt_us },
            retransmits: word(100),
            unacked: word(24),
            congestion_window: word(80),
            bytes_acked: long(120),
            bytes_received: long(128),
            delivery_rate: long(160),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_connection_says_what_it_carried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[7; 100_000]).unwrap();
        server.read_exact(&mut vec![0; 100_000]).unwrap();
        server.write_all(b"done").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        let info = TcpInfo::of(client.as_fd()).unwrap();
        // The SYN counts as a byte.
        assert!((100_000..=100_001).contains(&info.bytes_acked), "{info:?}");
        assert_eq!(info.bytes_received, 4);
        assert!(info.srtt_us > 0 && info.min_rtt_us > 0 && info.min_rtt_us <= 1_000_000, "{info:?}");
        assert!(info.congestion_window >= 10, "{info:?}");
        assert_eq!(info.retransmits, 0);
    }

    #[test]
    fn other_sockets_have_none() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(TcpInfo::of(socket.as_fd()).is_err());
    }
}
