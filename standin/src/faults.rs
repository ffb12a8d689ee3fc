//! Failures: asked for by a directive, or drawn at the configured rate.

use crate::directives::Directives;

/// How an answer fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error status with an error body.
    Status(u16),
    /// The connection ends half-way through the answer.
    Cut,
    /// The connection ends before any byte of the answer.
    Reset,
}

/// The fault that a request's directives ask for.
pub(crate) fn asked(directives: &Directives) -> Option<Fault> {
    match directives {
        Directives { reset: true, .. } => Some(Fault::Reset),
        Directives { cut: true, .. } => Some(Fault::Cut),
        Directives { error: Some(status), .. } => Some(Fault::Status(*status)),
        _ => None,
    }
}

/// The fault of request number `n` under `seed`, if it is one of the failing share `rate`.
pub(crate) fn drawn(seed: u64, n: u64, rate: f64) -> Option<Fault> {
    let draw = mix(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    if unit(draw) >= rate {
        return None;
    }
    Some(match mix(draw) % 3 {
        0 => Fault::Status(500),
        1 => Fault::Status(503),
        _ => Fault::Cut,
    })
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
pub(crate) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The top 53 bits as a number in [0, 1).
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
