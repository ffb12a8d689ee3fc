//! The control thread: one runtime for the journal, the admin API, signals and the service manager.
//!
//! The runtime is tokio-uring's, so that the journal is written by io_uring; where the kernel refuses to
//! make a ring (a container's seccomp filter, `kernel.io_uring_disabled`), it is plain tokio with file
//! writes on a helper thread, and nothing else differs.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as startup;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle as TaskHandle, LocalSet, spawn_local};
use tokio::time::MissedTickBehavior;

use crate::admin::{self, Admin, AdminBindError, AdminOptions, BoundAdmin, SharedAdmin};
use crate::book::SessionBook;
use crate::clock::unix_millis;
use crate::exposition::{Exposition, ExpositionError, UPKEEP_EVERY, names};
use crate::hooks::{Check, ControlHooks, Periodic};
use crate::journal::{
    Appender, Backend, JournalError, JournalHandle, JournalOptions, OpenReport, Order, Writer,
};
use crate::lifecycle::{Lifecycle, Phase};
use crate::notify;
use crate::reload::Reloader;
use crate::signals::Signals;

use life::{End, Life};

/// Submission queue entries of the control thread's ring; it writes one file at a time.
const RING_ENTRIES: u32 = 64;

/// How long the hook may overrun the drain deadline that it was given.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How long the journal may take to write what is queued and to sync, at the end.
const JOURNAL_CLOSE: Duration = Duration::from_secs(10);

/// How long the control thread may take to hand over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Orders to the control thread that may wait.
const PENDING_ORDERS: usize = 16;

/// How the control thread may reach the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where the kernel allows it, ordinary system calls otherwise.
    #[default]
    Auto,
    /// io_uring, or fail to start.
    IoUring,
    /// Ordinary system calls on a helper thread.
    Blocking,
}

/// How the control thread is to work.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// The admin API.
    pub admin: AdminOptions,
    /// The flow journal.
    pub journal: JournalOptions,
    /// How the journal is written.
    pub driver: Driver,
    /// How long running requests may take to end after SIGTERM (`global.pintle.timeouts.drain_ms`).
    pub drain: Duration,
    /// How long they may take after another process has taken over (`global.pintle.timeouts.upgrade_drain_ms`).
    pub retire: Duration,
    /// Answer signals: SIGHUP reloads, SIGTERM and SIGINT drain, SIGUSR1 logs the status, SIGUSR2 upgrades. Off
    /// in tests that share a process.
    pub handle_signals: bool,
}

/// What the control threads of two processes share during an upgrade. What is missing is made anew.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The lock of the flow journal.
    pub journal_lock: Option<OwnedFd>,
    /// The admin API's TCP listener.
    pub admin_tcp: Option<OwnedFd>,
    /// The admin API's unix socket.
    pub admin_unix: Option<OwnedFd>,
}

/// Why the control thread did not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// See [`JournalError`].
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// See [`AdminBindError`].
    #[error(transparent)]
    Admin(#[from] AdminBindError),
    /// See [`ExpositionError`].
    #[error(transparent)]
    Exposition(#[from] ExpositionError),
    /// No ring, though [`Driver::IoUring`] was asked for.
    #[error("io_uring is not available to the control thread: {0}")]
    IoUring(io::Error),
    /// No thread, runtime or signal handler.
    #[error("the control thread cannot start: {0}")]
    Start(io::Error),
}

/// Why the control thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every request ended by itself.
    Drained,
    /// The time was up; so many requests were cut off.
    CutOff(u64),
    /// The drain hook did not return in its time and [`DRAIN_GRACE`], or panicked.
    Overrun,
    /// A second SIGTERM or SIGINT came while draining.
    Hurried,
}

/// The control thread.
#[derive(Debug)]
pub struct ControlThread;

impl ControlThread {
    /// Starts it, and returns once the journal is open and the admin API listens. Installs the metrics
    /// recorder first; start it before anything that measures.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is left running then.
    pub fn spawn(options: ControlOptions, hooks: ControlHooks) -> Result<ControlHandle, ControlError> {
        Self::take_over(options, hooks, None)
    }

    /// Starts it beside that of another process, whose part in `inherited` it shares. The admin API is left to
    /// that one until this one is [ready](ControlHandle::announce_ready).
    ///
    /// # Errors
    /// [`ControlError`]; nothing is left running then.
    pub fn take_over(
        options: ControlOptions,
        hooks: ControlHooks,
        inherited: Option<Inherited>,
    ) -> Result<ControlHandle, ControlError> {
        let exposition = Exposition::install()?;
        let (handle, journal_orders) = JournalHandle::new(options.journal.queue);
        let (orders, order_queue) = mpsc::channel(PENDING_ORDERS);
        let (tell_start, told) = startup::sync_channel(1);
        let (tell_end, ended) = startup::sync_channel(1);
        let parts = Parts {
            options,
            hooks,
            inherited,
            exposition,
            journal: handle.clone(),
            journal_orders,
            orders: order_queue,
            tell_start,
            tell_end,
        };
        let thread = std::thread::Builder::new()
            .name("pintle-control".to_owned())
            .spawn(move || run(parts))
            .map_err(ControlError::Start)?;
        match told.recv() {
            Ok(Ok(started)) => Ok(ControlHandle { journal: handle, orders, started, ended, thread }),
            Ok(Err(error)) => {
                drop(thread.join());
                Err(error)
            }
            Err(_) => {
                drop(thread.join());
                Err(ControlError::Start(io::Error::other("it ended before it was ready")))
            }
        }
    }
}

/// The rest of the process's end of the control thread.
#[derive(Debug)]
pub struct ControlHandle {
    journal: JournalHandle,
    orders: mpsc::Sender<ControlOrder>,
    started: Started,
    ended: startup::Receiver<Exit>,
    thread: JoinHandle<()>,
}

impl ControlHandle {
    /// Where workers hand over flow documents.
    pub fn journal(&self) -> JournalHandle {
        self.journal.clone()
    }

    /// What a process that takes over needs of this one. Gives it once.
    pub fn share(&mut self) -> Inherited {
        std::mem::take(&mut self.started.shared)
    }

    /// A way to give orders while somebody else [waits](ControlHandle::join) for the end.
    pub fn remote(&self) -> ControlRemote {
        ControlRemote { orders: self.orders.clone() }
    }

    /// What was found when the journal was opened, and how it is written.
    pub fn journal_report(&self) -> OpenReport {
        self.started.journal
    }

    /// The TCP address of the admin API, with the port that the system chose if 0 was configured.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.started.admin_address
    }

    /// Says that every listener accepts: `/ready` may be positive, reloads are possible, and the service
    /// manager is told, with `status` as its status line.
    pub fn announce_ready(&self, status: impl Into<String>) {
        // A control thread that has ended cannot announce anything; `join` tells why it ended.
        let _ = self.orders.blocking_send(ControlOrder::Ready(status.into()));
    }

    /// Asks for what SIGTERM asks for: drain, then end.
    pub fn shutdown(&self) {
        // One that has ended needs no telling.
        let _ = self.orders.blocking_send(ControlOrder::Shutdown);
    }

    /// Waits until the process has been told to end, has drained, and the journal is closed.
    ///
    /// # Errors
    /// If the control thread panicked.
    pub fn join(self) -> Result<Exit, ControlPanic> {
        // The thread itself may still wait for a hook that overran its deadline, so the end of the thread
        // is not waited for when it has told its result.
        self.ended.recv().map_err(|_| {
            drop(self.thread.join());
            ControlPanic
        })
    }
}

/// Gives orders to the control thread.
#[derive(Debug, Clone)]
pub struct ControlRemote {
    orders: mpsc::Sender<ControlOrder>,
}

impl ControlRemote {
    /// Leaves the service to process `pid`: the service manager is told, the admin API and the listeners are
    /// left to it, running requests end. False if this process is ending already, or too busy: then nothing is left,
    /// now or later.
    pub fn hand_over(&self, pid: u32) -> bool {
        let (done, told) = startup::sync_channel(1);
        let begun = Arc::new(AtomicBool::new(false));
        let order = ControlOrder::HandOver { pid, begun: Arc::clone(&begun), done };
        if self.orders.blocking_send(order).is_err() {
            return false;
        }
        match told.recv_timeout(HAND_OVER) {
            Ok(()) => true,
            // Taken back, unless it is being carried out.
            Err(_) => begun.swap(true, Ordering::AcqRel) && told.recv().is_ok(),
        }
    }
}

/// The control thread panicked; the panic message is on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the control thread panicked")]
pub struct ControlPanic;

/// What start-up found out.
#[derive(Debug)]
struct Started {
    journal: OpenReport,
    admin_address: Option<SocketAddr>,
    shared: Inherited,
}

#[derive(Debug)]
enum ControlOrder {
    Ready(String),
    HandOver {
        pid: u32,
        /// Set by whoever comes first: the thread that carries it out, or the one that takes it back.
        begun: Arc<AtomicBool>,
        done: startup::SyncSender<()>,
    },
    Shutdown,
}

struct Parts {
    options: ControlOptions,
    hooks: ControlHooks,
    inherited: Option<Inherited>,
    exposition: Exposition,
    journal: JournalHandle,
    journal_orders: mpsc::Receiver<Order>,
    orders: mpsc::Receiver<ControlOrder>,
    tell_start: startup::SyncSender<Result<Started, ControlError>>,
    tell_end: startup::SyncSender<Exit>,
}

enum Runtime {
    Uring(tokio_uring::Runtime),
    Plain(tokio::runtime::Runtime),
}

fn run(parts: Parts) {
    let tell_start = parts.tell_start.clone();
    match runtime(parts.options.driver) {
        Ok(Runtime::Uring(runtime)) => runtime.block_on(supervise(parts, Backend::IoUring)),
        Ok(Runtime::Plain(runtime)) => {
            LocalSet::new().block_on(&runtime, supervise(parts, Backend::Blocking));
            runtime.shutdown_background();
        }
        // Nobody waits for an answer if the spawning thread is gone.
        Err(error) => drop(tell_start.send(Err(error))),
    }
}

fn runtime(driver: Driver) -> Result<Runtime, ControlError> {
    let ring = || tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES));
    match driver {
        Driver::IoUring => ring().map(Runtime::Uring).map_err(ControlError::IoUring),
        Driver::Auto => match ring() {
            Ok(runtime) => Ok(Runtime::Uring(runtime)),
            Err(error) => {
                tracing::warn!(%error, "no io_uring for the control thread; files are written by system calls");
                plain()
            }
        },
        Driver::Blocking => plain(),
    }
}

fn plain() -> Result<Runtime, ControlError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map(Runtime::Plain).map_err(ControlError::Start)
}

async fn supervise(parts: Parts, backend: Backend) {
    let Parts {
        options,
        hooks,
        inherited,
        exposition,
        journal,
        journal_orders,
        orders,
        tell_start,
        tell_end,
    } = parts;
    let alone = inherited.is_none();
    let Opened { appender, admin, signals, report: journal_report, shared: for_successor } =
        match open(&options, backend, inherited.unwrap_or_default()) {
            Ok(opened) => opened,
            // Nobody waits for an answer if the spawning thread is gone.
            Err(error) => return drop(tell_start.send(Err(error))),
        };
    announce_start(&options, &journal_report, &admin);
    let started = Started { journal: journal_report, admin_address: admin.address(), shared: for_successor };
    let lifecycle = Arc::new(Lifecycle::new());
    let reloader = Arc::new(Reloader::new(hooks.reload, Arc::clone(&lifecycle)));
    let shared = Arc::new(Admin {
        exposition: exposition.clone(),
        lifecycle: Arc::clone(&lifecycle),
        alive: Arc::clone(&hooks.alive),
        ready: hooks.ready,
        status: Arc::clone(&hooks.status),
        config: hooks.config,
        reloader: Arc::clone(&reloader),
        sessions: hooks.sessions.clone(),
        feedback: hooks.feedback,
        journal: journal.clone(),
        journal_dir: options.journal.dir.clone(),
        backend,
        started: Instant::now(),
        journal_readers: Arc::new(Semaphore::new(1)),
    });
    let writer = Writer::new(journal.shared(), appender, options.journal.segment_bytes, unix_millis);
    let writer = spawn_local(writer.run(journal_orders));
    let (answers, answering) = watch::channel(alone);
    let mut admin = spawn_local(admin.serve(shared, answering));
    spawn_local(upkeep(exposition, journal.clone(), hooks.sessions));
    spawn_local(watchdog(hooks.alive, Arc::clone(&lifecycle)));
    for periodic in hooks.periodic {
        spawn_local(every(periodic));
    }
    // `spawn` waits for this; if it does not, its handle is gone and the orders below say so.
    let _ = tell_start.send(Ok(started));

    let mut life =
        Life { lifecycle, reloader, status: hooks.status, upgrade: hooks.upgrade, signals, orders, answers };
    let exit = match life.serve().await {
        End::Asked => life.drain(hooks.drain, options.drain).await,
        End::HandedOver(pid) => {
            let exit = life.retire(pid, hooks.retire, hooks.drain, &options).await;
            if life.lifecycle.phase() == Phase::HandedOver {
                // Whoever had connected to the admin API before may not have asked yet.
                let _ = tokio::time::timeout(admin::HEAD_TIMEOUT, &mut admin).await;
            }
            exit
        }
    };
    close_journal(&journal, writer).await;
    // Dropping the server's task removes the socket file; waiting makes sure that it happened.
    if !admin.is_finished() {
        admin.abort();
        let _ = admin.await;
    }
    // Nobody may be joining.
    let _ = tell_end.send(exit);
}

struct Opened {
    appender: Appender,
    admin: BoundAdmin,
    signals: Signals,
    report: OpenReport,
    shared: Inherited,
}

fn open(options: &ControlOptions, backend: Backend, inherited: Inherited) -> Result<Opened, ControlError> {
    let Inherited { journal_lock, admin_tcp, admin_unix } = inherited;
    let (appender, report) = Appender::open(&options.journal, backend, journal_lock)?;
    let mut admin = admin::bind(&options.admin, SharedAdmin { tcp: admin_tcp, unix: admin_unix })?;
    let signals = Signals::new(options.handle_signals).map_err(ControlError::Start)?;
    let SharedAdmin { tcp: admin_tcp, unix: admin_unix } = admin.share();
    let journal_lock = Some(appender.share().map_err(ControlError::Start)?);
    Ok(Opened { appender, admin, signals, report, shared: Inherited { journal_lock, admin_tcp, admin_unix } })
}

fn announce_start(options: &ControlOptions, report: &OpenReport, admin: &BoundAdmin) {
    let started = unix_millis().get() as f64 / 1e3;
    metrics::gauge!(names::START_TIME).set(started);
    metrics::gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let dir = options.journal.dir.display();
    let OpenReport { segments, bytes, torn_bytes, backend } = *report;
    tracing::info!(%dir, io = backend.as_str(), segments, bytes, torn_bytes, "flow journal open");
    if let Some(address) = admin.address() {
        tracing::info!(%address, "admin API listens");
    }
    if let Some(socket) = &options.admin.socket {
        tracing::info!(socket = %socket.display(), "admin API listens");
    }
}

async fn close_journal(journal: &JournalHandle, writer: TaskHandle<()>) {
    let close = async {
        journal.stop().await;
        writer.await
    };
    match tokio::time::timeout(JOURNAL_CLOSE, close).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the flow journal's writer failed"),
        Err(_) => tracing::error!("the flow journal could not be closed in time; its last flows are lost"),
    }
}

async fn upkeep(exposition: Exposition, journal: JournalHandle, sessions: Option<Arc<dyn SessionBook>>) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        if let Some(book) = &sessions {
            book.publish();
        }
        metrics::gauge!(names::JOURNAL_QUEUED).set(journal.queued() as f64);
        exposition.upkeep();
    }
}

/// Tells the service manager twice per period that the data plane makes progress, as long as it does.
async fn watchdog(alive: Check, lifecycle: Arc<Lifecycle>) {
    let Some(period) = notify::watchdog_period() else { return };
    let mut ticks = tokio::time::interval(period / 2);
    loop {
        ticks.tick().await;
        match alive() {
            Err(reason) if lifecycle.phase() == Phase::Running => {
                tracing::error!("the data plane makes no progress: {reason}");
                notify::status(&reason);
            }
            _ => notify::watchdog(),
        }
    }
}

/// Calls the work on a helper thread, so that it may wait for names or files, and never twice at once.
async fn every((period, mut work): Periodic) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let done = tokio::task::spawn_blocking(move || {
            work();
            work
        });
        work = match done.await {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(%error, "periodic work failed and is given up");
                return;
            }
        };
    }
}

mod life;
#[cfg(test)]
mod tests;
