//! Calls that wait for an endpoint, on threads that are started as they are needed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use pintle_routing::evidence::Unknown;

use super::Desk;
use crate::reader::{TextReading, Wanted};

/// One text to be read.
pub(crate) struct Call {
    pub(crate) text: String,
    pub(crate) wanted: Wanted,
    pub(crate) until: Instant,
    /// Raised by those who wait, when they wait no more.
    pub(crate) gone: Vec<Arc<AtomicBool>>,
    pub(crate) reply: Box<dyn FnOnce(Result<TextReading, Unknown>) + Send>,
}

/// A bounded queue, and at most so many threads as there may be calls at once. They end when this is dropped, after
/// what they are at.
pub(super) struct Calls {
    desk: Arc<Desk>,
    queue: Sender<Call>,
    waiting: Receiver<Call>,
    open: Arc<AtomicUsize>,
    threads: Mutex<usize>,
    most: usize,
}

impl Calls {
    pub(super) fn new(desk: Arc<Desk>, most: usize, queue: usize) -> Self {
        let (queue, waiting) = crossbeam_channel::bounded(queue.max(1));
        Self { desk, queue, waiting, open: Arc::default(), threads: Mutex::new(0), most: most.max(1) }
    }

    /// Calls that wait or are under way.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn put(&self, call: Call) -> Result<(), Unknown> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if self.threads(open) && self.queue.try_send(call).is_ok() {
            return Ok(());
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        Err(Unknown::Overloaded)
    }

    /// Sees to it that there are threads for so many calls, as far as allowed; false without any.
    fn threads(&self, wanted: usize) -> bool {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if *threads < wanted.min(self.most) {
            let (desk, waiting, open) = (self.desk.clone(), self.waiting.clone(), self.open.clone());
            let started = std::thread::Builder::new()
                .name(format!("pintle-asks-{threads}"))
                .spawn(move || run(&desk, &waiting, &open));
            match started {
                Ok(_) => *threads += 1,
                Err(error) => tracing::error!(%error, "no thread for a call to an external model"),
            }
        }
        *threads > 0
    }
}

fn run(desk: &Desk, waiting: &Receiver<Call>, open: &AtomicUsize) {
    while let Ok(call) = waiting.recv() {
        let Call { text, wanted, until, gone, reply } = call;
        let answer = if gone.iter().all(|gone| gone.load(Ordering::Relaxed)) {
            Err(Unknown::Deadline)
        } else {
            // A defect here must not leave the thread, and with it the queue, behind.
            catch_unwind(AssertUnwindSafe(|| desk.read(&text, wanted, until)))
                .unwrap_or(Err(Unknown::ClassifierFailed))
        };
        open.fetch_sub(1, Ordering::Relaxed);
        reply(answer);
    }
}
