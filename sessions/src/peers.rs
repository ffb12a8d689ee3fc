//! Several processes at one session memory, for as long as an upgrade takes.
//!
//! One process owns the lock file. It may share the lock with the process that takes over from it, which
//! may share it in turn while the first still ends its requests: the lock is let go when the last of them
//! is gone. All of them follow the table's protocol on the same mapped words. What the protocol needs beyond
//! atomics is to know whether the holder of a bucket lives, since the lock of a dead one is inherited: each
//! opening that shares keeps a small file of its own locked, which the system unlocks when the process dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::OpenError;

const PREFIX: &str = "sessions.owner-";

/// Rounds that a bucket's lock is waited for before its holder is asked after. A living holder lets go long
/// before; asking costs three system calls.
const PATIENCE: u32 = 256;

/// The other openings of the same file that may be alive.
pub(crate) struct Peers {
    dir: PathBuf,
    owner: u32,
    /// Locked for as long as this opening lives; made when the memory is shared. Until then whoever else holds
    /// a bucket is dead.
    marker: OnceLock<File>,
}

impl Peers {
    /// The opening `owner` of the memory in `dir`, which it does not share yet.
    pub(crate) fn none(dir: &Path, owner: u32) -> Peers {
        Peers { dir: dir.to_owned(), owner, marker: OnceLock::new() }
    }

    /// The number under which this opening holds buckets.
    pub(crate) const fn owner(&self) -> u32 {
        self.owner
    }

    /// Tells others that this opening lives. From now on others may hold buckets and be alive.
    pub(crate) fn share(&self) -> io::Result<()> {
        if self.marker.get().is_none() {
            let path = marker(&self.dir, self.owner);
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.try_lock()?;
            // Another thread may have been faster; then its file is locked, which is as good.
            let _ = self.marker.set(file);
        }
        Ok(())
    }

    /// Whether the holder of a lock that was waited for in `round` rounds must be waited for longer.
    #[cold]
    pub(crate) fn lives(&self, holder: u32, round: u32) -> bool {
        self.marker.get().is_some()
            && (round % PATIENCE != PATIENCE - 1 || is_held(&marker(&self.dir, holder)))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if self.marker.get().is_some() {
            // One that stays behind is removed by the next process that opens the memory alone.
            let _ = fs::remove_file(marker(&self.dir, self.owner));
        }
    }
}

/// Removes what dead openings left. The caller holds the lock file, alone.
pub(crate) fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether `lock`, given by another process, is the lock file at `path`, and held.
pub(crate) fn check_shared(lock: &File, path: &Path) -> Result<(), OpenError> {
    let given = lock.metadata().map_err(OpenError::io("examine", path))?;
    let there = fs::metadata(path).map_err(OpenError::io("examine", path))?;
    if (given.dev(), given.ino()) != (there.dev(), there.ino()) {
        return Err(OpenError::NotShared { path: path.to_owned() });
    }
    // Taking a lock that this open file description holds already succeeds; one that another holds does not.
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", path)(error)),
    }
}

fn marker(dir: &Path, owner: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{owner:08x}"))
}

/// Whether a living process holds the marker. In doubt it does: waiting is bounded, and taking a bucket from a
/// living writer would not be safe.
fn is_held(marker: &Path) -> bool {
    match File::open(marker) {
        Ok(file) => !matches!(file.try_lock_shared(), Ok(())),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}
