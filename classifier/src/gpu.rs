//! The back end that runs encoders on GPUs, through HIP where this machine has it.
//!
//! [`Gpus`] are the devices that one configuration names, each with the thread that owns it. A [`GpuEncoder`] is the
//! twin of an encoder on the CPU: the same tokens, the same outputs, computed on one of those devices. A session hands
//! its batch over and waits; what many sessions ask meanwhile goes through the device together.
//!
//! Weights and activations are 16-bit floats, sums are `f32`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pintle_config::ClassifierHip;
use pintle_hip::encoder::{EncoderJob, EncoderModel, EncoderProgram, Encoding, Wants};
use pintle_hip::engine::{Engine, Failure, Loaded, Options, Status};
use pintle_hip::{Hip, Size, Source, Unavailable};
use serde::Serialize;

use crate::encoder::{
    Batch, EncodeError, Encoded, Encoder, EncoderInfo, Session, TokenizeError, Tokens, Want,
};

mod pool;
mod spec;

pub use pool::{GpuPool, GpuReport};
pub use spec::pack;

/// The GPUs that this process uses.
pub struct Gpus {
    engines: Vec<Engine<EncoderProgram>>,
    /// Devices that were asked for and cannot be used, and why.
    refused: Vec<(u32, String)>,
    options: Options,
    since: Instant,
}

impl Gpus {
    /// Opens the library and the devices that are named; those that work are used.
    ///
    /// # Errors
    ///
    /// Why none can be used, in one sentence.
    pub fn open(settings: &ClassifierHip) -> Result<Self, String> {
        let source = match settings.library.as_str() {
            "" => Source::Default,
            path => Source::File(path.into()),
        };
        let hip = Hip::open(&source).map_err(|error| match error {
            // What the loader says of each name and place, most machines need not hear.
            Unavailable::NoLibrary(why) if settings.library.is_empty() => {
                tracing::debug!(why, "libamdhip64 cannot be opened");
                "this machine has no libamdhip64".to_owned()
            }
            other => other.to_string(),
        })?;
        let options = options(settings);
        let (mut engines, mut refused) = (Vec::new(), Vec::new());
        let first = [0];
        let devices = if settings.devices.is_empty() { &first } else { settings.devices.as_slice() };
        for (at, device) in devices.iter().enumerate() {
            if devices[..at].contains(device) {
                continue;
            }
            match Engine::start(&hip, *device, options) {
                Ok(engine) => engines.push(engine),
                Err(error) => refused.push((*device, error.to_string())),
            }
        }
        if engines.is_empty() {
            let reasons: Vec<_> =
                refused.iter().map(|(device, why)| format!("device {device}: {why}")).collect();
            return Err(reasons.join("; "));
        }
        Ok(Self { engines, refused, options, since: Instant::now() })
    }

    /// What they are and do.
    #[must_use]
    pub fn status(&self) -> Vec<GpuStatus> {
        let elapsed = self.since.elapsed();
        let used = self.engines.iter().map(|engine| GpuStatus::of(&engine.status(), elapsed));
        let refused = self.refused.iter().map(|(device, why)| GpuStatus::refused(*device, why));
        used.chain(refused).collect()
    }
}

impl fmt::Debug for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpus").field("engines", &self.engines).finish_non_exhaustive()
    }
}

fn options(settings: &ClassifierHip) -> Options {
    let milliseconds = |count: u32| Duration::from_millis(count.into());
    Options {
        memory_limit: settings.memory_bytes,
        slots: settings.batches.into(),
        queue: settings.queue as usize,
        wait: Duration::from_micros(settings.wait_us.into()),
        watchdog: milliseconds(settings.watchdog_ms),
        load_limit: milliseconds(settings.load_ms),
        retry_after: milliseconds(settings.retry_ms),
    }
}

/// For status reports.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct GpuStatus {
    /// Its number, as HIP counts.
    pub device: u32,
    /// What its maker calls it; empty if it could not be opened.
    pub name: String,
    /// Its instruction set, with features.
    pub isa: String,
    /// Why it is not used now; empty if it is.
    pub resting: String,
    /// Models on it.
    pub models: usize,
    /// Bytes of its memory that are taken.
    pub memory_used: u64,
    /// Bytes of its memory that may be taken.
    pub memory_limit: u64,
    /// Calls that wait now.
    pub waiting: usize,
    /// Calls that may wait.
    pub queue: usize,
    /// Batches under way now.
    pub under_way: usize,
    /// Batches that ended well.
    pub batches: u64,
    /// Texts in them.
    pub texts: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// Texts per second, in the mean since it was opened.
    pub texts_per_second: f64,
    /// Calls that it failed.
    pub failed: u64,
    /// How often it died.
    pub deaths: u64,
}

impl GpuStatus {
    fn of(status: &Status, elapsed: Duration) -> Self {
        Self {
            device: status.device.index,
            name: status.device.name.clone(),
            isa: status.device.isa.clone(),
            resting: status.resting.clone().unwrap_or_default(),
            models: status.models,
            memory_used: status.memory_used,
            memory_limit: status.memory_limit,
            waiting: status.waiting,
            queue: status.queue,
            under_way: status.under_way,
            batches: status.batches,
            texts: status.sequences,
            tokens: status.tokens,
            texts_per_second: status.sequences as f64 / elapsed.as_secs_f64().max(1e-3),
            failed: status.failed,
            deaths: status.deaths,
        }
    }

    fn refused(device: u32, why: &str) -> Self {
        Self { device, resting: why.to_owned(), ..Self::default() }
    }
}

/// A model on GPUs.
pub struct GpuEncoder(Arc<Twin>);

/// What sessions share.
struct Twin {
    /// Its information and its tokens are this one's.
    cpu: Arc<dyn Encoder>,
    /// On each device; at least one.
    loaded: Vec<Loaded<EncoderProgram>>,
    room: Size,
    vocabulary: usize,
    /// Where the next call goes.
    next: AtomicUsize,
}

impl GpuEncoder {
    /// Brings a packed model onto every GPU that takes it. `cpu` is the same model.
    ///
    /// # Errors
    ///
    /// Why no GPU takes it, in one sentence.
    pub fn new(cpu: Arc<dyn Encoder>, model: EncoderModel, gpus: &Gpus) -> Result<Self, String> {
        let footprint = model.footprint();
        let needs =
            footprint.weights.saturating_add(footprint.slot.saturating_mul(gpus.options.slots as u64));
        if needs > gpus.options.memory_limit {
            return Err(format!(
                "it needs {needs} bytes of a GPU's memory, more than the {} of classifier.hip.memory_bytes",
                gpus.options.memory_limit
            ));
        }
        let vocabulary = model.packed().vocabulary();
        let model = Arc::new(model);
        let (mut loaded, mut reasons) = (Vec::new(), Vec::new());
        for engine in &gpus.engines {
            match engine.load(model.clone()) {
                Ok(one) => loaded.push(one),
                Err(failure) => reasons.push(failure.to_string()),
            }
        }
        let Some(room) = loaded.first().map(Loaded::room) else { return Err(reasons.join("; ")) };
        Ok(Self(Arc::new(Twin { cpu, loaded, room, vocabulary, next: AtomicUsize::new(0) })))
    }
}

impl Encoder for GpuEncoder {
    fn info(&self) -> &EncoderInfo {
        self.0.cpu.info()
    }

    fn tokenize(&self, text: &str, max_tokens: usize, out: &mut Tokens) -> Result<(), TokenizeError> {
        self.0.cpu.tokenize(text, max_tokens, out)
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(GpuSession(self.0.clone()))
    }
}

struct GpuSession(Arc<Twin>);

impl Session for GpuSession {
    fn encode(&mut self, batch: &Batch, want: Want, out: &mut Encoded) -> Result<(), EncodeError> {
        let twin = &*self.0;
        let info = twin.cpu.info();
        want.check(info)?;
        batch.check(info, twin.vocabulary)?;
        if batch.ranges().any(|text| text.len() > twin.room.tokens) {
            return Err(EncodeError::Batch("a text is longer than a batch on the GPU"));
        }
        out.clear();
        let wants = Wants {
            layers: if want.layers == 0 { info.layers } else { want.layers } as u32,
            embedding: want.embedding,
            logits: want.sequence || want.token,
        };
        if batch.texts() == 0 || !(wants.embedding || wants.logits) {
            return Ok(());
        }
        let start = twin.next.fetch_add(1, Ordering::Relaxed);
        let mut failure = Failure::Stopped;
        for nth in 0..twin.loaded.len() {
            let device = &twin.loaded[start.wrapping_add(nth) % twin.loaded.len()];
            match ask(device, batch, wants, twin.room) {
                Ok(parts) => {
                    parts.into_iter().for_each(|part| collect(part, want, info, out));
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(EncodeError::Device(failure.to_string()))
    }
}

/// Hands the texts over, in as many jobs as they take, and waits for all of them.
fn ask(
    device: &Loaded<EncoderProgram>,
    batch: &Batch,
    wants: Wants,
    room: Size,
) -> Result<Vec<Encoding>, Failure> {
    let mut pending = Vec::new();
    let mut first = 0;
    while first < batch.texts() {
        let start = batch.range(first).start;
        let fits =
            |text: usize| text - first < room.sequences && batch.range(text).end - start <= room.tokens;
        let last = (first..batch.texts()).take_while(|text| fits(*text)).last().unwrap_or(first);
        let ids = batch.ids()[start..batch.range(last).end].to_vec();
        let ends = batch.ends()[first..=last].iter().map(|end| end - start as u32).collect();
        let job = EncoderJob::new(ids, ends, wants).expect("a batch holds texts with tokens");
        pending.push(device.ask(job)?);
        first = last + 1;
    }
    pending.into_iter().map(pintle_hip::engine::Pending::wait).collect()
}

/// Appends what one job gave.
fn collect(part: Encoding, want: Want, info: &EncoderInfo, out: &mut Encoded) {
    if want.dimensions == 0 {
        out.pooled.extend(part.embeddings);
    } else {
        for row in part.embeddings.chunks_exact(info.hidden) {
            let kept = &row[..want.dimensions];
            let length = kept.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
            out.pooled.extend(kept.iter().map(|x| x / length));
        }
    }
    if want.token { &mut out.token_logits } else { &mut out.logits }.extend(part.logits);
}
