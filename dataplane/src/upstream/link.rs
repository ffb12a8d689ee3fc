//! A connection to a backend, with TLS or without.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pintle_routing::flow::KernelView;
use rustls::{HandshakeKind, ProtocolVersion};

use super::backend::Backend;
use crate::io::stream::Wait;
use crate::io::watchdog::Slot;
use crate::io::{Gather, IoError, Stream, TlsStream, Watchdog};

/// A connection to a backend.
pub enum Link {
    /// TCP.
    Plain(Stream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address does not accept one.
    #[error(transparent)]
    Tcp(IoError),
    /// It does, but there is no agreement with who listens there.
    #[error(transparent)]
    Tls(IoError),
}

impl Link {
    /// Connects to `address`, and shakes hands where the backend speaks TLS, all of it within `deadline`.
    ///
    /// # Errors
    /// [`IoError::TimedOut`], [`IoError::Tls`], or what the kernel says.
    pub async fn connect(
        backend: &Backend,
        address: SocketAddr,
        deadline: Duration,
        dog: &Rc<Watchdog>,
    ) -> Result<Self, ConnectError> {
        let start = Instant::now();
        let until = start + deadline;
        let stream = match Stream::connect(address, deadline, dog).await {
            Ok(stream) => stream,
            Err(error) => {
                backend.health.wire.unconnected();
                return Err(ConnectError::Tcp(error));
            }
        };
        backend.health.wire.connected(start.elapsed());
        let Some(tls) = &backend.spec.tls else { return Ok(Self::Plain(stream)) };
        let session = tls.session().map_err(|error| ConnectError::Tls(IoError::Tls(Box::new(error))))?;
        // Boxed: the plain path would carry its size along.
        let tls =
            Box::pin(TlsStream::shake_hands(stream, session, until)).await.map_err(ConnectError::Tls)?;
        count(backend, tls.agreed());
        Ok(Self::Tls(Box::new(tls)))
    }

    fn stream(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.stream(),
        }
    }

    /// The address that it was connected to.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream().peer()
    }

    /// The watchdog slot.
    pub fn slot(&self) -> &Slot {
        self.stream().slot()
    }

    /// What the kernel knows of the connection at the end of a request; its backend is told as well.
    pub fn observe(&self, backend: &Backend) -> Option<KernelView> {
        let (view, retransmits) = self.stream().observe()?;
        backend.health.wire.observe(&view, retransmits);
        Some(view)
    }

    /// Whether a connection from the pool is still open and silent.
    pub fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_quiet(),
            Self::Tls(tls) => tls.is_quiet(),
        }
    }

    /// Gives back what a connection in the pool does not need.
    pub fn rest(&mut self) {
        if let Self::Tls(tls) = self {
            tls.rest();
        }
    }

    /// As [`Stream::read`] or [`TlsStream::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn read(
        &mut self,
        buffer: Vec<u8>,
        deadline: Duration,
        wait: Wait,
    ) -> (Result<usize, IoError>, Vec<u8>) {
        match self {
            Self::Plain(stream) => stream.read(buffer, deadline, wait).await,
            Self::Tls(tls) => tls.read(buffer, deadline).await,
        }
    }

    /// As [`Stream::write_gather`].
    ///
    /// # Errors
    /// As there.
    pub async fn write_gather(
        &mut self,
        gather: Gather,
        deadline: Duration,
    ) -> (Result<(), (IoError, usize)>, Gather) {
        match self {
            Self::Plain(stream) => stream.write_gather(gather, deadline).await,
            Self::Tls(tls) => tls.write_gather(gather, deadline).await,
        }
    }
}

fn count(backend: &Backend, (version, kind): (Option<ProtocolVersion>, Option<HandshakeKind>)) {
    metrics::counter!(
        "pintle_upstream_tls_handshakes_total",
        "backend" => backend.spec.authority.clone(),
        "version" => if version == Some(ProtocolVersion::TLSv1_3) { "1.3" } else { "1.2" },
        "kind" => if kind == Some(HandshakeKind::Resumed) { "resumed" } else { "full" }
    )
    .increment(1);
}
