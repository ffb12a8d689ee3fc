//! Where the process stands between start and end.

use std::sync::atomic::{AtomicU8, Ordering};

/// A stage of the process's life; stages only follow each other in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Not everything listens yet.
    Starting = 0,
    /// Requests are served.
    Running = 1,
    /// Another process serves; running requests end here.
    HandedOver = 2,
    /// No new connections; running requests end.
    Draining = 3,
}

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::HandedOver => "handed over",
            Phase::Draining => "draining",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Lifecycle(AtomicU8);

impl Lifecycle {
    pub(crate) const fn new() -> Lifecycle {
        Lifecycle(AtomicU8::new(Phase::Starting as u8))
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Running,
            2 => Phase::HandedOver,
            _ => Phase::Draining,
        }
    }

    /// Goes on to `phase`; false if that stage or a later one has been reached already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.0.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8
    }
}
