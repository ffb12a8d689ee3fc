//! The privileged part of a start.

use crate::caps;
use crate::status::{Report, Status};
use crate::steer;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The kernel chooses the worker of a connection.
    pub steering: bool,
}

/// What there is of it.
#[derive(Debug)]
pub struct Started {
    /// To be attached when the listeners are bound.
    pub steering: Option<steer::Program>,
    /// Capabilities that were given up, by number.
    pub dropped: Vec<u32>,
    /// What to say. Where `steering` is not `kernel`, the caller overwrites it with what it does instead, and
    /// likewise where [`steer::Program::attach`] fails.
    pub report: Report,
}

/// Loads and attaches what `options` ask for, then drops the capabilities that it takes, in the calling thread:
/// call it before other threads exist. Never fails; what could not be had is off, and `report` says why.
pub fn start(options: &Options) -> Started {
    let (steering, steered) = match options.steering.then(steer::Program::load) {
        Some(Ok(program)) => (Some(program), Status::kernel("the less loaded of two workers")),
        Some(Err(unavailable)) => (None, Status::off(unavailable.why)),
        None => (None, Status::off("not asked for")),
    };
    let report = Report {
        steering: steered,
        guard: Status::off("not asked for"),
        telemetry: Status::off("not asked for"),
    };
    // A thread that cannot give them up never had them.
    let dropped = caps::drop_capabilities().unwrap_or_default();
    Started { steering, dropped, report }
}
