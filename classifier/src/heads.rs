//! Classification heads that stand on an encoder's embedding.
//!
//! An encoder that was trained for similarity has no classes of its own, but its sentence vectors separate many. A
//! folder may hold `heads.safetensors` beside its weights: for every head a perceptron on the embedding, whose last
//! layer gives one logit per label. One pass through the encoder then serves the embedding and all heads.
//!
//! # The file
//!
//! Tensors `HEAD.0.weight` (outputs × inputs) and `HEAD.0.bias`, `HEAD.1.weight` and so on, `max(x, 0)` between two
//! layers; the inputs of layer 0 are the embedding's dimensions. `HEAD` is a name of [`Head`](crate::reader::Head).
//! The metadata's entry `HEAD` lists the labels as a JSON array; entries of other names are not read.

use std::path::Path;
use std::sync::Arc;

use pintle_hip::encoder::Banks;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use crate::encoder::{
    Batch, EncodeError, Encoded, Encoder, EncoderInfo, OutputInfo, OutputKind, Session, TokenizeError,
    Tokens, Want, normalise,
};
use crate::model::LoadError;
use crate::reader::Head;

/// The file's name in a model's folder.
pub const HEADS_FILE: &str = "heads.safetensors";
/// Most bytes of the file.
pub const MAX_HEADS_BYTES: u64 = 16 << 20;
const MAX_LAYERS: usize = 4;

/// The heads of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Heads {
    heads: Vec<Perceptron>,
    digest: [u8; 32],
}

#[derive(Debug, Clone, PartialEq)]
struct Perceptron {
    head: Head,
    labels: Vec<String>,
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq)]
struct Layer {
    inputs: usize,
    /// Row by row.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Heads {
    /// The heads of a model's folder; `None` where there are none.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub fn read(folder: &Path) -> Result<Option<Self>, LoadError> {
        let path = folder.join(HEADS_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let io = |source| LoadError::Io { file: path.display().to_string(), source };
        let bytes = std::fs::metadata(&path).map_err(io)?.len();
        if bytes > MAX_HEADS_BYTES {
            let file = path.display().to_string();
            return Err(LoadError::TooLarge { file, bytes, limit: MAX_HEADS_BYTES });
        }
        Self::parse(&std::fs::read(&path).map_err(io)?).map(Some)
    }

    /// Reads a file that is in memory already.
    ///
    /// # Errors
    ///
    /// [`LoadError::Malformed`], [`LoadError::TooLarge`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let length = bytes.len() as u64;
        if length > MAX_HEADS_BYTES {
            let file = HEADS_FILE.to_owned();
            return Err(LoadError::TooLarge { file, bytes: length, limit: MAX_HEADS_BYTES });
        }
        let malformed = |reason: String| LoadError::malformed(HEADS_FILE, reason);
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| malformed(error.to_string()))?;
        let (_, about) = SafeTensors::read_metadata(bytes).map_err(|error| malformed(error.to_string()))?;
        let about = about.metadata().clone().unwrap_or_default();
        let mut heads = Vec::new();
        for head in Head::ALL.into_iter().filter(|head| *head != Head::Pii) {
            let Some(labels) = about.get(head.as_str()) else { continue };
            let labels: Vec<String> = serde_json::from_str(labels)
                .map_err(|error| malformed(format!("labels of {}: {error}", head.as_str())))?;
            heads.push(Perceptron::read(head, labels, &tensors)?);
        }
        if heads.is_empty() {
            return Err(malformed("no head that is known".to_owned()));
        }
        Ok(Self { heads, digest: Sha256::digest(bytes).into() })
    }

    /// What they tell, in the order of [`Head::ALL`].
    pub fn names(&self) -> impl Iterator<Item = Head> + '_ {
        self.heads.iter().map(|perceptron| perceptron.head)
    }
}

impl Perceptron {
    fn read(head: Head, labels: Vec<String>, tensors: &SafeTensors<'_>) -> Result<Self, LoadError> {
        let name = head.as_str();
        let malformed = |reason: String| LoadError::malformed(HEADS_FILE, format!("{name}: {reason}"));
        let mut layers: Vec<Layer> = Vec::new();
        while let Ok(weight) = tensors.tensor(&format!("{name}.{}.weight", layers.len())) {
            let &[outputs, inputs] = weight.shape() else {
                return Err(malformed("a weight is no matrix".to_owned()));
            };
            let follows = layers.last().is_none_or(|before| before.bias.len() == inputs);
            if layers.len() == MAX_LAYERS || outputs == 0 || inputs == 0 || !follows {
                return Err(malformed(format!("layer {} of {outputs} x {inputs}", layers.len())));
            }
            let bias = tensors.tensor(&format!("{name}.{}.bias", layers.len()));
            let bias = bias.map_err(|error| malformed(error.to_string()))?;
            if bias.shape() != [outputs] {
                return Err(malformed(format!("a bias of {:?} for {outputs} outputs", bias.shape())));
            }
            let floats = |tensor: &safetensors::tensor::TensorView<'_>| {
                if tensor.dtype() != safetensors::Dtype::F32 {
                    return Err(malformed(format!("{:?} instead of F32", tensor.dtype())));
                }
                let values = tensor.data().as_chunks::<4>().0.iter();
                let values: Vec<f32> = values.map(|bytes| f32::from_le_bytes(*bytes)).collect();
                let finite = values.iter().all(|value| value.is_finite());
                finite.then_some(values).ok_or_else(|| malformed("not finite".to_owned()))
            };
            layers.push(Layer { inputs, weight: floats(&weight)?, bias: floats(&bias)? });
        }
        match layers.last() {
            Some(last) if last.bias.len() == labels.len() && labels.len() > 1 => {
                Ok(Self { head, labels, layers })
            }
            last => {
                let logits = last.map_or(0, |last| last.bias.len());
                Err(malformed(format!("{logits} logits for {} labels", labels.len())))
            }
        }
    }

    /// Appends one logit per label. `between` and `next` are working memory.
    fn apply(&self, embedding: &[f32], between: &mut Vec<f32>, next: &mut Vec<f32>, out: &mut Vec<f32>) {
        between.clear();
        between.extend_from_slice(embedding);
        for (at, layer) in self.layers.iter().enumerate() {
            let rows = layer.weight.chunks_exact(layer.inputs).zip(&layer.bias);
            let sum = |(row, bias): (&[f32], &f32)| {
                bias + row.iter().zip(between.iter()).map(|(a, b)| a * b).sum::<f32>()
            };
            if at + 1 == self.layers.len() {
                out.extend(rows.map(sum));
            } else {
                next.clear();
                next.extend(rows.map(|row| sum(row).max(0.0)));
                std::mem::swap(between, next);
            }
        }
    }
}

/// An encoder with heads on its embedding: their logits are its sequence outputs, named as the heads are.
pub struct HeadedEncoder {
    encoder: Arc<dyn Encoder>,
    heads: Arc<Heads>,
    info: EncoderInfo,
}

impl HeadedEncoder {
    /// Puts heads on an encoder.
    ///
    /// # Errors
    ///
    /// [`LoadError::Malformed`] if the heads expect another embedding; [`LoadError::Unsupported`] if the encoder
    /// classifies texts by itself.
    pub fn new(encoder: Arc<dyn Encoder>, heads: Arc<Heads>) -> Result<Self, LoadError> {
        let mut info = encoder.info().clone();
        let dimensions = info.dimensions();
        if info.sequence_labels() > 0 {
            return Err(LoadError::unsupported(HEADS_FILE, "heads on a model that is a classifier itself"));
        }
        if let Some(other) = heads.heads.iter().find(|head| head.layers[0].inputs != dimensions) {
            let (name, inputs) = (other.head.as_str(), other.layers[0].inputs);
            let reason = format!("{name} is for {inputs} dimensions, the embedding has {dimensions}");
            return Err(LoadError::malformed(HEADS_FILE, reason));
        }
        info.outputs.extend(heads.heads.iter().map(|head| OutputInfo {
            name: head.head.as_str().to_owned(),
            kind: OutputKind::Sequence { labels: head.labels.clone() },
        }));
        let mut digest = Sha256::new();
        digest.update(info.digest);
        digest.update(heads.digest);
        info.digest = digest.finalize().into();
        Ok(Self { encoder, heads, info })
    }
}

impl Encoder for HeadedEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn tokenize(&self, text: &str, max_tokens: usize, out: &mut Tokens) -> Result<(), TokenizeError> {
        self.encoder.tokenize(text, max_tokens, out)
    }

    fn session(&self) -> Box<dyn Session> {
        Box::new(HeadedSession {
            session: self.encoder.session(),
            heads: self.heads.clone(),
            info: self.info.clone(),
            between: Vec::new(),
            next: Vec::new(),
        })
    }
}

struct HeadedSession {
    session: Box<dyn Session>,
    heads: Arc<Heads>,
    info: EncoderInfo,
    between: Vec<f32>,
    next: Vec<f32>,
}

impl Session for HeadedSession {
    fn encode(&mut self, batch: &Batch, want: Want, out: &mut Encoded) -> Result<(), EncodeError> {
        if !want.sequence {
            return self.session.encode(batch, want, out);
        }
        want.check(&self.info)?;
        // Heads read the whole embedding, however much of it is asked for.
        let whole = Want { embedding: true, sequence: false, dimensions: 0, ..want };
        self.session.encode(batch, whole, out)?;
        let dimensions = self.info.dimensions();
        let Encoded { pooled, logits, .. } = out;
        for embedding in pooled.chunks_exact(dimensions) {
            for head in &self.heads.heads {
                head.apply(embedding, &mut self.between, &mut self.next, logits);
            }
        }
        if !want.embedding {
            pooled.clear();
        } else if want.dimensions > 0 {
            shorten(pooled, dimensions, want.dimensions);
        }
        Ok(())
    }

    fn encode_comparing(
        &mut self,
        batch: &Batch,
        want: Want,
        banks: &Arc<Banks>,
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        if want.sequence {
            return self.encode(batch, want, out);
        }
        self.session.encode_comparing(batch, want, banks, out)
    }
}

/// Keeps the leading components of every row and makes them of length one again.
fn shorten(rows: &mut Vec<f32>, width: usize, kept: usize) {
    for row in 0..rows.len() / width {
        let (from, to) = (row * width, row * kept);
        rows.copy_within(from..from + kept, to);
        normalise(&mut rows[to..to + kept]);
    }
    rows.truncate(rows.len() / width * kept);
}

#[cfg(test)]
mod tests;
