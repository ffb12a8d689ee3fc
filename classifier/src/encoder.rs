//! The contract between a model's back end and those who ask it.
//!
//! An [`Encoder`] is a loaded model: immutable, shared between threads, cheap to ask for its [`EncoderInfo`]. A
//! [`Session`] is one thread's working memory on it. A request walks: [`Encoder::tokenize`] into a [`Tokens`],
//! [`Batch::push`] of one or many of these, [`Session::encode`] into an [`Encoded`].
//!
//! # No padding
//!
//! A [`Batch`] holds the token ids of its texts one after another. A back end gives every text exactly the result that
//! it gives it alone, up to rounding: what else is in the batch, and in which order, does not matter.
//!
//! # Buffers
//!
//! [`Tokens`], [`Batch`] and [`Encoded`] belong to the caller and are refilled: `clear` keeps their memory, and a
//! session keeps its own. A session that has seen a batch of a size allocates nothing for a batch that is not larger,
//! in texts and in tokens, nor for one whose longest text is not longer.

use std::fmt;
use std::sync::Arc;

use pintle_hip::encoder::Banks;

mod buffers;

pub use buffers::{Batch, Encoded, Tokens};

/// Most texts that a [`Batch`] may hold.
pub const MAX_BATCH_TEXTS: usize = 1024;

/// Most tokens that a [`Batch`] may hold.
pub const MAX_BATCH_TOKENS: usize = 1 << 17;

/// A loaded model.
pub trait Encoder: Send + Sync {
    /// What this model is and gives.
    fn info(&self) -> &EncoderInfo;

    /// Replaces `out` by the tokens of `text`, special tokens included, at most `max_tokens` of them (or
    /// [`EncoderInfo::max_tokens`], whichever is less). A longer text is cut at its end; its last token is still the
    /// special one that the model expects there. [`Tokens::complete`] says whether the whole text is in.
    ///
    /// The time that this takes is bounded by `max_tokens`, not by the length of `text`, except for texts whose tokens
    /// are hundreds of bytes long.
    ///
    /// # Errors
    ///
    /// [`TokenizeError::TooFew`] if `max_tokens` leaves no room beside the special tokens.
    fn tokenize(&self, text: &str, max_tokens: usize, out: &mut Tokens) -> Result<(), TokenizeError>;

    /// Working memory for one thread.
    fn session(&self) -> Box<dyn Session>;
}

/// One thread's use of an [`Encoder`].
pub trait Session: Send {
    /// Replaces `out` by what `want` asks of every text in `batch`.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Batch`] and [`EncodeError::Want`] are the caller's fault and say nothing about the back end;
    /// [`EncodeError::Device`] is the back end's, and another one may answer. The contents of `out` are unspecified
    /// after an error.
    fn encode(&mut self, batch: &Batch, want: Want, out: &mut Encoded) -> Result<(), EncodeError>;

    /// The same. A back end that can, compares each text's whole embedding, which must be wanted, with `banks` in the
    /// same pass and fills [`Encoded::scores`].
    ///
    /// # Errors
    ///
    /// As [`Self::encode`].
    fn encode_comparing(
        &mut self,
        batch: &Batch,
        want: Want,
        _banks: &Arc<Banks>,
        out: &mut Encoded,
    ) -> Result<(), EncodeError> {
        self.encode(batch, want, out)
    }
}

/// Makes a vector of length one; that of zeros stays.
pub(crate) fn normalise(vector: &mut [f32]) {
    let square: f32 = vector.iter().map(|x| x * x).sum();
    let scale = 1.0 / square.sqrt().max(1e-12);
    vector.iter_mut().for_each(|x| *x *= scale);
}

/// The kind of network. What it computes on is its back end's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// A table of one vector per token, and their weighted mean.
    Static,
    /// BERT: absolute positions, post-norm blocks.
    Bert,
    /// ModernBERT and mmBERT: rotary positions, pre-norm blocks, local and global attention.
    ModernBert,
    /// Whatever an ONNX graph says.
    Onnx,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => "static",
            Self::Bert => "bert",
            Self::ModernBert => "modernbert",
            Self::Onnx => "onnx",
        })
    }
}

/// What a model is and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderInfo {
    /// The name under which the configuration knows it.
    pub name: String,
    /// SHA-256 over everything that its answers depend on: weights, tokenizer, configuration.
    pub digest: [u8; 32],
    /// The kind of network.
    pub family: Family,
    /// Width of a token's vector between blocks.
    pub hidden: usize,
    /// Number of blocks; 0 for [`Family::Static`].
    pub layers: usize,
    /// Longest text in tokens, special tokens included. Longer texts are asked window by window
    pub max_tokens: usize,
    /// What it can be asked for.
    pub outputs: Vec<OutputInfo>,
}

impl EncoderInfo {
    /// Width of the embedding before any cut by [`Want::dimensions`]; 0 if the model has none.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        let width = |output: &OutputInfo| match output.kind {
            OutputKind::Embedding { dimensions } => Some(dimensions),
            _ => None,
        };
        self.outputs.iter().find_map(width).unwrap_or(0)
    }

    /// Number of labels of all sequence outputs together: the width of a row of [`Encoded::logits`].
    #[must_use]
    pub fn sequence_labels(&self) -> usize {
        let labels = |output: &OutputInfo| match &output.kind {
            OutputKind::Sequence { labels } => labels.len(),
            _ => 0,
        };
        self.outputs.iter().map(labels).sum()
    }

    /// Number of labels of all token outputs together: the width of a row of [`Encoded::token_logits`].
    #[must_use]
    pub fn token_labels(&self) -> usize {
        let labels = |output: &OutputInfo| match &output.kind {
            OutputKind::Token { labels } => labels.len(),
            _ => 0,
        };
        self.outputs.iter().map(labels).sum()
    }
}

/// One thing that a model gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputInfo {
    /// Unique among the model's outputs.
    pub name: String,
    /// Its form.
    pub kind: OutputKind,
}

/// The form of an output. A model has at most one `Embedding`; the labels of several outputs of the other kinds stand
/// one after another in a row, in the order of [`EncoderInfo::outputs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputKind {
    /// One vector of length one per text.
    Embedding {
        /// Its width.
        dimensions: usize,
    },
    /// One logit per text and label.
    Sequence {
        /// Names, by index.
        labels: Vec<String>,
    },
    /// One logit per token and label.
    Token {
        /// Names, by index. BIO labels carry their `B-` or `I-`.
        labels: Vec<String>,
    },
}

/// What [`Session::encode`] computes. The pass through the blocks is one, however much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Want {
    /// Fill [`Encoded::pooled`].
    pub embedding: bool,
    /// Fill [`Encoded::logits`].
    pub sequence: bool,
    /// Fill [`Encoded::token_logits`].
    pub token: bool,
    /// Leave after this many blocks (matryoshka); 0 for all. With fewer than all, `sequence` and `token` are refused,
    /// since heads are trained on the last block.
    pub layers: usize,
    /// Keep this many leading components of the embedding and make it of length one again (matryoshka); 0 for all.
    pub dimensions: usize,
}

impl Want {
    /// The whole embedding.
    pub const EMBEDDING: Self =
        Self { embedding: true, sequence: false, token: false, layers: 0, dimensions: 0 };
    /// The logits of every text.
    pub const SEQUENCE: Self =
        Self { embedding: false, sequence: true, token: false, layers: 0, dimensions: 0 };
    /// The logits of every token.
    pub const TOKEN: Self = Self { embedding: false, sequence: false, token: true, layers: 0, dimensions: 0 };

    /// Everything that either asks for.
    ///
    /// Both must agree on `layers` and `dimensions`.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        debug_assert_eq!((self.layers, self.dimensions), (other.layers, other.dimensions));
        Self {
            embedding: self.embedding | other.embedding,
            sequence: self.sequence | other.sequence,
            token: self.token | other.token,
            ..self
        }
    }

    /// Whether `info`'s model can give it.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Want`] with what it lacks.
    pub fn check(self, info: &EncoderInfo) -> Result<(), EncodeError> {
        let lacks = |what| Err(EncodeError::Want(what));
        if self.embedding && info.dimensions() == 0 {
            return lacks("no embedding");
        }
        if self.sequence && info.sequence_labels() == 0 {
            return lacks("no sequence labels");
        }
        if self.token && info.token_labels() == 0 {
            return lacks("no token labels");
        }
        if self.layers > info.layers {
            return lacks("fewer layers");
        }
        if self.layers != 0 && self.layers != info.layers && (self.sequence || self.token) {
            return lacks("heads after its last layer only");
        }
        if self.dimensions > info.dimensions() {
            return lacks("fewer dimensions");
        }
        Ok(())
    }
}

/// Why a text has no tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizeError {
    /// The caller's limit is below what special tokens and one token of text need.
    #[error("{max_tokens} tokens leave no room beside {special} special ones")]
    TooFew {
        /// The limit.
        max_tokens: usize,
        /// Special tokens that the model puts around a text.
        special: usize,
    },
    /// The tokenizer's rules fail on this text. Such a tokenizer is defective: rules apply to any UTF-8.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}

/// Why a batch has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The batch does not fit the model.
    #[error("bad batch: {0}")]
    Batch(&'static str),
    /// The model cannot give what is wanted.
    #[error("the model has {0}")]
    Want(&'static str),
    /// The back end failed; it may be gone for good.
    #[error("the back end failed: {0}")]
    Device(String),
}
