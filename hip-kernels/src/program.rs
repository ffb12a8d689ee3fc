//! What the engine needs to know of a model.

use crate::device::Device;
use crate::error::Error;
use crate::lane::Lane;
use crate::module::Module;

/// How much of a batch something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Texts.
    pub sequences: usize,
    /// Tokens of all of them.
    pub tokens: usize,
}

impl Size {
    /// Whether both fit into `room`.
    #[must_use]
    pub fn fits(self, room: Self) -> bool {
        self.sequences <= room.sequences && self.tokens <= room.tokens
    }
}

impl std::ops::Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { sequences: self.sequences + other.sequences, tokens: self.tokens + other.tokens }
    }
}

/// A model on a device.
///
/// It is made, used and dropped by the engine's thread; so it need not be `Send`. A batch takes a slot: the engine has
/// a few, each with a [`Lane`] of its own, so that one batch is packed while another computes.
///
/// A slot's life: [`Self::enqueue`] fills its staging memory and queues copies, launches and copies back, without
/// waiting for any of it; the engine seals the lane, polls it, and calls [`Self::answers`] when it is idle.
///
/// After a device fault everything is dropped and made anew from the [`Self::Model`], which stays in host memory.
pub trait Program: Sized + 'static {
    /// What the program is made of: weights as the device takes them.
    type Model: Send + Sync + 'static;
    /// What one caller asks; one or several texts.
    type Job: Send + 'static;
    /// What one caller is told.
    type Answer: Send + 'static;
    /// Working memory of a batch under way: staging memory, activations, captured graphs.
    type Slot;

    /// The most that one batch may hold. A job that is larger is refused.
    fn room(model: &Self::Model) -> Size;

    /// How much of a batch a job takes.
    fn size(job: &Self::Job) -> Size;

    /// Whether two jobs may be in one batch. An equivalence: the engine asks it of a batch's first job only.
    fn together(one: &Self::Job, other: &Self::Job) -> bool;

    /// Brings the model's weights onto the device and looks its kernels up.
    ///
    /// # Errors
    ///
    /// Whatever the device refuses. [`Error::Program`] if there are no kernels for such a model.
    fn load(model: &Self::Model, device: &Device, kernels: &Module) -> Result<Self, Error>;

    /// Memory for the batches of one lane, the largest included, and what else can be made beforehand.
    ///
    /// # Errors
    ///
    /// Whatever the device refuses.
    fn slot(&self, lane: &Lane) -> Result<Self::Slot, Error>;

    /// Packs the jobs and queues their way through the device on `lane`, which is idle. Together they fit
    /// [`Self::room`]; there is at least one. Waits for nothing.
    ///
    /// # Errors
    ///
    /// Whatever the device refuses; the batch fails.
    fn enqueue(&self, slot: &mut Self::Slot, lane: &Lane, jobs: &[Self::Job]) -> Result<(), Error>;

    /// What has come back, one answer for each job, in order. The lane is idle.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] if it cannot be right; the batch fails.
    fn answers(&self, slot: &mut Self::Slot, jobs: &[Self::Job]) -> Result<Vec<Self::Answer>, Error>;
}
