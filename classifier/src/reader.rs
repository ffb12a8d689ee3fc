//! A model as the service asks it: texts in, vectors and probabilities out.
//!
//! An [`Encoder`](crate::encoder::Encoder) knows tokens and logits. A [`TextModel`] knows which of its outputs is
//! which signal's, how a text longer than its window is read, and what its labels are called.

use std::sync::Arc;

use pintle_hip::abi::BankScore;
use pintle_hip::encoder::Banks;

use crate::external::ExternalModel;

pub(crate) mod labels;
mod windows;

pub use labels::Polarity;
pub use windows::{EncoderModel, WindowPolicy};

/// What a classifier can be asked besides an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Head {
    /// Subject of the text.
    Domain,
    /// Whether facts need checking.
    FactCheck,
    /// What the user says about the answer before.
    UserFeedback,
    /// Attack or harmless.
    Jailbreak,
    /// Text, image, or both wanted.
    Modality,
    /// Personal data, by span.
    Pii,
}

impl Head {
    /// Every head.
    pub const ALL: [Self; 6] =
        [Self::Domain, Self::FactCheck, Self::UserFeedback, Self::Jailbreak, Self::Modality, Self::Pii];

    /// As in metrics, status and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::FactCheck => "fact_check",
            Self::UserFeedback => "user_feedback",
            Self::Jailbreak => "jailbreak",
            Self::Modality => "modality",
            Self::Pii => "pii",
        }
    }
}

/// What is wanted of one text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The embedding.
    pub embedding: bool,
    heads: u8,
}

impl Wanted {
    /// The embedding alone.
    pub const EMBEDDING: Self = Self { embedding: true, heads: 0 };

    /// One head alone.
    pub const fn head(head: Head) -> Self {
        Self { embedding: false, heads: 1 << head as u8 }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { embedding: self.embedding || other.embedding, heads: self.heads | other.heads }
    }

    /// The head is wanted.
    pub const fn has(self, head: Head) -> bool {
        self.heads & (1 << head as u8) != 0
    }

    /// Everything that `other` wants is wanted here too.
    pub const fn covers(self, other: Self) -> bool {
        (self.embedding || !other.embedding) && self.heads & other.heads == other.heads
    }

    /// Nothing is wanted.
    pub const fn is_empty(self) -> bool {
        !self.embedding && self.heads == 0
    }
}

/// A stretch of personal data.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// Bytes of the text.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// Its type, without `B-` and `I-`.
    pub label: Arc<str>,
    /// Mean probability of its tokens, in `[0,1]`.
    pub score: f32,
}

/// What a model says of one text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextReading {
    /// What was asked; the rest is empty.
    pub has: Wanted,
    /// Of length one, or empty for a text without any token.
    pub embedding: Vec<f32>,
    /// What the embedding scores against the banks of this id, where a GPU has compared it.
    pub scores: Option<(u64, Vec<BankScore>)>,
    /// By [`Head`], in the order of the model's labels; empty for [`Head::Pii`].
    pub probabilities: [Vec<f32>; 6],
    /// Labels of the probabilities, where the model does not know them before it is asked.
    pub labels: Option<Arc<[String]>>,
    /// In order of their start.
    pub entities: Vec<Entity>,
    /// The text was longer than is read; the rest was not looked at.
    pub truncated: bool,
}

impl TextReading {
    /// Bytes that it holds, about.
    pub fn size(&self) -> usize {
        let floats = self.embedding.len() + self.probabilities.iter().map(Vec::len).sum::<usize>();
        let labels: usize = self
            .labels
            .iter()
            .flat_map(|labels| labels.iter())
            .map(|label| size_of::<String>() + label.len())
            .sum();
        let scores = self.scores.as_ref().map_or(0, |(_, scores)| size_of_val(scores.as_slice()));
        size_of::<Self>()
            + scores
            + floats * size_of::<f32>()
            + self.entities.len() * size_of::<Entity>()
            + labels
    }
}

/// A model that could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ModelError(pub String);

/// A model behind which any back end may stand.
pub trait TextModel: Send + Sync {
    /// As in status and metrics.
    fn name(&self) -> &str;

    /// What runs it: `embedded`, `cpu`, `onnx`, `hip`, `http`.
    fn backend(&self) -> &'static str;

    /// Distinguishes answers in the cache: models with equal digests answer alike.
    fn digest(&self) -> [u8; 32];

    /// Width of the embedding; 0 if it has none.
    fn dimensions(&self) -> usize;

    /// Labels of a head, or `None` if it has none. Types of personal data for [`Head::Pii`].
    fn labels(&self, head: Head) -> Option<&[String]>;

    /// One thread's working memory.
    fn session(&self) -> Box<dyn TextSession>;

    /// Distinguishes what sessions work on: a session serves any model with an equal digest, back end and instance.
    fn instance(&self) -> usize {
        0
    }

    /// The model is asked over a network: whoever would wait for its session asks this instead.
    fn external(&self) -> Option<&ExternalModel> {
        None
    }
}

/// One thread's use of a [`TextModel`].
pub trait TextSession: Send {
    /// Appends one reading per text to `out`.
    ///
    /// # Errors
    /// When the back end failed; `out` is as before then. Texts as such never fail.
    fn read(&mut self, texts: &[&str], wanted: Wanted, out: &mut Vec<TextReading>) -> Result<(), ModelError>;

    /// As [`Self::read`]. A back end that can compare embeddings with prototypes where it computes them does so.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn read_comparing(
        &mut self,
        texts: &[&str],
        wanted: Wanted,
        _banks: &Arc<Banks>,
        out: &mut Vec<TextReading>,
    ) -> Result<(), ModelError> {
        self.read(texts, wanted, out)
    }

    /// The model is gone, and the session can do nothing any more.
    fn is_orphan(&self) -> bool {
        false
    }
}
