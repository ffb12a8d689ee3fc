//! What whole-system tests are made of: the real binary, stand-in models, a client that shows every byte.
//!
//! A test starts a [`Gateway`] (the `pintle` binary with a generated configuration, on free loopback ports,
//! in a temporary folder) in front of [`pintle_standin::StandIn`]s, and talks to it over TCP as any client
//! would. Nothing waits for a time: [`until`] waits for a condition, with a deadline.
//!
//! The binary is the one named by `PINTLE_BIN`, or else `pintle` beside the test executables; `cargo build
//! -p pintle` puts it there.

#![forbid(unsafe_code)]

pub mod agent;
pub mod alone;
pub mod config;
pub mod gateway;
pub mod guard;
pub mod http;
pub mod ports;
pub mod simulation;
pub mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use agent::Agent;
pub use config::{Backend, ConfigFile, Model};
pub use gateway::{Driver, Gateway, Start, pintle};
pub use guard::Guard;
pub use http::{Connection, Response};
pub use tls::{Authority, Behind, Manners, TlsServer};

/// How long [`until`] waits before it fails the test.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until a condition holds.
///
/// # Panics
/// It does not hold within [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// Sets a flag when it goes out of scope, by a panic too.
#[derive(Debug)]
pub struct OnDrop<'a>(pub &'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reports that a test, or a part of it, could not run here; the test runner counts these lines.
pub fn skip(test: &str, reason: &str) {
    eprintln!("SKIP {test}: {reason}");
}

/// A setting of the test run, from the environment.
pub fn setting(name: &str) -> Option<String> {
    gateway::environment(name)?.into_string().ok()
}

/// Whether this kernel lets this process use io_uring.
pub fn io_uring_works() -> bool {
    io_uring::IoUring::new(8).is_ok()
}
