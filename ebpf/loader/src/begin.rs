//! The privileged part of a start.

use crate::guard::{self, Guard};
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

/// What there is of it.
#[derive(Debug)]
pub struct Started {
    /// To be attached when the listeners are bound.
    pub steering: Option<steer::Program>,
    /// Attached.
    pub guard: Option<Guard>,
    /// Attached.
    pub telemetry: Option<Telemetry>,
    /// Capabilities that were given up, by number.
    pub dropped: Vec<u32>,
    /// What to say. Where something is off, the caller may do it by itself, and then says so here; likewise where
    /// [`steer::Program::attach`] fails.
    pub report: Report,
}

/// Loads and attaches what `options` ask for, then drops the capabilities that it takes, in the calling thread:
/// call it before other threads exist. Never fails; what could not be had is off, and `report` says why.
pub fn start(options: &Options) -> Started {
    let (steering, steered) = match options.steering.then(steer::Program::load) {
        Some(Ok(program)) => (Some(program), Status::kernel("less loaded of two workers")),
        other => (None, off(other)),
    };
    let (guard, guarded) = match options.guard.as_ref().map(|options| (options, Guard::attach(options))) {
        Some((options, Ok(guard))) => {
            let places: Vec<String> = guard
                .attachments()
                .iter()
                .map(|place| format!("{} on {}", place.hook, place.interface))
                .collect();
            let does = match options.mode {
                guard::Mode::Off => "switched off",
                guard::Mode::Count => "counts",
                guard::Mode::Enforce => "enforces",
            };
            let status = Status::kernel(format!("{does}, {}", places.join(", ")));
            (Some(guard), status)
        }
        other => (None, off(other.map(|(_, result)| result))),
    };
    let (telemetry, watched) = match options.telemetry.as_ref().map(Telemetry::attach) {
        Some(Ok(telemetry)) => {
            let mut why = format!("control group {}", telemetry.cgroup().display());
            if let Some(lacking) = telemetry.without_system() {
                why.push_str("; no system-wide retransmissions: ");
                why.push_str(lacking);
            }
            (Some(telemetry), Status::kernel(why))
        }
        other => (None, off(other)),
    };
    // A thread that cannot give them up never had them.
    let dropped = caps::drop_capabilities().unwrap_or_default();
    let report = Report { steering: steered, guard: guarded, telemetry: watched };
    Started { steering, guard, telemetry, dropped, report }
}

fn off<T>(result: Option<Result<T, Unavailable>>) -> Status {
    match result {
        Some(Err(unavailable)) => Status::off(unavailable.why),
        _ => Status::off("not asked for"),
    }
}
