//! The wall clock, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use pintle_routing::units::UnixMillis;

/// Now; the epoch itself if the clock stands before it.
pub(crate) fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
