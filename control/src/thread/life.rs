//! What the control thread obeys, from the start to the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, spawn_local};
use tokio::time::error::Elapsed;

use super::{ControlOptions, ControlOrder, DRAIN_GRACE, Exit, JOURNAL_CLOSE};
use crate::hooks::{Drained, Report};
use crate::lifecycle::{Lifecycle, Phase};
use crate::notify;
use crate::reload::{ReloadError, Reloader};
use crate::signals::{Signal, Signals};

/// How long a reload that was asked for during the start waits before it tries again.
const STARTING_REST: Duration = Duration::from_millis(20);

/// The process's life after start-up.
pub(super) struct Life {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) status: Report,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) signals: Signals,
    pub(super) orders: mpsc::Receiver<ControlOrder>,
    /// Whether this process answers on the admin API.
    pub(super) answers: watch::Sender<bool>,
}

pub(super) type Upgrade = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Why serving ended.
pub(super) enum End {
    Asked,
    HandedOver(u32),
}

impl Life {
    /// Obeys until the end is asked for.
    pub(super) async fn serve(&mut self) -> End {
        let upgrading = Arc::new(tokio::sync::Mutex::new(()));
        let hangup = Arc::new(Notify::new());
        let reloads = spawn_local(reload_on(Arc::clone(&hangup), Arc::clone(&self.reloader)));
        let end = loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Signal::Reload => hangup.notify_one(),
                    Signal::LogStatus => tracing::info!(status = %(self.status)(), "status"),
                    Signal::Upgrade => start_upgrade(self.upgrade.clone(), &upgrading),
                    Signal::Terminate => break End::Asked,
                },
                order = self.orders.recv() => match order {
                    Some(ControlOrder::Ready(status)) => {
                        if self.lifecycle.advance(Phase::Running) {
                            notify::ready(&status);
                            self.answers.send_replace(true);
                        }
                    }
                    Some(ControlOrder::HandOver { pid, begun, done }) => {
                        if begun.swap(true, Ordering::AcqRel) {
                            continue;
                        }
                        notify::hand_over(pid);
                        self.answers.send_replace(false);
                        // Whoever asked may have given up; the other process serves all the same.
                        let _ = done.send(());
                        break End::HandedOver(pid);
                    }
                    Some(ControlOrder::Shutdown) | None => break End::Asked,
                },
            }
        };
        reloads.abort();
        end
    }

    /// Lets running requests end while process `pid` serves new ones. The first SIGTERM makes that urgent.
    pub(super) async fn retire(
        &mut self,
        pid: u32,
        hook: Box<dyn FnOnce(Duration) -> Drained + Send>,
        urgent: Box<dyn FnOnce(Duration) -> Drained + Send>,
        options: &ControlOptions,
    ) -> Exit {
        self.lifecycle.advance(Phase::HandedOver);
        let limit = options.retire;
        tracing::info!(
            to = pid,
            limit_ms = limit.as_millis() as u64,
            "handed over; running requests end here"
        );
        let drained = tokio::task::spawn_blocking(move || hook(limit));
        let exit = tokio::select! {
            ended = tokio::time::timeout(limit + DRAIN_GRACE, drained) => exit(ended),
            () = self.terminated() => return self.drain(urgent, options.drain).await,
        };
        tracing::info!(?exit, "drained");
        exit
    }

    pub(super) async fn drain(
        &mut self,
        hook: Box<dyn FnOnce(Duration) -> Drained + Send>,
        limit: Duration,
    ) -> Exit {
        self.lifecycle.advance(Phase::Draining);
        notify::stopping("draining", limit + DRAIN_GRACE + JOURNAL_CLOSE);
        tracing::info!(limit_ms = limit.as_millis() as u64, "draining");
        let drained = tokio::task::spawn_blocking(move || hook(limit));
        let exit = tokio::select! {
            ended = tokio::time::timeout(limit + DRAIN_GRACE, drained) => exit(ended),
            () = self.terminated() => Exit::Hurried,
        };
        tracing::info!(?exit, "drained");
        exit
    }

    async fn terminated(&mut self) {
        while self.signals.next().await != Signal::Terminate {}
    }
}

fn exit(ended: Result<Result<Drained, JoinError>, Elapsed>) -> Exit {
    match ended {
        Ok(Ok(Drained { cut_off: 0 })) => Exit::Drained,
        Ok(Ok(Drained { cut_off })) => Exit::CutOff(cut_off),
        Ok(Err(_)) | Err(_) => Exit::Overrun,
    }
}

/// Upgrades on a helper thread, unless that is being done.
fn start_upgrade(upgrade: Option<Upgrade>, turn: &Arc<tokio::sync::Mutex<()>>) {
    let Some(upgrade) = upgrade else {
        return tracing::warn!("SIGUSR2 had no effect: this process cannot be upgraded");
    };
    let Ok(turn) = Arc::clone(turn).try_lock_owned() else {
        return tracing::warn!("SIGUSR2 had no effect: an upgrade is under way");
    };
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        match upgrade() {
            Ok(summary) => tracing::info!("upgraded: {summary}"),
            Err(reason) => tracing::error!("the upgrade failed, this process serves on: {reason}"),
        }
    });
}

/// Reloads once for any number of SIGHUPs that came since the last reload began.
async fn reload_on(hangup: Arc<Notify>, reloader: Arc<Reloader>) {
    loop {
        hangup.notified().await;
        loop {
            match Arc::clone(&reloader).reload().await {
                Ok(_) => break,
                // The listeners may serve a moment before that is announced: the signal is not lost for it.
                Err(ReloadError::NotServing(Phase::Starting)) => tokio::time::sleep(STARTING_REST).await,
                Err(reason) => {
                    tracing::warn!("SIGHUP had no effect: {reason}");
                    break;
                }
            }
        }
    }
}
