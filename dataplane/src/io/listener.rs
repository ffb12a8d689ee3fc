//! The accept loop's socket.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsRawFd, RawFd};

use monoio::net::{TcpListener, TcpStream};

use super::{runtime, socket};

/// A worker's own listening socket.
///
/// `accept` is never raced against anything: monoio would leak the accepted descriptor. To end it, shut
/// the listening socket down ([`Listener::descriptor`] with [`socket::shutdown`]); a pending accept then fails.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Adopts a bound, listening socket into this thread's runtime.
    ///
    /// # Errors
    /// What registering it with the driver answered.
    pub fn adopt(socket: StdListener) -> io::Result<Self> {
        socket::set_nonblocking(socket.as_raw_fd(), !runtime::on_io_uring())?;
        Ok(Self { inner: TcpListener::from_std(socket)? })
    }

    /// The next connection.
    ///
    /// # Errors
    /// What the kernel answered: out of descriptors, or the listener was shut down.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.inner.accept().await
    }

    /// The raw descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
