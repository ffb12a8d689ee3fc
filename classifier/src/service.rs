//! The classifier as a service: questions from many threads, a few threads that answer.
//!
//! A question waits in a bounded queue; when a thread is free it takes what is there, up to
//! [`Options::batch`] questions, and reads all their texts in one call per model. Nothing waits for a batch to
//! fill: while a thread is busy, the next batch gathers by itself. An answer that would come after its deadline
//! is not computed, one whose asker has gone neither, and one that failed says so.
//!
//! Whoever asks does not wait: the answer is handed to a closure on a thread of the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use pintle_routing::learned::Learned;

use crate::signals::{Question, SignalPlan};

mod cache;
mod engine;
mod joint;
pub(crate) mod meters;
#[cfg(test)]
mod tests;
mod worker;

use cache::Cache;
use joint::Joint;

/// How the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that read texts.
    pub threads: usize,
    /// Questions that may wait, of each priority.
    pub queue: usize,
    /// Questions that are answered together.
    pub batch: usize,
    /// Bytes of answers that are remembered, all models together; 0 remembers nothing.
    pub cache_bytes: usize,
    /// Rest of a back end after it failed; doubles with each failure in a row up to a minute.
    pub retry_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            queue: 1024,
            batch: 32,
            cache_bytes: 64 << 20,
            retry_after: Duration::from_millis(500),
        }
    }
}

/// Which questions go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// A request waits for it.
    #[default]
    Request,
    /// Nobody waits: evaluations, dry runs.
    Background,
}

/// What becomes of the answer; called at most once, on a thread of the service.
pub type Reply = Box<dyn FnOnce(Learned) + Send>;

/// A question on its way.
pub(crate) struct Job {
    pub(crate) plan: Arc<SignalPlan>,
    pub(crate) question: Question,
    pub(crate) asked: Instant,
    pub(crate) deadline: Instant,
    pub(crate) gone: Arc<AtomicBool>,
    /// Where answers that come from elsewhere arrive; taken when the question is parked there.
    joint: Option<Arc<Joint>>,
    pub(crate) reply: Reply,
}

/// The asker's side of a question; dropping it says that nobody waits any more.
pub struct Asked {
    gone: Arc<AtomicBool>,
    joint: Arc<Joint>,
    counters: Arc<Counters>,
}

/// What there is of an answer when its asker's time is up.
#[derive(Debug, Clone, PartialEq)]
pub enum Settled {
    /// What is known; the rest was asked elsewhere and is late. `reply` will not be called.
    Known(Box<Learned>),
    /// `reply` is being called at this moment.
    Coming,
    /// The texts have not been read here. `reply` may still be called.
    Unread,
}

impl Asked {
    /// Ends the wait for answers from elsewhere: an external model that is late costs no more than its own signals.
    pub fn settle(&self) -> Settled {
        match self.joint.settle() {
            joint::Settled::Parked(open) => Settled::Known(Box::new(open.learned(&self.counters))),
            joint::Settled::Coming => Settled::Coming,
            joint::Settled::Unread => Settled::Unread,
        }
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("gone", &self.gone).finish_non_exhaustive()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Too many questions wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the classifier's queue is full")]
pub struct Overloaded;

/// A running service. Dropping the last handle ends its threads after what they are at.
pub struct Classifier {
    requests: Option<Sender<Job>>,
    background: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
    options: Options,
}

/// What the service has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) asked: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// For status reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ServiceStatus {
    /// Threads that read texts.
    pub threads: usize,
    /// Questions that wait now.
    pub waiting: usize,
    /// Questions that may wait.
    pub queue: usize,
    /// Questions asked.
    pub asked: u64,
    /// Answered.
    pub answered: u64,
    /// Not answered, because the deadline had passed.
    pub late: u64,
    /// Not answered, because nobody waited any more.
    pub abandoned: u64,
    /// Not taken, because too many waited.
    pub refused: u64,
}

/// Both queues, as a thread reads them.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) requests: Receiver<Job>,
    pub(crate) background: Receiver<Job>,
}

impl Classifier {
    /// Starts the threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(options: Options) -> std::io::Result<Self> {
        let (requests, requests_out) = crossbeam_channel::bounded(options.queue.max(1));
        let (background, background_out) = crossbeam_channel::bounded(options.queue.max(1));
        let queues = Queues { requests: requests_out, background: background_out };
        let cache = Arc::new(Cache::new(options.cache_bytes));
        let counters = Arc::new(Counters::default());
        meters::describe();
        let threads = (0..options.threads.max(1))
            .map(|nth| {
                let (queues, cache, counters) = (queues.clone(), cache.clone(), counters.clone());
                std::thread::Builder::new()
                    .name(format!("pintle-reader-{nth}"))
                    .spawn(move || worker::run(&queues, &cache, &counters, &options))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { requests: Some(requests), background: Some(background), threads, counters, options })
    }

    /// Asks without waiting. `reply` is called once unless the question is refused here, or the asker drops the
    /// returned value or settles with what is known before the answer is made.
    ///
    /// # Errors
    /// When too many questions wait; `reply` is dropped uncalled.
    pub fn ask(
        &self,
        plan: Arc<SignalPlan>,
        question: Question,
        deadline: Instant,
        priority: Priority,
        reply: Reply,
    ) -> Result<Asked, Overloaded> {
        let gone = Arc::new(AtomicBool::new(false));
        let joint = Arc::<Joint>::default();
        let (asked, joint_of_job) = (Instant::now(), Some(joint.clone()));
        let job = Job { plan, question, asked, deadline, gone: gone.clone(), joint: joint_of_job, reply };
        let queue = match priority {
            Priority::Request => &self.requests,
            Priority::Background => &self.background,
        };
        self.counters.asked.fetch_add(1, Ordering::Relaxed);
        if queue.as_ref().is_some_and(|queue| queue.try_send(job).is_ok()) {
            return Ok(Asked { gone, joint, counters: self.counters.clone() });
        }
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        meters::refused();
        Err(Overloaded)
    }

    /// Asks and waits; for commands and tests, not for threads that move bytes.
    pub fn ask_and_wait(&self, plan: Arc<SignalPlan>, question: Question, limit: Duration) -> Learned {
        use pintle_routing::evidence::Unknown;
        let (send, receive) = crossbeam_channel::bounded(1);
        let reply = Box::new(move |learned| drop(send.send(learned)));
        let deadline = Instant::now() + limit;
        match self.ask(plan, question, deadline, Priority::Background, reply) {
            Err(Overloaded) => Learned::missing(Unknown::Overloaded),
            Ok(asked) => receive.recv_timeout(limit).unwrap_or_else(|_| match asked.settle() {
                Settled::Known(learned) => *learned,
                Settled::Coming => {
                    receive.recv_timeout(limit).unwrap_or_else(|_| Learned::missing(Unknown::Deadline))
                }
                Settled::Unread => Learned::missing(Unknown::Deadline),
            }),
        }
    }

    /// What it has done and what waits.
    pub fn status(&self) -> ServiceStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let waiting = |queue: &Option<Sender<Job>>| queue.as_ref().map_or(0, Sender::len);
        ServiceStatus {
            threads: self.threads.len(),
            waiting: waiting(&self.requests) + waiting(&self.background),
            queue: self.options.queue,
            asked: read(&self.counters.asked),
            answered: read(&self.counters.answered),
            late: read(&self.counters.late),
            abandoned: read(&self.counters.abandoned),
            refused: read(&self.counters.refused),
        }
    }
}

impl Drop for Classifier {
    fn drop(&mut self) {
        self.requests = None;
        self.background = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier").field("options", &self.options).finish_non_exhaustive()
    }
}
