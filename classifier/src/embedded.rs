//! The model inside the binary: no download, microseconds a text.
//!
//! A text's embedding is the sum of one vector per word piece, learned such that the sum points where MiniLM's
//! sentence vector does. Heads are linear in the embedding, in counts of pieces and of neighbouring words, and in a
//! few numbers about the text's form; personal data is found by a linear tagger of words and by patterns.
//! `classifier/training` makes the file, and `docs/models.md` says how well it does.
//!
//! Of a text longer than [`MAX_TEXT_BYTES`] the beginning and the end are read. Attacks are looked for in parts of
//! 1.5 kB, and the most suspected part counts; everything else is told from the whole.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

mod features;
mod file;
mod patterns;
mod reading;
mod score;
mod tagger;
#[cfg(test)]
mod tests;
mod text;

pub use file::FormatError;
pub use score::{MAX_TEXT_BYTES, Scratch};

use features::HAND;
use file::File;
use score::Sums;
use tagger::Tagger;
use text::Pieces;

/// The file that `classifier/training` made.
static FILE: &[u8] = include_bytes!("../models/embedded.pcm");

/// What the model can be asked besides an embedding and personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Family {
    /// Subject, of fourteen.
    Domain,
    /// `easy` or `hard`.
    Complexity,
    /// `benign` or `jailbreak`.
    Jailbreak,
    /// `no_fact_check_needed` or `needs_fact_check`.
    FactCheck,
    /// What the user says about the answer before.
    UserFeedback,
    /// `AR`, `DIFFUSION` or `BOTH`.
    Modality,
}

impl Family {
    /// Every family, by its number.
    pub const ALL: [Self; 6] = [
        Self::Domain,
        Self::Complexity,
        Self::Jailbreak,
        Self::FactCheck,
        Self::UserFeedback,
        Self::Modality,
    ];

    /// As in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Complexity => "complexity",
            Self::Jailbreak => "jailbreak",
            Self::FactCheck => "fact_check",
            Self::UserFeedback => "user_feedback",
            Self::Modality => "modality",
        }
    }
}

/// A linear classifier.
#[derive(Debug)]
pub struct Head {
    /// Names of the classes, by index.
    pub labels: Vec<String>,
    columns: std::ops::Range<usize>,
    pairs: std::ops::Range<usize>,
    /// Per score: weights of the embedding, then of the numbers about the form, then the bias.
    dense: Vec<f32>,
}

impl Head {
    /// Two classes have one score, that of the second.
    fn scores(&self) -> usize {
        if self.labels.len() == 2 { 1 } else { self.labels.len() }
    }
}

/// A stretch of personal data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PiiSpan {
    /// First byte in the text.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// Its type, as v0.3 names it.
    pub label: &'static str,
    /// Probability, in `[0,1]`; 1 for what is well-formed down to its check digits.
    pub score: f32,
}

/// The static encoder and its heads.
pub struct EmbeddedModel {
    pieces: Pieces,
    axes: usize,
    table: &'static [u8],
    row_scales: Vec<f32>,
    token_table: &'static [u8],
    token_scales: Vec<f32>,
    pair_table: &'static [u8],
    pair_scales: Vec<f32>,
    pair_mask: u64,
    difficulty: f32,
    heads: Vec<Head>,
    tagger: Tagger,
    digest: [u8; 32],
}

impl EmbeddedModel {
    /// The one inside the binary.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<EmbeddedModel> =
            LazyLock::new(|| EmbeddedModel::parse(FILE).expect("the file in the repository is tested"));
        &SHARED
    }

    /// Reads a model's file.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(bytes: &'static [u8]) -> Result<Self, FormatError> {
        let file = File::open(bytes)?;
        let header = &file.header;
        let (vocabulary, axes, buckets) = (header.vocabulary, header.dimensions, header.pair_buckets);
        if vocabulary == 0
            || axes == 0
            || !buckets.is_power_of_two()
            || header.heads.len() != Family::ALL.len()
        {
            return Err(FormatError("impossible sizes".to_owned()));
        }
        let token_columns = header.heads.iter().map(|head| head.columns.end).max().unwrap_or(0);
        let pair_columns = header.heads.iter().map(|head| head.pairs.end).max().unwrap_or(0);
        let mut heads = Vec::new();
        for (family, head) in Family::ALL.into_iter().zip(&header.heads) {
            let mut known = Head {
                labels: head.labels.clone(),
                columns: head.columns.clone(),
                pairs: head.pairs.clone(),
                dense: Vec::new(),
            };
            let scores = known.scores();
            let widths =
                [known.columns.len(), if known.pairs.is_empty() { scores } else { known.pairs.len() }];
            if head.name != family.as_str() || known.labels.len() < 2 || widths != [scores; 2] {
                return Err(FormatError(format!("head {} is not in its place", head.name)));
            }
            known.dense = file.floats(&format!("head.{}", head.name), scores * (axes + HAND + 1))?;
            heads.push(known);
        }
        Ok(Self {
            pieces: Pieces::new(file.hashes("pieces", vocabulary)?.into_iter()),
            axes,
            table: file.bytes("table", vocabulary * axes)?,
            row_scales: file.floats("table.scales", vocabulary)?,
            token_table: file.bytes("tokens", vocabulary * token_columns)?,
            token_scales: file.floats("tokens.scales", token_columns)?,
            pair_table: file.bytes("pairs", buckets * pair_columns)?,
            pair_scales: file.floats("pairs.scales", pair_columns)?,
            pair_mask: buckets as u64 - 1,
            difficulty: header.difficulty,
            heads,
            tagger: Tagger::open(&file)?,
            digest: Sha256::digest(bytes).into(),
        })
    }

    /// SHA-256 of the file.
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Width of the embedding.
    pub const fn dimensions(&self) -> usize {
        self.axes + (self.difficulty != 0.0) as usize
    }

    /// A family's head.
    pub fn head(&self, family: Family) -> &Head {
        &self.heads[family as usize]
    }

    /// Reads a text; the other methods then tell what was read.
    pub fn read(&self, text: &str, scratch: &mut Scratch) {
        score::read(self, text, scratch);
    }

    /// Part of the text that was read last was left out.
    pub const fn truncated(&self, scratch: &Scratch) -> bool {
        scratch.truncated
    }

    /// The embedding of the text that was read last, of length one. False, and zeros, if no piece of it is known.
    ///
    /// # Panics
    /// If `out` is not as long as [`Self::dimensions`].
    pub fn embedding(&self, scratch: &Scratch, out: &mut [f32]) -> bool {
        assert_eq!(out.len(), self.dimensions(), "one number per dimension");
        let inverse = scratch.total.inverse_length();
        if inverse == 0.0 {
            out.fill(0.0);
            return false;
        }
        for (value, sum) in out.iter_mut().zip(&scratch.total.embedding) {
            *value = sum * inverse;
        }
        if self.difficulty != 0.0 {
            let score = self.score(self.head(Family::Complexity), 0, &scratch.total);
            let axis = self.difficulty * (score / 2.0).tanh();
            out[self.axes] = axis;
            let length = (1.0 + axis * axis).sqrt();
            out.iter_mut().for_each(|value| *value /= length);
        }
        true
    }

    /// Reads a text for its embedding.
    ///
    /// # Panics
    /// If `out` is not as long as [`Self::dimensions`].
    pub fn embed(&self, text: &str, scratch: &mut Scratch, out: &mut [f32]) -> bool {
        self.read(text, scratch);
        self.embedding(scratch, out)
    }

    /// Probabilities of a family's labels for the text that was read last.
    ///
    /// # Panics
    /// If `out` is not as long as the labels.
    pub fn probabilities(&self, family: Family, scratch: &Scratch, out: &mut [f32]) {
        let head = self.head(family);
        assert_eq!(out.len(), head.labels.len(), "one number per label");
        if head.labels.len() == 2 {
            let score = match family {
                Family::Jailbreak => scratch.attack,
                _ => self.score(head, 0, &scratch.total),
            };
            out[1] = (1.0 + (-score).exp()).recip();
            out[0] = 1.0 - out[1];
            return;
        }
        for (at, value) in out.iter_mut().enumerate() {
            *value = self.score(head, at, &scratch.total);
        }
        let most = out.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        out.iter_mut().for_each(|value| *value = (*value - most).exp());
        let total: f32 = out.iter().sum();
        out.iter_mut().for_each(|value| *value /= total);
    }

    /// Replaces `out` by the personal data in `text`, by their start. They may overlap: a pattern's and the tagger's
    /// find of the same words.
    pub fn pii_spans(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<PiiSpan>) {
        out.clear();
        let (head, tail) = score::bounded(text);
        for (part, offset) in [(head, 0), (tail, text.len() - tail.len())] {
            let from = out.len();
            patterns::find(part, out);
            self.tagger.find(part, &mut scratch.tagger, out);
            for span in &mut out[from..] {
                span.start += offset;
                span.end += offset;
            }
        }
        out.sort_unstable_by_key(|span| (span.start, span.end));
    }

    fn attack_score(&self, sums: &Sums) -> f32 {
        self.score(self.head(Family::Jailbreak), 0, sums)
    }

    fn score(&self, head: &Head, at: usize, sums: &Sums) -> f32 {
        let width = self.axes + HAND + 1;
        let (embedding, form) = head.dense[at * width..(at + 1) * width].split_at(self.axes);
        let dot: f32 = embedding.iter().zip(&sums.embedding).map(|(weight, value)| weight * value).sum();
        let hand = sums.counts.features();
        let form_dot: f32 = form.iter().zip(&hand).map(|(weight, value)| weight * value).sum();
        let mut score = dot * sums.inverse_length() + form_dot + form[HAND];
        let root = |count: u32| (count.max(1) as f32).sqrt();
        let column = head.columns.start + at;
        score += sums.tokens[column] as f32 * self.token_scales[column] / root(sums.pieces);
        if !head.pairs.is_empty() {
            let column = head.pairs.start + at;
            score += sums.pairs[column] as f32 * self.pair_scales[column] / root(sums.counts.words);
        }
        score
    }

    fn add_piece(&self, id: usize, embedding: &mut [f32], tokens: &mut [i32]) {
        let scale = self.row_scales[id];
        let row = &self.table[id * self.axes..(id + 1) * self.axes];
        for (sum, value) in embedding.iter_mut().zip(row) {
            *sum += f32::from(*value as i8) * scale;
        }
        let width = tokens.len();
        add_row(&self.token_table[id * width..(id + 1) * width], tokens);
    }

    fn add_pair(&self, hash: u64, pairs: &mut [i32]) {
        let (at, width) = ((hash & self.pair_mask) as usize, pairs.len());
        add_row(&self.pair_table[at * width..(at + 1) * width], pairs);
    }
}

fn add_row(row: &[u8], sums: &mut [i32]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += i32::from(*value as i8);
    }
}
