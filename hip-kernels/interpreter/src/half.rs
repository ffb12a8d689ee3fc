//! Half-precision numbers as bits.

/// IEEE binary16 to binary32, exact.
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits & 1023));
    match exponent {
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        0 => f32::from_bits(sign | (fraction as f32 * 5.960_464_5e-8).to_bits()),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// binary32 to IEEE binary16, to nearest, ties to even.
pub fn f16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let (sign, magnitude) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
    let rest = match magnitude {
        0x7f80_0001.. => 0x7e00,
        0x477f_f000.. => 0x7c00,
        // Adding 0.5 shifts the subnormal result into the low bits, rounded by the adder.
        0..0x3880_0000 => (f32::from_bits(magnitude) + 0.5).to_bits() - 0x3f00_0000,
        _ => (magnitude - 0x3800_0000 + 0xfff + ((magnitude >> 13) & 1)) >> 13,
    };
    sign | rest as u16
}

/// bfloat16 to binary32, exact.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// binary32 to bfloat16, to nearest, ties to even; a NaN stays one.
pub fn bf16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_to_single_and_back() {
        for bits in 0..=u16::MAX {
            let (f16, bf16) = (f16_to_f32(bits), bf16_to_f32(bits));
            assert!(f16.is_nan() || f16_from_f32(f16) == bits, "{bits:#x}");
            assert!(bf16.is_nan() || bf16_from_f32(bf16) == bits, "{bits:#x}");
        }
    }

    #[test]
    fn the_nearest_half_is_taken_and_the_even_one_of_two() {
        assert_eq!(f16_from_f32(1.0 + 1.0 / 2048.0), 0x3c00);
        assert_eq!(f16_from_f32(1.0 + 3.0 / 2048.0), 0x3c02);
        assert_eq!(f16_from_f32(65520.0), 0x7c00);
        assert_eq!(f16_from_f32(65519.0), 0x7bff);
        assert_eq!(bf16_from_f32(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(bf16_from_f32(1.0 + 3.0 / 256.0), 0x3f82);
    }
}
