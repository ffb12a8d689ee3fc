//! The few system calls on sockets that monoio does not offer.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// `shutdown(2)`; errors mean that the peer was faster and do not matter.
pub fn shutdown(fd: RawFd, both: bool) {
    let how = if both { libc::SHUT_RDWR } else { libc::SHUT_RD };
    // SAFETY: shutdown takes plain integers; callers own `fd` while they hold its watchdog slot.
    unsafe { libc::shutdown(fd, how) };
}

/// `poll(2)` that does not wait. Returns whether any descriptor has something to say.
pub fn poll_now(fds: &mut [libc::pollfd]) -> bool {
    // SAFETY: the pointer and length describe one live, exclusively borrowed slice.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 0) > 0 }
}

/// Whether a pooled connection can still be used: open, and nothing waiting to be read.
pub fn is_quiet(fd: RawFd) -> bool {
    let mut byte = 0u8;
    // SAFETY: one byte is written at most, into a live local.
    let n = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

/// Sends a few bytes if the kernel takes them without waiting; nobody is told when it does not.
pub fn send_now(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the pointer and length describe one live slice, which is only read.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set_int(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option value is a live c_int and its exact size is passed.
    check(unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), mem::size_of_val(&value) as u32)
    })
    .map(drop)
}

/// Keeps a descriptor blocking (io_uring waits in the kernel) or not (epoll).
pub fn set_nonblocking(fd: RawFd, nonblocking: bool) -> io::Result<()> {
    let flag: libc::c_int = nonblocking.into();
    // SAFETY: FIONBIO reads one c_int through the pointer.
    check(unsafe { libc::ioctl(fd, libc::FIONBIO, &raw const flag) }).map(drop)
}

/// A listening socket of one worker: SO_REUSEPORT, so that each worker has a queue of its own.
///
/// # Errors
/// What socket, bind or listen answered; the caller names the address.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let domain = if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: plain integers; the descriptor is owned by the listener made from it at once.
    let fd = check(unsafe { libc::socket(domain, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: `fd` was just opened and nothing else owns it.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    set_int(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_int(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    if address.is_ipv6() {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let (storage, length) = sockaddr(address);
    // SAFETY: `storage` holds a socket address of `length` bytes, and lives through the call.
    check(unsafe { libc::bind(fd, (&raw const storage).cast(), length) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::listen(fd, backlog) })?;
    Ok(listener)
}

/// A connection that already waits in the queue of a nonblocking listener, if there is one.
///
/// # Errors
/// Out of descriptors or memory, or not a listener any more. A connection that its client has given up
/// meanwhile is passed over.
pub fn accept_now(listener: RawFd, nonblocking: bool) -> io::Result<Option<TcpStream>> {
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    loop {
        // SAFETY: null address pointers ask for no address.
        let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        if fd >= 0 {
            // SAFETY: a descriptor that accept4 returned is open and owned by nobody else.
            return Ok(Some(unsafe { TcpStream::from_raw_fd(fd) }));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(None),
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
            _ => return Err(error),
        }
    }
}

/// The listening sockets among the descriptors that the service manager put at 3 and above.
///
/// # Panics
/// If called twice: the descriptors are owned by what the first call returned.
pub fn listening_from(first: RawFd, count: usize) -> Vec<TcpListener> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    assert!(!TAKEN.swap(true, Ordering::AcqRel), "inherited descriptors are taken once");
    let descriptors = first..first.saturating_add(RawFd::try_from(count).unwrap_or(0));
    descriptors
        .filter_map(|fd| {
            // SAFETY: plain integers; fails on a descriptor that is not open.
            check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
            // SAFETY: the service manager opened it for this process, and the assertion above keeps anyone
            // from owning it a second time.
            let socket = unsafe { TcpListener::from_raw_fd(fd) };
            (int(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).ok()? != 0).then_some(socket)
        })
        .collect()
}

fn int(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: value and length are live locals of the sizes that an integer option writes.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) })?;
    Ok(value)
}

/// Starts a connection without waiting for it.
///
/// # Errors
/// What the kernel says at once, for example that the network is unreachable.
pub fn start_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let domain = if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain integers; the descriptor is owned by the stream made from it at once.
    let fd = check(unsafe { libc::socket(domain, kind, 0) })?;
    // SAFETY: `fd` was just opened and nothing else owns it.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    stream.set_nodelay(true)?;
    let (storage, length) = sockaddr(address);
    // SAFETY: `storage` holds a socket address of `length` bytes, and lives through the call.
    match check(unsafe { libc::connect(stream.as_raw_fd(), (&raw const storage).cast(), length) }) {
        Ok(_) => Ok(stream),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(stream),
        Err(error) => Err(error),
    }
}

/// The error that a finished connect left on the socket, if any.
///
/// # Errors
/// That error.
pub fn take_error(fd: RawFd) -> io::Result<()> {
    match int(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The part of `struct tcp_info` (linux/tcp.h) that is told on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: u32,
    /// Smallest round-trip time in microseconds; zero where the kernel does not tell.
    pub min_rtt_us: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// Bytes that arrived.
    pub bytes_received: u64,
}

/// `TCP_INFO`; `None` if the socket is no TCP connection any more.
pub fn tcp_info(fd: RawFd) -> Option<TcpInfo> {
    // Offsets in linux/tcp.h, the same on every architecture; libc's structure ends before the last two.
    const SRTT: usize = 68;
    const RETRANSMITS: usize = 100;
    const BYTES_RECEIVED: usize = 128;
    const MIN_RTT: usize = 148;
    let mut bytes = [0u8; MIN_RTT + 4];
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: at most `length` bytes are written into the live local; an older kernel writes fewer.
    check(unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, bytes.as_mut_ptr().cast(), &raw mut length)
    })
    .ok()?;
    let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
    let min_rtt_us = word(MIN_RTT);
    Some(TcpInfo {
        srtt_us: word(SRTT),
        // All ones before the first sample.
        min_rtt_us: if min_rtt_us == u32::MAX { 0 } else { min_rtt_us },
        retransmits: word(RETRANSMITS),
        bytes_received: bytes[BYTES_RECEIVED..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word)),
    })
}

fn sockaddr(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: sockaddr_storage is plain data for which all zeroes is a valid value.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is larger than, and aligned for, every socket address.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
            mem::size_of_val(&raw)
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
            mem::size_of_val(&raw)
        }
    };
    (storage, length as libc::socklen_t)
}
