//! The task that takes flows from the queue and writes them.

use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pintle_routing::units::UnixMillis;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::appender::Appender;
use super::packed::{self, Packer};
use super::{BATCH_BYTES, GATHER, Loss, MAX_DOCUMENT_BYTES, Pending, SYNC_EVERY, Shared};
use crate::exposition::names;

/// What the control thread asks of the writer.
pub(crate) enum Order {
    /// Write everything offered so far, then answer.
    Flush(oneshot::Sender<()>),
    /// Write everything offered so far, sync, close, and end.
    Stop,
}

pub(crate) struct Writer {
    shared: std::sync::Arc<Shared>,
    appender: Appender,
    clock: fn() -> UnixMillis,
    packer: Packer,
    /// Frames that are not written yet, and how many flows are among them.
    buffer: Vec<u8>,
    documents: u64,
    batch_bytes: usize,
    /// Losses already counted in the metrics.
    told: Loss,
    /// Losses that a notice in the journal tells of.
    noticed: u64,
    failing: bool,
}

impl Writer {
    pub(crate) fn new(
        shared: std::sync::Arc<Shared>,
        appender: Appender,
        segment_bytes: u64,
        clock: fn() -> UnixMillis,
    ) -> Writer {
        let batch_bytes = BATCH_BYTES.min(usize::try_from(segment_bytes).unwrap_or(usize::MAX));
        let buffer = Vec::with_capacity(batch_bytes);
        Writer {
            shared,
            appender,
            clock,
            packer: Packer::new(),
            buffer,
            documents: 0,
            batch_bytes,
            told: Loss::default(),
            noticed: 0,
            failing: false,
        }
    }

    /// Runs until told to stop, or until nobody is left who could.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut sync = tokio::time::interval_at(Instant::now() + SYNC_EVERY, SYNC_EVERY);
        sync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.publish_size();
        loop {
            tokio::select! {
                () = self.shared.wake.notified() => {
                    gather(&mut orders, GATHER, &mut self).await;
                    self.write_queued().await;
                }
                order = orders.recv() => match order {
                    Some(Order::Flush(done)) => self.flush(done).await,
                    Some(Order::Stop) | None => break,
                },
                _ = sync.tick() => self.sync().await,
            }
            if self.shared.stopping() {
                break;
            }
        }
        self.shared.close();
        self.write_queued().await;
        if let Err(error) = self.appender.close().await {
            tracing::error!(%error, "flow journal could not be closed cleanly");
        }
    }

    async fn flush(&mut self, done: oneshot::Sender<()>) {
        self.write_queued().await;
        // Whoever asked may have given up.
        let _ = done.send(());
    }

    /// Writes what the queue holds now; what is offered meanwhile wakes the task again.
    async fn write_queued(&mut self) {
        self.shared.rearm();
        for _ in 0..self.shared.capacity() {
            let Some(flow) = self.shared.take() else { break };
            self.place(flow).await;
        }
        self.append().await;
        self.tell_losses().await;
    }

    /// Packs a flow into the buffer. What does not fit into this write, or this segment, begins the next.
    async fn place(&mut self, mut flow: Pending) {
        for attempt in 0..3 {
            let before = self.buffer.len();
            if !pack(&mut flow, &mut self.packer, &mut self.buffer) {
                break;
            }
            if self.buffer.len() as u64 <= self.appender.room().min(self.batch_bytes as u64) {
                self.documents += 1;
                return;
            }
            self.buffer.truncate(before);
            self.packer.restart();
            match attempt {
                0 => drop(self.append().await),
                _ => self.close_segment().await,
            }
        }
        self.shared.lose_unwritable();
    }

    /// Whether the buffer is written.
    async fn append(&mut self) -> bool {
        if self.buffer.is_empty() {
            return true;
        }
        let length = self.buffer.len() as u64;
        let documents = std::mem::take(&mut self.documents);
        let frames = std::mem::take(&mut self.buffer);
        let (result, buffer) = self.appender.append(frames, (self.clock)()).await;
        self.buffer = buffer;
        let written = result.is_ok();
        match result {
            Ok(()) => {
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!("flow journal is written again");
                }
                metrics::counter!(names::JOURNAL_DOCUMENTS).increment(documents);
                metrics::counter!(names::JOURNAL_BYTES).increment(length);
            }
            Err(error) => {
                self.shared.lose_failed(documents);
                self.complain(&error);
                self.packer.restart();
            }
        }
        self.publish_size();
        written
    }

    /// Logs the first of a series of failures, not each of them.
    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, "flow journal cannot be written; flows are lost until it can");
        }
    }

    async fn tell_losses(&mut self) {
        let losses = self.shared.losses();
        if losses != self.told {
            losses.publish_since(&self.told);
            tracing::warn!(count = losses.total() - self.told.total(), "flow documents were lost");
            self.told = losses;
        }
        let count = losses.total() - self.noticed;
        if count == 0 || self.failing {
            return;
        }
        packed::lost((self.clock)(), count, &mut self.buffer);
        if self.buffer.len() as u64 > self.appender.room() {
            self.close_segment().await;
        }
        if self.append().await {
            self.noticed += count;
        }
    }

    async fn close_segment(&mut self) {
        self.packer.restart();
        if let Err(error) = self.appender.close_current().await {
            self.complain(&error);
        }
    }

    async fn sync(&mut self) {
        if let Err(error) = self.appender.sync().await {
            self.complain(&error);
        }
    }

    fn publish_size(&self) {
        metrics::gauge!(names::JOURNAL_DISK_BYTES).set(self.appender.bytes() as f64);
        metrics::gauge!(names::JOURNAL_SEGMENTS).set(self.appender.segments() as f64);
    }
}

/// Appends a flow; false if that is impossible. A defect in one flow must not end the journal.
fn pack(flow: &mut Pending, packer: &mut Packer, buffer: &mut Vec<u8>) -> bool {
    let before = buffer.len();
    let packed = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let policy = flow.decider.policy();
        flow.record.complete(policy);
        packer.flow(&flow.record, policy.legend(), MAX_DOCUMENT_BYTES, buffer)
    }));
    let packed = packed.is_ok_and(|packed| packed.is_ok());
    if !packed {
        buffer.truncate(before);
        packer.restart();
    }
    packed
}

/// Lets documents gather for a moment so that one write carries many, unless an order comes first.
async fn gather(orders: &mut mpsc::Receiver<Order>, time: Duration, writer: &mut Writer) {
    match tokio::time::timeout(time, orders.recv()).await {
        Ok(Some(Order::Flush(done))) => writer.flush(done).await,
        Ok(Some(Order::Stop) | None) => writer.shared.stop(),
        Err(_) => {}
    }
}
