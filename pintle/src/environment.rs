//! The one place of the binary that reads the environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// A variable's value, if it is set to UTF-8 text.
#[expect(clippy::disallowed_methods, reason = "this is the named place")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Directory that systemd keeps for the unit's state (`StateDirectory=`), if it runs under one.
pub(crate) fn state_directory() -> Option<PathBuf> {
    // systemd separates several directories by colons; the first is the unit's own.
    variable("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from))
}

/// Where the service manager listens, if there is one.
pub(crate) fn notify_socket() -> Option<OsString> {
    variable_os("NOTIFY_SOCKET")
}

/// How many descriptors the service manager has given to this process, from 3 on.
pub(crate) fn listen_fds() -> usize {
    let ours = variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    variable("LISTEN_FDS").filter(|_| ours).and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "this is the named place")]
fn variable_os(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Log filter: `PINTLE_LOG`, as in `info,pintle_dataplane=debug`.
pub(crate) fn log_filter() -> String {
    variable("PINTLE_LOG").unwrap_or_else(|| "info".to_owned())
}
