//! Matrix instructions: D = A . B + C of 16x16 tiles, over all lanes whatever the execution mask.

use crate::LANES;
use crate::code::Instruction;
use crate::half::{bf16_to_f32, f16_to_f32};
use crate::operand::{Operand, Place};
use crate::wave::{Done, Wave};

#[derive(Clone, Copy)]
enum Element {
    F16,
    Bf16,
    I8,
}

pub(crate) struct Matrix {
    element: Element,
    depth: usize,
}

pub(crate) fn decode(mnemonic: &str) -> Option<Matrix> {
    let (element, depth) = match mnemonic.strip_prefix("v_mfma_")? {
        "f32_16x16x16f16" | "f32_16x16x16_f16" => (Element::F16, 16),
        "f32_16x16x16bf16_1k" | "f32_16x16x16_bf16" => (Element::Bf16, 16),
        "f32_16x16x32_f16" => (Element::F16, 32),
        "f32_16x16x32_bf16" => (Element::Bf16, 32),
        "i32_16x16x16i8" => (Element::I8, 16),
        "i32_16x16x32_i8" => (Element::I8, 32),
        _ => return None,
    };
    Some(Matrix { element, depth })
}

fn registers<'a>(w: &'a Wave, operand: &Operand, needed: usize) -> Result<&'a [[u32; LANES]], String> {
    let Place::Vector { first, count } = operand.place else { return Err("operand of a product".to_owned()) };
    if count != needed || operand.negate || operand.absolute {
        return Err("operand of a product".to_owned());
    }
    w.vector.get(first..first + count).ok_or_else(|| "operand of a product".to_owned())
}

/// A row of an operand: row r, column k lie in lane `16 (k / per_lane) + r`, element `k % per_lane`. (AMD's matrix
/// instruction calculator; the same for A's rows and B's columns.)
fn element(m: &Matrix, from: &[[u32; LANES]], row: usize, k: usize) -> f64 {
    let per_lane = m.depth / 4;
    let (lane, at) = (16 * (k / per_lane) + row, k % per_lane);
    match m.element {
        Element::F16 => f64::from(f16_to_f32((from[at / 2][lane] >> (16 * (at % 2))) as u16)),
        Element::Bf16 => f64::from(bf16_to_f32((from[at / 2][lane] >> (16 * (at % 2))) as u16)),
        Element::I8 => f64::from((from[at / 4][lane] >> (8 * (at % 4))) as u8 as i8),
    }
}

pub(crate) fn run(m: &Matrix, i: &Instruction, w: &mut Wave) -> Done {
    let [d, a, b, c] = i.operands.as_slice() else { return Err("operands of a product".to_owned()) };
    let per_register = if matches!(m.element, Element::I8) { 4 } else { 2 };
    let needed = m.depth / 4 / per_register;
    let (x, y) = (registers(w, a, needed)?, registers(w, b, needed)?);
    let take = |from| -> [[f64; 32]; 16] {
        std::array::from_fn(|row| {
            std::array::from_fn(|k| if k < m.depth { element(m, from, row, k) } else { 0.0 })
        })
    };
    let (x, y) = (take(x), take(y));
    let integer = matches!(m.element, Element::I8);
    let mut result = match c.place {
        Place::Constant(0) => [[0; LANES]; 4],
        _ => registers(w, c, 4)?.try_into().map_err(|_| "operand of a product")?,
    };
    // D[r][j]: lane 16 (r / 4) + j, element r % 4.
    for (e, lanes) in result.iter_mut().enumerate() {
        for (lane, v) in lanes.iter_mut().enumerate() {
            let sum: f64 = x[4 * (lane / 16) + e].iter().zip(&y[lane % 16]).map(|(p, q)| p * q).sum();
            *v = if integer {
                (*v as i32).wrapping_add(sum as i32) as u32
            } else {
                ((f64::from(f32::from_bits(*v)) + sum) as f32).to_bits()
            };
        }
    }
    let Place::Vector { first, count: 4 } = d.place else { return Err("result of a product".to_owned()) };
    w.vector.get_mut(first..first + 4).ok_or("result of a product")?.copy_from_slice(&result);
    Ok(())
}
