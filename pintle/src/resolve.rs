//! Backend host names to addresses, away from the workers.
//!
//! Names are looked up when a configuration is loaded and every [`EVERY`] afterwards. A name that can no
//! longer be resolved keeps its last addresses: an outage of DNS is not one of the backend.

use std::net::{SocketAddr, ToSocketAddrs};
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
