//! The batch engine: one thread owns a GPU, everybody else asks it.
//!
//! A question waits in a bounded queue. Whenever a slot is free, the thread takes the one that has waited longest and
//! all others that may share a batch with it, packs them and queues their way through the device; while one batch
//! computes, the next is packed in another slot. Nothing waits for a batch to fill unless [`Options::wait`] says so:
//! while all slots are busy, the next batch gathers by itself.
//!
//! # When the device fails
//!
//! A batch that the device refuses fails alone. A device fault, a batch that does not end within
//! [`Options::watchdog`], or a call of the library that does not return makes the device dead: every question under
//! way and waiting fails at once, and so does every further one, with an error upon which another back end may answer.
//! The thread drops everything, resets the device and loads all models anew after a rest, which doubles with each
//! failure in a row. Who asks never depends on the thread's getting out of a call: it looks at the clock itself.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::{Error, Unavailable};
use crate::hip::Hip;
use crate::program::{Program, Size};

mod flight;
mod owner;
mod resident;
mod shared;
mod status;
#[cfg(test)]
mod tests;

use flight::{Order, Question, Registered};
use owner::Owner;
use shared::Shared;
pub use status::{Status, describe};

/// How an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of device memory that may be taken, all models together.
    pub memory_limit: u64,
    /// Batches under way, 1 to [`MAX_SLOTS`]. Each takes working memory for the largest batch of every model.
    pub slots: usize,
    /// Questions that may wait.
    pub queue: usize,
    /// How long a batch that is not full may wait for more.
    pub wait: Duration,
    /// How long a batch may take before the device counts as dead.
    pub watchdog: Duration,
    /// The same for loading a model.
    pub load_limit: Duration,
    /// Rest of a device after it died; doubles with each death in a row up to a minute.
    pub retry_after: Duration,
}

/// Most batches under way.
pub const MAX_SLOTS: usize = 4;

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_limit: 4 << 30,
            slots: 2,
            queue: 256,
            wait: Duration::ZERO,
            watchdog: Duration::from_secs(2),
            load_limit: Duration::from_secs(60),
            retry_after: Duration::from_millis(500),
        }
    }
}

/// Why there is no answer. In every case another back end may be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// As many questions wait as may.
    #[error("{0} questions wait for the GPU already")]
    Overloaded(usize),
    /// The question is larger than any batch.
    #[error("{} texts of {} tokens; a batch holds {} of {}", .asked.sequences, .asked.tokens, .room.sequences, .room.tokens)]
    TooLarge {
        /// What was asked.
        asked: Size,
        /// What a batch holds.
        room: Size,
    },
    /// The device is dead and rests.
    #[error("the GPU rests after it failed: {0}")]
    Resting(String),
    /// The device or its library did not come back in time.
    #[error("the GPU did not answer within {} ms", .0.as_millis())]
    Hung(Duration),
    /// The device refused or failed.
    #[error("the GPU failed: {0}")]
    Failed(#[from] Error),
    /// A panic, which is a defect in the model's program.
    #[error("a program for the GPU panicked")]
    Panicked,
    /// The engine has ended.
    #[error("the GPU is given up")]
    Stopped,
}

/// Why an engine could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no such device.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The device is there and cannot be used.
    #[error(transparent)]
    Device(#[from] Failure),
    /// The system gives no thread.
    #[error("no thread for the GPU: {0}")]
    Thread(#[from] std::io::Error),
}

/// A GPU and the thread that owns it. Cheap to clone; the last clone to be dropped, [`Loaded`] models included, ends the
/// thread and gives the device back.
pub struct Engine<P: Program>(Arc<Core<P>>);

impl<P: Program> Clone for Engine<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Core<P: Program> {
    shared: Arc<Shared>,
    questions: Sender<Question<P>>,
    orders: Sender<Order<P>>,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

/// A model on an engine's device. Dropping it takes it off.
pub struct Loaded<P: Program> {
    engine: Engine<P>,
    id: u64,
    room: Size,
}

/// A question under way. Dropping it does not take it back.
#[must_use]
pub struct Pending<P: Program> {
    shared: Arc<Shared>,
    answer: Receiver<Result<P::Answer, Failure>>,
}

impl<P: Program> Engine<P> {
    /// Starts the thread, which opens device number `device` and loads the kernels.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Nothing is retried.
    pub fn start(hip: &Hip, device: u32, options: Options) -> Result<Self, StartError> {
        let info = hip.describe(device)?;
        let options = Options { slots: options.slots.clamp(1, MAX_SLOTS), ..options };
        let shared = Arc::new(Shared::new(info, options));
        // Both are bounded: questions by `Shared::admit`, orders by who waits for their answers.
        let (questions, questions_out) = unbounded();
        let (orders, orders_out) = unbounded();
        let (started, started_out) = bounded(1);
        let (ended_in, ended) = bounded(1);
        let (hip, seen) = (hip.clone(), shared.clone());
        let thread = std::thread::Builder::new().name(format!("pintle-gpu-{device}")).spawn(move || {
            Owner::new(hip, seen, questions_out, orders_out).run(&started);
            drop(ended_in);
        })?;
        let core = Core { shared, questions, orders, thread: Some(thread), ended };
        core.shared.wait(&started_out)??;
        Ok(Self(Arc::new(core)))
    }

    /// Brings a model onto the device and waits until it is there.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`] with [`Error::MemoryLimit`] where there is no room; the device's refusals.
    pub fn load(&self, model: Arc<P::Model>) -> Result<Loaded<P>, Failure> {
        let shared = &self.0.shared;
        shared.alive()?;
        let (reply, answer) = bounded(1);
        let (id, room) = (shared.next_id(), P::room(&model));
        let order = Order::Load { model: Registered { id, room, model }, reply };
        self.0.orders.send(order).map_err(|_| Failure::Stopped)?;
        // Made before the wait: a load that comes through after its asker has given up is taken back.
        let loaded = Loaded { engine: self.clone(), id, room };
        shared.wait(&answer)??;
        Ok(loaded)
    }

    /// The device's number, as HIP counts.
    #[must_use]
    pub fn device(&self) -> u32 {
        self.0.shared.info().index
    }

    /// Whether both are one.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What it is and does.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.shared.status()
    }

    /// Takes other limits from now on; a model that is there stays where there is less memory. [`Options::slots`] are
    /// those that it was started with.
    pub fn follow(&self, options: Options) {
        self.0.shared.follow(options);
        // Wakes the thread. One that has ended needs none.
        let _ = self.0.orders.send(Order::Follow);
    }

    /// Waits until the device can be asked, at most so long. False if it cannot by then.
    #[must_use]
    pub fn wait_until_alive(&self, limit: Duration) -> bool {
        self.0.shared.wait_until_alive(limit)
    }
}

impl<P: Program> Loaded<P> {
    /// Asks without waiting for the answer.
    ///
    /// # Errors
    ///
    /// [`Failure`], if it is clear at once that there will be none.
    pub fn ask(&self, job: P::Job) -> Result<Pending<P>, Failure> {
        let shared = &self.engine.0.shared;
        let size = P::size(&job);
        if !size.fits(self.room) {
            return Err(Failure::TooLarge { asked: size, room: self.room });
        }
        shared.alive()?;
        let waiting = shared.admit()?;
        let (reply, answer) = bounded(1);
        let question = Question::new(self.id, job, size, reply, waiting);
        self.engine.0.questions.send(question).map_err(|_| Failure::Stopped)?;
        Ok(Pending { shared: shared.clone(), answer })
    }

    /// Asks and waits.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn run(&self, job: P::Job) -> Result<P::Answer, Failure> {
        self.ask(job)?.wait()
    }

    /// Counts a question that was left to another device or back end, because this one failed or refused it.
    pub fn passed_over(&self) {
        self.engine.0.shared.counters.passed_over();
    }

    /// The most that one question may hold.
    #[must_use]
    pub fn room(&self) -> Size {
        self.room
    }

    /// Where it is.
    #[must_use]
    pub fn engine(&self) -> &Engine<P> {
        &self.engine
    }
}

impl<P: Program> Pending<P> {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn wait(self) -> Result<P::Answer, Failure> {
        self.shared.wait(&self.answer)?
    }
}

impl<P: Program> Drop for Loaded<P> {
    fn drop(&mut self) {
        let _ = self.engine.0.orders.send(Order::Unload(self.id));
    }
}

impl<P: Program> Drop for Core<P> {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        // A thread that is stuck in the library is left behind rather than waited for.
        if let Err(Failure::Hung(_)) = self.shared.wait(&self.ended) {
            tracing::error!(
                device = self.shared.info().index,
                "the GPU's thread does not end; it is left behind"
            );
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

impl<P: Program> fmt::Debug for Engine<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("device", self.0.shared.info()).finish_non_exhaustive()
    }
}
