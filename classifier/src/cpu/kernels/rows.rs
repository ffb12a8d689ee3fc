//! What is done to rows between matrix products.

use super::super::math;
use super::super::pack::STEP;
use super::super::simd::{Dot, Simd};
use crate::model::config::Activation;

/// See [`Table::prepare`](super::Table::prepare).
pub(crate) struct Prepare {
    pub(super) rows: usize,
    pub(super) x: *mut f32,
    pub(super) ldx: usize,
    pub(super) width: usize,
    /// Gain, bias, epsilon.
    pub(super) norm: Option<(*const f32, *const f32, f32)>,
    pub(super) keep: bool,
    /// Null: do not narrow.
    pub(super) a: *mut u32,
    pub(super) lda: usize,
    pub(super) scales: *mut f32,
    pub(super) spare: *mut f32,
}

/// # Safety
///
/// The processor has what `D` uses; lengths are as [`Table::prepare`](super::Table::prepare) checks them.
#[inline(always)]
pub(super) unsafe fn prepare<D: Dot>(args: &Prepare) {
    let padded = args.width.next_multiple_of(STEP);
    for row in 0..args.rows {
        // SAFETY: `row` is below `rows`.
        unsafe {
            let x = args.x.add(row * args.ldx);
            let mut from = x.cast_const();
            if let Some((gain, bias, epsilon)) = args.norm {
                let to = if args.keep { x } else { args.spare };
                normalise::<D::Lane>(x, to, args.width, gain, bias, epsilon);
                from = to;
            }
            if !args.a.is_null() {
                *args.scales.add(row) = D::narrow(from, padded, args.a.add(row * args.lda));
            }
        }
    }
}

/// # Safety
///
/// All pointers are good for `width` floats, rounded up to [`STEP`]; those beyond `width` are zero.
#[inline(always)]
unsafe fn normalise<S: Simd>(
    x: *const f32,
    to: *mut f32,
    width: usize,
    gain: *const f32,
    bias: *const f32,
    epsilon: f32,
) {
    let padded = width.next_multiple_of(STEP);
    // SAFETY: all accesses are below `padded`.
    unsafe {
        let mut sum = S::splat(0.0);
        for i in (0..padded).step_by(S::LANES) {
            sum = S::add(sum, S::load(x.add(i)));
        }
        let mean = S::sum(sum) / width as f32;
        let means = S::splat(mean);
        let mut squares = S::splat(0.0);
        for i in (0..padded).step_by(S::LANES) {
            let d = S::sub(S::load(x.add(i)), means);
            squares = S::fma(d, d, squares);
        }
        // Padding is zero and lies `mean` away from the mean.
        let padding = (padded - width) as f32 * mean * mean;
        let variance = (S::sum(squares) - padding).max(0.0) / width as f32;
        let scale = S::splat(1.0 / (variance + epsilon).sqrt());
        for i in (0..padded).step_by(S::LANES) {
            let d = S::mul(S::sub(S::load(x.add(i)), means), scale);
            S::store(to.add(i), S::fma(d, S::load(gain.add(i)), S::load(bias.add(i))));
        }
    }
}

/// See [`Table::activate`](super::Table::activate).
pub(crate) struct Activate {
    pub(super) rows: usize,
    pub(super) u: *mut f32,
    pub(super) ldu: usize,
    pub(super) inner: usize,
    pub(super) activation: Activation,
    pub(super) gated: bool,
    pub(super) a: *mut u32,
    pub(super) lda: usize,
    pub(super) scales: *mut f32,
}

/// # Safety
///
/// The processor has what `D` uses; lengths are as [`Table::activate`](super::Table::activate) checks them.
#[inline(always)]
pub(super) unsafe fn activate<D: Dot>(args: &Activate) {
    // SAFETY: each function is applied to vectors of `D::Lane` only, on the same processor.
    unsafe {
        match args.activation {
            Activation::Gelu if D::GROUP > 1 => rows::<D>(args, |x| math::gelu_coarse::<D::Lane>(x)),
            Activation::Gelu => rows::<D>(args, |x| math::gelu::<D::Lane>(x)),
            Activation::GeluTanh => rows::<D>(args, |x| math::gelu_tanh::<D::Lane>(x)),
            Activation::Relu => rows::<D>(args, |x| math::relu::<D::Lane>(x)),
            Activation::Silu => rows::<D>(args, |x| math::silu::<D::Lane>(x)),
            Activation::Tanh => rows::<D>(args, |x| math::tanh::<D::Lane>(x)),
        }
    }
}

#[inline(always)]
unsafe fn rows<D: Dot>(args: &Activate, f: impl Fn(<D::Lane as Simd>::F) -> <D::Lane as Simd>::F) {
    for row in 0..args.rows {
        // SAFETY: `row` is below `rows`; `inner` is a multiple of the vector's length.
        unsafe {
            let u = args.u.add(row * args.ldu);
            for i in (0..args.inner).step_by(D::Lane::LANES) {
                let mut y = f(D::Lane::load(u.add(i)));
                if args.gated {
                    y = D::Lane::mul(y, D::Lane::load(u.add(args.inner + i)));
                }
                D::Lane::store(u.add(i), y);
            }
            *args.scales.add(row) = D::narrow(u, args.inner, args.a.add(row * args.lda));
        }
    }
}

/// See [`Table::rotate`](super::Table::rotate).
pub(crate) struct Rotate {
    pub(super) rows: usize,
    pub(super) x: *mut f32,
    pub(super) ldx: usize,
    pub(super) vectors: usize,
    pub(super) spacing: usize,
    pub(super) half: usize,
    pub(super) turns: *const f32,
}

/// # Safety
///
/// The processor has what `S` uses; lengths are as [`Table::rotate`](super::Table::rotate) checks them.
#[inline(always)]
pub(super) unsafe fn rotate<S: Simd>(args: &Rotate) {
    let whole = args.half / S::LANES * S::LANES;
    for row in 0..args.rows {
        // SAFETY: `row` is below `rows`, and every pair within its vector.
        unsafe {
            let cosines = args.turns.add(row * 2 * args.half);
            let sines = cosines.add(args.half);
            for vector in 0..args.vectors {
                let first = args.x.add(row * args.ldx + vector * args.spacing);
                let second = first.add(args.half);
                for i in (0..whole).step_by(S::LANES) {
                    let (a, b) = (S::load(first.add(i)), S::load(second.add(i)));
                    let (cosine, sine) = (S::load(cosines.add(i)), S::load(sines.add(i)));
                    S::store(first.add(i), S::sub(S::mul(a, cosine), S::mul(b, sine)));
                    S::store(second.add(i), S::fma(b, cosine, S::mul(a, sine)));
                }
                for i in whole..args.half {
                    let (a, b) = (*first.add(i), *second.add(i));
                    let (cosine, sine) = (*cosines.add(i), *sines.add(i));
                    *first.add(i) = a * cosine - b * sine;
                    *second.add(i) = b * cosine + a * sine;
                }
            }
        }
    }
}
