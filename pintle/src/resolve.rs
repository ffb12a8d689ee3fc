//! Backend host names to addresses, away from the workers.
//!
//! Names are looked up when a configuration is loaded and every [`EVERY`] afterwards. A name that can no
//! longer be resolved keeps its last addresses: an outage of DNS is not one of the backend.
//!
//! Hosted providers have IPv6 addresses beside IPv4 ones, and many a node has no route for them: addresses that
//! the kernel knows no way to are left out while there are others.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use pintle_dataplane::upstream::Upstreams;

/// Time between two look-ups of all names.
pub(crate) const EVERY: Duration = Duration::from_secs(30);

/// Looks every name up once. Blocks; returns the names that have no address at all.
pub(crate) fn resolve(upstreams: &Upstreams) -> Vec<String> {
    let mut lost = Vec::new();
    for backend in upstreams.all() {
        if backend.spec.host.parse::<std::net::IpAddr>().is_ok() {
            continue;
        }
        match (backend.spec.host.as_str(), backend.spec.port).to_socket_addrs() {
            Ok(found) => {
                let mut addresses: Vec<SocketAddr> = found.collect();
                addresses.sort_unstable();
                addresses.dedup();
                prefer(&mut addresses, has_route);
                if **backend.addresses.load() != addresses && !addresses.is_empty() {
                    backend.addresses.store(Arc::new(addresses));
                }
            }
            Err(error) => {
                tracing::warn!(host = backend.spec.host, backend = backend.spec.name, %error, "name not resolved");
            }
        }
        if backend.addresses.load().is_empty() {
            lost.push(backend.spec.host.clone());
        }
    }
    lost
}

/// Keeps those addresses of which `good` holds, if it holds of any.
fn prefer(addresses: &mut Vec<SocketAddr>, good: impl Fn(&SocketAddr) -> bool) {
    let found: Vec<_> = addresses.iter().copied().filter(|address| good(address)).collect();
    if !found.is_empty() {
        *addresses = found;
    }
}

/// Whether the kernel knows a way to an address. Nothing is sent.
fn has_route(address: &SocketAddr) -> bool {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_a_route_are_left_out_while_there_are_others() {
        let both: Vec<SocketAddr> =
            vec!["[2001:db8::1]:443".parse().unwrap(), "192.0.2.1:443".parse().unwrap()];
        let mut addresses = both.clone();
        prefer(&mut addresses, SocketAddr::is_ipv4);
        assert_eq!(addresses, both[1..]);
        prefer(&mut addresses, SocketAddr::is_ipv6);
        assert_eq!(addresses, both[1..], "a bad address is better than none");
        assert!(has_route(&"127.0.0.1:443".parse().unwrap()));
    }
}
