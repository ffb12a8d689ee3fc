//! How fast the bare matrix product is on this machine, as a yardstick for whole passes.

use super::kernels::Table;
use super::memory::Lanes;
use super::pack::Packed;
use super::{Isa, Precision};
use crate::model::network::Linear;

/// Rows, columns and depth: ModernBERT-base's widest matrix on 128 tokens, in tiles that a pass uses.
const ROWS: usize = super::forward::TILE_ROWS;
const OUTPUTS: usize = 2304;
const INPUTS: usize = 768;

/// One product on this machine's best instruction set, to be timed by the caller.
pub struct Roofline {
    table: &'static Table,
    weights: Packed,
    rows: Lanes,
    scales: Vec<f32>,
    out: Lanes,
}

impl Roofline {
    /// Multiplications and additions of one [`Self::run`].
    pub const OPERATIONS: f64 = 2.0 * (ROWS * OUTPUTS * INPUTS) as f64;

    /// `None` if this processor has no such precision.
    #[must_use]
    pub fn new(precision: Precision) -> Option<Self> {
        let (table, real) = Table::for_isa(Isa::best(), precision)?;
        if real != precision {
            return None;
        }
        let weight = (0..OUTPUTS * INPUTS).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
        let weights =
            Packed::new(&Linear { outputs: OUTPUTS, inputs: INPUTS, weight, bias: Vec::new() }, table.format);
        let mut rows = Lanes::zeroed(ROWS * weights.groups);
        rows.as_mut_slice().fill(0x3f80_3f80);
        let out = Lanes::zeroed(ROWS * weights.width());
        Some(Self { table, weights, rows, scales: vec![1.0; ROWS], out })
    }

    /// Multiplies once.
    pub fn run(&mut self) {
        let out = (self.out.floats_mut(), self.weights.width());
        let rows = (self.rows.as_slice(), self.weights.groups);
        self.table.gemm(ROWS, rows, &self.scales, &self.weights, out, false);
    }
}
