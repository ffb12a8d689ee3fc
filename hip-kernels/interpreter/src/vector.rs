//! Vector instructions that touch registers only.

use crate::LANES;
use crate::code::Instruction;
use crate::half::{bf16_from_f32, f16_from_f32, f16_to_f32};
use crate::operand::Operand;
use crate::wave::{Done, Lanes, Wave};

pub(crate) enum Vector {
    Float1(fn(f32) -> f32),
    Float2(fn(f32, f32) -> f32),
    Float3(fn(f32, f32, f32) -> f32),
    /// The destination is the third source.
    FloatAccumulate,
    Bits1(fn(u32) -> u32),
    Bits2(fn(u32, u32) -> u32),
    Bits3(fn(u32, u32, u32) -> u32),
    Move64,
    /// `(a << b) + c`, 64 bits wide.
    ShiftAdd64,
    /// `b << a`, 64 bits wide.
    Shift64,
    /// 32 by 32 to 64 bits, plus 64.
    MultiplyAdd64,
    /// Sum or difference and the carry of each lane; with or without a carry to start from.
    Carry {
        from: bool,
        subtract: bool,
        swap: bool,
    },
    Select,
    FirstLane,
    Swap,
    Packed2(fn(f32, f32) -> f32),
    Packed3(fn(f32, f32, f32) -> f32),
    PackedMove,
    Mix,
    DivideScale,
    HalfToFloat,
    FloatTo16(fn(f32) -> u16),
    Pack16,
    CompareFloat(fn(f32, f32) -> bool),
    CompareUnsigned(fn(u32, u32) -> bool),
    CompareSigned(fn(i32, i32) -> bool),
}

fn compare(name: &str) -> Option<Vector> {
    let (condition, kind) = name.rsplit_once('_')?;
    Some(match (kind, condition) {
        ("f32", "eq") => Vector::CompareFloat(|a, b| a == b),
        ("f32", "lg") => Vector::CompareFloat(|a, b| a.partial_cmp(&b).is_some_and(|o| o.is_ne())),
        ("f32", "neq") => Vector::CompareFloat(|a, b| a != b),
        ("f32", "lt") => Vector::CompareFloat(|a, b| a < b),
        ("f32", "le") => Vector::CompareFloat(|a, b| a <= b),
        ("f32", "gt") => Vector::CompareFloat(|a, b| a > b),
        ("f32", "ge") => Vector::CompareFloat(|a, b| a >= b),
        ("f32", "nlt") => Vector::CompareFloat(|a, b| a.partial_cmp(&b).is_none_or(|o| o.is_ge())),
        ("f32", "nle") => Vector::CompareFloat(|a, b| a.partial_cmp(&b).is_none_or(|o| o.is_gt())),
        ("f32", "ngt") => Vector::CompareFloat(|a, b| a.partial_cmp(&b).is_none_or(|o| o.is_le())),
        ("f32", "nge") => Vector::CompareFloat(|a, b| a.partial_cmp(&b).is_none_or(|o| o.is_lt())),
        ("u32" | "i32", "eq") => Vector::CompareUnsigned(|a, b| a == b),
        ("u32" | "i32", "ne") => Vector::CompareUnsigned(|a, b| a != b),
        ("u32", "lt") => Vector::CompareUnsigned(|a, b| a < b),
        ("u32", "le") => Vector::CompareUnsigned(|a, b| a <= b),
        ("u32", "gt") => Vector::CompareUnsigned(|a, b| a > b),
        ("u32", "ge") => Vector::CompareUnsigned(|a, b| a >= b),
        ("i32", "lt") => Vector::CompareSigned(|a, b| a < b),
        ("i32", "le") => Vector::CompareSigned(|a, b| a <= b),
        ("i32", "gt") => Vector::CompareSigned(|a, b| a > b),
        ("i32", "ge") => Vector::CompareSigned(|a, b| a >= b),
        _ => return None,
    })
}

fn low24(v: u32) -> u32 {
    v & 0xff_ffff
}

/// `v_perm_b32`: selectors 0..3 are bytes of the second source, 4..7 of the first, 12 is 0x00, more is 0xff.
fn permute(a: u32, b: u32, selectors: u32) -> u32 {
    let bytes = u64::from(a) << 32 | u64::from(b);
    (0..4).fold(0, |all, n| {
        let byte = match selectors >> (8 * n) & 0xff {
            s @ 0..=7 => bytes >> (8 * s) & 0xff,
            // The sign of a 16-bit half, spread over a byte.
            s @ 8..=11 => {
                if bytes >> (16 * (s - 8) + 15) & 1 == 1 {
                    0xff
                } else {
                    0
                }
            }
            12 => 0,
            _ => 0xff,
        };
        all | (byte as u32) << (8 * n)
    })
}

/// The quotient as refined so far, unless an operand is special.
fn fix_quotient(quotient: f32, denominator: f32, numerator: f32) -> f32 {
    if quotient.is_finite() && denominator.is_normal() { quotient } else { numerator / denominator }
}

fn median(a: f32, b: f32, c: f32) -> f32 {
    if a.is_nan() || b.is_nan() || c.is_nan() {
        return a.min(b).min(c);
    }
    a.max(b).min(a.min(b).max(c))
}

pub(crate) fn decode(mnemonic: &str) -> Option<Vector> {
    use Vector::*;
    if let Some(name) = mnemonic.strip_prefix("v_cmp_") {
        return compare(name);
    }
    Some(match mnemonic {
        "v_exp_f32" => Float1(f32::exp2),
        "v_rcp_f32" => Float1(|a| 1.0 / a),
        "v_rsq_f32" => Float1(|a| (1.0 / f64::from(a).sqrt()) as f32),
        "v_sqrt_f32" => Float1(f32::sqrt),
        "v_rndne_f32" => Float1(f32::round_ties_even),
        "v_add_f32" => Float2(|a, b| a + b),
        "v_sub_f32" => Float2(|a, b| a - b),
        "v_subrev_f32" => Float2(|a, b| b - a),
        "v_mul_f32" => Float2(|a, b| a * b),
        "v_max_f32" => Float2(f32::max),
        "v_min_f32" => Float2(f32::min),
        "v_fma_f32" | "v_fmaak_f32" | "v_fmamk_f32" | "v_div_fmas_f32" => Float3(f32::mul_add),
        "v_max3_f32" => Float3(|a, b, c| a.max(b).max(c)),
        "v_med3_f32" => Float3(median),
        "v_div_fixup_f32" => Float3(fix_quotient),
        "v_fmac_f32" => FloatAccumulate,
        "v_div_scale_f32" => DivideScale,
        "v_mov_b32" | "v_accvgpr_read_b32" | "v_accvgpr_write_b32" | "v_accvgpr_mov_b32" => Bits1(|a| a),
        "v_bfrev_b32" => Bits1(u32::reverse_bits),
        "v_not_b32" => Bits1(|a| !a),
        "v_cvt_f32_i32" => Bits1(|a| (a as i32 as f32).to_bits()),
        "v_cvt_f32_u32" => Bits1(|a| (a as f32).to_bits()),
        "v_cvt_i32_f32" => Bits1(|a| f32::from_bits(a) as i32 as u32),
        "v_cvt_u32_f32" => Bits1(|a| f32::from_bits(a) as u32),
        "v_add_u32" => Bits2(u32::wrapping_add),
        "v_sub_u32" => Bits2(u32::wrapping_sub),
        "v_subrev_u32" => Bits2(|a, b| b.wrapping_sub(a)),
        "v_mul_lo_u32" => Bits2(u32::wrapping_mul),
        "v_mul_hi_u32" => Bits2(|a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        "v_mul_u32_u24" => Bits2(|a, b| low24(a).wrapping_mul(low24(b))),
        "v_and_b32" => Bits2(|a, b| a & b),
        "v_or_b32" => Bits2(|a, b| a | b),
        "v_xor_b32" => Bits2(|a, b| a ^ b),
        "v_lshlrev_b32" => Bits2(|a, b| b << (a & 31)),
        "v_lshrrev_b32" => Bits2(|a, b| b >> (a & 31)),
        "v_ashrrev_i32" => Bits2(|a, b| (b as i32 >> (a & 31)) as u32),
        "v_min_u32" => Bits2(u32::min),
        "v_max_u32" => Bits2(u32::max),
        "v_min_i32" => Bits2(|a, b| (a as i32).min(b as i32) as u32),
        "v_max_i32" => Bits2(|a, b| (a as i32).max(b as i32) as u32),
        "v_add3_u32" => Bits3(|a, b, c| a.wrapping_add(b).wrapping_add(c)),
        "v_lshl_add_u32" => Bits3(|a, b, c| (a << (b & 31)).wrapping_add(c)),
        "v_add_lshl_u32" => Bits3(|a, b, c| a.wrapping_add(b) << (c & 31)),
        "v_lshl_or_b32" => Bits3(|a, b, c| (a << (b & 31)) | c),
        "v_and_or_b32" => Bits3(|a, b, c| (a & b) | c),
        "v_or3_b32" => Bits3(|a, b, c| a | b | c),
        "v_alignbit_b32" => Bits3(|a, b, c| ((u64::from(a) << 32 | u64::from(b)) >> (c & 31)) as u32),
        "v_xad_u32" => Bits3(|a, b, c| (a ^ b).wrapping_add(c)),
        "v_bfe_u32" => Bits3(|a, b, c| (a >> (b & 31)) & ((1 << (c & 31)) - 1)),
        "v_mad_u32_u24" => Bits3(|a, b, c| low24(a).wrapping_mul(low24(b)).wrapping_add(c)),
        "v_perm_b32" => Bits3(permute),
        "v_mov_b64" => Move64,
        "v_lshl_add_u64" => ShiftAdd64,
        "v_lshlrev_b64" => Shift64,
        "v_mad_u64_u32" => MultiplyAdd64,
        "v_add_co_u32" => Carry { from: false, subtract: false, swap: false },
        "v_addc_co_u32" => Carry { from: true, subtract: false, swap: false },
        "v_sub_co_u32" => Carry { from: false, subtract: true, swap: false },
        "v_subrev_co_u32" => Carry { from: false, subtract: true, swap: true },
        "v_cndmask_b32" => Select,
        "v_readfirstlane_b32" => FirstLane,
        "v_swap_b32" => Swap,
        "v_pk_add_f32" => Packed2(|a, b| a + b),
        "v_pk_mul_f32" => Packed2(|a, b| a * b),
        "v_pk_fma_f32" => Packed3(f32::mul_add),
        "v_pk_mov_b32" => PackedMove,
        "v_fma_mix_f32" => Mix,
        "v_cvt_f32_f16" => HalfToFloat,
        "v_cvt_f16_f32" => FloatTo16(f16_from_f32),
        "v_cvt_pk_f16_f32" => FloatTo16(f16_from_f32),
        "v_cvt_pk_bf16_f32" => FloatTo16(bf16_from_f32),
        "v_pack_b32_f16" => Pack16,
        _ => return None,
    })
}

fn map<const N: usize>(sources: [Lanes; N], f: impl Fn([u32; N]) -> u32) -> Lanes {
    std::array::from_fn(|lane| f(std::array::from_fn(|n| sources[n][lane])))
}

/// One half of a packed source of two floats: which, by `op_sel` for the low result and `op_sel_hi` for the high one.
fn packed(w: &Wave, i: &Instruction, n: usize, high: bool) -> Result<Lanes, String> {
    let operand = i.operands.get(n + 1).ok_or("an operand is missing")?;
    let plain = Operand { negate: false, absolute: false, ..*operand };
    let m = &i.modifiers;
    let upper = if high { m.select_high.unwrap_or([1; 3])[n] } else { m.select[n] };
    let negate = if high { m.negate_high[n] } else { m.negate_low[n] };
    let shift = 32 * u32::from(upper);
    let lanes = w.lanes64(&plain)?;
    Ok(lanes.map(|v| (v >> shift) as u32 ^ u32::from(negate) << 31))
}

/// A source of a mixed-precision operation: binary32, or the half that `op_sel` says where `op_sel_hi` is set.
fn mixed(w: &Wave, i: &Instruction, n: usize) -> Result<[f32; LANES], String> {
    let m = &i.modifiers;
    if m.select_high.unwrap_or_default()[n] == 0 {
        return w.floats(i, n);
    }
    let operand = &i.operands[n + 1];
    let (shift, negate, absolute) = (16 * u32::from(m.select[n]), operand.negate, operand.absolute);
    Ok(w.selected(i, n)?.map(|v| {
        let v = f16_to_f32((v >> shift) as u16);
        let v = if absolute { v.abs() } else { v };
        if negate { -v } else { v }
    }))
}

fn carry(w: &mut Wave, i: &Instruction, from: bool, subtract: bool, swap: bool) -> Done {
    let [_, out, rest @ ..] = i.operands.as_slice() else { return Err("an operand is missing".to_owned()) };
    let (a, b) = (w.source(i, 1)?, w.source(i, 2)?);
    let (a, b) = if swap { (b, a) } else { (a, b) };
    let start = if from { w.mask(rest.get(2).ok_or("no carry to start from")?)? } else { 0 };
    let mut carried = 0;
    let sums = std::array::from_fn(|l| {
        let (x, y, c) = (i64::from(a[l]), i64::from(b[l]), (start >> l & 1) as i64);
        let v = if subtract { x - y - c } else { x + y + c };
        carried |= u64::from(v >> 32 != 0) << l;
        v as u32
    });
    let out = *out;
    w.set(i, &sums)?;
    w.set_mask(&out, carried)
}

fn compare_lanes(w: &mut Wave, i: &Instruction, f: impl Fn(u32, u32) -> bool) -> Done {
    let (a, b) = (w.source(i, 0)?, w.source(i, 1)?);
    let mask = (0..LANES).fold(0, |m, l| m | u64::from(f(a[l], b[l])) << l);
    w.set_mask(&i.operands[0], mask)
}

pub(crate) fn run(op: &Vector, i: &Instruction, w: &mut Wave) -> Done {
    let float = f32::from_bits;
    let o = i.operands.as_slice();
    match op {
        Vector::Float1(f) => {
            let r = map([w.source(i, 0)?], |[a]| f(float(a)).to_bits());
            w.set(i, &r)
        }
        Vector::Float2(f) => {
            let r = map([w.source(i, 0)?, w.source(i, 1)?], |[a, b]| f(float(a), float(b)).to_bits());
            w.set(i, &r)
        }
        Vector::Float3(f) => {
            let s = [w.source(i, 0)?, w.source(i, 1)?, w.source(i, 2)?];
            let r = map(s, |[a, b, c]| f(float(a), float(b), float(c)).to_bits());
            w.set(i, &r)
        }
        Vector::FloatAccumulate => {
            let own = w.lanes_of(&o[0])?;
            let s = [w.source(i, 0)?, w.source(i, 1)?, own];
            let r = map(s, |[a, b, c]| float(a).mul_add(float(b), float(c)).to_bits());
            w.set(i, &r)
        }
        Vector::Bits1(f) => {
            let r = map([w.source(i, 0)?], |[a]| f(a));
            w.set(i, &r)
        }
        Vector::Bits2(f) => {
            let r = map([w.source(i, 0)?, w.source(i, 1)?], |[a, b]| f(a, b));
            w.set(i, &r)
        }
        Vector::Bits3(f) => {
            let r = map([w.source(i, 0)?, w.source(i, 1)?, w.source(i, 2)?], |[a, b, c]| f(a, b, c));
            w.set(i, &r)
        }
        Vector::Move64 => {
            let v = w.lanes64(&o[1])?;
            w.set64(&o[0], &v)
        }
        Vector::ShiftAdd64 => {
            let (a, c, shift) = (w.lanes64(&o[1])?, w.lanes64(&o[3])?, w.source(i, 1)?);
            let r = std::array::from_fn(|l| (a[l] << (shift[l] & 7)).wrapping_add(c[l]));
            w.set64(&o[0], &r)
        }
        Vector::Shift64 => {
            let (shift, v) = (w.source(i, 0)?, w.lanes64(&o[2])?);
            let r = std::array::from_fn(|l| v[l] << (shift[l] & 63));
            w.set64(&o[0], &r)
        }
        Vector::MultiplyAdd64 => {
            let (a, b, c) = (w.source(i, 1)?, w.source(i, 2)?, w.lanes64(&o[4])?);
            let sums: [_; LANES] =
                std::array::from_fn(|l| (u64::from(a[l]) * u64::from(b[l])).overflowing_add(c[l]));
            let carried = (0..LANES).fold(0, |m, l| m | u64::from(sums[l].1) << l);
            w.set64(&o[0], &sums.map(|s| s.0))?;
            w.set_mask(&o[1], carried)
        }
        Vector::Carry { from, subtract, swap } => carry(w, i, *from, *subtract, *swap),
        Vector::Select => {
            let (a, b) = (w.source(i, 0)?, w.source(i, 1)?);
            let mask = w.mask(o.get(3).ok_or("no mask to select by")?)?;
            w.set(i, &std::array::from_fn(|l| if mask >> l & 1 != 0 { b[l] } else { a[l] }))
        }
        Vector::FirstLane => {
            let lane = if w.exec == 0 { 0 } else { w.exec.trailing_zeros() as usize };
            let v = w.source(i, 0)?[lane];
            w.set_scalar32(&o[0], v)
        }
        Vector::Swap => {
            let (a, b) = (w.lanes_of(&o[0])?, w.lanes_of(&o[1])?);
            w.set_at(&o[0], 0, &b)?;
            w.set_at(&o[1], 0, &a)
        }
        Vector::Packed2(f) => {
            for (at, high) in [false, true].into_iter().enumerate() {
                let r = map([packed(w, i, 0, high)?, packed(w, i, 1, high)?], |[a, b]| {
                    f(float(a), float(b)).to_bits()
                });
                w.hold(at, r);
            }
            w.release(&o[0])
        }
        Vector::Packed3(f) => {
            for (at, high) in [false, true].into_iter().enumerate() {
                let s = [packed(w, i, 0, high)?, packed(w, i, 1, high)?, packed(w, i, 2, high)?];
                let r = map(s, |[a, b, c]| f(float(a), float(b), float(c)).to_bits());
                w.hold(at, r);
            }
            w.release(&o[0])
        }
        Vector::PackedMove => {
            // Both results choose by op_sel: the low one from the first source, the high one from the second.
            for n in 0..2 {
                let shift = 32 * u32::from(i.modifiers.select[n]);
                let r = w.lanes64(&o[n + 1])?.map(|v| (v >> shift) as u32);
                w.hold(n, r);
            }
            w.release(&o[0])
        }
        Vector::Mix => {
            let (a, b, c) = (mixed(w, i, 0)?, mixed(w, i, 1)?, mixed(w, i, 2)?);
            w.set(i, &std::array::from_fn(|l| a[l].mul_add(b[l], c[l]).to_bits()))
        }
        Vector::DivideScale => {
            // No operand of a kernel is near the ends of the exponent range, where scaling would be needed.
            let v = w.source(i, 1)?;
            if (0..LANES).any(|l| w.active(l) && !(1e-18..1e18).contains(&float(v[l]).abs())) {
                return Err("a division whose operands would be scaled".to_owned());
            }
            w.set_mask(&o[1], 0)?;
            w.set(i, &v)
        }
        Vector::HalfToFloat => {
            let (negate, absolute) = (o[1].negate, o[1].absolute);
            let r = w.selected(i, 0)?.map(|v| {
                let v = f16_to_f32(v as u16);
                let v = if absolute { v.abs() } else { v };
                (if negate { -v } else { v }).to_bits()
            });
            w.set(i, &r)
        }
        Vector::FloatTo16(f) => {
            let low = w.floats(i, 0)?.map(|v| u32::from(f(v)));
            if o.len() == 2 {
                return w.set(i, &low);
            }
            let high = w.floats(i, 1)?;
            w.set(i, &std::array::from_fn(|l| low[l] | u32::from(f(high[l])) << 16))
        }
        Vector::Pack16 => {
            let half = |n: usize| {
                w.selected(i, n).map(|v| v.map(|v| v >> (16 * u32::from(i.modifiers.select[n])) & 0xffff))
            };
            let (a, b) = (half(0)?, half(1)?);
            w.set(i, &std::array::from_fn(|l| a[l] | b[l] << 16))
        }
        Vector::CompareFloat(f) => compare_lanes(w, i, |a, b| f(float(a), float(b))),
        Vector::CompareUnsigned(f) => compare_lanes(w, i, f),
        Vector::CompareSigned(f) => compare_lanes(w, i, |a, b| f(a as i32, b as i32)),
    }
}
