//! Tensors of a safetensors file as `f32`.

use std::cell::Cell;

use safetensors::{Dtype, SafeTensors};

use super::LoadError;
use super::network::{Linear, Norm};

const FILE: &str = "model.safetensors";

/// A parsed file, addressed below a prefix.
pub(super) struct Weights<'a> {
    tensors: SafeTensors<'a>,
    prefix: &'static str,
    epsilon: f32,
    /// What reading may still take, in bytes of `f32`; a sound file needs its own size or twice that.
    budget: Cell<usize>,
}

impl<'a> Weights<'a> {
    pub(super) fn parse(bytes: &'a [u8], epsilon: f32) -> Result<Self, LoadError> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| LoadError::malformed(FILE, error))?;
        Ok(Self { tensors, prefix: "", epsilon, budget: Cell::new(bytes.len().saturating_mul(2)) })
    }

    /// Looks below the first of `prefixes` under which `probe` exists.
    pub(super) fn below(mut self, prefixes: &[&'static str], probe: &str) -> Result<Self, LoadError> {
        self.prefix = prefixes
            .iter()
            .find(|prefix| self.tensors.tensor(&format!("{prefix}{probe}")).is_ok())
            .ok_or_else(|| LoadError::malformed(FILE, format!("no tensor {probe}")))?;
        Ok(self)
    }

    fn read(&self, full: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, LoadError> {
        let Ok(tensor) = self.tensors.tensor(full) else { return Ok(None) };
        if tensor.shape() != shape {
            let reason = format!("{full} has the shape {:?} instead of {shape:?}", tensor.shape());
            return Err(LoadError::malformed(FILE, reason));
        }
        let values = widen(tensor.dtype(), tensor.data())
            .ok_or_else(|| LoadError::unsupported(FILE, format!("{full} of {:?}", tensor.dtype())))?;
        let left = self.budget.get().checked_sub(values.len() * 4);
        self.budget.set(left.ok_or_else(|| LoadError::malformed(FILE, "tensors share their bytes"))?);
        if values.iter().any(|value| !value.is_finite()) {
            return Err(LoadError::malformed(FILE, format!("{full} is not finite")));
        }
        Ok(Some(values))
    }

    /// A tensor below the prefix.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.optional(name, shape)?
            .ok_or_else(|| LoadError::malformed(FILE, format!("no tensor {}{name}", self.prefix)))
    }

    fn optional(&self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, LoadError> {
        self.read(&format!("{}{name}", self.prefix), shape)
    }

    /// The number of rows of a matrix outside the prefix.
    pub(super) fn rows(&self, full: &str) -> Option<usize> {
        self.tensors.tensor(full).ok().and_then(|tensor| tensor.shape().first().copied())
    }

    /// A matrix below the prefix and its bias, if it has one.
    pub(super) fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear, LoadError> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.optional(&format!("{name}.bias"), &[outputs])?.unwrap_or_default();
        Ok(Linear { outputs, inputs, weight, bias })
    }

    /// The same outside the prefix.
    pub(super) fn head_linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear, LoadError> {
        let missing = || LoadError::malformed(FILE, format!("no tensor {name}.weight"));
        let weight = self.read(&format!("{name}.weight"), &[outputs, inputs])?.ok_or_else(missing)?;
        let bias = self.read(&format!("{name}.bias"), &[outputs])?.unwrap_or_default();
        Ok(Linear { outputs, inputs, weight, bias })
    }

    /// A norm below the prefix, with or without a bias.
    pub(super) fn norm(&self, name: &str, width: usize) -> Result<Norm, LoadError> {
        let gain = self.tensor(&format!("{name}.weight"), &[width])?;
        let bias = self.optional(&format!("{name}.bias"), &[width])?.unwrap_or_default();
        Ok(Norm { gain, bias, epsilon: self.epsilon })
    }

    /// The same outside the prefix.
    pub(super) fn head_norm(&self, name: &str, width: usize) -> Result<Norm, LoadError> {
        let missing = || LoadError::malformed(FILE, format!("no tensor {name}.weight"));
        let gain = self.read(&format!("{name}.weight"), &[width])?.ok_or_else(missing)?;
        let bias = self.read(&format!("{name}.bias"), &[width])?.unwrap_or_default();
        Ok(Norm { gain, bias, epsilon: self.epsilon })
    }
}

fn widen(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let (pairs, _) = data.as_chunks::<2>();
    Some(match dtype {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::BF16 => {
            pairs.iter().map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16)).collect()
        }
        Dtype::F16 => pairs.iter().map(|bytes| half_to_f32(u16::from_le_bytes(*bytes))).collect(),
        _ => return None,
    })
}

/// IEEE 754 binary16 to binary32, exact.
fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_keep_their_value() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65504.0),
        ] {
            assert_eq!(half_to_f32(bits), value);
        }
        assert_eq!(half_to_f32(0x7c00), f32::INFINITY);
        assert!(half_to_f32(0x7e00).is_nan());
    }
}
