//! Shared memory of maps, and the few `bpf(2)` commands that aya does not offer.

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

const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Takes an attachment off by its number.
pub(crate) fn detach_link(id: u32) -> io::Result<()> {
    // Both commands read one word, and demand zero of the words behind it.
    let call = |command: libc::c_long, word: u32| {
        let attr = [word, 0, 0, 0];
        // SAFETY: the attribute lives through the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(&attr)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    };
    let fd = call(BPF_LINK_GET_FD_BY_ID, id)?;
    // SAFETY: just made, owned by nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    call(BPF_LINK_DETACH, link.as_raw_fd() as u32).map(drop)
}
