//! `pintle serve`: start-up in order, reload, shutdown.
//!
//! Order of start: read and check the configuration, ask the process to be replaced for what it has, open
//! session memory, start the control thread (which installs the metrics recorder), look backend names up, bind
//! listeners, start workers, take over, open the door for the next one, say ready. Each step fails with one sentence
//! and leaves nothing behind. A process that is told to end before it has taken over leaves the other one alone.

mod status;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pintle_config::{Config, Format, Profile, ProfileSetting, Report, Severity, secrets};
use pintle_control::passing::Door;
use pintle_control::{
    AdminOptions, ControlHooks, ControlOptions, ControlThread, Drained, Exit, JournalOptions, ReloadReport,
    ReloadResult,
};
use pintle_dataplane::floor::Floor;
use pintle_dataplane::io::runtime::DriverChoice;
use pintle_dataplane::io::socket;
use pintle_dataplane::listening::Listening;
use pintle_dataplane::meters::{self, Meters};
use pintle_dataplane::shared::{Generation, Interned, Life, Shared, now};
use pintle_dataplane::upstream::Upstreams;
use pintle_dataplane::worker;
use pintle_routing::limits::Limits;
use pintle_routing::policy::Policy;
use pintle_routing::signals::CompileError;
use pintle_sessions::{Options, Store};
use serde_json::Value;
use tracing::{info, warn};

use crate::cli::{DriverArg, Serve};
use crate::feedback::{self, Desk};
use crate::kernel::{self, Kernel};
use crate::loopers;
use crate::meaning::Meaning;
use crate::sink::JournalSink;
use crate::upgrade::{self, Host, Predecessor, Program, UpgradeError};
use crate::{environment, resolve, wire};
use status::{status, summary};

/// Where a service manager's descriptors begin (`SD_LISTEN_FDS_START`).
const FIRST_INHERITED: RawFd = 3;

/// How long workers may take to listen.
const LISTEN: Duration = Duration::from_secs(60);

/// Largest configuration file.
const MAX_CONFIG_BYTES: u64 = pintle_config::MAX_BYTES as u64;

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Wire(#[from] wire::WireError),
    #[error("session memory: {0}")]
    Store(#[from] pintle_sessions::OpenError),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    #[error("this program cannot be started again: {0}")]
    Program(io::Error),
    #[error("cannot create {path}: {source}")]
    StateDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Control(#[from] pintle_control::ControlError),
    #[error("{0}")]
    Listen(io::Error),
    #[error("no randomness: {0}")]
    Random(io::Error),
    #[error("session memory could not be written out: {0}")]
    Flush(io::Error),
    #[error("the control thread ended by a defect")]
    ControlPanic,
}

/// A configuration that can serve.
struct Prepared {
    config: Config,
    policy: Policy,
    secrets: secrets::Secrets,
    report: Report,
    /// The file.
    bytes: Vec<u8>,
}

/// Runs the gateway until it is told to end.
pub(crate) fn run(options: &Serve) -> Result<(), ServeError> {
    init_logging();
    let program = Program::of_this_process().map_err(ServeError::Program)?;
    let mut inherited = socket::listening_from(FIRST_INHERITED, environment::listen_fds());
    let prepared = prepare(&options.config)?;
    announce_findings(&options.config, &prepared.report);
    let config = &prepared.config;
    let pintle = &config.global.pintle;
    let driver = options.driver.map(|driver| match driver {
        DriverArg::Auto => DriverChoice::Auto,
        DriverArg::IoUring => DriverChoice::IoUring,
        DriverArg::Epoll => DriverChoice::Epoll,
    });
    let startup = wire::startup(config, driver, options.workers, random()?)?;
    let state_dir = wire::state_dir(config, options.state_dir.clone());
    std::fs::create_dir_all(&state_dir)
        .map_err(|source| ServeError::StateDir { path: state_dir.clone(), source })?;
    let mut predecessor = if options.take_over { Predecessor::ask(&state_dir)? } else { None };
    if let Some(predecessor) = &mut predecessor {
        info!(from = predecessor.pid(), "taking over");
        inherited.extend(predecessor.listeners());
    }
    let before = predecessor.as_mut().map(Predecessor::kernel).unwrap_or_default();
    // Before there is a second thread, for capabilities are given up by thread.
    let in_kernel = kernel::start(config, before);
    let lock = predecessor.as_mut().and_then(Predecessor::session_lock);
    let store = open_store(&state_dir, config, lock)?;

    let control_options = ControlOptions {
        admin: AdminOptions {
            listen: wire::admin_listen(config)?,
            allow_remote: false,
            socket: (!pintle.admin.socket.is_empty()).then(|| PathBuf::from(&pintle.admin.socket)),
        },
        journal: JournalOptions {
            dir: state_dir.join("flows"),
            max_bytes: pintle.journal.max_bytes,
            segment_bytes: pintle.journal.segment_bytes,
            queue: pintle.journal.queue as usize,
        },
        driver: match startup.driver {
            DriverChoice::Epoll => pintle_control::Driver::Blocking,
            _ => pintle_control::Driver::Auto,
        },
        drain: Duration::from_millis(pintle.timeouts.drain_ms.into()),
        retire: Duration::from_millis(pintle.timeouts.upgrade_drain_ms.into()),
        handle_signals: true,
    };
    // The control thread starts first, because it installs the metrics recorder; its hooks find the data
    // plane here as soon as there is one.
    let plane: Arc<OnceLock<Arc<Plane>>> = Arc::default();
    let shared_control = predecessor.as_mut().and_then(Predecessor::control);
    let desk = Desk::new(&state_dir);
    let ending = Arc::new(AtomicBool::new(false));
    let hooks = hooks(&plane, &options.config, &store, &desk, &ending);
    let mut control = ControlThread::take_over(control_options, hooks, shared_control)?;
    meters::describe();
    kernel::describe();

    let wired = wire::backends(config, &prepared.policy, &prepared.secrets)?;
    for warning in &wired.warnings {
        warn!("{warning}");
    }
    let source = prepared.bytes.clone();
    let meaning = Meaning::new(&options.config);
    let generation = generation(prepared, wired, &store, &meaning, None);
    for host in resolve::resolve(&generation.upstreams) {
        warn!(host, "backend host has no address yet; its models are tried elsewhere");
    }
    let digest = generation.policy.digest_hex();
    let shared = Shared::new(generation, store.clone(), Box::new(JournalSink(control.journal())), startup);
    desk.open(&shared, predecessor.is_none());
    let listening = Listening::bind(&shared.startup, inherited).map_err(ServeError::Listen)?;
    let sockets = listening.duplicates().map_err(ServeError::Listen)?;
    upgrade::keep_in_fd_store(&listening);
    let taken_over = listening.inherited();
    let steered = predecessor.as_mut().and_then(Predecessor::steered);
    let count = shared.startup.workers.len();
    let (kernel, steered) = Kernel::steer(in_kernel, &listening, count, steered);
    let kept = kernel.hand_over(count).map_err(ServeError::Listen)?;
    let shares = (store.clone(), desk.clone(), control.share());
    let host = Host::new(program, shares, control.remote(), sockets, kept);
    let floor = Floor::new(count, steered.userspace);
    let running = Arc::new(Plane {
        shared: shared.clone(),
        source: Mutex::new(source),
        meaning,
        host: host.clone(),
        kernel,
        floor: floor.clone(),
        predecessor: predecessor.as_ref().map(Predecessor::pid),
    });
    // Before anybody is served, for who is served may ask about it or tell the process to end.
    let _ = plane.set(running.clone());
    if predecessor.is_some() {
        // Together with the other process from its first worker on: nobody is told that the service is starting.
        shared.serve();
    }
    let workers = worker::start(&shared, listening, &floor, steered.cells).map_err(ServeError::Listen)?;
    let is_ending = || ending.load(Ordering::Acquire) || shared.life() == Life::Draining;
    let deadline = Instant::now() + LISTEN;
    while !shared.all_listen() && !is_ending() && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let door = upgrade::door(&state_dir);
    let mut opened = None;
    let told_to_end = is_ending();
    let left_alone = told_to_end && predecessor.take().is_some();
    if !told_to_end {
        let listeners: Vec<String> =
            shared.startup.listeners.iter().map(|listener| listener.address.to_string()).collect();
        if let Some(predecessor) = &predecessor {
            predecessor.take_over()?;
        }
        desk.take_charge();
        running.kernel.take_charge();
        // Without a door this process serves as well as any, it only cannot be replaced in passing.
        match host.listen(&door).and_then(|own| own.open().map(|()| own)) {
            Ok(own) => opened = Some(own),
            Err(error) => warn!(path = %door.display(), %error, "upgrades are not possible"),
        }
        info!(
            listeners = listeners.join(" "),
            inherited_sockets = taken_over,
            workers = workers.len(),
            policy = digest,
            "ready"
        );
        // Before anybody is told, who may then ask.
        shared.serve();
        control.announce_ready(format!("serving on {}", listeners.join(" ")));
        if let Some(predecessor) = predecessor.take() {
            predecessor.settled();
        }
    }

    let exit = control.join().map_err(|_| ServeError::ControlPanic)?;
    let successor = host.conclude();
    if successor.is_none() {
        // Whoever told the control thread to end before there were workers could not tell these.
        shared.drain();
    }
    for worker in workers {
        // A worker that panicked has ended the process already.
        let _ = worker.join();
    }
    if left_alone {
        info!(?exit, "told to end before it took over; the other process serves on");
        return Ok(());
    }
    if successor.is_none() {
        desk.save();
        Door::remove(&door);
    }
    drop((plane, running, shared, host, opened));
    if let Some(pid) = successor {
        info!(?exit, successor = pid, "this process has ended its requests; bye");
        return Ok(());
    }
    match Arc::try_unwrap(store).map(Store::close) {
        Ok(Ok(())) => {}
        // A request or an operator's question still holds it: the records are safe, only the mark is missing.
        Err(store) => store.flush().map_err(ServeError::Flush)?,
        Ok(Err(error)) => return Err(ServeError::Flush(error)),
    }
    match exit {
        Exit::Drained => info!("drained; bye"),
        exit => warn!(?exit, "ended before every request did"),
    }
    Ok(())
}

/// The running data plane, as the control thread's hooks see it.
struct Plane {
    shared: Arc<Shared>,
    /// The configuration file in force.
    source: Mutex<Vec<u8>>,
    meaning: Meaning,
    host: Arc<Host>,
    kernel: Kernel,
    floor: Arc<Floor>,
    /// The process that this one has taken over from.
    predecessor: Option<u32>,
}

fn hooks(
    plane: &Arc<OnceLock<Arc<Plane>>>,
    config_path: &Path,
    store: &Arc<Store>,
    desk: &Arc<Desk>,
    ending: &Arc<AtomicBool>,
) -> ControlHooks {
    let starting = || "the data plane is starting".to_owned();
    let (for_retire, for_upgrade) = (plane.clone(), plane.clone());
    let (saving, ending) = (desk.clone(), ending.clone());
    let (for_reload, for_drain, for_alive, for_ready, for_status, for_config, for_names, for_gauges) = (
        plane.clone(),
        plane.clone(),
        plane.clone(),
        plane.clone(),
        plane.clone(),
        plane.clone(),
        plane.clone(),
        plane.clone(),
    );
    let path = config_path.to_owned();
    ControlHooks {
        reload: Arc::new(move || match for_reload.get() {
            Some(plane) => reload(plane, &path),
            None => refused(String::new(), starting(), Value::Null),
        }),
        drain: Box::new(move |deadline| {
            ending.store(true, Ordering::Release);
            for_drain.get().map_or(Drained::default(), |plane| drain(plane, deadline))
        }),
        retire: Box::new(move |deadline| {
            for_retire.get().map_or(Drained::default(), |plane| {
                plane.shared.retire();
                ended(plane, deadline)
            })
        }),
        upgrade: Some(Arc::new(move || {
            let plane = for_upgrade.get().ok_or_else(starting)?;
            plane.host.upgrade(|outcome| outcome.map(|pid| format!("process {pid} serves")))
        })),
        alive: Arc::new(move || match for_alive.get() {
            None => Ok(()),
            Some(plane) => plane
                .shared
                .stalled_worker()
                .map_or(Ok(()), |worker| Err(format!("worker {worker} has not turned its loop for a while"))),
        }),
        ready: Arc::new(move || {
            let plane = for_ready.get().ok_or_else(starting)?;
            match plane.shared.life() {
                Life::Starting => Err(starting()),
                // The service is the other process's, and is as ready as before.
                Life::Draining if !plane.shared.has_successor() => Err("draining".to_owned()),
                _ if !plane.shared.has_backend(now()) => Err("no backend is up".to_owned()),
                _ => Ok(()),
            }
        }),
        status: Arc::new(move || for_status.get().map_or(Value::Null, |plane| status(plane))),
        config: Arc::new(move || {
            for_config.get().map_or(Value::Null, |plane| summary(&plane.shared.generation.load()))
        }),
        sessions: Some(store.clone()),
        feedback: Some(desk.clone()),
        periodic: vec![
            (feedback::EVERY, Box::new(move || saving.save())),
            (
                resolve::EVERY,
                Box::new(move || {
                    if let Some(plane) = for_names.get() {
                        // Runs on a helper thread, where a slow name server holds up nobody.
                        resolve::resolve(&plane.shared.generation.load_full().upstreams);
                    }
                }),
            ),
            (
                GAUGES_EVERY,
                Box::new(move || {
                    if let Some(plane) = for_gauges.get() {
                        meters::gauge(&plane.shared);
                        plane.meaning.publish();
                        // The tables are the successor's as soon as it has them.
                        if !plane.host.is_leaving() {
                            plane.kernel.publish(&plane.shared);
                        }
                    }
                }),
            ),
        ],
    }
}

fn prepare(path: &Path) -> Result<Prepared, ServeError> {
    let bytes = read_bounded(path).map_err(|source| ServeError::Read { path: path.to_owned(), source })?;
    let name = path.display().to_string();
    let loaded = pintle_config::load(&bytes, &name, Profile::Pintle);
    let report = loaded.report;
    let Some(config) = loaded.config else {
        return Err(ServeError::Refused(pintle_config::render(&report, Format::Human, &bytes)));
    };
    let secrets = secrets::resolve(&config, &secrets::lookup)
        .map_err(|unset| ServeError::Refused(format!("{name}: {unset}")))?;
    let profile = match config.global.pintle.profile {
        ProfileSetting::Pintle => Profile::Pintle,
        ProfileSetting::Compat => Profile::Compat,
    };
    let policy = crate::pretrained::policy(&config, profile)
        .map_err(|errors| ServeError::Refused(lines(&name, &errors)))?;
    Ok(Prepared { config, policy, secrets, report, bytes })
}

fn lines(name: &str, errors: &[CompileError]) -> String {
    errors.iter().map(|error| format!("{name}: {error}")).collect::<Vec<_>>().join("\n")
}

/// The state directory of the gateway that runs with this configuration.
pub(crate) fn state_dir(path: &Path) -> Result<PathBuf, ServeError> {
    Ok(wire::state_dir(&prepare(path)?.config, None))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the parser sees that it is too large and says so.
    File::open(path)?.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn announce_findings(path: &Path, report: &Report) {
    for finding in &report.findings {
        let place = format!("{}:{}:{}", path.display(), finding.line, finding.column);
        match finding.severity {
            Severity::Note => info!(code = finding.code, place, "{}", finding.message),
            _ => warn!(code = finding.code, place, "{}", finding.message),
        }
    }
}

/// How often gauges are brought up to date.
const GAUGES_EVERY: Duration = Duration::from_secs(2);

static SERIAL: AtomicU64 = AtomicU64::new(1);

fn generation(
    prepared: Prepared,
    wired: wire::Wired,
    store: &Store,
    meaning: &Meaning,
    earlier: Option<&Generation>,
) -> Generation {
    let policy = prepared.policy;
    let earlier_upstreams = earlier.map(|generation| &generation.upstreams);
    let upstreams = Upstreams::build(wired.models, loopers::verifiers(&policy), earlier_upstreams);
    let reading = meaning.reading(&prepared.config, &policy).unwrap_or_else(|error| {
        warn!(%error, "no classifier: signals that take one are unknown");
        None
    });
    Generation {
        serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        limits: Limits::compile(&prepared.config),
        settings: wire::settings(&prepared.config),
        meters: Meters::of(&policy, earlier.map(|generation| &generation.meters)),
        names: Interned::of(&policy, &upstreams, store),
        policy,
        upstreams,
        reading,
    }
}

fn open_store(dir: &Path, config: &Config, shared: Option<OwnedFd>) -> Result<Arc<Store>, ServeError> {
    let session = &config.global.pintle.session;
    let options = Options {
        ttl_ms: u64::from(session.ttl_seconds) * 1000,
        ..Options::with_capacity(session.capacity.into())
    };
    let (store, report) = match shared {
        Some(lock) => Store::adopt(dir, &options, lock)?,
        None => Store::open(dir, &options, now().get())?,
    };
    for message in report.messages() {
        warn!("{message}");
    }
    info!(dir = %dir.display(), new = report.created, sessions = store.stats().sessions.occupied, "session memory open");
    Ok(Arc::new(store))
}

fn refused(policy_digest: String, summary: String, findings: Value) -> ReloadReport {
    ReloadReport { result: ReloadResult::Refused, policy_digest, summary, findings }
}

/// Reads the configuration again. Requests in flight end under the policy that they began with.
fn reload(plane: &Plane, path: &Path) -> ReloadReport {
    // Held throughout: one reload at a time.
    let mut source = plane.source.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = &plane.shared;
    let before = shared.generation.load_full();
    if plane.host.is_leaving() {
        let why = "another process is taking over; it reads the configuration itself".to_owned();
        return refused(before.policy.digest_hex(), why, Value::Null);
    }
    let prepared = match prepare(path) {
        Ok(prepared) => prepared,
        Err(error) => return refused(before.policy.digest_hex(), error.to_string(), Value::Null),
    };
    let mut notes = Vec::new();
    match wire::startup(&prepared.config, Some(shared.startup.driver), None, 0) {
        Ok(startup) if addresses(&startup) != addresses(&shared.startup) => {
            notes.push("listeners changed: restart to listen elsewhere".to_owned());
        }
        Ok(_) => {}
        Err(error) => return refused(before.policy.digest_hex(), error.to_string(), Value::Null),
    }
    let bytes = prepared.bytes.clone();
    let wired = match wire::backends(&prepared.config, &prepared.policy, &prepared.secrets) {
        Ok(wired) => wired,
        Err(error) => return refused(before.policy.digest_hex(), error.to_string(), Value::Null),
    };
    notes.extend(wired.warnings.iter().cloned());
    let findings = findings(&prepared.report);
    shared.store.set_ttl_ms(u64::from(prepared.config.global.pintle.session.ttl_seconds) * 1000);
    notes.extend(plane.kernel.reload(&prepared.config).map(str::to_owned));
    let next = generation(prepared, wired, &shared.store, &plane.meaning, Some(&before));
    notes.extend(plane.meaning.restart());
    resolve::resolve(&next.upstreams);
    let digest = next.policy.digest_hex();
    // Applied all the same: keys and addresses may have changed behind an unchanged file.
    let unchanged = *source == bytes;
    *source = bytes;
    shared.generation.store(Arc::new(next));
    for note in &notes {
        warn!("{note}");
    }
    let mut summary = format!("policy {digest} serves");
    if !notes.is_empty() {
        summary.push_str("; ");
        summary.push_str(&notes.join("; "));
    }
    let result = if unchanged { ReloadResult::Unchanged } else { ReloadResult::Applied };
    ReloadReport { result, policy_digest: digest, summary, findings }
}

fn addresses(startup: &pintle_dataplane::settings::Startup) -> Vec<std::net::SocketAddr> {
    let mut all: Vec<_> = startup.listeners.iter().map(|listener| listener.address).collect();
    all.sort_unstable();
    all
}

fn findings(report: &Report) -> Value {
    serde_json::from_str(&pintle_config::render(report, Format::Json, b"")).unwrap_or(Value::Null)
}

fn drain(plane: &Plane, deadline: Duration) -> Drained {
    plane.shared.drain();
    plane.host.close();
    ended(plane, deadline)
}

/// Waits for the workers to end.
fn ended(plane: &Plane, deadline: Duration) -> Drained {
    let shared = &plane.shared;
    let until = Instant::now() + deadline;
    while shared.running_workers() > 0 && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Drained { cut_off: shared.in_flight.load(Ordering::Relaxed) as u64 }
}

/// Bits that tell this process's flow ids from another's.
fn random() -> Result<u64, ServeError> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(ServeError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}

static LOGGING: AtomicBool = AtomicBool::new(false);

fn init_logging() {
    if LOGGING.swap(true, Ordering::Relaxed) {
        return;
    }
    let filter = tracing_subscriber::EnvFilter::new(environment::log_filter());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).init();
}
