//! A TCP connection whose every operation has a deadline.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use pintle_routing::flow::KernelView;
use pintle_routing::units::Micros;

use super::socket;
use super::watchdog::{Shut, Slot, Watchdog};
use super::{Gather, runtime};

/// Why an operation ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The deadline passed.
    #[error("deadline passed")]
    TimedOut,
    /// The peer that this work was for went away.
    #[error("abandoned")]
    Abandoned,
    /// The peer closed the connection.
    #[error("closed by peer")]
    Closed,
    /// The peer's TCP connection ended in the middle of what it says by TLS.
    #[error("closed by peer without TLS's close_notify")]
    Truncated,
    /// TLS: no agreement, or not the peer that it should be.
    #[error("TLS: {0}")]
    Tls(Box<rustls::Error>),
    /// The kernel's answer.
    #[error(transparent)]
    Os(#[from] io::Error),
}

/// What a read waits for; decides what a fired deadline shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The next request on a kept-alive connection.
    NextRequest,
    /// More of something begun; an answer may still be written after the deadline.
    More,
}

/// A connection, client side or upstream side.
pub struct Stream {
    // Dropped before the socket, so that the watchdog never touches a descriptor that is closed.
    slot: Slot,
    socket: TcpStream,
    peer: Option<SocketAddr>,
    /// Retransmissions that were told of.
    retransmits: Cell<u32>,
}

impl Stream {
    /// Takes an accepted connection under watch.
    pub fn accepted(socket: TcpStream, dog: &Rc<Watchdog>) -> Self {
        // Fails only on a socket that is already dead, which the first read will tell.
        let _ = socket.set_nodelay(true);
        Self { slot: dog.watch(socket.as_raw_fd()), socket, peer: None, retransmits: Cell::new(0) }
    }

    /// Connects within `deadline`.
    ///
    /// # Errors
    /// [`IoError::TimedOut`], or what the kernel says.
    pub async fn connect(
        address: SocketAddr,
        deadline: Duration,
        dog: &Rc<Watchdog>,
    ) -> Result<Self, IoError> {
        let socket = TcpStream::from_std(socket::start_connect(address)?)?;
        let slot = dog.watch(socket.as_raw_fd());
        let stream = Self { slot, socket, peer: Some(address), retransmits: Cell::new(0) };
        stream.slot.arm(deadline, Shut::Both, false);
        let writable = stream.socket.writable(true).await;
        stream.slot.disarm();
        if stream.slot.expired() {
            return Err(IoError::TimedOut);
        }
        writable?;
        socket::take_error(stream.fd())?;
        if runtime::on_io_uring() {
            socket::set_nonblocking(stream.fd(), false)?;
        }
        Ok(stream)
    }

    /// The raw descriptor, for socket options.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The address that this stream was connected to; `None` for an accepted one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The watchdog slot.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Whether a connection from the pool is still open and silent.
    pub fn is_quiet(&self) -> bool {
        socket::is_quiet(self.fd())
    }

    /// What the kernel knows of the connection, and how many retransmissions that is more than at the last call;
    /// half a microsecond.
    pub fn observe(&self) -> Option<(KernelView, u32)> {
        let info = socket::tcp_info(self.fd())?;
        let view = KernelView {
            srtt_us: Micros(info.srtt_us.into()),
            min_rtt_us: Micros(info.min_rtt_us.into()),
            retransmits: info.retransmits,
            bytes_received: info.bytes_received,
        };
        Some((view, info.retransmits.wrapping_sub(self.retransmits.replace(info.retransmits))))
    }

    fn failure(&self, otherwise: IoError) -> IoError {
        if self.slot.aborted() {
            IoError::Abandoned
        } else if self.slot.expired() {
            IoError::TimedOut
        } else {
            otherwise
        }
    }

    /// Appends what arrives to `buffer`, at most to its capacity, which must have room.
    ///
    /// Returns the number of bytes, never zero.
    ///
    /// # Errors
    /// [`IoError::Closed`] at end of stream, [`IoError::TimedOut`] after `deadline`.
    pub async fn read(
        &mut self,
        buffer: Vec<u8>,
        deadline: Duration,
        wait: Wait,
    ) -> (Result<usize, IoError>, Vec<u8>) {
        let start = buffer.len();
        debug_assert!(buffer.capacity() > start, "a read needs room");
        self.slot.arm(deadline, Shut::Read, wait == Wait::NextRequest);
        let (result, buffer) = if start == 0 {
            self.socket.read(buffer).await
        } else {
            let (result, slice) = self.socket.read(buffer.slice_mut(start..)).await;
            (result, slice.into_inner())
        };
        self.slot.disarm();
        let result = match result {
            Ok(0) => Err(self.failure(IoError::Closed)),
            Ok(n) => Ok(n),
            Err(error) => Err(self.failure(IoError::Os(error))),
        };
        (result, buffer)
    }

    /// Writes all of `buffer`.
    ///
    /// # Errors
    /// [`IoError::TimedOut`] if the peer does not take it within `deadline`.
    pub async fn write_all(&mut self, buffer: Vec<u8>, deadline: Duration) -> (Result<(), IoError>, Vec<u8>) {
        self.slot.arm(deadline, Shut::Both, false);
        let (result, buffer) = self.socket.write_all(buffer).await;
        self.slot.disarm();
        (result.map(drop).map_err(|error| self.failure(IoError::Os(error))), buffer)
    }

    /// Writes the first `length` bytes of `buffer`. The count tells how much was written when it fails.
    ///
    /// # Errors
    /// As [`Stream::write_all`]; `deadline` bounds each step in which the peer takes nothing.
    pub(super) async fn write_front(
        &mut self,
        mut buffer: Vec<u8>,
        length: usize,
        deadline: Duration,
    ) -> (Result<(), (IoError, usize)>, Vec<u8>) {
        let mut written = 0;
        while written < length {
            self.slot.arm(deadline, Shut::Both, false);
            let (result, slice) = self.socket.write(buffer.slice(written..length)).await;
            buffer = slice.into_inner();
            self.slot.disarm();
            match result {
                Ok(0) => return (Err((self.failure(IoError::Closed), written)), buffer),
                Ok(n) => written += n,
                Err(error) => return (Err((self.failure(IoError::Os(error)), written)), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Writes a static text.
    ///
    /// # Errors
    /// As [`Stream::write_all`].
    pub async fn write_static(&mut self, text: &'static [u8], deadline: Duration) -> Result<(), IoError> {
        self.slot.arm(deadline, Shut::Both, false);
        let (result, _) = self.socket.write_all(text).await;
        self.slot.disarm();
        result.map(drop).map_err(|error| self.failure(IoError::Os(error)))
    }

    /// Writes all of `gather`. The count tells how much was written when it fails: zero means that the
    /// peer cannot have seen any of it.
    ///
    /// # Errors
    /// As [`Stream::write_all`]; `deadline` bounds each step in which the peer takes nothing.
    pub async fn write_gather(
        &mut self,
        mut gather: Gather,
        deadline: Duration,
    ) -> (Result<(), (IoError, usize)>, Gather) {
        let mut written = 0;
        while gather.remaining() > 0 {
            self.slot.arm(deadline, Shut::Both, false);
            let (result, back) = self.socket.writev(gather).await;
            gather = back;
            self.slot.disarm();
            match result {
                Ok(0) => return (Err((self.failure(IoError::Closed), written)), gather),
                Ok(n) => {
                    written += n;
                    gather.advance(n);
                }
                Err(error) => return (Err((self.failure(IoError::Os(error)), written)), gather),
            }
        }
        (Ok(()), gather)
    }
}
