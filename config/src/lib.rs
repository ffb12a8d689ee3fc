//! What operators write: the canonical v0.3 contract, checked and typed.
//!
//! Bytes go in, a [`Config`] and a [`Report`] come out. Nothing here reads a file, a socket or a clock; the
//! environment is read through a function that the caller passes to [`secrets`].

#![forbid(unsafe_code)]

mod codes;
mod contract;
mod findings;
mod node;
mod parse;
mod report;
pub mod secrets;
mod shape;
mod value;
mod workers;

pub use contract::*;
pub use report::{Finding, Report, Severity};
pub use value::Value;
pub use workers::Workers;

/// Whose verdict and behaviour count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Profile {
    /// Pintle's own: flaws of v0.3.0 are repaired.
    #[default]
    Pintle,
    /// v0.3.0.
    Compat,
}

/// What came of a document.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration, unless an error kept it from loading.
    pub config: Option<Config>,
    /// Everything that was found.
    pub report: Report,
}
