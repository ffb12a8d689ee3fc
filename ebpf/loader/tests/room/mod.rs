//! A thread with its own network and mount namespace. Namespaces and capabilities belong to threads, so a test
//! leaves nothing behind, however it ends.

#![allow(dead_code, reason = "each test program uses a part")]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::Command;

/// Why tests that load programs cannot run here, if they cannot.
pub(crate) fn obstacle() -> Option<String> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return Some("not root".to_owned());
    }
    for (capability, name) in [
        (pintle_ebpf::caps::BPF, "CAP_BPF"),
        (pintle_ebpf::caps::NET_ADMIN, "CAP_NET_ADMIN"),
        (pintle_ebpf::caps::SYS_ADMIN, "CAP_SYS_ADMIN, for namespaces"),
    ] {
        if !pintle_ebpf::caps::has(capability) {
            return Some(format!("no {name}"));
        }
    }
    if let Err(error) = std::thread::spawn(private).join().expect("no panic") {
        return Some(format!("no private namespaces: {error}"));
    }
    match pintle_ebpf::steer::Program::load() {
        Ok(_) => None,
        Err(unavailable) => Some(format!("this kernel loads no programs: {unavailable}")),
    }
}

fn private() -> io::Result<()> {
    // SAFETY: takes flags; concerns the calling thread only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: constant strings.
    let made = unsafe {
        libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    };
    if made < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs `test` in namespaces of its own with a loopback interface, or says why not.
pub(crate) fn alone(test: impl FnOnce() + Send + 'static) {
    if let Some(why) = obstacle() {
        println!("SKIP: {why}");
        return;
    }
    let thread = std::thread::spawn(move || {
        private().expect("namespaces");
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip(8)` in this thread's namespace.
pub(crate) fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Runs a program in this thread's namespaces.
pub(crate) fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect(program);
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// This thread's number, by which `ip link set … netns` finds its namespace.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// A listener with `SO_REUSEPORT`.
pub(crate) fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    let socket = unsafe { TcpListener::from_raw_fd(fd) };
    let one: libc::c_int = 1;
    for option in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
        // SAFETY: the value lives through the call.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const one).cast(), 4) };
    }
    // SAFETY: zero is a valid address structure.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address.ip() {
        IpAddr::V4(ip) => {
            // SAFETY: the storage is large enough and aligned for every family.
            let to = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as u16;
            to.sin_port = address.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
            size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(ip) => {
            // SAFETY: as above.
            let to = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as u16;
            to.sin6_port = address.port().to_be();
            to.sin6_addr.s6_addr = ip.octets();
            size_of::<libc::sockaddr_in6>()
        }
    };
    // SAFETY: the storage holds an address of that length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), length as u32) };
    // SAFETY: takes integers.
    if bound < 0 || unsafe { libc::listen(socket.as_raw_fd(), 4096) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// `count` listeners on one address; port 0 means the same free port for all.
pub(crate) fn listeners(address: SocketAddr, count: usize) -> Vec<TcpListener> {
    let first = listener(address).expect("listener");
    let address = first.local_addr().expect("address");
    let mut all = vec![first];
    all.extend((1..count).map(|_| listener(address).expect("listener")));
    all
}
