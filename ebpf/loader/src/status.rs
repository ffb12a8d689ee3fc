//! What is in force, and why.

use std::fmt;

use serde::Serialize;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A program in the kernel.
    Kernel,
    /// This process, by means that need no privilege.
    Userspace,
    /// Nobody.
    Off,
}

impl Mode {
    /// As it is written in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Kernel => "kernel",
            Mode::Userspace => "userspace",
            Mode::Off => "off",
        }
    }
}

/// The state of one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Who does it.
    pub mode: Mode,
    /// Why it is so, in a few words for an operator.
    pub why: String,
}

impl Status {
    /// Done by the kernel.
    pub fn kernel(why: impl Into<String>) -> Self {
        Self { mode: Mode::Kernel, why: why.into() }
    }

    /// Done by this process.
    pub fn userspace(why: impl Into<String>) -> Self {
        Self { mode: Mode::Userspace, why: why.into() }
    }

    /// Not done.
    pub fn off(why: impl Into<String>) -> Self {
        Self { mode: Mode::Off, why: why.into() }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.mode.as_str(), self.why)
    }
}

/// The state of all three: what the log says at start, and `pintle status` at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Choosing the worker of a new connection.
    pub steering: Status,
    /// Turning SYNs away.
    pub guard: Status,
    /// The kernel's view of connections.
    pub telemetry: Status,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "steering: {}; guard: {}; telemetry: {}", self.steering, self.guard, self.telemetry)
    }
}

/// The kernel does not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unavailable {
    /// Why, in a few words for an operator.
    pub why: String,
}

impl Unavailable {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }

    /// `what` and the innermost cause: the wrappers of a load error repeat each other.
    pub(crate) fn because(what: &str, error: &dyn std::error::Error) -> Self {
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self { why: format!("{what}: {cause}") }
    }
}
