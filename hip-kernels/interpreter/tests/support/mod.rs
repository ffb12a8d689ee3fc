//! Data, references in binary64 and comparison.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use pintle_gfx_interpreter::half::{bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32};
use pintle_gfx_interpreter::{Address, Code, Heap, Machine};

/// The targets whose machine code can be run.
pub(crate) const TARGETS: [&str; 3] = ["gfx90a", "gfx942", "gfx950"];
/// Waves of every block.
pub(crate) const WAVES: u32 = 4;

/// Where `scripts/hip.sh hiprtc` puts what hipRTC makes of the kernels, and has every test run that instead.
const COMPILED: &str = "../../target/hiprtc/code";

/// The compiled kernels of a target: those that are built in, unless hipRTC's are to be tried.
pub(crate) fn code_object(target: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compiled = here.join(COMPILED);
    let folder = if compiled.exists() { compiled } else { here.join("../prebuilt") };
    Some(folder.join(format!("{target}.co"))).filter(|file| file.exists())
}

/// A machine for a target; `None`, and a line that says so, where the disassembler is not installed.
pub(crate) fn machine(target: &str) -> Option<Machine> {
    if let Err(e) = Code::available() {
        println!("SKIP {e}");
        return None;
    }
    let Some(file) = code_object(target) else {
        println!("SKIP there is no code for {target}");
        return None;
    };
    Some(Machine::load(&file).unwrap())
}

/// Element type of activations and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    F16,
    Bf16,
}

impl Type {
    pub(crate) const ALL: [Self; 2] = [Self::F16, Self::Bf16];
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
    pub(crate) fn narrow(self, v: f32) -> u16 {
        match self {
            Self::F16 => f16_from_f32(v),
            Self::Bf16 => bf16_from_f32(v),
        }
    }
    pub(crate) fn widen(self, v: u16) -> f64 {
        f64::from(match self {
            Self::F16 => f16_to_f32(v),
            Self::Bf16 => bf16_to_f32(v),
        })
    }
    /// What rounding a result near 1 may cost, with some room for intermediate results.
    pub(crate) fn tolerance(self) -> f64 {
        match self {
            Self::F16 => 1e-3,
            Self::Bf16 => 8e-3,
        }
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.bits() % n
    }
    /// Between -scale and scale, more often near 0.
    pub(crate) fn float(&mut self, scale: f32) -> f32 {
        let uniform = |r: &mut Self| r.bits() as f32 / 1_073_741_824.0 - 1.0;
        (uniform(self) + uniform(self)) * scale
    }
    pub(crate) fn floats(&mut self, n: usize, scale: f32, mean: f32) -> Vec<f32> {
        (0..n).map(|_| mean + self.float(scale)).collect()
    }
    pub(crate) fn typed(&mut self, t: Type, n: usize, scale: f32) -> Vec<u16> {
        (0..n).map(|_| t.narrow(self.float(scale))).collect()
    }
    pub(crate) fn unit_rows(&mut self, rows: usize, n: usize) -> Vec<f32> {
        let mut all = self.floats(rows * n, 1.0, 0.0);
        for row in all.chunks_mut(n) {
            let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
        all
    }
}

pub(crate) fn put_u16(h: &mut Heap, v: &[u16]) -> Address {
    h.put(&v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}
pub(crate) fn put_u32(h: &mut Heap, v: &[u32]) -> Address {
    h.put(&v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}
pub(crate) fn put_f32(h: &mut Heap, v: &[f32]) -> Address {
    h.put(&v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}
pub(crate) fn get_u16(h: &Heap, at: Address, n: usize) -> Vec<u16> {
    let bytes = h.get(at, 2 * n).expect("every result is written");
    bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
}
pub(crate) fn get_u32(h: &Heap, at: Address, n: usize) -> Vec<u32> {
    let bytes = h.get(at, 4 * n).expect("every result is written");
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
pub(crate) fn get_f32(h: &Heap, at: Address, n: usize) -> Vec<f32> {
    get_u32(h, at, n).into_iter().map(f32::from_bits).collect()
}

/// Fails unless each result is near what is expected, relative to max(1, |expected|).
pub(crate) fn assert_near(what: &str, got: impl IntoIterator<Item = f64>, expected: &[f64], tolerance: f64) {
    let got: Vec<f64> = got.into_iter().collect();
    assert_eq!(got.len(), expected.len(), "{what}");
    for (at, (g, e)) in got.iter().zip(expected).enumerate() {
        let error = (g - e).abs() / e.abs().max(1.0);
        assert!(error <= tolerance, "{what}: element {at} is {g}, expected {e}");
    }
}

/// The error function in binary64 (series near 0, continued fraction beyond).
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    let v = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let fraction = (1..60).rev().fold(0.0, |f, n| f64::from(n) / 2.0 / (a + f));
        1.0 - (-a * a).exp() / (a + fraction) / std::f64::consts::PI.sqrt()
    };
    v.copysign(x)
}

pub(crate) fn gelu(v: f64) -> f64 {
    0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2))
}

pub(crate) fn layer_norm(x: &[f64], gamma: &[f32], beta: &[f32], epsilon: f64) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let scaled = |(v, (g, b)): (&f64, (&f32, &f32))| {
        (v - mean) / (variance + epsilon).sqrt() * f64::from(*g) + f64::from(*b)
    };
    x.iter().zip(gamma.iter().zip(beta)).map(scaled).collect()
}
