//! The privileged part of a start.

use crate::guard::{self, Guard};
use crate::handed::Handed;
use crate::status::{Report, Status, Unavailable};
use crate::telemetry::{self, Telemetry};
use crate::{caps, steer};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The kernel chooses the worker of a connection.
    pub steering: bool,
    /// SYNs are judged.
    pub guard: Option<guard::Options>,
    /// The kernel adds up what it knows of connections.
    pub telemetry: Option<telemetry::Options>,
}

/// What the process that is being replaced had attached.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Its guard.
    pub guard: Option<Handed<guard::Terms>>,
    /// Its telemetry.
    pub telemetry: Option<Handed<telemetry::Terms>>,
}

/// What there is of it.
#[derive(Debug)]
pub struct Started {
    /// To be attached when the listeners are bound.
    pub steering: Option<steer::Program>,
    /// Attached; one that was inherited goes by its old settings until [`Guard::apply`].
    pub guard: Option<Guard>,
    /// Attached.
    pub telemetry: Option<Telemetry>,
    /// Capabilities that were given up, by number.
    pub dropped: Vec<u32>,
    /// What to say. Where something is off, the caller may do it by itself, and then says so here; likewise where
    /// [`steer::Program::attach`] fails.
    pub report: Report,
}

/// Takes over what is inherited of what `options` ask for, loads and attaches the rest, then drops the capabilities
/// that it takes, in the calling thread: call it before other threads exist. Never fails; what could not be had is
/// off, and `report` says why. What is inherited and not asked for ends with its process.
pub fn start(options: &Options, inherited: Inherited) -> Started {
    let (steering, steered) = match options.steering.then(steer::Program::load) {
        Some(Ok(program)) => (Some(program), Status::kernel("less loaded of two workers")),
        other => (None, off(other)),
    };
    let guard = options.guard.as_ref().map(|options| {
        let adopted = inherited.guard.map(|handed| Guard::adopt(handed, &options.interfaces));
        or_else(adopted, || Guard::attach(options))
    });
    let (guard, guarded) = match guard {
        Some(Ok(guard)) => {
            let status = Status::kernel(guard.describe());
            (Some(guard), status)
        }
        other => (None, off(other)),
    };
    let telemetry = options
        .telemetry
        .as_ref()
        .map(|options| or_else(inherited.telemetry.map(Telemetry::adopt), || Telemetry::attach(options)));
    let (telemetry, watched) = match telemetry {
        Some(Ok(telemetry)) => {
            let status = Status::kernel(telemetry.describe());
            (Some(telemetry), status)
        }
        other => (None, off(other)),
    };
    // A thread that cannot give them up never had them.
    let dropped = caps::drop_capabilities().unwrap_or_default();
    let report = Report { steering: steered, guard: guarded, telemetry: watched };
    Started { steering, guard, telemetry, dropped, report }
}

/// What was taken over, else what is attached anew; if neither, why.
fn or_else<T>(
    adopted: Option<Result<T, Unavailable>>,
    attach: impl FnOnce() -> Result<T, Unavailable>,
) -> Result<T, Unavailable> {
    match adopted {
        None => attach(),
        Some(Ok(adopted)) => Ok(adopted),
        Some(Err(before)) => attach().map_err(|now| Unavailable::new(format!("{before}, and anew: {now}"))),
    }
}

fn off<T>(result: Option<Result<T, Unavailable>>) -> Status {
    match result {
        Some(Err(unavailable)) => Status::off(unavailable.why),
        _ => Status::off("not asked for"),
    }
}
