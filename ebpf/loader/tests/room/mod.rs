//! A thread with its own network and mount namespace. Namespaces and capabilities belong to threads, so a test
//! leaves nothing behind, however it ends.

#![allow(dead_code, unused_imports, reason = "each test program uses a part")]

pub(crate) mod frames;
mod group;

pub(crate) use group::Group;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
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
    let (storage, length) = raw(address);
    // SAFETY: the storage holds an address of that length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), length) };
    // SAFETY: takes integers.
    if bound < 0 || unsafe { libc::listen(socket.as_raw_fd(), 4096) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn raw(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
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
    (storage, length as libc::socklen_t)
}

/// `count` listeners on one address; port 0 means the same free port for all.
pub(crate) fn listeners(address: SocketAddr, count: usize) -> Vec<TcpListener> {
    let first = listener(address).expect("listener");
    let address = first.local_addr().expect("address");
    let mut all = vec![first];
    all.extend((1..count).map(|_| listener(address).expect("listener")));
    all
}

/// The kernel counts runs of programs while this is open.
pub(crate) fn statistics() -> OwnedFd {
    const BPF_ENABLE_STATS: libc::c_long = 32;
    let run_time = [0_u32; 1];
    // SAFETY: the attribute lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_ENABLE_STATS, run_time.as_ptr(), 4) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: just made, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// A second machine: a thread whose network namespace is joined to the test's by `near0` here and `far0` there.
pub(crate) struct Far {
    work: Option<std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// This side's addresses.
pub(crate) const NEAR: [&str; 2] = ["10.99.0.1", "fd99::1"];
/// The far side's addresses.
pub(crate) const FAR: [&str; 6] =
    ["10.99.0.2", "10.99.0.3", "10.99.9.4", "fd99::2", "fd99::3", "fd99:0:0:9::4"];

impl Far {
    /// Must be called in a namespace of the test's own.
    pub(crate) fn make() -> Self {
        let (work, orders) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            private().expect("namespaces");
            ready.send(thread_id()).expect("the test waits");
            for order in orders {
                order();
            }
        });
        let id = is_ready.recv().expect("the far side starts");
        ip(&format!("link add near0 type veth peer name far0 netns {id}"));
        ip("address add 10.99.0.1/16 dev near0");
        ip("address add fd99::1/48 dev near0 nodad");
        ip("link set near0 up");
        let far = Self { work: Some(work), thread: Some(thread) };
        far.run(|| {
            ip("link set lo up");
            for address in FAR {
                if address.contains(':') {
                    ip(&format!("address add {address}/48 dev far0 nodad"));
                } else {
                    ip(&format!("address add {address}/16 dev far0"));
                }
            }
            ip("link set far0 up");
        });
        far
    }

    /// Runs `order` over there, and waits for its answer.
    pub(crate) fn run<T: Send + 'static>(&self, order: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = std::sync::mpsc::channel();
        let order = Box::new(move || {
            let _ = answer.send(order());
        });
        self.work.as_ref().expect("not dropped").send(order).expect("the far side lives");
        answered.recv().expect("the far side did not fail")
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Connects from a chosen address, within `wait`.
pub(crate) fn connect_from(
    from: IpAddr,
    to: SocketAddr,
    wait: std::time::Duration,
) -> io::Result<std::net::TcpStream> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    let stream = unsafe { std::net::TcpStream::from_raw_fd(fd) };
    // How long connect(2) waits is the time-out of sending.
    stream.set_write_timeout(Some(wait))?;
    for (call, address) in [("bind", SocketAddr::new(from, 0)), ("connect", to)] {
        let (storage, length) = raw(address);
        // SAFETY: the storage holds an address of that length.
        let result = unsafe {
            if call == "bind" {
                libc::bind(fd, (&raw const storage).cast(), length)
            } else {
                libc::connect(fd, (&raw const storage).cast(), length)
            }
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(stream)
}
