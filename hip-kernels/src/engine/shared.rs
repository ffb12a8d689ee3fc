//! What the owner's thread and those who ask both see.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::status::{Counters, Status};
use super::{Failure, Options};
use crate::hip::DeviceInfo;

/// How often who waits looks whether the thread is stuck.
const LOOK: Duration = Duration::from_millis(50);
/// What the thread may need beyond the watchdog to notice that it has run out.
const GRACE: Duration = Duration::from_millis(100);

/// How the device is.
#[derive(Debug, Clone)]
pub(super) enum Life {
    Alive,
    Resting(String),
    Stopped,
}

pub(super) struct Shared {
    info: DeviceInfo,
    options: Mutex<Options>,
    since: Instant,
    life: Mutex<Life>,
    changed: Condvar,
    /// When the thread counts as stuck unless it has said otherwise, and the limit that it has passed then.
    due: Mutex<Option<(Instant, Duration)>>,
    ids: AtomicU64,
    waiting: Arc<AtomicUsize>,
    pub(super) counters: Counters,
}

/// One more of something, until it is dropped.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is held under these locks can be left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(info: DeviceInfo, options: Options) -> Self {
        Self {
            counters: Counters::of(info.index),
            info,
            options: Mutex::new(options),
            since: Instant::now(),
            life: Mutex::new(Life::Alive),
            changed: Condvar::new(),
            due: Mutex::new(None),
            ids: AtomicU64::new(0),
            waiting: Arc::new(AtomicUsize::new(0)),
        }
    }

    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    pub(super) fn options(&self) -> Options {
        *lock(&self.options)
    }

    /// Sets the limits that can change while the engine runs.
    pub(super) fn follow(&self, options: Options) {
        let mut ours = lock(&self.options);
        *ours = Options { slots: ours.slots, ..options };
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the device can be asked.
    pub(super) fn alive(&self) -> Result<(), Failure> {
        match &*lock(&self.life) {
            Life::Alive => Ok(()),
            Life::Resting(why) => Err(Failure::Resting(why.clone())),
            Life::Stopped => Err(Failure::Stopped),
        }
    }

    pub(super) fn set_life(&self, life: Life) {
        *lock(&self.life) = life;
        self.changed.notify_all();
    }

    pub(super) fn wait_until_alive(&self, limit: Duration) -> bool {
        let dead = |life: &mut Life| matches!(life, Life::Resting(_));
        let waited = self.changed.wait_timeout_while(lock(&self.life), limit, dead);
        let (life, _) = waited.unwrap_or_else(PoisonError::into_inner);
        matches!(*life, Life::Alive)
    }

    /// A place in the queue.
    pub(super) fn admit(&self) -> Result<Counted, Failure> {
        let place = Counted(self.waiting.clone());
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= self.options().queue { Err(Failure::Overloaded(before)) } else { Ok(place) }
    }

    /// The owner's word that it will be back within so long and the grace that noticing takes; `None`: it waits for
    /// something to do.
    pub(super) fn back_within(&self, limit: Option<Duration>) {
        *lock(&self.due) = limit.map(|limit| (Instant::now() + limit + GRACE, limit));
    }

    /// Waits for an answer, or until the owner is stuck.
    pub(super) fn wait<T>(&self, answer: &Receiver<T>) -> Result<T, Failure> {
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Stopped),
                Err(RecvTimeoutError::Timeout) => self.look()?,
            }
        }
    }

    /// Finds out whether the owner is stuck, and declares the device dead if so: the owner cannot.
    fn look(&self) -> Result<(), Failure> {
        let passed = lock(&self.due).filter(|(due, _)| Instant::now() >= *due);
        let Some((_, limit)) = passed else { return Ok(()) };
        let mut life = lock(&self.life);
        if matches!(*life, Life::Alive) {
            *life = Life::Resting("a call of the HIP library does not return".to_owned());
            self.changed.notify_all();
        }
        Err(Failure::Hung(limit))
    }

    pub(super) fn status(&self) -> Status {
        let (counters, options) = (&self.counters, self.options());
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let texts = read(&counters.texts);
        Status {
            device: self.info.index,
            name: self.info.name.clone(),
            isa: self.info.isa.clone(),
            resting: self.alive().err().map_or(String::new(), |why| why.to_string()),
            models: counters.models.load(Ordering::Relaxed),
            memory_used: read(&counters.memory_used),
            memory_limit: options.memory_limit,
            waiting: self.waiting.load(Ordering::Relaxed),
            queue: options.queue,
            under_way: counters.under_way.load(Ordering::Relaxed),
            slots: options.slots,
            batches: read(&counters.batches),
            questions: read(&counters.questions),
            texts,
            tokens: read(&counters.tokens),
            texts_per_second: texts as f64 / self.since.elapsed().as_secs_f64().max(1e-3),
            failed: read(&counters.failed),
            deaths: read(&counters.deaths),
        }
    }
}
