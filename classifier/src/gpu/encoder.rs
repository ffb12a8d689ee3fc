//! A model on GPUs, as those who ask encoders see it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use pintle_hip::Size;
use pintle_hip::encoder::{Banks, EncoderJob, EncoderModel, EncoderProgram, Encoding, Wants};
use pintle_hip::engine::{Failure, Loaded};

use super::Gpus;
use crate::encoder::{
    Batch, EncodeError, Encoded, Encoder, EncoderInfo, Session, TokenizeError, Tokens, Want,
};

/// A model on GPUs. Sessions do not keep it: it leaves the devices with its last owner.
pub struct GpuEncoder(Arc<Twin>);

/// What sessions share.
struct Twin {
    /// Its information and its tokens are this one's.
    cpu: Arc<dyn Encoder>,
    /// In host memory, for devices that come later.
    model: Arc<EncoderModel>,
    /// On each device; at least one.
    loaded: Vec<Arc<Loaded<EncoderProgram>>>,
    room: Size,
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
        Self::bring(cpu, Arc::new(model), &[], gpus)
    }

    /// The same model on the GPUs as they are now; where it is, it stays.
    pub(super) fn moved(&self, gpus: &Gpus) -> Result<Self, String> {
        Self::bring(self.0.cpu.clone(), self.0.model.clone(), &self.0.loaded, gpus)
    }

    /// Whether it is on exactly these GPUs.
    pub(super) fn is_on(&self, gpus: &Gpus) -> bool {
        let ours = self.0.loaded.iter().map(|loaded| loaded.engine());
        ours.len() == gpus.engines.len() && ours.zip(&gpus.engines).all(|(ours, theirs)| ours.is(theirs))
    }

    fn bring(
        cpu: Arc<dyn Encoder>,
        model: Arc<EncoderModel>,
        there: &[Arc<Loaded<EncoderProgram>>],
        gpus: &Gpus,
    ) -> Result<Self, String> {
        let footprint = model.footprint();
        let needs =
            footprint.weights.saturating_add(footprint.slot.saturating_mul(gpus.options.slots as u64));
        if needs > gpus.options.memory_limit {
            return Err(format!(
                "it needs {needs} bytes of a GPU's memory, more than the {} of classifier.hip.memory_bytes",
                gpus.options.memory_limit
            ));
        }
        let (mut loaded, mut reasons) = (Vec::new(), Vec::new());
        for engine in &gpus.engines {
            let known = there.iter().find(|loaded| loaded.engine().is(engine));
            match known.map_or_else(|| engine.load(model.clone()).map(Arc::new), |known| Ok(known.clone())) {
                Ok(one) => loaded.push(one),
                Err(failure) => reasons.push(failure.to_string()),
            }
        }
        let Some(room) = loaded.first().map(|loaded| loaded.room()) else { return Err(reasons.join("; ")) };
        Ok(Self(Arc::new(Twin { cpu, model, loaded, room, next: AtomicUsize::new(0) })))
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
        Box::new(GpuSession(Arc::downgrade(&self.0)))
    }
}

struct GpuSession(Weak<Twin>);

impl Session for GpuSession {
    fn encode(&mut self, batch: &Batch, want: Want, out: &mut Encoded) -> Result<(), EncodeError> {
        self.pass(batch, want, None, out)
    }

    fn encode_comparing(
        &mut self,
        batch: &Batch,
        want: Want,
        banks: &Arc<Banks>,
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        self.pass(batch, want, Some(banks), out)
    }
}

impl GpuSession {
    fn pass(
        &self,
        batch: &Batch,
        want: Want,
        banks: Option<&Arc<Banks>>,
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        let Some(twin) = self.0.upgrade() else {
            return Err(EncodeError::Device("the model is not on the GPU any more".to_owned()));
        };
        let info = twin.cpu.info();
        want.check(info)?;
        batch.check(info, twin.model.packed().vocabulary())?;
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
            match ask(device, batch, (wants, banks), twin.room) {
                Ok(parts) => {
                    // Scores of some texts only could not be told from those of the others.
                    let scored = parts.iter().all(|part| !part.scores.is_empty());
                    parts.into_iter().for_each(|part| collect(part, want, info, out));
                    if !scored {
                        out.scores.clear();
                    }
                    return Ok(());
                }
                Err(error) => {
                    device.passed_over();
                    failure = error;
                }
            }
        }
        Err(EncodeError::Device(failure.to_string()))
    }
}

/// Hands the texts over, in as many jobs as they take, and waits for all of them.
fn ask(
    device: &Loaded<EncoderProgram>,
    batch: &Batch,
    (wants, banks): (Wants, Option<&Arc<Banks>>),
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
        let job = match banks.filter(|_| wants.embedding) {
            Some(banks) => job.comparing(banks.clone()),
            None => job,
        };
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
    out.scores.extend(part.scores);
    if want.token { &mut out.token_logits } else { &mut out.logits }.extend(part.logits);
}
