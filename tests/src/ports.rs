//! Free ports for servers that cannot choose their own.
//!
//! Pintle binds with `SO_REUSEPORT`, so that two gateways on one port would not notice each other. Each port
//! handed out is therefore guarded by an exclusive listener on another port for as long as it is in use, and
//! all of them lie below the kernel's range for outgoing connections.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::process;

/// Where nobody listens. A port that was free a moment ago may be another test's by now; this one is tcpmux's, which
/// no system hands out.
pub const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

const PORTS: Range<u16> = 12_000..17_000;
const GUARD_OFFSET: u16 = 8_000;

/// A loopback port that nobody else gets from here while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _guard: TcpListener,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Panics
    /// All are taken.
    pub fn take() -> Self {
        let count = PORTS.len() as u32;
        // Tests run as processes of their own; starting apart keeps them from trying the same ports.
        let first = process::id().wrapping_mul(7_919) % count;
        let candidates = (0..count).map(|n| PORTS.start + ((first + n) % count) as u16);
        for number in candidates {
            let Ok(guard) = TcpListener::bind((Ipv4Addr::LOCALHOST, number + GUARD_OFFSET)) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _guard: guard };
            }
        }
        panic!("no free port in {PORTS:?}");
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
