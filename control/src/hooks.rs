//! What the control thread needs from the rest of the process, as closures that the binary wires.
//!
//! The control thread knows nothing of workers, policies or configuration files; it only knows when to
//! ask for what.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::admin::FeedbackDesk;
use crate::book::SessionBook;

/// A question that is answered from any thread, quickly and without blocking. `Err` holds one sentence for
/// the operator.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A JSON object on request, from any thread, quickly and without blocking.
pub type Report = Arc<dyn Fn() -> Value + Send + Sync>;

/// Work that is done every so often, on a helper thread: it may wait for names or files. It is not called
/// again before it returned.
pub type Periodic = (Duration, Box<dyn FnMut() + Send>);

/// The rest of the process as the control thread sees it.
pub struct ControlHooks {
    /// Reads the configuration again and applies it if it is good. May block; runs one at a time on a
    /// helper thread.
    pub reload: Arc<dyn Fn() -> ReloadReport + Send + Sync>,
    /// Stops accepting, lets running requests end, and returns when none is left or the time is up. May
    /// block; called at most once, on a helper thread.
    pub drain: Box<dyn FnOnce(Duration) -> Drained + Send>,
    /// The same after another process has taken over; [`ControlHooks::drain`] may follow and ends its patience.
    pub retire: Box<dyn FnOnce(Duration) -> Drained + Send>,
    /// Starts a process that takes over from this one, and waits until it has, or has failed to. May block; runs
    /// one at a time on a helper thread. `None` where that is not possible.
    pub upgrade: Option<Arc<dyn Fn() -> Result<String, String> + Send + Sync>>,
    /// Whether the data plane makes progress: `/health`, and the condition for the service manager's
    /// watchdog.
    pub alive: Check,
    /// Whether traffic should be sent here: `/ready`.
    pub ready: Check,
    /// The data plane's part of `/status`.
    pub status: Report,
    /// A summary of the running configuration without secrets: `/config`.
    pub config: Report,
    /// Session memory, for `/v1/sessions`.
    pub sessions: Option<Arc<dyn SessionBook>>,
    /// Who learns from feedback, for `/api/v1/feedback`.
    pub feedback: Option<Arc<dyn FeedbackDesk>>,
    /// Further work for the control thread.
    pub periodic: Vec<Periodic>,
}

impl std::fmt::Debug for ControlHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlHooks").field("periodic", &self.periodic.len()).finish_non_exhaustive()
    }
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// The new configuration serves.
    Applied,
    /// The file says what was already running.
    Unchanged,
    /// The file is bad; the old configuration goes on serving.
    Refused,
}

impl ReloadResult {
    /// Label value for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReloadResult::Applied => "applied",
            ReloadResult::Unchanged => "unchanged",
            ReloadResult::Refused => "refused",
        }
    }
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReloadReport {
    /// How it ended.
    pub result: ReloadResult,
    /// Digest of the policy that serves now.
    pub policy_digest: String,
    /// One sentence for the log and the service manager's status line.
    pub summary: String,
    /// Every finding of the check, as the configuration crate reports it.
    pub findings: Value,
}

/// What was left when draining ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were cut off because the time was up.
    pub cut_off: u64,
}
