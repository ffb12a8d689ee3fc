//! What lies on a living device.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::flight::{Flight, Registered};
use super::status::Counters;
use super::{Failure, Options};
use crate::device::Device;
use crate::error::{Class, Error, HipError};
use crate::hip::{DeviceInfo, Hip};
use crate::lane::Lane;
use crate::module::Module;
use crate::program::Program;

/// Everything on the device. Fields are dropped in this order: what is used by another comes after it.
pub(super) struct Resident<P: Program> {
    pub(super) slots: Vec<Slot<P>>,
    programs: BTreeMap<u64, P>,
    kernels: Module,
    device: Device,
}

/// Room for one batch under way.
pub(super) struct Slot<P: Program> {
    memories: BTreeMap<u64, P::Slot>,
    pub(super) flight: Option<Flight<P>>,
    lane: Lane,
}

/// What became of a call of a program or of the device.
pub(super) enum Trouble {
    /// It failed; the device works.
    Refused(Failure),
    /// The device must be given up.
    Dead(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let dead = error.class() == Class::DeviceFault;
        let failure = Failure::Failed(error);
        if dead { Self::Dead(failure) } else { Self::Refused(failure) }
    }
}

impl From<HipError> for Trouble {
    fn from(error: HipError) -> Self {
        Error::from(error).into()
    }
}

impl Trouble {
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Refused(failure) | Self::Dead(failure) => failure,
        }
    }
}

/// Calls a program. After a panic nothing that it held is trusted.
fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => Ok(done?),
        Err(_) => Err(Trouble::Dead(Failure::Panicked)),
    }
}

impl<P: Program> Resident<P> {
    /// Opens the device; no model is on it.
    pub(super) fn open(hip: &Hip, info: &DeviceInfo, options: &Options) -> Result<Self, Error> {
        let device = Device::open(hip, info.clone(), options.memory_limit)?;
        let kernels = Module::load(&device)?;
        let slot = |_| Ok(Slot { memories: BTreeMap::new(), flight: None, lane: Lane::new(&device)? });
        let slots = (0..options.slots).map(slot).collect::<Result<Vec<_>, Error>>()?;
        Ok(Self { slots, programs: BTreeMap::new(), kernels, device })
    }

    /// Brings a model onto the device, whole or not at all.
    pub(super) fn load(&mut self, registered: &Registered<P>) -> Result<(), Trouble> {
        let Registered { id, model, .. } = registered;
        let loaded = guarded(|| {
            let program = P::load(model, &self.device, &self.kernels)?;
            let memory = |slot: &Slot<P>| program.slot(&slot.lane);
            let memories = self.slots.iter().map(memory).collect::<Result<Vec<_>, Error>>()?;
            Ok((program, memories))
        });
        let (program, memories) = loaded?;
        for (slot, memory) in self.slots.iter_mut().zip(memories) {
            slot.memories.insert(*id, memory);
        }
        self.programs.insert(*id, program);
        Ok(())
    }

    /// Takes a model off. No batch of it is under way.
    pub(super) fn unload(&mut self, id: u64) {
        for slot in &mut self.slots {
            slot.memories.remove(&id);
        }
        self.programs.remove(&id);
    }

    /// How much memory may be taken from now on.
    pub(super) fn limit_memory(&self, bytes: u64) {
        self.device.limit_memory(bytes);
    }

    pub(super) fn under_way(&self) -> usize {
        self.slots.iter().filter(|slot| slot.flight.is_some()).count()
    }

    pub(super) fn memory_used(&self) -> u64 {
        self.device.memory_used()
    }

    /// A slot without a batch.
    pub(super) fn free(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.flight.is_none())
    }

    /// Queues a batch in a slot. One that is refused is told so and stays, without replies, until what was queued of it
    /// is done.
    pub(super) fn launch(
        &mut self,
        at: usize,
        mut flight: Flight<P>,
        counters: &Counters,
    ) -> Result<(), Trouble> {
        let slot = &mut self.slots[at];
        let (program, memory) = (self.programs.get(&flight.model), slot.memories.get_mut(&flight.model));
        let (Some(program), Some(memory)) = (program, memory) else {
            flight.fail(&Failure::Stopped, counters);
            return Ok(());
        };
        let queued = guarded(|| program.enqueue(memory, &slot.lane, &flight.jobs));
        let flight = slot.flight.insert(flight);
        counters.under_way.fetch_add(1, Ordering::Relaxed);
        match queued {
            Err(Trouble::Dead(failure)) => return Err(Trouble::Dead(failure)),
            Err(Trouble::Refused(failure)) => flight.fail(&failure, counters),
            Ok(()) => {}
        }
        slot.lane.seal().map_err(|error| Trouble::Dead(Failure::Failed(error.into())))
    }

    /// Whether the batch in a slot is done.
    pub(super) fn finished(&self, at: usize) -> Result<bool, Trouble> {
        Ok(self.slots[at].lane.finished()?)
    }

    /// What the batch in a slot, which is done, gives.
    pub(super) fn answers(&mut self, at: usize, flight: &Flight<P>) -> Result<Vec<P::Answer>, Trouble> {
        let slot = &mut self.slots[at];
        let (program, memory) = (self.programs.get(&flight.model), slot.memories.get_mut(&flight.model));
        let (Some(program), Some(memory)) = (program, memory) else {
            return Err(Trouble::Refused(Failure::Stopped));
        };
        let answers = guarded(|| program.answers(memory, &flight.jobs))?;
        if answers.len() == flight.jobs.len() {
            return Ok(answers);
        }
        let miscounted = format!("{} answers to {} questions", answers.len(), flight.jobs.len());
        Err(Error::Program(miscounted).into())
    }
}

impl<P: Program> Drop for Slot<P> {
    fn drop(&mut self) {
        // Nothing that the batch uses goes before it, its graph and the kernels included.
        if !self.lane.is_idle() {
            let _ = self.lane.wait();
        }
    }
}
