//! Capabilities: what this thread may do, and giving it up.
//!
//! The kernel keeps them per thread. A thread starts with those of the one that started it, so giving them up
//! before the second thread exists rids the whole process of them.

use std::io;

/// `CAP_NET_ADMIN`: attach to an interface or a cgroup.
pub const NET_ADMIN: u32 = 12;
/// `CAP_SYS_ADMIN`, which includes the other three.
pub const SYS_ADMIN: u32 = 21;
/// `CAP_PERFMON`: trace.
pub const PERFMON: u32 = 38;
/// `CAP_BPF`: load programs and create maps.
pub const BPF: u32 = 39;

/// What attaching needs and serving does not.
pub const DROPPED: [u32; 4] = [NET_ADMIN, SYS_ADMIN, PERFMON, BPF];

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 bits.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn get() -> io::Result<[Word; 2]> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut words = [Word::default(); 2];
    // SAFETY: both point to structures of the layout that version 3 has, two words long.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(words) }
}

fn set(words: &[Word; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: as above; the kernel only reads `words`.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const fn place(capability: u32) -> (usize, u32) {
    ((capability / 32) as usize, 1 << (capability % 32))
}

/// Whether the calling thread has `capability` in effect.
pub fn has(capability: u32) -> bool {
    let (word, bit) = place(capability);
    get().is_ok_and(|words| words[word].effective & bit != 0)
}

/// Whether the calling thread may do what `capability` allows; `CAP_SYS_ADMIN` allows all that is asked here.
pub(crate) fn may(capability: u32) -> bool {
    has(capability) || (capability != NET_ADMIN && has(SYS_ADMIN))
}

/// Gives up [`DROPPED`] for the calling thread and those that it starts from now on: effective, permitted,
/// inheritable, ambient, and where allowed the bounding set, so that no program which it executes gets them
/// back. Others, such as CAP_NET_BIND_SERVICE, stay. Says which it had.
///
/// # Errors
/// What `capset(2)` answered.
pub fn drop_capabilities() -> io::Result<Vec<u32>> {
    let mut words = get()?;
    let mut had = Vec::new();
    for capability in DROPPED {
        let (word, bit) = place(capability);
        // First, for it takes CAP_SETPCAP; without it the set stays as it is, and matters only to programs
        // with file capabilities.
        // SAFETY: takes integers.
        unsafe {
            libc::prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0, 0, 0);
        }
        let word = &mut words[word];
        if word.permitted & bit != 0 {
            had.push(capability);
        }
        word.effective &= !bit;
        word.permitted &= !bit;
        // Takes it out of the ambient set too.
        word.inheritable &= !bit;
    }
    set(&words)?;
    Ok(had)
}
