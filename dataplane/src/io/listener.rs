//! The accept loop's socket.

use std::io;
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsRawFd, RawFd};

use monoio::net::TcpListener;

use super::{runtime, socket};

/// A listening socket of a worker, perhaps shared with the process that takes over.
///
/// It is waited for by readiness and accepted from without waiting. A wait can therefore be dropped at any
/// time, and nobody needs to shut the socket down to end one, which would shut it down for a process that
/// has it too.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Adopts a bound, listening socket into this thread's runtime.
    ///
    /// # Errors
    /// What registering it with the driver answered.
    pub fn adopt(socket: StdListener) -> io::Result<Self> {
        // Both processes of an upgrade see the same flag, so it is the same under both drivers.
        socket::set_nonblocking(socket.as_raw_fd(), true)?;
        Ok(Self { inner: TcpListener::from_std(socket)? })
    }

    /// Returns when a connection may be waiting. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// What the driver answered.
    pub async fn ready(&self) -> io::Result<()> {
        self.inner.readable(false).await
    }

    /// A connection that waits, if there is one: nonblocking for epoll, blocking for io_uring.
    ///
    /// # Errors
    /// What the kernel answered: out of descriptors, or the listener was shut down.
    pub fn take(&self) -> io::Result<Option<StdStream>> {
        socket::accept_now(self.descriptor(), !runtime::on_io_uring())
    }

    /// The raw descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
