//! Attention of one text, head by head.
//!
//! For a head, keys are transposed into panels and values interleaved, so that both products run through the same tile
//! as the weights do. Then, six queries at a time: scores, softmax, mixture of values. A local layer looks only at the
//! panels that its reach touches.

use super::super::math;
use super::super::memory::Lanes;
use super::super::pack::{PANEL, STEP};
use super::super::simd::{Dot, Floating, Simd};
use super::gemm::{TILE, tile};

/// Far below every score: its weight is 2^-126 of the largest.
const MASKED: f32 = -1e30;

/// Working memory for texts up to the longest seen.
#[derive(Default)]
pub(crate) struct AttentionScratch {
    keys: Lanes,
    values: Lanes,
    queries: Lanes,
    scores: Lanes,
    weights: Lanes,
}

impl AttentionScratch {
    pub(super) fn grow(&mut self, tokens: usize, head: usize, group: usize) {
        let padded = tokens.next_multiple_of(PANEL);
        self.keys.grow(padded * (head / group));
        self.values.grow(padded / group * head);
        self.queries.grow(TILE * (head / group));
        self.scores.grow(TILE * padded);
        self.weights.grow(TILE * padded / group);
    }
}

/// See [`Table::attend`](super::Table::attend).
pub(crate) struct Attend {
    qkv: *mut f32,
    ld: usize,
    tokens: usize,
    heads: usize,
    head: usize,
    reach: usize,
    keys: *mut u32,
    values: *mut u32,
    queries: *mut u32,
    scores: *mut f32,
    weights: *mut u32,
}

impl Attend {
    pub(super) fn new(
        qkv: &mut [f32],
        ld: usize,
        tokens: usize,
        heads: usize,
        head: usize,
        reach: Option<usize>,
        scratch: &mut AttentionScratch,
    ) -> Self {
        Self {
            qkv: qkv.as_mut_ptr(),
            ld,
            tokens,
            heads,
            head,
            reach: reach.unwrap_or(tokens).min(tokens),
            keys: scratch.keys.as_mut_slice().as_mut_ptr(),
            values: scratch.values.as_mut_slice().as_mut_ptr(),
            queries: scratch.queries.as_mut_slice().as_mut_ptr(),
            scores: scratch.scores.floats_mut().as_mut_ptr(),
            weights: scratch.weights.as_mut_slice().as_mut_ptr(),
        }
    }
}

/// # Safety
///
/// The processor has what `D` uses; lengths are as [`Table::attend`](super::Table::attend) checks them.
#[inline(always)]
pub(super) unsafe fn attend<D: Floating>(args: &Attend) {
    for head in 0..args.heads {
        // SAFETY: `head` is below `heads`; queries of six rows at most lie below `tokens`.
        unsafe {
            gather::<D>(args, head);
            let mut row = 0;
            while row < args.tokens {
                match args.tokens - row {
                    1 => block::<D, 1>(args, head, row),
                    2 => block::<D, 2>(args, head, row),
                    3 => block::<D, 3>(args, head, row),
                    4 => block::<D, 4>(args, head, row),
                    5 => block::<D, 5>(args, head, row),
                    _ => block::<D, TILE>(args, head, row),
                }
                row += TILE;
            }
        }
    }
}

/// Packs the keys and values of a head.
#[inline(always)]
unsafe fn gather<D: Floating>(args: &Attend, head: usize) {
    let lanes = args.head / D::GROUP;
    // SAFETY: rows are below `tokens`; the scratch has room for `tokens` rounded up to a panel. `queries` is free until
    // `block` fills it, and has room for `GROUP` rows.
    unsafe {
        let narrowed = args.queries;
        let keys = args.qkv.add((args.heads + head) * args.head);
        let values = args.qkv.add((2 * args.heads + head) * args.head);
        for token in 0..args.tokens {
            D::narrow(keys.add(token * args.ld), args.head, narrowed);
            let to = args.keys.add(token / PANEL * lanes * PANEL + token % PANEL);
            for lane in 0..lanes {
                *to.add(lane * PANEL) = *narrowed.add(lane);
            }
        }
        for token in (0..args.tokens).step_by(D::GROUP) {
            for part in 0..D::GROUP {
                // The last group repeats a token where it lacks one; its weight is that of a masked token.
                let from = (token + part).min(args.tokens - 1);
                D::narrow(values.add(from * args.ld), args.head, narrowed.add(part * lanes));
            }
            D::interleave(narrowed, lanes, args.head, args.values.add(token / D::GROUP * args.head));
        }
    }
}

#[inline(always)]
unsafe fn block<D: Floating, const ROWS: usize>(args: &Attend, head: usize, row: usize) {
    let lanes = args.head / D::GROUP;
    // Keys that any of these queries looks at, from a panel's first.
    let first = row.saturating_sub(args.reach) / PANEL * PANEL;
    let last = (row + ROWS + args.reach).min(args.tokens);
    let count = (last - first).next_multiple_of(STEP);
    let stride = args.tokens.next_multiple_of(PANEL);
    // SAFETY: `first + count` does not pass the last panel, for whose end the scratch has room.
    unsafe {
        let queries = args.qkv.add(row * args.ld + head * args.head);
        for r in 0..ROWS {
            D::narrow(queries.add(r * args.ld), args.head, args.queries.add(r * lanes));
        }
        for key in (0..count).step_by(D::WIDE * D::Lane::LANES) {
            let at = first + key;
            let keys = args.keys.add(at / PANEL * lanes * PANEL + at % PANEL);
            let scores = args.scores.add(key);
            if D::WIDE == 4 {
                score::<D, ROWS, 4>(args.queries, keys, lanes, scores, stride);
            } else {
                score::<D, ROWS, 2>(args.queries, keys, lanes, scores, stride);
            }
        }
        let mut scale = [0.0; ROWS];
        for (r, scale) in scale.iter_mut().enumerate() {
            let scores = args.scores.add(r * stride);
            let begin = (row + r).saturating_sub(args.reach).max(first) - first;
            let end = (row + r + args.reach + 1).min(args.tokens) - first;
            std::slice::from_raw_parts_mut(scores, begin).fill(MASKED);
            std::slice::from_raw_parts_mut(scores.add(end), count - end).fill(MASKED);
            *scale = 1.0 / soften::<D::Lane>(scores, count);
            D::narrow(scores, count, args.weights.add(r * stride / D::GROUP));
        }
        let values = args.values.add(first / D::GROUP * args.head);
        let mut column = 0;
        while column < args.head {
            let to = queries.add(column);
            let values = values.add(column);
            let wide = ((args.head - column) / D::Lane::LANES).min(D::WIDE);
            match wide {
                1 => mix::<D, ROWS, 1>(args, count, stride, values, &scale, to),
                2 => mix::<D, ROWS, 2>(args, count, stride, values, &scale, to),
                3 => mix::<D, ROWS, 3>(args, count, stride, values, &scale, to),
                _ => mix::<D, ROWS, 4>(args, count, stride, values, &scale, to),
            }
            column += wide * D::Lane::LANES;
        }
    }
}

#[inline(always)]
unsafe fn score<D: Dot, const ROWS: usize, const WIDE: usize>(
    queries: *const u32,
    keys: *const u32,
    lanes: usize,
    scores: *mut f32,
    stride: usize,
) {
    // SAFETY: as the caller's; a tile's columns stay within the panel.
    unsafe {
        let sums = tile::<D, ROWS, WIDE>(lanes, queries, lanes, keys, PANEL);
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                D::Lane::store(scores.add(r * stride + v * D::Lane::LANES), D::float(*sum));
            }
        }
    }
}

/// Replaces scores by 2^(score - largest) and returns their sum.
#[inline(always)]
unsafe fn soften<S: Simd>(scores: *mut f32, count: usize) -> f32 {
    // SAFETY: `count` is a multiple of the vector's length.
    unsafe {
        let mut largest = S::splat(MASKED);
        for i in (0..count).step_by(S::LANES) {
            largest = S::max(largest, S::load(scores.add(i)));
        }
        let largest = S::splat(S::largest(largest));
        let mut sum = S::splat(0.0);
        for i in (0..count).step_by(S::LANES) {
            let weight = math::exp2::<S>(S::sub(S::load(scores.add(i)), largest));
            sum = S::add(sum, weight);
            S::store(scores.add(i), weight);
        }
        S::sum(sum)
    }
}

#[inline(always)]
unsafe fn mix<D: Dot, const ROWS: usize, const WIDE: usize>(
    args: &Attend,
    count: usize,
    stride: usize,
    values: *const u32,
    scale: &[f32; ROWS],
    to: *mut f32,
) {
    // SAFETY: as the caller's; `WIDE` vectors are within the head.
    unsafe {
        let sums =
            tile::<D, ROWS, WIDE>(count / D::GROUP, args.weights, stride / D::GROUP, values, args.head);
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let y = D::Lane::mul(D::float(*sum), D::Lane::splat(scale[r]));
                D::Lane::store(to.add(r * args.ld + v * D::Lane::LANES), y);
            }
        }
    }
}
