use std::ops::Range;

use pintle_hip::abi::BankScore;

use super::{EncodeError, EncoderInfo, MAX_BATCH_TEXTS, MAX_BATCH_TOKENS};

/// The tokens of one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Index of each token in the model's vocabulary.
    pub ids: Vec<u32>,
    /// First byte in the text, and the byte after the last, of each token; `(0, 0)` for special tokens. As long as
    /// `ids`.
    pub offsets: Vec<(u32, u32)>,
    /// Whether the whole text is in: false if it was cut.
    pub complete: bool,
}

impl Tokens {
    /// Forgets the text and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.offsets.clear();
        self.complete = false;
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token, not even a special one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// The tokens of several texts, one text after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    ends: Vec<u32>,
}

impl Batch {
    /// Forgets the texts and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.ends.clear();
    }

    /// Whether a text of `tokens` tokens still fits.
    #[must_use]
    pub fn admits(&self, tokens: usize) -> bool {
        self.ends.len() < MAX_BATCH_TEXTS && tokens <= MAX_BATCH_TOKENS - self.ids.len()
    }

    /// Appends a text.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Batch`] if the text is empty or does not fit ([`Self::admits`]); the batch is as before.
    pub fn push(&mut self, ids: &[u32]) -> Result<(), EncodeError> {
        if ids.is_empty() {
            return Err(EncodeError::Batch("a text without tokens"));
        }
        if !self.admits(ids.len()) {
            return Err(EncodeError::Batch("too many texts or tokens"));
        }
        self.ids.extend_from_slice(ids);
        self.ends.push(u32::try_from(self.ids.len()).expect("bounded by MAX_BATCH_TOKENS"));
        Ok(())
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.ends.len()
    }

    /// Number of tokens of all texts.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The ids of all texts, one after another.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// For every text, the index in [`Self::ids`] after its last token.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Where a text lies in [`Self::ids`].
    ///
    /// # Panics
    ///
    /// If there is no such text.
    #[must_use]
    pub fn range(&self, text: usize) -> Range<usize> {
        let start = if text == 0 { 0 } else { self.ends[text - 1] };
        start as usize..self.ends[text] as usize
    }

    /// Where each text lies in [`Self::ids`].
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        (0..self.ends.len()).map(|text| self.range(text))
    }

    /// Whether every text is within the model's length and every id below `vocabulary`. Back ends call this before
    /// they index anything by an id.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Batch`].
    pub fn check(&self, info: &EncoderInfo, vocabulary: usize) -> Result<(), EncodeError> {
        if self.ranges().any(|range| range.len() > info.max_tokens) {
            return Err(EncodeError::Batch("a text is longer than the model admits"));
        }
        if self.ids.iter().any(|&id| id as usize >= vocabulary) {
            return Err(EncodeError::Batch("a token id is beyond the vocabulary"));
        }
        Ok(())
    }
}

/// What a batch gave. Only what was wanted is filled; the rest is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Encoded {
    /// One row per text of as many components as were wanted: the embedding, of length one.
    pub pooled: Vec<f32>,
    /// One row per text: the logits of all sequence outputs.
    pub logits: Vec<f32>,
    /// One row per token of the batch, special tokens included: the logits of all token outputs.
    pub token_logits: Vec<f32>,
    /// One row per text: a score for each bank, where the back end compares ([`Session::encode_comparing`]).
    pub scores: Vec<BankScore>,
}

impl Encoded {
    /// Forgets the results and keeps the memory.
    pub fn clear(&mut self) {
        self.pooled.clear();
        self.logits.clear();
        self.token_logits.clear();
        self.scores.clear();
    }
}
