//! An encoder as a [`TextModel`]: windows over long texts, labels by head.
//!
//! A text that does not fit the encoder's window is read window by window, each beginning a few tokens before
//! the last one's end, and at most [`WindowPolicy::max_windows`] of them, so that a text of any length costs
//! bounded time. Of a text longer than that, the first windows and the last one are read: instructions stand at
//! the beginning and questions at the end of long prompts.
//!
//! What the windows say becomes one answer: embeddings are averaged by number of tokens; probabilities of an
//! attack take the window most suspected; other classes are averaged; personal data is collected.

use std::sync::{Arc, Weak};

use pintle_hip::encoder::Banks;

use super::{Entity, Head, ModelError, Polarity, TextModel, TextReading, TextSession, Wanted};
use crate::encoder::{Batch, Encoded, Encoder, OutputKind, Session, Tokens, Want};

/// How long texts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowPolicy {
    /// Tokens of a window, special ones included; never more than the encoder admits.
    pub tokens: usize,
    /// Tokens that two neighbouring windows share.
    pub overlap: usize,
    /// Windows that are read of one text.
    pub max_windows: usize,
    /// Tokens of one call of the encoder: bounds its working memory, and how long a call takes.
    pub batch_tokens: usize,
}

impl Default for WindowPolicy {
    fn default() -> Self {
        Self { tokens: 256, overlap: 16, max_windows: 8, batch_tokens: 8192 }
    }
}

/// Where a head's labels lie among the encoder's outputs.
#[derive(Debug, Clone)]
struct Place {
    head: Head,
    /// First column of the row of logits.
    at: usize,
    labels: Vec<String>,
}

/// An encoder with the heads that its outputs stand for.
pub struct EncoderModel {
    encoder: Arc<dyn Encoder>,
    backend: &'static str,
    policy: WindowPolicy,
    /// Blocks and dimensions of the embedding; 0 for all.
    layers: usize,
    dimensions: usize,
    sequence: Vec<Place>,
    token: Option<Place>,
    /// Types of personal data, without `B-` and `I-`, each once.
    types: Vec<String>,
    /// Per token label: its type's position in `kinds`, and whether it begins an entity.
    kinds: Vec<Option<(Arc<str>, bool)>>,
    digest: [u8; 32],
}

impl EncoderModel {
    /// The encoder's embedding, its sequence outputs that bear a head's name, and else its first sequence or token
    /// output as `head` if one is named. `layers` and `dimensions` shorten a matryoshka model's embedding; 0 is all
    /// of it.
    ///
    /// # Errors
    /// When the encoder has no output that could be this head, or cannot be shortened so.
    pub fn new(
        encoder: Arc<dyn Encoder>,
        backend: &'static str,
        head: Option<Head>,
        policy: WindowPolicy,
        layers: usize,
        dimensions: usize,
    ) -> Result<Self, ModelError> {
        let info = encoder.info();
        let policy = WindowPolicy { tokens: policy.tokens.min(info.max_tokens), ..policy };
        let (layers, dimensions) = match head {
            Some(_) => (0, 0),
            None => (layers.min(info.layers), dimensions.min(info.dimensions())),
        };
        let early = layers != 0 && layers != info.layers;
        let (mut sequence, mut token): (Vec<Place>, _) = (Vec::new(), None);
        let (mut sequence_at, mut token_at) = (0, 0);
        for output in &info.outputs {
            match &output.kind {
                OutputKind::Sequence { labels } => {
                    let named = Head::ALL.into_iter().find(|head| head.as_str() == output.name);
                    // Heads are trained on the last block.
                    let is = if early { None } else { named.or(head.filter(|head| *head != Head::Pii)) };
                    let is = is.filter(|is| sequence.iter().all(|place| place.head != *is));
                    sequence.extend(is.map(|head| Place { head, at: sequence_at, labels: labels.clone() }));
                    sequence_at += labels.len();
                }
                OutputKind::Token { labels } => {
                    if head == Some(Head::Pii) {
                        token.get_or_insert(Place { head: Head::Pii, at: token_at, labels: labels.clone() });
                    }
                    token_at += labels.len();
                }
                OutputKind::Embedding { .. } => {}
            }
        }
        match head {
            Some(head) if token.is_none() && sequence.iter().all(|place| place.head != head) => {
                let form = if head == Head::Pii { "token" } else { "sequence" };
                let what = format!("{} has no {form} classifier for {}", info.name, head.as_str());
                return Err(ModelError(what));
            }
            None if info.dimensions() == 0 => {
                return Err(ModelError(format!("{} gives no embedding", info.name)));
            }
            _ => {}
        }
        let kinds: Vec<Option<(Arc<str>, bool)>> =
            token.iter().flat_map(|place| &place.labels).map(|label| entity_kind(label)).collect();
        let mut types: Vec<String> =
            kinds.iter().flatten().map(|(kind, _)| kind.as_ref().to_owned()).collect();
        types.sort_unstable();
        types.dedup();
        // Reading it by other windows, shortened, or as another head's is another answer.
        let mut digest = info.digest;
        let heads = sequence.iter().chain(&token).fold(0, |all, place| all | 1 << place.head as usize);
        let reading = [policy.tokens, policy.overlap, policy.max_windows, layers, dimensions, heads];
        for (at, value) in reading.into_iter().enumerate() {
            for (byte, more) in digest[at * 4..].iter_mut().zip((value as u32).to_le_bytes()) {
                *byte ^= more;
            }
        }
        Ok(Self { encoder, backend, policy, layers, dimensions, sequence, token, types, kinds, digest })
    }
}

/// Type and position of a token label; `None` for "no entity".
fn entity_kind(label: &str) -> Option<(Arc<str>, bool)> {
    let (kind, begins) = match label.split_once('-') {
        Some(("B" | "S" | "U", kind)) => (kind, true),
        Some(("I" | "E" | "L", kind)) => (kind, false),
        _ => (label, false),
    };
    let nothing = matches!(kind, "O" | "NO_PII" | "") || kind.starts_with("LABEL_");
    (!nothing).then(|| (Arc::from(kind), begins))
}

impl TextModel for EncoderModel {
    fn name(&self) -> &str {
        &self.encoder.info().name
    }

    fn backend(&self) -> &'static str {
        self.backend
    }

    fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn dimensions(&self) -> usize {
        if self.dimensions > 0 { self.dimensions } else { self.encoder.info().dimensions() }
    }

    fn labels(&self, head: Head) -> Option<&[String]> {
        if self.token.as_ref().is_some_and(|place| place.head == head) {
            return Some(&self.types);
        }
        self.sequence.iter().find(|place| place.head == head).map(|place| place.labels.as_slice())
    }

    fn instance(&self) -> usize {
        Arc::as_ptr(&self.encoder).cast::<()>() as usize
    }

    fn session(&self) -> Box<dyn TextSession> {
        Box::new(EncoderSession {
            model: Shape {
                policy: self.policy,
                layers: self.layers,
                dimensions: self.dimensions,
                row: self.dimensions(),
                sequence: self.sequence.clone(),
                sequence_row: self.encoder.info().sequence_labels(),
                token: self.token.clone(),
                token_row: self.encoder.info().token_labels(),
                kinds: self.kinds.clone(),
            },
            encoder: Arc::downgrade(&self.encoder),
            banks: None,
            session: self.encoder.session(),
            tokens: Tokens::default(),
            batch: Batch::default(),
            encoded: Encoded::default(),
            windows: Vec::new(),
        })
    }
}

/// What a session needs of its model.
struct Shape {
    policy: WindowPolicy,
    layers: usize,
    dimensions: usize,
    row: usize,
    sequence: Vec<Place>,
    sequence_row: usize,
    token: Option<Place>,
    token_row: usize,
    kinds: Vec<Option<(Arc<str>, bool)>>,
}

struct EncoderSession {
    model: Shape,
    /// Kept by the model alone, so that weights are given back when no configuration wants them. While this is here, no
    /// other encoder has its address.
    encoder: Weak<dyn Encoder>,
    /// What the call that is being made compares embeddings with.
    banks: Option<Arc<Banks>>,
    session: Box<dyn Session>,
    tokens: Tokens,
    batch: Batch,
    encoded: Encoded,
    windows: Vec<Window>,
}

/// One window in the batch.
struct Window {
    /// Position among the readings that are being made.
    text: usize,
    tokens: usize,
    /// Bytes of each token in the whole text, where a token output is wanted.
    offsets: Vec<(u32, u32)>,
}

/// What several windows of one text add up to.
#[derive(Default)]
struct Sum {
    tokens: f32,
    windows: f32,
}

impl TextSession for EncoderSession {
    fn read(&mut self, texts: &[&str], wanted: Wanted, out: &mut Vec<TextReading>) -> Result<(), ModelError> {
        let first = out.len();
        let encoder = self.encoder.upgrade().ok_or_else(|| ModelError("the model is gone".to_owned()))?;
        let result = self.read_all(&*encoder, texts, wanted, first, out);
        if result.is_err() {
            out.truncate(first);
            // Windows of texts that came before the one that failed.
            self.batch.clear();
            self.windows.clear();
        }
        result
    }

    fn read_comparing(
        &mut self,
        texts: &[&str],
        wanted: Wanted,
        banks: &Arc<Banks>,
        out: &mut Vec<TextReading>,
    ) -> Result<(), ModelError> {
        self.banks = Some(banks.clone());
        let result = self.read(texts, wanted, out);
        self.banks = None;
        result
    }

    fn is_orphan(&self) -> bool {
        self.encoder.strong_count() == 0
    }
}

impl EncoderSession {
    fn read_all(
        &mut self,
        encoder: &dyn Encoder,
        texts: &[&str],
        wanted: Wanted,
        first: usize,
        out: &mut Vec<TextReading>,
    ) -> Result<(), ModelError> {
        let shape = &self.model;
        let want = Want {
            embedding: wanted.embedding,
            sequence: shape.sequence.iter().any(|place| wanted.has(place.head)),
            token: shape.token.as_ref().is_some_and(|place| wanted.has(place.head)),
            layers: shape.layers,
            dimensions: shape.dimensions,
        };
        let mut sums: Vec<Sum> = Vec::with_capacity(texts.len());
        for text in texts {
            out.push(TextReading { has: wanted, ..TextReading::default() });
            sums.push(Sum::default());
            self.cut(encoder, text, first, want, &mut sums, out)?;
        }
        self.flush(first, want, &mut sums, out)?;
        for (reading, sum) in out[first..].iter_mut().zip(&sums) {
            self.model.conclude(reading, sum);
        }
        Ok(())
    }

    /// Puts the windows of the last text into the batch, and runs it whenever it is full.
    fn cut(
        &mut self,
        encoder: &dyn Encoder,
        text: &str,
        first: usize,
        want: Want,
        sums: &mut [Sum],
        out: &mut [TextReading],
    ) -> Result<(), ModelError> {
        let policy = self.model.policy;
        let at = out.len() - 1 - first;
        let mut start = 0;
        for nth in 0..policy.max_windows.max(1) {
            let failed = |error| ModelError(format!("tokenizer: {error}"));
            encoder.tokenize(&text[start..], policy.tokens, &mut self.tokens).map_err(failed)?;
            let complete = self.tokens.complete;
            let next = self.next_start(text, start);
            let last_but_one = nth + 2 == policy.max_windows;
            let start_of_this = start;
            if !self.tokens.is_empty() {
                self.push(at, start_of_this, first, want, sums, out)?;
            }
            if complete {
                return Ok(());
            }
            let Some(next) = next else { break };
            start = next;
            if last_but_one {
                let tail = self.tail_start(text, start_of_this, next);
                if tail > next {
                    out[first + at].truncated = true;
                    start = tail;
                }
            }
        }
        out[first + at].truncated = true;
        Ok(())
    }

    /// Where the window after the one in `tokens` begins; `None` if that would be no progress.
    fn next_start(&self, text: &str, start: usize) -> Option<usize> {
        let content: Vec<usize> = self
            .tokens
            .offsets
            .iter()
            .filter(|(from, to)| to > from)
            .map(|(from, _)| *from as usize)
            .collect();
        let back = self.model.policy.overlap.min(content.len() / 2);
        let from = content.get(content.len().checked_sub(back.max(1))?)?;
        let mut next = start + from;
        while next > start && !text.is_char_boundary(next) {
            next -= 1;
        }
        (next > start).then_some(next)
    }

    /// Where the last window begins if it is to end with the text: as many bytes from its end as the window
    /// just made covers.
    fn tail_start(&self, text: &str, start: usize, next: usize) -> usize {
        let covered = next.saturating_sub(start).max(1);
        let mut tail = text.len().saturating_sub(covered);
        while !text.is_char_boundary(tail) {
            tail += 1;
        }
        tail
    }

    fn push(
        &mut self,
        text: usize,
        start: usize,
        first: usize,
        want: Want,
        sums: &mut [Sum],
        out: &mut [TextReading],
    ) -> Result<(), ModelError> {
        let tokens = self.tokens.len();
        let full = self.batch.tokens() + tokens > self.model.policy.batch_tokens;
        if !self.batch.admits(tokens) || (full && self.batch.texts() > 0) {
            self.flush(first, want, sums, out)?;
        }
        self.batch.push(&self.tokens.ids).map_err(|error| ModelError(error.to_string()))?;
        let offsets = if want.token {
            let base = u32::try_from(start).unwrap_or(u32::MAX);
            let shift = |(from, to): &(u32, u32)| {
                if to > from { (from.saturating_add(base), to.saturating_add(base)) } else { (0, 0) }
            };
            self.tokens.offsets.iter().map(shift).collect()
        } else {
            Vec::new()
        };
        self.windows.push(Window { text, tokens, offsets });
        Ok(())
    }

    /// Runs what is in the batch and adds it to the readings.
    fn flush(
        &mut self,
        first: usize,
        want: Want,
        sums: &mut [Sum],
        out: &mut [TextReading],
    ) -> Result<(), ModelError> {
        if self.batch.texts() == 0 {
            return Ok(());
        }
        let compares = self.banks.as_ref().filter(|_| want.embedding && want.dimensions == 0);
        let done = match compares {
            Some(banks) => self.session.encode_comparing(&self.batch, want, banks, &mut self.encoded),
            None => self.session.encode(&self.batch, want, &mut self.encoded),
        };
        self.batch.clear();
        let windows = std::mem::take(&mut self.windows);
        done.map_err(|error| ModelError(error.to_string()))?;
        // Finite weights can still add up to what is none, and what compares false with everything would pass for
        // "harmless" instead of "unknown".
        let Encoded { pooled, logits, token_logits, .. } = &self.encoded;
        if [pooled, logits, token_logits].into_iter().flatten().any(|value| !value.is_finite()) {
            return Err(ModelError("its answers are no numbers".to_owned()));
        }
        let mut token_at = 0;
        for (nth, window) in windows.iter().enumerate() {
            let rows = Rows {
                pooled: row(&self.encoded.pooled, nth, self.model.row, want.embedding),
                logits: row(&self.encoded.logits, nth, self.model.sequence_row, want.sequence),
                token_logits: if want.token {
                    let width = self.model.token_row;
                    &self.encoded.token_logits[token_at * width..(token_at + window.tokens) * width]
                } else {
                    &[]
                },
            };
            token_at += window.tokens;
            if let Some(banks) = compares.filter(|_| !self.encoded.scores.is_empty()) {
                // Several windows' vector is another one than each of theirs.
                let alone = sums[window.text].windows == 0.0;
                let scores = row(&self.encoded.scores, nth, banks.len(), alone);
                out[first + window.text].scores = alone.then(|| (banks.id(), scores.to_vec()));
            } else {
                out[first + window.text].scores = None;
            }
            self.model.add(&rows, window, &mut sums[window.text], &mut out[first + window.text]);
        }
        Ok(())
    }
}

struct Rows<'a> {
    pooled: &'a [f32],
    logits: &'a [f32],
    token_logits: &'a [f32],
}

fn row<T>(all: &[T], nth: usize, width: usize, wanted: bool) -> &[T] {
    if wanted { &all[nth * width..(nth + 1) * width] } else { &[] }
}

impl Shape {
    fn add(&self, rows: &Rows<'_>, window: &Window, sum: &mut Sum, out: &mut TextReading) {
        let weight = window.tokens as f32;
        if !rows.pooled.is_empty() {
            out.embedding.resize(rows.pooled.len(), 0.0);
            for (total, value) in out.embedding.iter_mut().zip(rows.pooled) {
                *total += weight * value;
            }
        }
        let wanted = out.has;
        let asked = self.sequence.iter().filter(|place| !rows.logits.is_empty() && wanted.has(place.head));
        for place in asked {
            let probabilities = softmax(&rows.logits[place.at..place.at + place.labels.len()]);
            merge(place, &probabilities, sum.windows == 0.0, out);
        }
        if let Some(place) = self.token.as_ref().filter(|_| !rows.token_logits.is_empty()) {
            self.collect(place, rows.token_logits, window, out);
        }
        sum.tokens += weight;
        sum.windows += 1.0;
    }

    /// Runs of tokens of one type; a token that begins an entity ends the one before.
    fn collect(&self, place: &Place, logits: &[f32], window: &Window, out: &mut TextReading) {
        let mut open: Option<(Entity, f32)> = None;
        for (nth, (from, to)) in window.offsets.iter().enumerate() {
            if to <= from {
                continue;
            }
            let row = &logits[nth * self.token_row + place.at..][..place.labels.len()];
            let probabilities = softmax(row);
            let best = (0..row.len()).fold(0, |a, b| if probabilities[b] > probabilities[a] { b } else { a });
            let Some((kind, begins)) = self.kinds[best].as_ref() else {
                close(&mut open, out);
                continue;
            };
            let goes_on = !begins && open.as_ref().is_some_and(|(entity, _)| entity.label == *kind);
            if !goes_on {
                close(&mut open, out);
                open = Some((Entity { start: *from, end: *to, label: kind.clone(), score: 0.0 }, 0.0));
            }
            if let Some((entity, tokens)) = &mut open {
                entity.end = *to;
                entity.score += probabilities[best];
                *tokens += 1.0;
            }
        }
        close(&mut open, out);
    }

    fn conclude(&self, reading: &mut TextReading, sum: &Sum) {
        if sum.tokens > 0.0 && !reading.embedding.is_empty() {
            let norm = reading.embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
            if norm > 0.0 {
                reading.embedding.iter_mut().for_each(|value| *value /= norm);
            } else {
                reading.embedding.clear();
            }
        }
        let averaged = self.sequence.iter().filter(|place| place.head != Head::Jailbreak);
        if sum.windows > 1.0 {
            for place in averaged {
                reading.probabilities[place.head as usize].iter_mut().for_each(|value| *value /= sum.windows);
            }
        }
    }
}

/// Adds what one window says to what those before it said.
fn merge(place: &Place, probabilities: &[f32], is_first: bool, out: &mut TextReading) {
    let total = &mut out.probabilities[place.head as usize];
    if is_first {
        *total = probabilities.to_vec();
    } else if place.head == Head::Jailbreak {
        let suspicion = |of: &[f32]| {
            super::labels::yes_probability(&place.labels, of, |label| {
                Polarity::of_attack(label, &place.labels)
            })
        };
        if suspicion(probabilities) > suspicion(total) {
            *total = probabilities.to_vec();
        }
    } else {
        total.iter_mut().zip(probabilities).for_each(|(total, value)| *total += value);
    }
}

/// Ends an entity. What the overlap of two windows shows twice is kept once, as the more certain one.
fn close(open: &mut Option<(Entity, f32)>, out: &mut TextReading) {
    let Some((mut entity, tokens)) = open.take() else { return };
    entity.score /= tokens;
    let seen =
        out.entities.iter_mut().rev().take(16).find(|known| {
            known.label == entity.label && known.start < entity.end && entity.start < known.end
        });
    match seen {
        Some(known) => {
            known.start = known.start.min(entity.start);
            known.end = known.end.max(entity.end);
            known.score = known.score.max(entity.score);
        }
        None => out.entities.push(entity),
    }
}

/// Probabilities of logits.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut out: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let total: f32 = out.iter().sum();
    out.iter_mut().for_each(|value| *value /= total);
    out
}
