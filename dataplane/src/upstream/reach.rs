//! From a backend's addresses to a connection, and what to say when there is none.

use std::rc::Rc;
use std::time::{Duration, Instant};

use pintle_routing::flow::Attempt;
use pintle_routing::units::Micros;

use super::backend::Backend;
use super::link::{ConnectError, Link};
use crate::connection::gone;
use crate::failure::Failure;
use crate::io::{IoError, Watchdog};

/// Connects within `deadline`; `record` is told where and how long it took.
///
/// An address without a listener or a route is followed by the name's next one; `turn` says which is first.
///
/// # Errors
/// Why there is no connection. The backend has seen nothing then.
pub(crate) async fn reach(
    backend: &Backend,
    turn: usize,
    deadline: Duration,
    dog: &Rc<Watchdog>,
    record: &mut Attempt,
) -> Result<Link, Failure> {
    let name = &backend.spec.name;
    let start = Instant::now();
    let mut refused = None;
    for address in backend.addresses(turn) {
        record.address = address.to_string();
        let left = deadline.saturating_sub(start.elapsed());
        let connected = Link::connect(backend, address, left, dog).await;
        record.connect_us = Micros(start.elapsed().as_micros() as u64);
        match connected {
            Ok(link) => return Ok(link),
            Err(ConnectError::Tcp(IoError::Os(error))) => refused = Some(error),
            Err(error) => return Err(unconnected(name, error)),
        }
    }
    Err(match refused {
        Some(error) => unconnected(name, ConnectError::Tcp(IoError::Os(error))),
        None => Failure::upstream(
            502,
            "upstream_unresolved",
            format!("Backend {name}: host {} cannot be resolved.", backend.spec.host),
        ),
    })
}

fn unconnected(name: &str, error: ConnectError) -> Failure {
    let timeout = |what: &str| {
        let message = format!("Backend {name} did not {what} in time.");
        Failure::upstream(504, "upstream_connect_timeout", message)
    };
    match error {
        ConnectError::Tcp(IoError::TimedOut) => timeout("accept a connection"),
        ConnectError::Tls(IoError::TimedOut) => timeout("complete the TLS handshake"),
        ConnectError::Tcp(IoError::Abandoned) | ConnectError::Tls(IoError::Abandoned) => {
            gone("The client left while its backend was being connected.")
        }
        ConnectError::Tls(IoError::Tls(error)) => tls_failure(name, &error),
        ConnectError::Tls(error) => Failure::upstream(
            502,
            "upstream_tls",
            format!("Backend {name} broke off the TLS handshake: {error}."),
        ),
        ConnectError::Tcp(error) => Failure::upstream(
            502,
            "upstream_unreachable",
            format!("Backend {name} cannot be reached: {error}."),
        ),
    }
}

/// What to say of a TLS error.
pub(crate) fn tls_failure(name: &str, error: &rustls::Error) -> Failure {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Failure::upstream(
            502,
            "upstream_certificate",
            format!("Backend {name} has no certificate that can be trusted: {error}."),
        ),
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Failure::upstream(
            502,
            "upstream_tls",
            format!("Backend {name} does not answer in TLS; perhaps it speaks plain HTTP."),
        ),
        error => Failure::upstream(502, "upstream_tls", format!("Backend {name}: TLS failed: {error}.")),
    }
}
