//! Router-owned session memory.
//!
//! What the router knows of a session (which model served it, whether it is inside a tool loop, what its
//! prefix costs) lives in one file, mapped into memory and shared with nobody: bounded by configuration,
//! readable without locks, and as durable as the machine is. A process that dies at any instruction loses
//! no commit that it was told about and leaves nothing to repair before the next one may read.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap();
//! use pintle_sessions::{Options, Record, Store};
//!
//! let (store, report) = Store::open(dir.path(), &Options::with_capacity(1000), 0)?;
//! assert!(report.created);
//! let key = store.session_key(b"tenant", b"session-1");
//! let model = store.intern("small")?;
//! let outcome = store.commit(
//!     key,
//!     |before| {
//!         let before = before.copied().unwrap_or_default();
//!         Some(Record { model, turns: before.turns + 1, last_seen_ms: 1_000, ..before })
//!     },
//!     1_000,
//! );
//! assert!(outcome.is_remembered());
//! assert_eq!(store.get(key, 2_000).map(|record| record.turns), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - `store`: lookups, commits, response-id pins, statistics.
//! - `open`, `file`: the file, its header, its owner; what happens to one that cannot be used.
//! - `peers`: sharing the file with the process that takes over in an upgrade.
//! - `rebuild`: another capacity; compaction. `transfer`: export and import.
//! - `table`: the protocol on shared memory, generic over the word so that a model checker can run it.
//!
//! No clock is read here: every time comes in as `now_ms`.

mod error;
mod file;
mod names;
mod open;
mod peers;
mod rebuild;
mod record;
mod store;
mod table;
mod transfer;
mod word;

pub use error::{NameError, OpenError, TransferError};
pub use names::{MAX_NAME_BYTES, MAX_NAMES};
pub use open::{OpenReport, Options, SetAside, Verified};
pub use rebuild::Rebuilt;
pub use record::{NameId, Pin, Record, SessionKey};
pub use store::{Census, CommitOutcome, Stats, Store, TableStats};
pub use transfer::Imported;
