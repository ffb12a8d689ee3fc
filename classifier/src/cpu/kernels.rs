//! The operations of a forward pass, compiled once per instruction set.
//!
//! A [`Table`] holds one function per operation. Tables exist only for what the processor has ([`Table::for_isa`]), so
//! calling their functions is sound; the safe methods here check the lengths on which the pointer arithmetic below
//! relies.

mod attention;
mod gemm;
mod rows;

use super::pack::{Format, PANEL, Packed, PackedNorm, STEP};
use super::simd::portable::{Bytes, Floats, Portable};
use super::{Isa, Precision};
use crate::model::config::Activation;

pub(super) use attention::{Attend, AttentionScratch};
pub(super) use gemm::Gemm;
pub(super) use rows::{Activate, Prepare, Rotate};

/// One function per operation.
pub(super) struct Table {
    /// Of weights and of the rows that they are applied to.
    pub(super) format: Format,
    /// Numbers in a lane of attention's operands.
    attention_group: usize,
    gemm: unsafe fn(&Gemm),
    prepare: unsafe fn(&Prepare),
    activate: unsafe fn(&Activate),
    rotate: unsafe fn(&Rotate),
    attend: unsafe fn(&Attend),
}

macro_rules! table {
    ($name:ident, $format:ident, $dot:ty, $attention:ty $(, $features:literal)?) => {
        mod $name {
            use super::*;

            $(#[target_feature(enable = $features)])?
            unsafe fn gemm(args: &Gemm) {
                // SAFETY: as the caller's.
                unsafe { gemm::gemm::<$dot>(args) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn prepare(args: &Prepare) {
                // SAFETY: as the caller's.
                unsafe { rows::prepare::<$dot>(args) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn activate(args: &Activate) {
                // SAFETY: as the caller's.
                unsafe { rows::activate::<$dot>(args) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn rotate(args: &Rotate) {
                // SAFETY: as the caller's.
                unsafe { rows::rotate::<<$dot as Dot>::Lane>(args) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn attend(args: &Attend) {
                // SAFETY: as the caller's.
                unsafe { attention::attend::<$attention>(args) }
            }
            pub(super) static TABLE: Table = Table {
                format: Format::$format,
                attention_group: <$attention as Dot>::GROUP,
                gemm,
                prepare,
                activate,
                rotate,
                attend,
            };
        }
    };
}

use super::simd::Dot;
#[cfg(target_arch = "x86_64")]
use super::simd::{avx2::*, avx512::*};

table!(portable_f32, F32, Floats<Portable>, Floats<Portable>);
table!(portable_i8, I8, Bytes, Floats<Portable>);
#[cfg(target_arch = "x86_64")]
table!(avx2_f32, F32, Floats<Avx2>, Floats<Avx2>, "avx2,fma");
#[cfg(target_arch = "x86_64")]
table!(avx2_i8, I16, Words, Floats<Avx2>, "avx2,fma");
#[cfg(target_arch = "x86_64")]
table!(avx512_f32, F32, Floats<Avx512>, Floats<Avx512>, "avx512f,avx512bw,avx512dq");
#[cfg(target_arch = "x86_64")]
table!(avx512_i8, I8Moved, Vnni, Floats<Avx512>, "avx512f,avx512bw,avx512dq,avx512vnni");
#[cfg(target_arch = "x86_64")]
table!(avx512_bf16, Bf16, Bf16, Bf16, "avx512f,avx512bw,avx512dq,avx512bf16");
#[cfg(target_arch = "x86_64")]
table!(avx512_i8_bf16, I8Moved, Vnni, Bf16, "avx512f,avx512bw,avx512dq,avx512vnni,avx512bf16");

impl Table {
    /// The table for `precision` on `isa`, and the precision that it really has: where there is no bf16, it is f32.
    ///
    /// `None` if this processor lacks `isa`.
    pub(super) fn for_isa(isa: Isa, precision: Precision) -> Option<(&'static Self, Precision)> {
        if !isa.is_available() {
            return None;
        }
        Some(match (isa, precision) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Precision::Bf16) if is_x86_feature_detected!("avx512bf16") => {
                (&avx512_bf16::TABLE, Precision::Bf16)
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Precision::Int8) if is_x86_feature_detected!("avx512vnni") => {
                if is_x86_feature_detected!("avx512bf16") {
                    (&avx512_i8_bf16::TABLE, Precision::Int8)
                } else {
                    (&avx512_i8::TABLE, Precision::Int8)
                }
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx2, Precision::Int8) => (&avx2_i8::TABLE, Precision::Int8),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, _) => (&avx512_f32::TABLE, Precision::F32),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, _) => (&avx2_f32::TABLE, Precision::F32),
            (Isa::Portable, Precision::Int8) => (&portable_i8::TABLE, Precision::Int8),
            #[allow(unreachable_patterns, reason = "on x86-64 only this instruction set is left")]
            _ => (&portable_f32::TABLE, Precision::F32),
        })
    }

    /// `out = W a + b`, or added to what is there.
    ///
    /// `a` holds rows of `lda` lanes in this table's format with one of `scales` each; `out` rows of `ldo` floats.
    #[allow(clippy::too_many_arguments, reason = "a matrix product has this many")]
    pub(super) fn gemm(
        &self,
        rows: usize,
        (a, lda): (&[u32], usize),
        scales: &[f32],
        weights: &Packed,
        (out, ldo): (&mut [f32], usize),
        add: bool,
    ) {
        assert!(lda >= weights.groups && ldo >= weights.width());
        assert!(a.len() >= rows * lda && out.len() >= rows * ldo && scales.len() >= rows);
        assert!(weights.lanes.len() >= weights.panels * weights.groups * PANEL);
        assert!(weights.bias.len() >= weights.width());
        let scaled = !matches!(self.format, Format::F32 | Format::Bf16);
        assert!(!scaled || weights.scale.len() >= weights.width() && weights.shift.len() >= weights.width());
        let args = Gemm {
            rows,
            a: a.as_ptr(),
            lda,
            scales: scales.as_ptr(),
            weights: weights.lanes.as_slice().as_ptr(),
            groups: weights.groups,
            panels: weights.panels,
            column_scale: weights.scale.as_ptr(),
            column_shift: weights.shift.as_ptr(),
            bias: weights.bias.as_ptr(),
            out: out.as_mut_ptr(),
            ldo,
            add,
        };
        // SAFETY: a table exists only where its instruction set does; the lengths are checked above.
        unsafe { (self.gemm)(&args) }
    }

    /// Normalises rows of `x`, `ldx` floats apart, and narrows them into `a`.
    ///
    /// With `keep`, `x` is replaced by the normalised row. `width` is that of the row without a norm. `spare` holds one
    /// row.
    #[allow(clippy::too_many_arguments, reason = "two matrices, a norm and a row")]
    pub(super) fn prepare(
        &self,
        rows: usize,
        (x, ldx): (&mut [f32], usize),
        width: usize,
        norm: Option<&PackedNorm>,
        keep: bool,
        narrow: Option<(&mut [u32], usize, &mut [f32])>,
        spare: &mut [f32],
    ) {
        let padded = width.next_multiple_of(STEP);
        assert!(ldx >= padded && x.len() >= rows.saturating_sub(1) * ldx + padded && spare.len() >= padded);
        if let Some(norm) = norm {
            assert!(norm.width == width && norm.gain.len() == padded && norm.bias.len() == padded);
        }
        let (a, lda, scales) = match narrow {
            Some((a, lda, scales)) => {
                assert!(lda >= padded / self.format.group());
                assert!(a.len() >= rows * lda && scales.len() >= rows);
                (a.as_mut_ptr(), lda, scales.as_mut_ptr())
            }
            None => (std::ptr::null_mut(), 0, std::ptr::null_mut()),
        };
        let args = Prepare {
            rows,
            x: x.as_mut_ptr(),
            ldx,
            width,
            norm: norm.map(|norm| (norm.gain.as_ptr(), norm.bias.as_ptr(), norm.epsilon)),
            keep,
            a,
            lda,
            scales,
            spare: spare.as_mut_ptr(),
        };
        // SAFETY: as in `gemm`.
        unsafe { (self.prepare)(&args) }
    }

    /// Applies `activation` to rows of `u`, gated by their second half if `gated`, and narrows them into `a`.
    ///
    /// `inner` is a multiple of [`STEP`].
    #[allow(clippy::too_many_arguments, reason = "two matrices and how one becomes the other")]
    pub(super) fn activate(
        &self,
        rows: usize,
        (u, ldu): (&mut [f32], usize),
        inner: usize,
        activation: Activation,
        gated: bool,
        (a, lda): (&mut [u32], usize),
        scales: &mut [f32],
    ) {
        assert!(inner.is_multiple_of(STEP) && ldu >= if gated { 2 * inner } else { inner });
        assert!(u.len() >= rows * ldu && lda >= inner / self.format.group());
        assert!(a.len() >= rows * lda && scales.len() >= rows);
        let args = Activate {
            rows,
            u: u.as_mut_ptr(),
            ldu,
            inner,
            activation,
            gated,
            a: a.as_mut_ptr(),
            lda,
            scales: scales.as_mut_ptr(),
        };
        // SAFETY: as in `gemm`.
        unsafe { (self.activate)(&args) }
    }

    /// Turns the pairs (i, i + half) of each of `vectors` vectors in every row by the row's angles.
    ///
    /// `turns` holds `half` cosines and then `half` sines per row.
    pub(super) fn rotate(
        &self,
        rows: usize,
        (x, ldx): (&mut [f32], usize),
        vectors: usize,
        spacing: usize,
        half: usize,
        turns: &[f32],
    ) {
        assert!(spacing >= 2 * half && ldx >= vectors * spacing);
        assert!(x.len() >= rows * ldx && turns.len() >= rows * 2 * half);
        let args = Rotate { rows, x: x.as_mut_ptr(), ldx, vectors, spacing, half, turns: turns.as_ptr() };
        // SAFETY: as in `gemm`.
        unsafe { (self.rotate)(&args) }
    }

    /// Attention of one text. The queries in `qkv`, scaled so that weights are powers of two of their products with the
    /// keys, are replaced by the result.
    pub(super) fn attend(
        &self,
        (qkv, ld): (&mut [f32], usize),
        tokens: usize,
        heads: usize,
        head: usize,
        reach: Option<usize>,
        scratch: &mut AttentionScratch,
    ) {
        assert!(
            tokens > 0 && head.is_multiple_of(STEP) && ld >= 3 * heads * head && qkv.len() >= tokens * ld
        );
        scratch.grow(tokens, head, self.attention_group);
        let args = Attend::new(qkv, ld, tokens, heads, head, reach, scratch);
        // SAFETY: as in `gemm`; `grow` made room for `tokens`.
        unsafe { (self.attend)(&args) }
    }
}
