//! The one place of the binary that reads the environment.

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

/// Log filter: `PINTLE_LOG`, as in `info,pintle_dataplane=debug`.
pub(crate) fn log_filter() -> String {
    variable("PINTLE_LOG").unwrap_or_else(|| "info".to_owned())
}
