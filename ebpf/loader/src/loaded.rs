//! Pintle's programs in the kernel, whichever process they belong to: for operators, and for the case that a process
//! hangs and its programs must go. Needs CAP_SYS_ADMIN.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use aya::programs::{ProgramError, ProgramInfo, loaded_links, loaded_programs};
use serde::Serialize;

use crate::status::Unavailable;
use crate::sys;

/// One of Pintle's programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name, which the kernel cuts after 15 bytes.
    pub name: String,
    /// `steering`, `guard` or `telemetry`.
    pub feature: &'static str,
    /// The kernel's numbers of its attachments. Steering has none: it belongs to the listening sockets.
    pub links: Vec<u32>,
    /// How often it ran, while the kernel counted (`sysctl kernel.bpf_stats_enabled=1`).
    pub runs: u64,
    /// How long it ran altogether, while the kernel counted.
    pub run_time: Duration,
}

fn feature(name: &str) -> Option<&'static str> {
    let prefixes = [
        ("pintle_steer_", "steering"),
        ("pintle_guard_", "guard"),
        ("pintle_sock_ops", "telemetry"),
        ("pintle_retransm", "telemetry"),
    ];
    prefixes.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, feature)| *feature)
}

/// Those with a name of ours. One that vanishes while the list is made is left out.
fn programs() -> Result<Vec<(ProgramInfo, &'static str)>, Unavailable> {
    let mut ours = Vec::new();
    for program in loaded_programs() {
        match program {
            Ok(program) => {
                ours.extend(program.name_as_str().and_then(feature).map(|feature| (program, feature)))
            }
            Err(ProgramError::SyscallError(call)) if call.io_error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(Unavailable::because("programs cannot be listed", &error)),
        }
    }
    Ok(ours)
}

/// All of Pintle's programs.
///
/// # Errors
/// CAP_SYS_ADMIN is missing, or the kernel has no programs at all.
pub fn loaded() -> Result<Vec<Loaded>, Unavailable> {
    let links: Vec<(u32, u32)> =
        loaded_links().filter_map(Result::ok).map(|link| (link.program_id(), link.id())).collect();
    let of =
        |program: u32| links.iter().filter(|(owner, _)| *owner == program).map(|(_, link)| *link).collect();
    Ok(programs()?
        .into_iter()
        .map(|(program, feature)| Loaded {
            id: program.id(),
            name: program.name_as_str().unwrap_or_default().to_owned(),
            feature,
            links: of(program.id()),
            runs: program.run_count(),
            run_time: program.run_time(),
        })
        .collect())
}

/// Takes a program's attachment off, although the process that made it may live. That one notices nothing: its
/// descriptor stays, without effect.
///
/// # Errors
/// `ENOENT`: there is no such attachment any more. `EOPNOTSUPP`: this kind ends with its process only (tracing).
pub fn detach(link: u32) -> io::Result<()> {
    sys::detach_link(link)
}

/// Numbers of the maps of the running guards, one set for each guard.
pub(crate) fn guards() -> Result<BTreeSet<Vec<u32>>, Unavailable> {
    let mut sets = BTreeSet::new();
    for (program, feature) in programs()? {
        if feature == "guard"
            && let Ok(Some(mut maps)) = program.map_ids()
        {
            maps.sort_unstable();
            sets.insert(maps);
        }
    }
    Ok(sets)
}
