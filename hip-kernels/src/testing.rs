//! What the tests share: a GPU that is emulated, and a program for it that is small and real.
#![allow(unsafe_code, reason = "a launch promises its kernel what the contract asks")]

use std::time::{Duration, Instant};

use pintle_hip_emulator::{Emulator, Target};

use crate::abi::TopkArgs;
use crate::device::{Device, DeviceBuffer};
use crate::error::Error;
use crate::hip::{Hip, Source};
use crate::lane::{Graph, Grid, Lane, Staging};
use crate::module::{Function, Module};
use crate::program::{Program, Size};

/// Where the emulator's library is taken from: with `hip-rs` it is the one that the tests are linked with.
pub(crate) fn source(emulator: &Emulator) -> Source {
    if cfg!(feature = "hip-rs") { Source::Default } else { Source::File(emulator.path().to_owned()) }
}

/// A turn with the emulator and the library opened, or `None` where there is no emulator. With `hip-rs` the tests are
/// linked with one device's library and nothing can be said of the other.
pub(crate) fn gpu(target: Target) -> Option<(Emulator, Hip)> {
    if cfg!(feature = "hip-rs") && target != Target::Gfx942 {
        return None;
    }
    let emulator = Emulator::take(target)?;
    let hip = Hip::open(&source(&emulator)).expect("the emulator has a device");
    Some((emulator, hip))
}

/// Waits for something that another thread does.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(90);
    while !done() {
        assert!(Instant::now() < limit, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// The largest of rows of scores, by `pk_topk`.
pub(crate) struct Topk {
    weights: DeviceBuffer<u8>,
    kernel: Function,
    model: TopkModel,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct TopkModel {
    /// Scores of a row.
    pub(crate) n: usize,
    /// How many of them are wanted.
    pub(crate) k: usize,
    /// Most rows of a batch.
    pub(crate) rows: usize,
    /// Bytes that stand for weights.
    pub(crate) weights: usize,
}

impl Default for TopkModel {
    fn default() -> Self {
        Self { n: 5, k: 2, rows: 8, weights: 10_000 }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct TopkJob {
    /// One after another.
    pub(crate) scores: Vec<f32>,
    pub(crate) rows: usize,
    /// Only jobs of one kind share a batch.
    pub(crate) kind: u8,
    /// The program has a defect that this job meets.
    pub(crate) panics: bool,
}

impl TopkJob {
    /// `rows` rows of numbers that look random and differ from one another.
    pub(crate) fn of_seed(model: &TopkModel, rows: usize, seed: u32) -> Self {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32
        };
        let scores = (0..rows * model.n).map(|_| next()).collect();
        Self { scores, rows, ..Self::default() }
    }

    /// What the kernel should find.
    pub(crate) fn expected(&self, model: &TopkModel) -> Vec<u32> {
        let best = |row: &[f32]| {
            let mut order: Vec<u32> = (0..row.len() as u32).collect();
            order.sort_by(|one, other| row[*other as usize].total_cmp(&row[*one as usize]));
            order.truncate(model.k);
            order
        };
        self.scores.chunks(model.n).flat_map(best).collect()
    }
}

/// A batch's memory. The graph is recorded with the first batch.
pub(crate) struct TopkSlot {
    graph: Option<Graph>,
    staged_count: Staging<u32>,
    staged_scores: Staging<f32>,
    staged_indices: Staging<u32>,
    count: DeviceBuffer<u32>,
    scores: DeviceBuffer<f32>,
    values: DeviceBuffer<f32>,
    indices: DeviceBuffer<u32>,
}

impl Program for Topk {
    type Model = TopkModel;
    type Job = TopkJob;
    type Answer = Vec<u32>;
    type Slot = TopkSlot;

    fn room(model: &TopkModel) -> Size {
        Size { sequences: model.rows, tokens: model.rows }
    }

    fn size(job: &TopkJob) -> Size {
        Size { sequences: job.rows, tokens: job.rows }
    }

    fn together(one: &TopkJob, other: &TopkJob) -> bool {
        one.kind == other.kind
    }

    fn load(model: &TopkModel, device: &Device, kernels: &Module) -> Result<Self, Error> {
        let kernel = kernels.function("pk_topk")?;
        Ok(Self { weights: device.upload(&vec![7; model.weights])?, kernel, model: *model })
    }

    fn slot(&self, lane: &Lane) -> Result<TopkSlot, Error> {
        let (device, TopkModel { n, k, rows, .. }) = (lane.device(), self.model);
        assert!(!self.weights.is_empty() && lane.is_idle());
        Ok(TopkSlot {
            graph: None,
            staged_count: lane.staging(1)?,
            staged_scores: lane.staging(rows * n)?,
            staged_indices: lane.staging(rows * k)?,
            count: device.zeroed(1)?,
            scores: device.allocate(rows * n)?,
            values: device.allocate(rows * k)?,
            indices: device.allocate(rows * k)?,
        })
    }

    fn enqueue(&self, slot: &mut TopkSlot, lane: &Lane, jobs: &[TopkJob]) -> Result<(), Error> {
        assert!(!jobs.iter().any(|job| job.panics), "the defect");
        let TopkModel { n, k, rows: room, .. } = self.model;
        if slot.graph.is_none() {
            let arguments = TopkArgs {
                rows: slot.count.address(),
                scores: slot.scores.address(),
                values: slot.values.address(),
                indices: slot.indices.address(),
                n: n as u32,
                k: k as u32,
            };
            let grid = Grid { x: room.div_ceil(4) as u32, y: 1 };
            slot.graph = Some(lane.capture(|lane| {
                // SAFETY: pk_topk's arguments; the buffers have room for all rows and stay in the slot with the graph.
                unsafe { lane.launch(&self.kernel, grid, &arguments)? };
                Ok(())
            })?);
        }
        let rows: usize = jobs.iter().map(|job| job.rows).sum();
        slot.staged_count.write()[0] = rows as u32;
        let staged = slot.staged_scores.write();
        let scores = jobs.iter().flat_map(|job| &job.scores);
        staged.iter_mut().zip(scores).for_each(|(staged, score)| *staged = *score);
        lane.upload(&slot.staged_count, 1, &slot.count, 0)?;
        lane.upload(&slot.staged_scores, rows * n, &slot.scores, 0)?;
        if let Some(graph) = &slot.graph {
            lane.replay(graph)?;
        }
        lane.download(&slot.indices, 0, rows * k, &mut slot.staged_indices)
    }

    fn answers(&self, slot: &mut TopkSlot, jobs: &[TopkJob]) -> Result<Vec<Vec<u32>>, Error> {
        let mut found = slot.staged_indices.read();
        let take = |job: &TopkJob| {
            let (one, rest) = found.split_at(job.rows * self.model.k);
            found = rest;
            one.to_vec()
        };
        Ok(jobs.iter().map(take).collect())
    }
}
