//! v0.3.0's session arithmetic, number for number, flaws included.
//!
//! Every function names the upstream file whose behaviour it reproduces; paths are relative to
//! `src/semantic-router/pkg/` at tag v0.3.0. Names of fields and constants are upstream's. Nothing here is
//! used by the Pintle profile except the parameter block [`saar::SaarConfig`].

pub mod lookup;
pub mod saar;

/// Limits a number to [0,1]; not-a-number becomes 0.
pub(crate) fn clamp01(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}
