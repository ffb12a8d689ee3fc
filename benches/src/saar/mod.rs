//! The session-routing benchmark.
//!
//! - [`published`]: the public definition, drawn exactly as CPython draws it ([`mt19937`]).
//! - [`workload`]: any workload, as JSON lines.
//! - [`baselines`], [`pintle`], [`live`], [`clairvoyant`]: what decides; [`policy`] names them.
//! - [`accounting`]: what a schedule cost and delivered.
//! - [`families`]: workloads unlike the published ones.
//! - [`run`], [`report`], [`svg`]: entry points and what they print.
//!
//! The router's own policy is not part of this crate: [`pintle`] drives `pintle_routing::session::economics`.

pub mod accounting;
pub mod baselines;
pub mod clairvoyant;
pub mod families;
pub mod live;
pub mod mt19937;
pub mod policy;
pub mod published;
pub mod report;
pub mod run;
pub mod svg;
pub mod workload;

#[cfg(test)]
mod tests;

pub use policy::Policy;
pub use report::{Report, Row, overview};
pub use run::{Options, WorkloadOptions, run_families, run_published, run_workload};
