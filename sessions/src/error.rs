//! What can go wrong outside a lookup or a commit.

use std::io;
use std::path::{Path, PathBuf};

/// Why the session memory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process owns the files.
    #[error("{path} is in use by another process: one process at a time may own a session memory")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock that another process gave is not that of this session memory.
    #[error("{path} is not the lock that was handed over")]
    NotShared {
        /// The lock file.
        path: PathBuf,
    },
    /// There is nothing at the place of a session memory that is in use, or nothing this build can share.
    #[error("{path} cannot be shared with the process that uses it: {reason}")]
    Unshareable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file cannot be given its full size now, so that it could fail later in the middle of a commit.
    #[error(
        "no room for the session memory at {path}: {bytes} bytes are needed; lower the capacity or free space"
    )]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Its full size.
        bytes: u64,
    },
    /// A capacity outside [`Options::CAPACITY`](crate::Options::CAPACITY).
    #[error("a capacity of {0} is not within 1 to {max}", max = crate::Options::CAPACITY.end())]
    Capacity(u64),
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io { action, path, source }
    }
}

/// Why a name was not interned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Longer than [`MAX_NAME_BYTES`](crate::MAX_NAME_BYTES).
    #[error("a name of {0} bytes is longer than the {max} that session memory keeps", max = crate::MAX_NAME_BYTES)]
    TooLong(usize),
    /// [`MAX_NAMES`](crate::MAX_NAMES) different names have been seen; compacting drops unused ones.
    #[error("session memory knows {max} names already; compact it to drop unused ones", max = crate::MAX_NAMES)]
    TooMany,
}

/// Why an export or an import stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The reader or writer failed.
    #[error("line {line}: {source}")]
    Io {
        /// Lines read or written so far, plus one.
        line: u64,
        /// What it said.
        source: io::Error,
    },
    /// A line is not what an export writes.
    #[error("line {line}: {source}")]
    Line {
        /// Counted from one.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The first line does not introduce an export of a known version.
    #[error("line 1 is not the head of a session export of version 1")]
    Head,
    /// The keys in the export were made under another hash key, and the store is not empty.
    #[error("the export's keys were hashed under another key; import it into an empty session memory")]
    HashKey,
    /// The file could not be rebuilt with the export's hash key.
    #[error(transparent)]
    Rebuild(OpenError),
    /// A name could not be interned.
    #[error("line {line}: {source}")]
    Name {
        /// Counted from one.
        line: u64,
        /// Why not.
        source: NameError,
    },
}
