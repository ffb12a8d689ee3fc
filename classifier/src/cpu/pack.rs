//! Weights as the kernels read them.

use super::memory::Lanes;
use crate::model::network::{Linear, Norm};

/// Columns of a panel: consecutive outputs whose weights lie together.
pub(super) const PANEL: usize = 64;

/// Narrowing works on this many numbers at a time; rows are padded to it with zeros.
pub(super) const STEP: usize = 16;

/// How weights, and the rows they are multiplied by, lie in 32-bit lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One `f32`.
    F32,
    /// Two `bf16`.
    Bf16,
    /// Two `i16` with the values of `i8`.
    I16,
    /// Four `i8`.
    I8,
    /// Four `i8`; the rows are `u8`, moved up by 128.
    I8Moved,
}

impl Format {
    /// Numbers in a lane.
    pub(super) fn group(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::I8Moved => 4,
        }
    }

    fn scaled(self) -> bool {
        !matches!(self, Self::F32 | Self::Bf16)
    }

    /// One lane of weights, which are integers if the format is scaled.
    fn lane(self, weights: &[f32]) -> u32 {
        match self {
            Self::F32 => weights[0].to_bits(),
            Self::Bf16 => u32::from(bf16(weights[0])) | u32::from(bf16(weights[1])) << 16,
            Self::I16 => {
                let word = |x: f32| u32::from((x as i16).cast_unsigned());
                word(weights[0]) | word(weights[1]) << 16
            }
            Self::I8 | Self::I8Moved => {
                u32::from_le_bytes(std::array::from_fn(|i| (weights[i] as i8).cast_unsigned()))
            }
        }
    }
}

/// To the nearest `bf16`, ties to even, for finite numbers.
pub(super) fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// A [`Linear`] in panels: `[panel][group][column in panel]` lanes.
pub(super) struct Packed {
    /// Lanes of a row that it is applied to.
    pub(super) groups: usize,
    pub(super) panels: usize,
    pub(super) lanes: Lanes,
    /// The result is `row_scale * (sum * scale - shift) + bias`; `scale` and `shift` only in scaled formats.
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Packed {
    pub(super) fn new(linear: &Linear, format: Format) -> Self {
        let (outputs, inputs, group) = (linear.outputs, linear.inputs, format.group());
        let panels = outputs.div_ceil(PANEL);
        let groups = inputs.next_multiple_of(STEP) / group;
        let padded = panels * PANEL;
        let mut lanes = Lanes::zeroed(panels * groups * PANEL);
        let mut scale = vec![1.0; padded];
        let mut shift = vec![0.0; padded];
        let mut row = vec![0.0; groups * group];
        for output in 0..outputs {
            row[..inputs].copy_from_slice(&linear.weight[output * inputs..][..inputs]);
            if format.scaled() {
                let largest = row.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
                row.iter_mut().for_each(|x| *x = (*x / largest * 127.0).round_ties_even());
                scale[output] = largest / 127.0;
                if format == Format::I8Moved {
                    // Integers up to 127 * 65536: exact in f32 up to 2^24, and a multiple of them rounds once.
                    shift[output] =
                        (row.iter().map(|x| f64::from(*x)).sum::<f64>() * 128.0) as f32 * scale[output];
                }
            }
            let (panel, column) = (output / PANEL, output % PANEL);
            let at = panel * groups * PANEL + column;
            let lanes = lanes.as_mut_slice();
            for (index, weights) in row.chunks_exact(group).enumerate() {
                lanes[at + index * PANEL] = format.lane(weights);
            }
        }
        let mut bias = linear.bias.clone();
        bias.resize(padded, 0.0);
        if !format.scaled() {
            (scale, shift) = (Vec::new(), Vec::new());
        }
        Self { groups, panels, lanes, scale, shift, bias }
    }

    /// Floats of a result row.
    pub(super) fn width(&self) -> usize {
        self.panels * PANEL
    }
}

/// A [`Norm`], padded.
pub(super) struct PackedNorm {
    pub(super) gain: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
    /// Components without padding.
    pub(super) width: usize,
}

impl PackedNorm {
    pub(super) fn new(norm: &Norm) -> Self {
        let width = norm.gain.len();
        let padded = |values: &[f32]| {
            let mut values = values.to_vec();
            values.resize(width.next_multiple_of(STEP), 0.0);
            values
        };
        Self { gain: padded(&norm.gain), bias: padded(&norm.bias), epsilon: norm.epsilon, width }
    }
}

/// Lets every `from` rows become `to`, the new ones zero.
pub(super) fn spread_rows(linear: &mut Linear, from: usize, to: usize) {
    if from == to {
        return;
    }
    let parts = linear.outputs / from;
    linear.weight = spread(&linear.weight, from * linear.inputs, to * linear.inputs);
    if !linear.bias.is_empty() {
        linear.bias = spread(&linear.bias, from, to);
    }
    linear.outputs = parts * to;
}

/// Lets every `from` columns become `to`, the new ones zero.
pub(super) fn spread_columns(linear: &mut Linear, from: usize, to: usize) {
    if from == to {
        return;
    }
    linear.weight = spread(&linear.weight, from, to);
    linear.inputs = linear.inputs / from * to;
}

fn spread(values: &[f32], from: usize, to: usize) -> Vec<f32> {
    let mut wide = vec![0.0; values.len() / from * to];
    for (wide, values) in wide.chunks_exact_mut(to).zip(values.chunks_exact(from)) {
        wide[..from].copy_from_slice(values);
    }
    wide
}
