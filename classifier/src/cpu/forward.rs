//! One pass through the blocks.

use std::ops::Range;
use std::sync::Arc;

use super::kernels::{AttentionScratch, Table};
use super::memory::Lanes;
use super::model::{Model, PackedBlock, PackedHead, Words};
use super::pack::{PANEL, Packed, STEP};
use crate::encoder::{Batch, EncodeError, Encoded, Session, Want, normalise};
use crate::model::config::{Pooling, Task};

/// Rows that go through a block's steps together: what they become fits the second-level cache beside a panel of
/// weights. A multiple of the product's tile.
pub(super) const TILE_ROWS: usize = 96;

/// Tokens that go through the network together, unless one text is longer.
const PASS_TOKENS: usize = 256;

/// A thread's memory on a model.
pub(super) struct CpuSession {
    model: Arc<Model>,
    /// Token vectors of a pass.
    x: Lanes,
    /// Queries, keys and values of a pass; attention leaves its result in the queries' place.
    qkv: Lanes,
    /// A tile inside the perceptron.
    inner: Lanes,
    tile: Tile,
    attention: AttentionScratch,
    /// One row per text, for heads.
    texts: Lanes,
}

/// Narrowed rows of a tile, and one row of `f32`.
#[derive(Default)]
struct Tile {
    rows: Lanes,
    scales: Vec<f32>,
    spare: Lanes,
}

impl CpuSession {
    pub(super) fn new(model: Arc<Model>) -> Self {
        Self {
            model,
            x: Lanes::default(),
            qkv: Lanes::default(),
            inner: Lanes::default(),
            tile: Tile::default(),
            attention: AttentionScratch::default(),
            texts: Lanes::default(),
        }
    }
}

impl Session for CpuSession {
    fn encode(&mut self, batch: &Batch, want: Want, out: &mut Encoded) -> Result<(), EncodeError> {
        let model = Arc::clone(&self.model);
        want.check(&model.info)?;
        batch.check(&model.info, model.shape.vocabulary)?;
        out.clear();
        let layers = if want.layers == 0 { model.blocks.len() } else { want.layers };
        self.grow(&model, batch);
        let mut first = 0;
        while first < batch.texts() {
            let start = batch.range(first).start;
            let mut last = first + 1;
            while last < batch.texts() && batch.range(last).end - start <= PASS_TOKENS {
                last += 1;
            }
            self.pass(&model, batch, first..last, layers);
            self.collect(&model, batch, first..last, want, out);
            first = last;
        }
        Ok(())
    }
}

impl CpuSession {
    /// Makes room for any batch of no more tokens, no more texts and no longer texts than this one.
    fn grow(&mut self, model: &Model, batch: &Batch) {
        let shape = &model.shape;
        let block = &model.blocks[0];
        let longest = batch.ranges().map(|range| range.len()).max().unwrap_or(0);
        let tokens = longest.max(batch.tokens().min(PASS_TOKENS));
        let rows = TILE_ROWS;
        self.texts.grow(batch.texts().min(PASS_TOKENS) * wide(shape.hidden));
        self.x.grow(tokens * wide(shape.hidden));
        self.qkv.grow(tokens * block.qkv.width());
        self.inner.grow(rows * block.up.width());
        let widest = block.qkv.groups.max(block.output.groups).max(block.up.groups).max(block.down.groups);
        self.tile.grow(rows, widest.max(wide(shape.hidden)), shape.hidden);
    }

    /// Leaves the vectors of the texts' tokens in `x`.
    fn pass(&mut self, model: &Model, batch: &Batch, texts: Range<usize>, layers: usize) {
        let start = batch.range(texts.start).start;
        let tokens = batch.range(texts.end - 1).end - start;
        let width = wide(model.shape.hidden);
        for text in texts.clone() {
            let range = batch.range(text);
            let at = range.start - start;
            embed(model, &batch.ids()[range], &mut self.x.floats_mut()[at * width..]);
        }
        let (x, spare) = (self.x.floats_mut(), self.tile.spare.floats_mut());
        let norm = Some(&model.embedding_norm);
        model.table.prepare(tokens, (x, width), model.shape.hidden, norm, true, None, spare);
        for block in &model.blocks[..layers] {
            self.block(model, block, batch, texts.clone());
        }
        if let Some(norm) = &model.final_norm {
            let (x, spare) = (self.x.floats_mut(), self.tile.spare.floats_mut());
            model.table.prepare(tokens, (x, width), model.shape.hidden, Some(norm), true, None, spare);
        }
    }

    fn block(&mut self, model: &Model, block: &PackedBlock, batch: &Batch, texts: Range<usize>) {
        let (shape, table) = (&model.shape, model.table);
        let width = wide(shape.hidden);
        let ld = block.qkv.width();
        let start = batch.range(texts.start).start;
        let tokens = batch.range(texts.end - 1).end - start;

        let before = if shape.pre_norm { block.attention_norm.as_ref() } else { None };
        for rows in tiles(tokens) {
            let x = &mut self.x.floats_mut()[rows.start * width..];
            let qkv = &mut self.qkv.floats_mut()[rows.start * ld..];
            self.tile.prepare(table, rows.len(), (x, width), shape.hidden, before, false, &block.qkv);
            self.tile.multiply(table, rows.len(), &block.qkv, (qkv, ld), false);
        }
        for text in texts {
            let range = batch.range(text);
            let qkv = &mut self.qkv.floats_mut()[(range.start - start) * ld..];
            if let Some(turns) = block.turns {
                let turns = model.turns[turns].floats();
                let (vectors, spacing) = (2 * shape.heads, shape.padded_head);
                table.rotate(range.len(), (qkv, ld), vectors, spacing, shape.head / 2, turns);
            }
            let (heads, head) = (shape.heads, shape.padded_head);
            table.attend((qkv, ld), range.len(), heads, head, block.reach, &mut self.attention);
        }
        let mixed = shape.heads * shape.padded_head;
        for rows in tiles(tokens) {
            let count = rows.len();
            let x = &mut self.x.floats_mut()[rows.start * width..];
            let qkv = &mut self.qkv.floats_mut()[rows.start * ld..];
            let (inner, ldi) = (self.inner.floats_mut(), block.up.width());
            self.tile.prepare(table, count, (qkv, ld), mixed, None, false, &block.output);
            self.tile.multiply(table, count, &block.output, (x, width), true);
            let (norm, keep) = if shape.pre_norm {
                (Some(&block.mlp_norm), false)
            } else {
                (block.attention_norm.as_ref(), true)
            };
            self.tile.prepare(table, count, (x, width), shape.hidden, norm, keep, &block.up);
            self.tile.multiply(table, count, &block.up, (inner, ldi), false);
            let (narrow, lda) = (self.tile.rows.as_mut_slice(), block.down.groups);
            let scales = &mut self.tile.scales;
            let (activation, gated) = (shape.activation, shape.gated);
            table.activate(count, (inner, ldi), shape.inner, activation, gated, (narrow, lda), scales);
            self.tile.multiply(table, count, &block.down, (x, width), true);
            if !shape.pre_norm {
                let (norm, spare) = (Some(&block.mlp_norm), self.tile.spare.floats_mut());
                table.prepare(count, (x, width), shape.hidden, norm, true, None, spare);
            }
        }
    }

    /// Appends what is wanted of the texts whose token vectors are in `x`.
    fn collect(&mut self, model: &Model, batch: &Batch, texts: Range<usize>, want: Want, out: &mut Encoded) {
        let hidden = model.shape.hidden;
        let width = wide(hidden);
        let start = batch.range(texts.start).start;
        if want.embedding {
            let kept = if want.dimensions == 0 { hidden } else { want.dimensions };
            for text in texts.clone() {
                let range = batch.range(text);
                let rows = &self.x.floats()[(range.start - start) * width..(range.end - start) * width];
                let at = out.pooled.len();
                out.pooled.resize(at + kept, 0.0);
                pool(rows, width, model.pooling, &mut out.pooled[at..]);
                normalise(&mut out.pooled[at..]);
            }
        }
        let Some(head) = &model.head else { return };
        if want.sequence && head.task == Task::Sequence {
            for (row, text) in texts.clone().enumerate() {
                let range = batch.range(text);
                let rows = &self.x.floats()[(range.start - start) * width..(range.end - start) * width];
                let to = &mut self.texts.floats_mut()[row * width..][..width];
                to.fill(0.0);
                pool(rows, width, head.pooling, &mut to[..hidden]);
            }
            let rows = self.texts.floats_mut();
            self.tile.classify(model, head, (rows, width), texts.len(), &mut self.inner, &mut out.logits);
        }
        if want.token && head.task == Task::Token {
            let tokens = batch.range(texts.end - 1).end - start;
            let rows = self.x.floats_mut();
            let logits = &mut out.token_logits;
            self.tile.classify(model, head, (rows, width), tokens, &mut self.inner, logits);
        }
    }
}

impl Tile {
    fn grow(&mut self, rows: usize, lanes: usize, hidden: usize) {
        self.rows.grow(rows * lanes);
        if self.scales.len() < rows {
            self.scales.resize(rows, 0.0);
        }
        self.spare.grow(hidden.next_multiple_of(STEP));
    }

    #[allow(clippy::too_many_arguments, reason = "a matrix, a norm and what comes next")]
    fn prepare(
        &mut self,
        table: &Table,
        rows: usize,
        x: (&mut [f32], usize),
        width: usize,
        norm: Option<&super::pack::PackedNorm>,
        keep: bool,
        next: &Packed,
    ) {
        if norm.is_none() && width > self.spare.len() {
            self.spare.grow(width.next_multiple_of(STEP));
        }
        let narrow = (self.rows.as_mut_slice(), next.groups, self.scales.as_mut_slice());
        table.prepare(rows, x, width, norm, keep, Some(narrow), self.spare.floats_mut());
    }

    fn multiply(&self, table: &Table, rows: usize, weights: &Packed, out: (&mut [f32], usize), add: bool) {
        table.gemm(rows, (self.rows.as_slice(), weights.groups), &self.scales, weights, out, add);
    }

    /// Appends the logits of `count` rows.
    fn classify(
        &mut self,
        model: &Model,
        head: &PackedHead,
        (x, width): (&mut [f32], usize),
        count: usize,
        spare: &mut Lanes,
        logits: &mut Vec<f32>,
    ) {
        let (table, hidden) = (model.exact, model.shape.hidden);
        let ldi = head.dense.as_ref().map_or(0, |(dense, _)| dense.width());
        let ldl = head.classifier.width();
        self.grow(TILE_ROWS, head.classifier.groups, hidden);
        spare.grow(TILE_ROWS * (ldi + ldl));
        for rows in tiles(count) {
            let count = rows.len();
            let x = &mut x[rows.start * width..];
            let (inner, out) = spare.floats_mut().split_at_mut(count * ldi);
            if let Some((dense, activation)) = &head.dense {
                self.prepare(table, count, (x, width), hidden, None, false, dense);
                self.multiply(table, count, dense, (inner, ldi), false);
                // Padded columns become activation(0), which is 0 for all of them.
                let (narrow, lda) = (self.rows.as_mut_slice(), head.classifier.groups);
                let inner_width = hidden.next_multiple_of(STEP);
                let narrow = (narrow, lda);
                table.activate(
                    count,
                    (inner, ldi),
                    inner_width,
                    *activation,
                    false,
                    narrow,
                    &mut self.scales,
                );
                if let Some(norm) = &head.norm {
                    self.prepare(table, count, (inner, ldi), hidden, Some(norm), false, &head.classifier);
                }
            } else {
                let norm = head.norm.as_ref();
                self.prepare(table, count, (x, width), hidden, norm, false, &head.classifier);
            }
            self.multiply(table, count, &head.classifier, (out, ldl), false);
            for row in out.chunks_exact(ldl).take(count) {
                logits.extend_from_slice(&row[..head.labels]);
            }
        }
    }
}

/// Floats between rows of vectors of `width`.
fn wide(width: usize) -> usize {
    width.next_multiple_of(PANEL)
}

fn tiles(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(TILE_ROWS).map(move |start| start..(start + TILE_ROWS).min(rows))
}

/// Writes the sum of a text's word and position vectors.
fn embed(model: &Model, ids: &[u32], x: &mut [f32]) {
    let hidden = model.shape.hidden;
    for (position, (id, row)) in ids.iter().zip(x.chunks_exact_mut(wide(hidden))).enumerate() {
        let (row, padding) = row.split_at_mut(hidden);
        padding.fill(0.0);
        let word = *id as usize * hidden..(*id as usize + 1) * hidden;
        match &model.words {
            Words::F32(words) => row.copy_from_slice(&words[word]),
            Words::Bf16(words) => {
                for (x, half) in row.iter_mut().zip(&words[word]) {
                    *x = f32::from_bits(u32::from(*half) << 16);
                }
            }
        }
        if !model.places.is_empty() {
            let place = &model.places[position * hidden..][..hidden];
            row.iter_mut().zip(place).for_each(|(x, place)| *x += place);
        }
    }
}

/// Adds to `to`, which is zero, the first row's or the rows' mean leading components.
fn pool(rows: &[f32], width: usize, pooling: Pooling, to: &mut [f32]) {
    let rows = rows.chunks_exact(width);
    let count = match pooling {
        Pooling::First => 1,
        Pooling::Mean => rows.len(),
    };
    for row in rows.take(count) {
        to.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let share = 1.0 / count as f32;
    to.iter_mut().for_each(|sum| *sum *= share);
}
