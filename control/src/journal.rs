//! The flow journal: a record of each request, in a bounded set of segment files.
//!
//! Workers hand records over with [`JournalHandle::offer`], which never waits: a full queue loses the
//! record, and the loss is counted, exported and noted in the journal itself. The control thread
//! gathers records for a few milliseconds, writes them in one append, and starts a new segment when
//! one is full; the oldest segment goes when all together would exceed their bound. Readers make documents of
//! records.
//!
//! What survives: a record is in the page cache once it is written, so it outlives the process, however that
//! ends. Data is forced to the device every [`SYNC_EVERY`] while there is something to force, when a
//! segment is closed, and at shutdown; a power failure can therefore cost the last seconds. A last record
//! that was cut short is removed when the journal is opened again, and ignored by readers until then.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use pintle_routing::flow::FlowRecord;
use pintle_routing::policy::HasPolicy;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::exposition::names;

mod appender;
mod file;
mod packed;
mod reader;
mod segments;
mod writer;

pub(crate) use appender::Appender;
pub use file::Backend;
pub use reader::{
    Damage, Entry, Filter, FlowSummary, MAX_LISTED, ReadError, find, for_each, for_each_in, list, tail,
};
pub(crate) use writer::{Order, Writer};

/// Largest record that is kept, in bytes; and largest document in segments of earlier versions.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Most bytes that one write carries.
pub const BATCH_BYTES: usize = 1024 * 1024;

/// Smallest segment size that is accepted.
pub const MIN_SEGMENT_BYTES: u64 = 4096;

/// How long documents gather before they are written.
pub const GATHER: Duration = Duration::from_millis(20);

/// How often written data is forced to the device.
pub const SYNC_EVERY: Duration = Duration::from_secs(5);

/// Where the journal is and how large it may become (`global.pintle.journal`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOptions {
    /// Directory of the segment files; created if missing.
    pub dir: PathBuf,
    /// Bytes that all segments together may use; at least twice `segment_bytes`.
    pub max_bytes: u64,
    /// Bytes after which a new segment is started; at least [`MIN_SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// Documents that may wait to be written; at least 1.
    pub queue: usize,
}

/// What was found when the journal was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenReport {
    /// How it will be written.
    pub backend: Backend,
    /// Segment files.
    pub segments: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// Bytes of an unfinished last record that were removed.
    pub torn_bytes: u64,
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Sizes that cannot work together.
    #[error(
        "journal.segment_bytes ({segment_bytes}) must be at least {MIN_SEGMENT_BYTES} and journal.max_bytes \
         ({max_bytes}) at least twice that"
    )]
    Bounds {
        /// As configured.
        segment_bytes: u64,
        /// As configured.
        max_bytes: u64,
    },
    /// Another process writes there.
    #[error("another process writes the flow journal in {dir}")]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// A file or directory cannot be used.
    #[error("cannot open the flow journal: {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A flow was not taken: the queue is full, or the journal has been closed. The loss is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the flow journal's queue is full")]
pub struct Full;

/// A flow that is over, and whose policy decided.
struct Pending {
    record: Box<FlowRecord>,
    decider: Arc<dyn HasPolicy>,
}

/// A producer's end of the journal; clones share one queue.
#[derive(Clone)]
pub struct JournalHandle {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

impl std::fmt::Debug for JournalHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalHandle").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

impl JournalHandle {
    /// Hands a flow over for writing, with the policy that decided. Never waits; wakes the control thread at most once
    /// per batch.
    ///
    /// # Errors
    /// [`Full`] if [`JournalOptions::queue`] flows wait already, or after shutdown.
    pub fn offer(&self, record: Box<FlowRecord>, decider: Arc<dyn HasPolicy>) -> Result<(), Full> {
        self.shared.offer(Pending { record, decider })
    }

    /// Returns when everything offered before is in the file (though perhaps not yet on the device), or
    /// when the journal has been closed.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).await.is_ok() {
            // An error means that the writer ended, which writes everything first.
            let _ = flushed.await;
        }
    }

    /// Documents waiting to be written.
    pub fn queued(&self) -> usize {
        self.shared.queue.len()
    }

    /// Documents lost since start, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.shared.losses().total()
    }

    pub(crate) fn new(capacity: usize) -> (JournalHandle, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(PENDING_ORDERS);
        (JournalHandle { shared: Arc::new(Shared::new(capacity)), orders }, receiver)
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Asks the writer to finish.
    pub(crate) async fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.orders.send(Order::Stop).await;
    }
}

/// Flush requests that may wait for the writer.
const PENDING_ORDERS: usize = 64;

pub(crate) struct Shared {
    queue: ArrayQueue<Pending>,
    wake: Notify,
    /// Set by the first producer after a drain, who also wakes the writer; the others need not.
    signalled: AtomicBool,
    closed: AtomicBool,
    stop: AtomicBool,
    lost_full: AtomicU64,
    lost_unwritable: AtomicU64,
    lost_failed: AtomicU64,
}

/// Counts of lost documents by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    full: u64,
    unwritable: u64,
    failed: u64,
}

impl Loss {
    pub(crate) const fn total(&self) -> u64 {
        self.full + self.unwritable + self.failed
    }

    pub(crate) fn publish_since(&self, told: &Loss) {
        let publish = |reason: &'static str, count: u64| {
            metrics::counter!(names::JOURNAL_DROPPED, "reason" => reason).increment(count);
        };
        publish("queue_full", self.full - told.full);
        publish("unwritable", self.unwritable - told.unwritable);
        publish("write_failed", self.failed - told.failed);
    }
}

impl Shared {
    fn new(capacity: usize) -> Shared {
        Shared {
            queue: ArrayQueue::new(capacity.max(1)),
            wake: Notify::new(),
            signalled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lost_full: AtomicU64::new(0),
            lost_unwritable: AtomicU64::new(0),
            lost_failed: AtomicU64::new(0),
        }
    }

    fn offer(&self, flow: Pending) -> Result<(), Full> {
        if self.closed.load(Ordering::Acquire) || self.queue.push(flow).is_err() {
            self.lost_full.fetch_add(1, Ordering::Relaxed);
            return Err(Full);
        }
        // The swap orders the push before the flag, as `rearm` orders the flag before taking: either the
        // writer sees this document, or this producer sees the flag down and wakes it.
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn rearm(&self) {
        self.signalled.swap(false, Ordering::AcqRel);
    }

    fn take(&self) -> Option<Pending> {
        self.queue.pop()
    }

    fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn lose_unwritable(&self) {
        self.lost_unwritable.fetch_add(1, Ordering::Relaxed);
    }

    fn lose_failed(&self, count: u64) {
        self.lost_failed.fetch_add(count, Ordering::Relaxed);
    }

    fn losses(&self) -> Loss {
        Loss {
            full: self.lost_full.load(Ordering::Relaxed),
            unwritable: self.lost_unwritable.load(Ordering::Relaxed),
            failed: self.lost_failed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
