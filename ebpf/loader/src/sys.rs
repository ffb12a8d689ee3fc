//! Shared memory of maps, and the few `bpf(2)` commands that aya does not offer.

use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;

/// The kernel's `union bpf_attr` for commands on map elements.
#[repr(C)]
struct Element {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn element(command: libc::c_long, map: BorrowedFd<'_>, key: u32, value: Option<u32>) -> io::Result<()> {
    let attr = Element {
        map: map.as_raw_fd() as u32,
        reserved: 0,
        key: (&raw const key) as u64,
        // The kernel demands zero where a command takes no value.
        value: value.as_ref().map_or(0, |value| std::ptr::from_ref(value) as u64),
        flags: 0,
    };
    // SAFETY: the attribute and what it points to live until the call returns, and the map's keys and values
    // are words of 32 bits, as the callers below promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<Element>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts a socket into an array of sockets.
pub(crate) fn put_socket(array: BorrowedFd<'_>, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    element(BPF_MAP_UPDATE_ELEM, array, index, Some(socket.as_raw_fd() as u32))
}

/// Takes a socket out of an array of sockets. One that is not there is no error.
pub(crate) fn take_socket(array: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    match element(BPF_MAP_DELETE_ELEM, array, index, None) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// An array map as memory that the kernel's programs and other processes see too.
#[derive(Debug)]
pub(crate) struct Mapping<T> {
    at: NonNull<T>,
    count: usize,
    bytes: usize,
    values: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel anyway; the methods below give out raw pointers only, and
// whoever uses them does so atomically.
unsafe impl<T> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapping<T> {}

impl<T> Mapping<T> {
    /// Maps the first `count` values of `map`, whose values are `T` and which is mappable.
    pub(crate) fn of(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let bytes = count * size_of::<T>().next_multiple_of(8);
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, count, bytes, values: PhantomData })
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// Beyond the end.
    pub(crate) fn get(&self, index: usize) -> *mut T {
        assert!(index < self.count, "{index} is beyond the map's {} values", self.count);
        let stride = size_of::<T>().next_multiple_of(8);
        // SAFETY: inside the mapping, by the assertion.
        unsafe { self.at.as_ptr().byte_add(index * stride) }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of` made; nobody holds a pointer beyond the owner's life.
        unsafe {
            libc::munmap(self.at.as_ptr().cast(), self.bytes);
        }
    }
}

/// Nanoseconds since boot, sleep included: what rules expire by.
pub(crate) fn boot_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time lives through the call; the clock exists on every kernel that loads programs.
    unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Where a program is attached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// In an interface's driver, or right behind it.
    Xdp(u32),
    /// Behind the driver of an interface, before other programs there.
    Tcx(u32),
    /// At the sockets of a control group, beside other programs there.
    Sockets(BorrowedFd<'a>),
    /// Where the program says itself.
    Tracing,
}

/// Attaches a program until the descriptor, and all copies of it, are closed. Attachments that outlive their
/// process are not made; a kernel that has no others refuses.
pub(crate) fn attach(program: BorrowedFd<'_>, place: Place<'_>) -> io::Result<OwnedFd> {
    // `enum bpf_attach_type` of linux/bpf.h.
    const CGROUP_SOCK_OPS: u32 = 3;
    const XDP: u32 = 37;
    const TCX_INGRESS: u32 = 46;
    const BPF_F_BEFORE: u32 = 1 << 3;
    let program = program.as_raw_fd() as u32;
    let (command, attr) = match place {
        // The name of the tracepoint, of 64 bits, is none; then the program.
        Place::Tracing => (BPF_RAW_TRACEPOINT_OPEN, [0, 0, program, 0, 0, 0, 0, 0]),
        Place::Xdp(interface) => (BPF_LINK_CREATE, [program, interface, XDP, 0, 0, 0, 0, 0]),
        Place::Tcx(interface) => {
            (BPF_LINK_CREATE, [program, interface, TCX_INGRESS, BPF_F_BEFORE, 0, 0, 0, 0])
        }
        Place::Sockets(group) => {
            (BPF_LINK_CREATE, [program, group.as_raw_fd() as u32, CGROUP_SOCK_OPS, 0, 0, 0, 0, 0])
        }
    };
    command_fd(command, &attr)
}

/// A command of words that answers with a descriptor.
fn command_fd<const WORDS: usize>(command: libc::c_long, attr: &[u32; WORDS]) -> io::Result<OwnedFd> {
    let fd = self::command(command, attr)?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn command<const WORDS: usize>(command: libc::c_long, attr: &[u32; WORDS]) -> io::Result<libc::c_long> {
    // The kernel reads words of 64 bits.
    #[repr(C, align(8))]
    struct Aligned<const WORDS: usize>([u32; WORDS]);
    let attr = Aligned(*attr);
    // SAFETY: the attribute lives through the call, and commands with pointers in it are not among the callers'.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of_val(&attr)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The kernel's number of an interface in this network namespace.
pub(crate) fn interface(name: &CStr) -> io::Result<u32> {
    // SAFETY: the name ends with a zero.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Takes an attachment off by its number.
pub(crate) fn detach_link(id: u32) -> io::Result<()> {
    // The kernel demands zero of the words behind the first.
    let link = command_fd(BPF_LINK_GET_FD_BY_ID, &[id, 0, 0, 0])?;
    command(BPF_LINK_DETACH, &[link.as_raw_fd() as u32, 0, 0, 0]).map(drop)
}
