//! v0.3.0's session arithmetic, number for number, flaws included.
//!
//! Every function names the upstream file whose behaviour it reproduces; paths are relative to
//! `src/semantic-router/pkg/` at tag v0.3.0. Names of fields and constants are upstream's. Nothing here is
//! used by the Pintle profile except the parameter block [`saar::SaarConfig`].

pub mod accounting;
pub mod affinity;
pub mod config;
pub mod derivation;
pub mod gate;
pub mod lookup;
pub mod saar;
pub mod selectors;
pub mod stores;
pub mod warmth;

/// Limits a number to [0,1]; one that is not finite becomes 0.
pub(crate) fn clamp01(x: f64) -> f64 {
    if x.is_finite() { x.clamp(0.0, 1.0) } else { 0.0 }
}
