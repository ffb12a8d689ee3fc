//! 16-bit numbers and data that look random.

use pintle_hip::encoder::Number;

/// The value of a 16-bit number.
pub(crate) fn widen(number: Number, bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent_bits, bias) = match number {
        Number::F16 => (5, 15),
        Number::Bf16 => (8, 127),
    };
    let fraction_bits = 15 - exponent_bits;
    let exponent = i32::from(bits >> fraction_bits & ((1 << exponent_bits) - 1));
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
    match exponent {
        0 => sign * fraction * 2f64.powi(1 - bias),
        e if e == (1 << exponent_bits) - 1 => f64::NAN,
        e => sign * (1.0 + fraction) * 2f64.powi(e - bias),
    }
}

/// Sixteenths between -1 and 1, which both kinds of number hold exactly.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.bits() % limit
    }

    fn sixteenth(&mut self) -> f32 {
        (self.below(31) as f32 - 15.0) / 16.0
    }

    pub(crate) fn floats(&mut self, count: usize, mean: f32) -> Vec<f32> {
        (0..count).map(|_| mean + self.sixteenth() / 4.0).collect()
    }

    pub(crate) fn numbers(&mut self, number: Number, count: usize) -> Vec<u16> {
        (0..count).map(|_| narrow(number, self.sixteenth())).collect()
    }
}

/// A number that is held exactly.
fn narrow(number: Number, x: f32) -> u16 {
    let bits = x.to_bits();
    match number {
        Number::Bf16 => (bits >> 16) as u16,
        Number::F16 if x == 0.0 => 0,
        Number::F16 => {
            let exponent = (bits >> 23 & 0xff) + 15 - 127;
            ((bits >> 31) << 15 | exponent << 10 | (bits >> 13 & 0x3ff)) as u16
        }
    }
}

/// x Φ(x) with the error function as its series, or 0 and x where that would be out of reach.
pub(crate) fn gelu(x: f64) -> f64 {
    let at = (x / std::f64::consts::SQRT_2).clamp(-5.0, 5.0);
    let (mut term, mut sum) = (at, at);
    for n in 1..200 {
        term *= -at * at / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
}

/// Whether a result is what it should be, up to the rounding of its kind of number.
pub(crate) fn near(number: Number, got: f64, expected: f64) -> bool {
    let tolerance = match number {
        Number::F16 => 2e-3,
        Number::Bf16 => 1.6e-2,
    };
    (got - expected).abs() <= tolerance * expected.abs().max(1.0)
}
