//! Matrix products.

use super::super::pack::PANEL;
use super::super::simd::{Dot, Simd};

/// Rows of a tile: with four vectors side by side, 24 sums stay in registers beside the operands.
pub(super) const TILE: usize = 6;

/// Most vectors side by side.
const WIDEST: usize = 4;

/// See [`Table::gemm`](super::Table::gemm).
pub(crate) struct Gemm {
    pub(super) rows: usize,
    pub(super) a: *const u32,
    pub(super) lda: usize,
    pub(super) scales: *const f32,
    pub(super) weights: *const u32,
    pub(super) groups: usize,
    pub(super) panels: usize,
    pub(super) column_scale: *const f32,
    pub(super) column_shift: *const f32,
    pub(super) bias: *const f32,
    pub(super) out: *mut f32,
    pub(super) ldo: usize,
    pub(super) add: bool,
}

/// The sums of `ROWS` rows at `a`, `lda` lanes apart, with `WIDE` vectors at `b`, whose groups are `ldb` lanes apart.
///
/// # Safety
///
/// The processor has what `D` uses; `a` is good for `ROWS` rows of `groups` lanes, `b` for `groups` times `WIDE`
/// vectors.
#[inline(always)]
pub(super) unsafe fn tile<D: Dot, const ROWS: usize, const WIDE: usize>(
    groups: usize,
    a: *const u32,
    lda: usize,
    b: *const u32,
    ldb: usize,
) -> [[D::Sum; WIDE]; ROWS] {
    // SAFETY: every access below is within what the caller vouches for.
    unsafe {
        let mut sums = [[D::zero(); WIDE]; ROWS];
        for group in 0..groups {
            let b = b.add(group * ldb);
            let columns: [D::Packed; WIDE] = std::array::from_fn(|v| D::load(b.add(v * D::Lane::LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = D::broadcast(a.add(row * lda + group));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = D::dot(*sum, left, column);
                }
            }
        }
        sums
    }
}

/// # Safety
///
/// The processor has what `D` uses; lengths are as [`Table::gemm`](super::Table::gemm) checks them.
#[inline(always)]
pub(super) unsafe fn gemm<D: Dot>(args: &Gemm) {
    // A panel's weights stay in the first- or second-level cache while all rows go by.
    for panel in 0..args.panels {
        let mut row = 0;
        while row < args.rows {
            // SAFETY: `row` and as many rows as the chosen width are below `rows`.
            unsafe {
                match args.rows - row {
                    1 => block::<D, 1>(args, panel, row),
                    2 => block::<D, 2>(args, panel, row),
                    3 => block::<D, 3>(args, panel, row),
                    4 => block::<D, 4>(args, panel, row),
                    5 => block::<D, 5>(args, panel, row),
                    _ => block::<D, TILE>(args, panel, row),
                }
            }
            row += TILE;
        }
    }
}

#[inline(always)]
unsafe fn block<D: Dot, const ROWS: usize>(args: &Gemm, panel: usize, row: usize) {
    // SAFETY: as the caller's. `WIDE` divides the panel.
    unsafe {
        if D::WIDE == WIDEST {
            columns::<D, ROWS, WIDEST>(args, panel, row);
        } else {
            columns::<D, ROWS, 2>(args, panel, row);
        }
    }
}

#[inline(always)]
unsafe fn columns<D: Dot, const ROWS: usize, const WIDE: usize>(args: &Gemm, panel: usize, row: usize) {
    let lanes = D::Lane::LANES;
    // SAFETY: columns stay within the panel, rows are the caller's.
    unsafe {
        let a = args.a.add(row * args.lda);
        let weights = args.weights.add(panel * args.groups * PANEL);
        for first in (0..PANEL).step_by(WIDE * lanes) {
            let sums = tile::<D, ROWS, WIDE>(args.groups, a, args.lda, weights.add(first), PANEL);
            for (r, sums) in sums.iter().enumerate() {
                let out = args.out.add((row + r) * args.ldo);
                for (v, sum) in sums.iter().enumerate() {
                    let column = panel * PANEL + first + v * lanes;
                    let mut y = D::float(*sum);
                    let bias = D::Lane::load(args.bias.add(column));
                    if D::SCALED {
                        let scale = D::Lane::load(args.column_scale.add(column));
                        let shift = D::Lane::load(args.column_shift.add(column));
                        let whole = D::Lane::sub(D::Lane::mul(y, scale), shift);
                        y = D::Lane::fma(whole, D::Lane::splat(*args.scales.add(row + r)), bias);
                    } else {
                        y = D::Lane::add(y, bias);
                    }
                    let to = out.add(column);
                    if args.add {
                        y = D::Lane::add(y, D::Lane::load(to));
                    }
                    D::Lane::store(to, y);
                }
            }
        }
    }
}
