//! An encoder as the engine runs it.
#![allow(unsafe_code, reason = "launches promise the kernels what their contract asks")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::banks::{BankPlace, BankShelf, Banks, Scores};
use super::pack::{Packed, pack};
use super::plan::{Argument, Bucket, Launch, Regions, Wants};
use super::{EncoderSpec, Number, Unsupported};
use crate::abi::BankScore;
use crate::device::{Device, DeviceBuffer};
use crate::error::{Class, Error};
use crate::lane::{Graph, Grid, Lane, Staging};
use crate::module::{Function, Module};
use crate::program::{Program, Size};

/// Graphs that a slot keeps; the one that was not used for longest gives way.
const MAX_GRAPHS: usize = 64;

/// A packed encoder in host memory: what devices are loaded with, again after a fault.
#[derive(Debug)]
pub struct EncoderModel {
    weights: Vec<u8>,
    shape: Arc<Shape>,
}

#[derive(Debug)]
struct Shape {
    packed: Packed,
    limit: Bucket,
}

impl Shape {
    /// The most that a pass can give.
    fn everything(&self) -> Wants {
        let labels = self.packed.labels();
        Wants { layers: self.packed.layers() as u32, embedding: true, logits: labels != (0, 0) }
    }

    fn output_bytes(&self) -> u64 {
        self.packed.output_bytes(self.limit, self.everything())
    }
}

/// Bytes of device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Of the weights, once for a device.
    pub weights: u64,
    /// Of each batch under way.
    pub slot: u64,
}

impl EncoderModel {
    /// Packs a network for batches of up to `room`.
    ///
    /// # Errors
    ///
    /// [`Unsupported`].
    pub fn new(spec: &EncoderSpec<'_>, number: Number, room: Size) -> Result<Self, Unsupported> {
        let count = |n: usize| u32::try_from(n).map_err(|_| Unsupported(format!("batches of {n}")));
        let limit = Bucket { tokens: count(room.tokens)?, texts: count(room.sequences)? };
        let (weights, packed) = pack(spec, number)?;
        Ok(Self { weights, shape: Arc::new(Shape { packed, limit }) })
    }

    /// The packed network.
    #[must_use]
    pub fn packed(&self) -> &Packed {
        &self.shape.packed
    }

    /// What it takes of a device.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let Shape { packed, limit } = &*self.shape;
        Footprint {
            weights: packed.weights_bytes(),
            slot: packed.input_bytes(*limit) + packed.work_bytes(*limit) + self.shape.output_bytes(),
        }
    }
}

/// Texts to be encoded.
#[derive(Debug, Clone)]
pub struct EncoderJob {
    ids: Vec<u32>,
    ends: Vec<u32>,
    wants: Wants,
    banks: Option<Arc<Banks>>,
}

impl EncoderJob {
    /// Texts one after another in `ids`; `ends` says where each ends. `None` if these are not rising up to the number
    /// of ids: no text is empty, and there is at least one.
    #[must_use]
    pub fn new(ids: Vec<u32>, ends: Vec<u32>, wants: Wants) -> Option<Self> {
        let rising = std::iter::once(&0).chain(&ends).zip(&ends).all(|(start, end)| start < end);
        let whole = ends.last().is_some_and(|end| *end as usize == ids.len());
        (rising && whole).then_some(Self { ids, ends, wants, banks: None })
    }

    /// Has embeddings, which must be wanted, compared with prototypes too.
    #[must_use]
    pub fn comparing(self, banks: Arc<Banks>) -> Self {
        Self { banks: Some(banks), ..self }
    }

    fn banks_id(&self) -> Option<u64> {
        self.banks.as_ref().map(|banks| banks.id())
    }

    fn texts(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.ids[start as usize..*end as usize])
    }
}

/// What a job's texts gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Encoding {
    /// A row of length one for each text, if wanted.
    pub embeddings: Vec<f32>,
    /// A row for each text, or for each token where the head classifies tokens, if wanted.
    pub logits: Vec<f32>,
    /// A row for each text, with a score for each bank, if the job came with banks. Empty where the device compares
    /// nothing: it has no room for them, or they are of another width.
    pub scores: Vec<BankScore>,
}

/// An encoder whose weights lie on a device.
pub struct EncoderProgram {
    shape: Arc<Shape>,
    /// By name.
    kernels: HashMap<String, Function>,
    weights: DeviceBuffer<u8>,
    units: u32,
    banks: RefCell<BankShelf>,
}

/// Memory of a batch under way, and the graphs that were recorded for it.
pub struct EncoderSlot {
    graphs: HashMap<Pass, Recorded>,
    /// The library cannot capture: launches are queued one by one.
    plain: bool,
    uses: u64,
    /// The batch that is under way.
    pass: Pass,
    /// Where a job came with banks.
    scores: Option<Scores>,
    staged_input: Staging<u8>,
    staged_output: Staging<u8>,
    input: DeviceBuffer<u8>,
    work: DeviceBuffer<u8>,
    output: DeviceBuffer<u8>,
}

/// What a graph is recorded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pass {
    size: (Bucket, Wants),
    banks: Option<BankPlace>,
}

struct Recorded {
    graph: Graph,
    used: u64,
}

impl Program for EncoderProgram {
    type Model = EncoderModel;
    type Job = EncoderJob;
    type Answer = Encoding;
    type Slot = EncoderSlot;

    fn room(model: &EncoderModel) -> Size {
        let limit = model.shape.limit;
        Size { sequences: limit.texts as usize, tokens: limit.tokens as usize }
    }

    fn size(job: &EncoderJob) -> Size {
        Size { sequences: job.ends.len(), tokens: job.ids.len() }
    }

    fn together(one: &EncoderJob, other: &EncoderJob) -> bool {
        // What is given of a text's last vectors is no matter: they are the same.
        one.wants.layers == other.wants.layers && one.banks_id() == other.banks_id()
    }

    fn load(model: &EncoderModel, device: &Device, kernels: &Module) -> Result<Self, Error> {
        let names = model.shape.packed.kernels();
        let kernels = names.map(|name| kernels.function(&name).map(|function| (name, function)));
        Ok(Self {
            shape: Arc::clone(&model.shape),
            kernels: kernels.collect::<Result<_, _>>()?,
            weights: device.upload(&model.weights)?,
            units: device.info().compute_units,
            banks: RefCell::default(),
        })
    }

    fn slot(&self, lane: &Lane) -> Result<EncoderSlot, Error> {
        let Shape { packed, limit } = &*self.shape;
        let bytes = |count: u64| {
            usize::try_from(count).map_err(|_| Error::Program(format!("{count} bytes for a batch")))
        };
        let (input, output) = (bytes(packed.input_bytes(*limit))?, bytes(self.shape.output_bytes())?);
        Ok(EncoderSlot {
            graphs: HashMap::new(),
            plain: false,
            uses: 0,
            pass: Pass { size: (*limit, self.shape.everything()), banks: None },
            scores: None,
            staged_input: lane.staging(input)?,
            staged_output: lane.staging(output)?,
            input: lane.device().allocate(input)?,
            work: lane.device().allocate(bytes(packed.work_bytes(*limit))?)?,
            output: lane.device().allocate(output)?,
        })
    }

    fn enqueue(&self, slot: &mut EncoderSlot, lane: &Lane, jobs: &[EncoderJob]) -> Result<(), Error> {
        let packed = &self.shape.packed;
        let size = jobs.iter().map(Self::size).fold(Size::default(), |sum, size| sum + size);
        let bucket = Bucket::containing(size.tokens, size.sequences, self.shape.limit)
            .ok_or_else(|| Error::Program(format!("{} tokens in {} texts", size.tokens, size.sequences)))?;
        let wants = jobs.iter().map(|job| job.wants).reduce(Wants::union).unwrap_or(slot.pass.size.1);
        if !wants.agrees(packed) {
            return Err(Error::Program(format!("{wants:?} of this model")));
        }
        let banks = match jobs.first().and_then(|job| job.banks.as_ref()) {
            Some(banks) if wants.embedding => self.compared(slot, lane, banks)?,
            _ => None,
        };
        slot.pass = Pass { size: (bucket, wants), banks };
        self.record(slot, lane)?;
        let texts = jobs.iter().flat_map(EncoderJob::texts);
        let written = packed.write_input(bucket, texts, slot.staged_input.write());
        lane.upload(&slot.staged_input, written, &slot.input, 0)?;
        match slot.graphs.get(&slot.pass) {
            Some(recorded) => lane.replay(&recorded.graph)?,
            None => self.queue(slot, lane)?,
        }
        let given = packed.used_output(slot.pass.size, size.tokens, size.sequences);
        lane.download(&slot.output, 0, given, &mut slot.staged_output)?;
        if let (Some(banks), Some(scores)) = (slot.pass.banks, &mut slot.scores) {
            lane.download(&scores.output, 0, size.sequences * banks.count as usize, &mut scores.staged)?;
        }
        Ok(())
    }

    fn answers(&self, slot: &mut EncoderSlot, jobs: &[EncoderJob]) -> Result<Vec<Encoding>, Error> {
        let packed = &self.shape.packed;
        let (output, pass) = (slot.staged_output.read(), slot.pass.size);
        let scores = slot.pass.banks.zip(slot.scores.as_ref());
        let scores = scores.map(|(banks, scores)| (banks.count as usize, scores.staged.read()));
        let (mut text, mut token) = (0, 0);
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Size { sequences, tokens } = Self::size(job);
            let mut answer = Encoding::default();
            if job.wants.embedding {
                packed.read_embeddings(pass, output, text..text + sequences, &mut answer.embeddings);
            }
            if job.wants.logits {
                let rows = if packed.labels().1 > 0 { token..token + tokens } else { text..text + sequences };
                packed.read_logits(pass, output, rows, &mut answer.logits);
            }
            if let Some((row, scores)) = scores {
                answer.scores.extend_from_slice(&scores[text * row..(text + sequences) * row]);
            }
            let strange = |score: &BankScore| !(score.hard.is_finite() && score.easy.is_finite());
            if answer.embeddings.iter().chain(&answer.logits).any(|x| !x.is_finite())
                || answer.scores.iter().any(strange)
            {
                return Err(Error::Program("numbers came back that are none".to_owned()));
            }
            (text, token) = (text + sequences, token + tokens);
            answers.push(answer);
        }
        Ok(answers)
    }
}

impl EncoderProgram {
    /// Where banks lie on the device; `None` where nothing is compared. On an idle lane.
    fn compared(
        &self,
        slot: &mut EncoderSlot,
        lane: &Lane,
        banks: &Arc<Banks>,
    ) -> Result<Option<BankPlace>, Error> {
        if banks.hidden() != self.shape.packed.hidden() {
            return Ok(None);
        }
        let place = self.banks.borrow_mut().place(banks, lane.device())?;
        let room = self.shape.limit.texts as usize * banks.len();
        if place.is_some() && slot.scores.as_ref().is_none_or(|scores| scores.output.len() < room) {
            // Graphs know the address of the scores that they were recorded with.
            slot.graphs.retain(|pass, _| pass.banks.is_none());
            slot.scores = None;
            slot.scores = Scores::room(lane, banks, room)?;
        }
        Ok(place.filter(|_| slot.scores.is_some()))
    }

    /// Sees to it that there is a graph of the slot's pass, on an idle lane.
    fn record(&self, slot: &mut EncoderSlot, lane: &Lane) -> Result<(), Error> {
        slot.uses += 1;
        if slot.plain {
            return Ok(());
        }
        if let Some(known) = slot.graphs.get_mut(&slot.pass) {
            known.used = slot.uses;
            return Ok(());
        }
        if slot.graphs.len() >= MAX_GRAPHS {
            let oldest = slot.graphs.iter().min_by_key(|(_, known)| known.used).map(|(pass, _)| *pass);
            oldest.map(|pass| slot.graphs.remove(&pass));
        }
        match lane.capture(|lane| self.queue(slot, lane)) {
            Ok(graph) => {
                slot.graphs.insert(slot.pass, Recorded { graph, used: slot.uses });
                Ok(())
            }
            Err(error) if error.class() == Class::NotSupported => {
                slot.plain = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Queues the launches of the slot's pass.
    fn queue(&self, slot: &EncoderSlot, lane: &Lane) -> Result<(), Error> {
        let (bucket, wants) = slot.pass.size;
        let regions = Regions {
            weights: self.weights.address(),
            input: slot.input.address(),
            work: slot.work.address(),
            output: slot.output.address(),
        };
        for launch in self.shape.packed.plan(bucket, wants, &regions, self.units) {
            self.queue_one(&launch, lane)?;
        }
        if let (Some(banks), Some(scores)) = (slot.pass.banks, &slot.scores) {
            let to = scores.output.address();
            let compare = self.shape.packed.compare(slot.pass.size, &regions, banks, to);
            compare.map_or(Ok(()), |launch| self.queue_one(&launch, lane))?;
        }
        Ok(())
    }

    fn queue_one(&self, launch: &Launch, lane: &Lane) -> Result<(), Error> {
        let function = self
            .kernels
            .get(&launch.kernel)
            .ok_or_else(|| Error::Program(format!("{} was not looked up", launch.kernel)))?;
        let [x, y] = launch.grid;
        let grid = Grid { x, y };
        // SAFETY: a plan gives each kernel the struct of its own name. Its addresses lie in the weights and in the
        // slot's buffers, which are as large as the bucket's limit asks, and a bucket is never larger; the places of
        // a smaller one lie before those of the limit. Ids and counts come from `write_input`, and ids beyond the
        // vocabulary are clamped by the kernel. Prototypes, banks and scores lie in buffers of their own: the banks'
        // ranges lie within the prototypes, and the scores have room for the limit's texts. Banks stay while a job
        // has them, and a pass names theirs, so that no graph of banks that are gone is replayed. Program and slot are dropped by the engine when their lane is idle;
        // freeing a buffer waits for the device besides.
        unsafe {
            match &launch.argument {
                Argument::Embed(argument) => lane.launch(function, grid, argument),
                Argument::Norm(argument) => lane.launch(function, grid, argument),
                Argument::Gemm(argument) => lane.launch(function, grid, argument),
                Argument::Attention(argument) => lane.launch(function, grid, argument),
                Argument::Pool(argument) => lane.launch(function, grid, argument),
                Argument::Head(argument) => lane.launch(function, grid, argument),
                Argument::Prototypes(argument) => lane.launch(function, grid, argument),
            }
        }?;
        Ok(())
    }
}
