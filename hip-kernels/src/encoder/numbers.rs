//! 16-bit floating point.

use std::fmt;

/// What weights and activations are narrowed to. Sums are always `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// IEEE binary16: 11 significant bits, at most 65,504.
    F16,
    /// bfloat16: 8 significant bits, the range of `f32`.
    Bf16,
}

/// Largest finite binary16.
const F16_MAX: f32 = 65_504.0;

impl Number {
    /// The nearest number, ties to even; beyond the range of binary16 the largest one, as kernels do it.
    pub(super) fn narrow(self, x: f32) -> u16 {
        match self {
            Self::F16 => f16(x.clamp(-F16_MAX, F16_MAX)),
            Self::Bf16 => bf16(x),
        }
    }

    /// As in the names of kernels.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix())
    }
}

fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Of a number within the range of binary16.
fn f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    // 2^-14, the smallest normal binary16.
    const NORMAL: u32 = 0x3880_0000;
    let rest = if magnitude < NORMAL {
        // The sum's last bit is worth 2^-24, the unit of subnormal numbers, so that the addition rounds.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13
    };
    (sign | rest) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition: (-1)^s 2^(e-15) 1.f, or f 2^-24 for e = 0.
    fn widen(bits: u16) -> f32 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
        let magnitude = match exponent {
            0 => fraction * 2f32.powi(-24),
            _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    #[test]
    fn every_half_is_its_own_nearest_and_halfway_goes_to_the_even_one() {
        for bits in (0..0x7c00).chain(0x8000..0xfc00) {
            assert_eq!(Number::F16.narrow(widen(bits)), bits, "{bits:#x}");
        }
        for bits in 0..0x7bffu16 {
            let (low, high) = (widen(bits), widen(bits + 1));
            let middle = (low + high) / 2.0;
            assert_eq!(Number::F16.narrow(middle), bits + (bits & 1), "{bits:#x}");
            assert_eq!(Number::F16.narrow(middle.next_down()), bits, "{bits:#x}");
            assert_eq!(Number::F16.narrow(middle.next_up()), bits + 1, "{bits:#x}");
        }
    }

    #[test]
    fn what_is_too_large_for_binary16_becomes_its_largest() {
        assert_eq!(Number::F16.narrow(1e6), 0x7bff);
        assert_eq!(Number::F16.narrow(-70_000.0), 0xfbff);
        assert_eq!(Number::Bf16.narrow(1e6), 0x4974);
        assert_eq!(Number::Bf16.narrow(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(Number::Bf16.narrow(1.0 + 3.0 / 256.0), 0x3f82);
    }
}
