//! What the service manager is told (`sd_notify(3)`); nothing happens when no service manager listens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Tells the service manager that start-up is finished.
pub(crate) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// Tells it that a reload began. systemd 253 and later want the time with it for `Type=notify-reload`;
/// earlier ones ignore that.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
    }
}

/// Tells it that the process is going, and that this may take `patience`.
pub(crate) fn stopping(status: &str, patience: Duration) {
    let patience = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    send(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(patience),
        NotifyState::Status(&one_line(status)),
    ]);
}

/// Makes `pid` the process that the service manager supervises. Nothing is told from here on: it is not this
/// process's service any more.
pub(crate) fn hand_over(pid: u32) {
    send(&[NotifyState::MainPid(pid)]);
    HANDED_OVER.store(true, Ordering::Release);
}

static HANDED_OVER: AtomicBool = AtomicBool::new(false);

/// Replaces the status line.
pub(crate) fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// Tells it that the process is well.
pub(crate) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often the service manager wants to hear from the watchdog, if at all.
pub(crate) fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn send(states: &[NotifyState<'_>]) {
    if HANDED_OVER.load(Ordering::Acquire) {
        return;
    }
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be reached");
    }
}

/// The protocol separates assignments by newlines.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
