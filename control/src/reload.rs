//! Reloads, from wherever they are asked for: one at a time, told to the service manager, counted.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinError;

use crate::clock::unix_millis;
use crate::exposition::names;
use crate::hooks::{ReloadReport, ReloadResult};
use crate::lifecycle::{Lifecycle, Phase};
use crate::notify;

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// Only a serving process reloads.
    #[error("cannot reload while {}", .0.as_str())]
    NotServing(Phase),
    /// The hook panicked.
    #[error("the reload failed unexpectedly: {0}")]
    Failed(#[from] JoinError),
}

pub(crate) struct Reloader {
    hook: Arc<dyn Fn() -> ReloadReport + Send + Sync>,
    lifecycle: Arc<Lifecycle>,
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<ReloadReport>>,
}

impl Reloader {
    pub(crate) fn new(
        hook: Arc<dyn Fn() -> ReloadReport + Send + Sync>,
        lifecycle: Arc<Lifecycle>,
    ) -> Reloader {
        metrics::gauge!(names::LAST_RELOAD).set(unix_millis().get() as f64 / 1e3);
        Reloader { hook, lifecycle, turn: tokio::sync::Mutex::new(()), last: Mutex::new(None) }
    }

    /// Reloads after any reload that is under way. Runs to its end even if the caller is dropped.
    pub(crate) async fn reload(self: Arc<Self>) -> Result<ReloadReport, ReloadError> {
        let task = tokio::task::spawn_local(async move { self.reload_in_turn().await });
        task.await?
    }

    /// What the last reload did; `None` before the first.
    pub(crate) fn last(&self) -> Option<ReloadReport> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reload_in_turn(&self) -> Result<ReloadReport, ReloadError> {
        let _turn = self.turn.lock().await;
        let phase = self.lifecycle.phase();
        if phase != Phase::Running {
            return Err(ReloadError::NotServing(phase));
        }
        notify::reloading();
        let hook = Arc::clone(&self.hook);
        let outcome = tokio::task::spawn_blocking(move || hook()).await;
        // The service manager waits for this whether or not the reload went well.
        match outcome {
            Ok(report) => {
                notify::ready(&report.summary);
                record(&report);
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
                Ok(report)
            }
            Err(error) => {
                notify::ready("the last reload failed; the old configuration serves on");
                tracing::error!(%error, "reload failed");
                Err(error.into())
            }
        }
    }
}

fn record(report: &ReloadReport) {
    metrics::counter!(names::RELOADS, "result" => report.result.as_str()).increment(1);
    let digest = &report.policy_digest;
    let summary = &report.summary;
    match report.result {
        ReloadResult::Applied => {
            metrics::gauge!(names::LAST_RELOAD).set(unix_millis().get() as f64 / 1e3);
            tracing::info!(policy = %digest, "configuration reloaded: {summary}");
        }
        ReloadResult::Unchanged => tracing::info!(policy = %digest, "configuration unchanged: {summary}"),
        ReloadResult::Refused => {
            tracing::error!(policy = %digest, "configuration refused, the old one serves on: {summary}");
        }
    }
}
