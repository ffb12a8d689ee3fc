//! The back end that runs everywhere: transformer encoders on one thread of a CPU.
//!
//! Weights are packed once, in the precision that is asked for. A pass works on a few hundred tokens at a time and on
//! tiles of [`forward::TILE_ROWS`] of them, so that what one step leaves the next finds in the cache; there is no
//! padding between texts and no memory is taken from the system once a session is warm.
//!
//! # Precision
//!
//! [`Precision::F32`] is the reference. [`Precision::Bf16`] narrows weights and the rows they are applied to, and
//! attention's operands; sums are `f32`. [`Precision::Int8`] has one scale per output of a matrix and one per row that
//! it is applied to; attention is bf16 where the processor has it, else `f32`. Norms, residuals, softmax, pooling and
//! heads are `f32` always.

mod forward;
mod kernels;
mod math;
mod memory;
mod model;
mod pack;
mod roofline;
mod simd;

pub use model::CpuEncoder;
pub use roofline::Roofline;

use std::fmt;
use std::str::FromStr;

/// What weights and activations are narrowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats of 8 significant bits; needs AVX-512 BF16, else it is [`Self::F32`].
    Bf16,
    /// 8-bit integers.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for Precision {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => Err("one of f32, bf16, int8"),
        }
    }
}

/// What a processor can do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512 F, BW and DQ, with BF16 and VNNI where the processor has them.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// Nothing in particular.
    Portable,
}

impl Isa {
    /// Best first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The best that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && Self::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}
