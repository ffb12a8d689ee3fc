//! Prototypes that a text's vector is compared with on the device, in the pass that computes it.
//!
//! [`Banks`] are made once for a configuration and go along with its jobs. A program copies them to the device when they
//! first come, and forgets them when nobody else has them any more. Where the device has no room for them, a pass goes
//! without: comparing is left to who asked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::abi::{self, BankScore};
use crate::device::{Device, DeviceBuffer};
use crate::error::{Class, Error};
use crate::lane::{Lane, Staging};

/// Most rules of one set: bounds what a text's scores take.
pub const MAX_BANKS: usize = 4096;

/// One rule: the vectors of its two sides, each of length one. A side may be empty.
#[derive(Debug, Clone, Copy)]
pub struct BankSpec<'a> {
    /// The side that counts for the rule, or its only one.
    pub hard: &'a [Vec<f32>],
    /// The side that counts against it.
    pub easy: &'a [Vec<f32>],
    /// How many of the best similarities are averaged, 1 to [`abi::MAX_TOP_M`].
    pub top_m: usize,
    /// Weight of the best similarity against that mean, in `[0,1]`.
    pub best_weight: f32,
}

/// The prototypes of several rules.
#[derive(Debug)]
pub struct Banks {
    id: u64,
    hidden: usize,
    /// One row after another.
    prototypes: Vec<f32>,
    banks: Vec<abi::Bank>,
    /// A device had no room, and the log has been told.
    told: AtomicBool,
}

impl Banks {
    /// Of rules for vectors of `hidden` components. `None` if there is none or more than [`MAX_BANKS`], a vector has
    /// another width, or the kernel cannot average so many.
    #[must_use]
    pub fn new(hidden: usize, specs: &[BankSpec<'_>]) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if specs.is_empty() || specs.len() > MAX_BANKS || hidden == 0 || !hidden.is_multiple_of(4) {
            return None;
        }
        let (mut prototypes, mut banks) = (Vec::new(), Vec::with_capacity(specs.len()));
        for spec in specs {
            if !(1..=abi::MAX_TOP_M as usize).contains(&spec.top_m) {
                return None;
            }
            let mut side = |vectors: &[Vec<f32>]| {
                let first = u32::try_from(prototypes.len() / hidden).ok()?;
                for vector in vectors {
                    if vector.len() != hidden {
                        return None;
                    }
                    prototypes.extend_from_slice(vector);
                }
                Some((first, u32::try_from(prototypes.len() / hidden).ok()?))
            };
            let ((hard_begin, hard_end), (easy_begin, easy_end)) = (side(spec.hard)?, side(spec.easy)?);
            let (top_m, best_weight) = (spec.top_m as u32, spec.best_weight);
            banks.push(abi::Bank { hard_begin, hard_end, easy_begin, easy_end, top_m, best_weight });
        }
        let (id, told) = (NEXT.fetch_add(1, Ordering::Relaxed), AtomicBool::new(false));
        Some(Self { id, hidden, prototypes, banks, told })
    }

    /// Distinguishes them from all others of this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Rules: scores that each text gets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.banks.len()
    }

    /// Whether there is no rule; never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.banks.is_empty()
    }

    /// Prototypes of all rules.
    #[must_use]
    pub fn prototypes(&self) -> usize {
        self.prototypes.len() / self.hidden
    }

    /// Width of the vectors.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }
}

/// Banks that lie on a device.
struct Resident {
    source: Weak<Banks>,
    prototypes: DeviceBuffer<f32>,
    banks: DeviceBuffer<abi::Bank>,
}

impl Resident {
    fn of(banks: &Arc<Banks>, device: &Device) -> Result<Self, Error> {
        let (source, prototypes) = (Arc::downgrade(banks), device.upload(&banks.prototypes)?);
        Ok(Self { source, prototypes, banks: device.upload(&banks.banks)? })
    }
}

/// The banks of one program's device.
#[derive(Default)]
pub(super) struct BankShelf(HashMap<u64, Resident>);

/// Where banks lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BankPlace {
    pub(super) id: u64,
    pub(super) prototypes: abi::Address,
    pub(super) banks: abi::Address,
    pub(super) count: u32,
}

impl BankShelf {
    /// Sees to it that the banks lie on the device, which takes one copy when they first come. `None` if there is no
    /// room.
    pub(super) fn place(&mut self, banks: &Arc<Banks>, device: &Device) -> Result<Option<BankPlace>, Error> {
        // Who is under way has the banks, so these are used by nothing.
        self.0.retain(|_, resident| resident.source.strong_count() > 0);
        let resident = match self.0.entry(banks.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(empty) => match Resident::of(banks, device) {
                Ok(resident) => empty.insert(resident),
                Err(error) => return without_room(banks, error).map(|()| None),
            },
        };
        Ok(Some(BankPlace {
            id: banks.id,
            prototypes: resident.prototypes.address(),
            banks: resident.banks.address(),
            count: banks.banks.len() as u32,
        }))
    }
}

/// A slot's memory for scores.
pub(super) struct Scores {
    pub(super) output: DeviceBuffer<BankScore>,
    pub(super) staged: Staging<BankScore>,
}

impl Scores {
    /// Room for `count`. `None` if there is no room on the device.
    pub(super) fn room(lane: &Lane, banks: &Banks, count: usize) -> Result<Option<Self>, Error> {
        let made = lane.device().allocate(count).and_then(|output| {
            let staged = lane.staging(count)?;
            Ok(Self { output, staged })
        });
        match made {
            Ok(scores) => Ok(Some(scores)),
            Err(error) => without_room(banks, error).map(|()| None),
        }
    }
}

/// Lets a pass go without banks if that is because of memory, and says so once.
fn without_room(banks: &Banks, error: Error) -> Result<(), Error> {
    if error.class() != Class::OutOfMemory {
        return Err(error);
    }
    if !banks.told.swap(true, Ordering::Relaxed) {
        tracing::warn!(%error, prototypes = banks.prototypes(), "prototypes are compared on the CPU");
    }
    Ok(())
}
