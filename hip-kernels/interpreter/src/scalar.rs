//! Scalar instructions.

use crate::code::Instruction;
use crate::memory::Heap;
use crate::operand::Place;
use crate::wave::{Done, Wave};

/// Result and new condition code of an operation, from two values and the old condition code.
type Two32 = fn(u32, u32, bool) -> (u32, bool);
type Two64 = fn(u64, u64, bool) -> (u64, bool);

pub(crate) enum Scalar {
    Load(usize),
    Move32,
    Move64,
    Two32(Two32),
    Two64(Two64),
    /// The second value is a 16-bit constant, the first the destination itself.
    Constant(Two32),
    MoveConstant,
    Compare32(fn(u32, u32) -> bool),
    Compare64(fn(u64, u64) -> bool),
    Select32,
    Select64,
    SaveExec(fn(u64, u64) -> u64),
}

/// Where the arguments of the kernel lie.
pub(crate) const ARGUMENTS: u64 = 0x6000_0000_0000;

fn truth32(v: u32) -> (u32, bool) {
    (v, v != 0)
}
fn truth64(v: u64) -> (u64, bool) {
    (v, v != 0)
}

pub(crate) fn decode(mnemonic: &str) -> Option<Scalar> {
    use Scalar::*;
    if let Some(words) = mnemonic.strip_prefix("s_load_dword") {
        return match words {
            "" => Some(Load(1)),
            _ => words.strip_prefix('x')?.parse().ok().map(Load),
        };
    }
    Some(match mnemonic {
        "s_mov_b32" => Move32,
        "s_mov_b64" => Move64,
        "s_movk_i32" => MoveConstant,
        "s_addk_i32" => Constant(|a, b, _| {
            let (sum, overflow) = (a as i32).overflowing_add(b as i32);
            (sum as u32, overflow)
        }),
        "s_mulk_i32" => Constant(|a, b, c| (a.wrapping_mul(b), c)),
        "s_add_u32" => Two32(|a, b, _| a.overflowing_add(b)),
        "s_sub_u32" => Two32(|a, b, _| a.overflowing_sub(b)),
        "s_addc_u32" => Two32(|a, b, c| {
            let sum = u64::from(a) + u64::from(b) + u64::from(c);
            (sum as u32, sum >> 32 != 0)
        }),
        "s_add_i32" => Two32(|a, b, _| {
            let (sum, overflow) = (a as i32).overflowing_add(b as i32);
            (sum as u32, overflow)
        }),
        "s_sub_i32" => Two32(|a, b, _| {
            let (difference, overflow) = (a as i32).overflowing_sub(b as i32);
            (difference as u32, overflow)
        }),
        "s_mul_i32" => Two32(|a, b, c| (a.wrapping_mul(b), c)),
        "s_mul_hi_u32" => Two32(|a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32, c)),
        "s_min_u32" => Two32(|a, b, _| (a.min(b), a < b)),
        "s_max_u32" => Two32(|a, b, _| (a.max(b), a > b)),
        "s_min_i32" => Two32(|a, b, _| ((a as i32).min(b as i32) as u32, (a as i32) < b as i32)),
        "s_max_i32" => Two32(|a, b, _| ((a as i32).max(b as i32) as u32, a as i32 > b as i32)),
        "s_lshl_b32" => Two32(|a, b, _| truth32(a << (b & 31))),
        "s_lshr_b32" => Two32(|a, b, _| truth32(a >> (b & 31))),
        "s_ashr_i32" => Two32(|a, b, _| truth32((a as i32 >> (b & 31)) as u32)),
        "s_lshl2_add_u32" => Two32(|a, b, _| {
            let sum = (u64::from(a) << 2) + u64::from(b);
            (sum as u32, sum >> 32 != 0)
        }),
        "s_and_b32" => Two32(|a, b, _| truth32(a & b)),
        "s_or_b32" => Two32(|a, b, _| truth32(a | b)),
        "s_xor_b32" => Two32(|a, b, _| truth32(a ^ b)),
        "s_andn2_b32" => Two32(|a, b, _| truth32(a & !b)),
        "s_lshl_b64" => Two64(|a, b, _| truth64(a << (b & 63))),
        "s_lshr_b64" => Two64(|a, b, _| truth64(a >> (b & 63))),
        "s_and_b64" => Two64(|a, b, _| truth64(a & b)),
        "s_or_b64" => Two64(|a, b, _| truth64(a | b)),
        "s_xor_b64" => Two64(|a, b, _| truth64(a ^ b)),
        "s_nor_b64" => Two64(|a, b, _| truth64(!(a | b))),
        "s_andn2_b64" => Two64(|a, b, _| truth64(a & !b)),
        "s_orn2_b64" => Two64(|a, b, _| truth64(a | !b)),
        "s_bitcmp0_b32" => Compare32(|a, b| a >> (b & 31) & 1 == 0),
        "s_bitcmp1_b32" => Compare32(|a, b| a >> (b & 31) & 1 == 1),
        "s_cmp_eq_u32" | "s_cmp_eq_i32" => Compare32(|a, b| a == b),
        "s_cmp_lg_u32" | "s_cmp_lg_i32" => Compare32(|a, b| a != b),
        "s_cmp_lt_u32" => Compare32(|a, b| a < b),
        "s_cmp_le_u32" => Compare32(|a, b| a <= b),
        "s_cmp_gt_u32" => Compare32(|a, b| a > b),
        "s_cmp_ge_u32" => Compare32(|a, b| a >= b),
        "s_cmp_lt_i32" => Compare32(|a, b| (a as i32) < b as i32),
        "s_cmp_le_i32" => Compare32(|a, b| a as i32 <= b as i32),
        "s_cmp_gt_i32" => Compare32(|a, b| a as i32 > b as i32),
        "s_cmp_ge_i32" => Compare32(|a, b| a as i32 >= b as i32),
        "s_cmp_eq_u64" => Compare64(|a, b| a == b),
        "s_cmp_lg_u64" => Compare64(|a, b| a != b),
        "s_cselect_b32" => Select32,
        "s_cselect_b64" => Select64,
        "s_and_saveexec_b64" => SaveExec(|s, exec| s & exec),
        "s_or_saveexec_b64" => SaveExec(|s, exec| s | exec),
        "s_xor_saveexec_b64" => SaveExec(|s, exec| s ^ exec),
        "s_andn2_saveexec_b64" => SaveExec(|s, exec| s & !exec),
        _ => return None,
    })
}

pub(crate) fn run(op: &Scalar, i: &Instruction, w: &mut Wave, heap: &Heap, arguments: &[u8]) -> Done {
    let o = i.operands.as_slice();
    let (Some(d), Some(a)) = (o.first(), o.get(1)) else { return Err("an operand is missing".to_owned()) };
    // Only the second source of these can be absent.
    let b = o.get(2).unwrap_or(a);
    match op {
        Scalar::Load(words) => return load(*words, i, w, heap, arguments),
        Scalar::Move32 => w.set_scalar32(d, w.scalar32(a)?)?,
        Scalar::Move64 => w.set_scalar64(d, w.scalar64(a)?)?,
        Scalar::MoveConstant => w.set_scalar32(d, w.scalar32(a)? as u16 as i16 as u32)?,
        Scalar::Constant(f) => {
            let (v, scc) = f(w.scalar32(d)?, w.scalar32(a)? as u16 as i16 as u32, w.scc);
            w.set_scalar32(d, v)?;
            w.scc = scc;
        }
        Scalar::Two32(f) => {
            let (v, scc) = f(w.scalar32(a)?, w.scalar32(b)?, w.scc);
            w.set_scalar32(d, v)?;
            w.scc = scc;
        }
        Scalar::Two64(f) => {
            // The count of a shift is a single register.
            let second = match b.place {
                Place::Scalar { count: 1, .. } => u64::from(w.scalar32(b)?),
                _ => w.scalar64(b)?,
            };
            let (v, scc) = f(w.scalar64(a)?, second, w.scc);
            w.set_scalar64(d, v)?;
            w.scc = scc;
        }
        Scalar::Compare32(f) => w.scc = f(w.scalar32(d)?, w.scalar32(a)?),
        Scalar::Compare64(f) => w.scc = f(w.scalar64(d)?, w.scalar64(a)?),
        Scalar::Select32 => w.set_scalar32(d, if w.scc { w.scalar32(a)? } else { w.scalar32(b)? })?,
        Scalar::Select64 => w.set_scalar64(d, if w.scc { w.scalar64(a)? } else { w.scalar64(b)? })?,
        Scalar::SaveExec(f) => {
            let (source, exec) = (w.scalar64(a)?, w.exec);
            w.set_scalar64(d, exec)?;
            w.exec = f(source, exec);
            w.scc = w.exec != 0;
        }
    }
    Ok(())
}

fn load(words: usize, i: &Instruction, w: &mut Wave, heap: &Heap, arguments: &[u8]) -> Done {
    let [d, base, offset] = i.operands.as_slice() else { return Err("operands of a scalar load".to_owned()) };
    let Place::Scalar { first, count } = d.place else {
        return Err("destination of a scalar load".to_owned());
    };
    let offset = u64::from(w.scalar32(offset)?).wrapping_add(i.modifiers.offset as u64);
    let address = w.scalar64(base)?.wrapping_add(offset) & !3;
    let bytes = 4 * words;
    let from = match address.checked_sub(ARGUMENTS).map(|at| at as usize) {
        Some(at) if address < ARGUMENTS + 4096 => {
            arguments.get(at..at + bytes).ok_or_else(|| format!("argument bytes {at} to {}", at + bytes))?
        }
        _ => heap.load(address, bytes)?,
    };
    if count != words || first + words > w.scalar.len() {
        return Err("destination of a scalar load".to_owned());
    }
    for (register, word) in w.scalar[first..].iter_mut().zip(from.chunks_exact(4)) {
        *register = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    }
    Ok(())
}
