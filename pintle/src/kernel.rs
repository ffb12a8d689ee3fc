//! What the kernel does for this process, where it may: see `pintle_ebpf`.

mod numbers;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pintle_config::{Config, GuardMode, Steering as Choice, Telemetry as Watching};
use pintle_dataplane::floor::LoadCell;
use pintle_dataplane::listening::Listening;
use pintle_dataplane::shared::Shared;
use pintle_ebpf::guard::{self, Guard, Prefix, Rate};
use pintle_ebpf::steer::{self, Steering};
use pintle_ebpf::telemetry::{self, Endpoint, Telemetry};
use pintle_ebpf::{Inherited, Options, Report, Started, Status};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::upgrade::InKernel;
use numbers::Recent;

pub(crate) use numbers::describe;

/// What the privileged part of a start has brought.
pub(crate) struct Begun {
    started: Started,
    steering: Choice,
    telemetry: Watching,
    guard: Option<guard::Options>,
}

/// Takes over what is inherited, loads and attaches what the configuration asks for besides, and gives up the
/// capabilities that this takes. To be called before there is a second thread.
pub(crate) fn start(config: &Config, inherited: Inherited) -> Begun {
    let pintle = &config.global.pintle;
    let telemetry = telemetry::Options { cgroup: None, system_retransmits: true };
    let guard = guarding(config);
    let options = Options {
        steering: pintle.steering == Choice::Auto,
        guard: guard.clone(),
        telemetry: (pintle.telemetry == Watching::Auto).then_some(telemetry),
    };
    let started = pintle_ebpf::start(&options, inherited);
    if !started.dropped.is_empty() {
        info!(numbers = ?started.dropped, "capabilities given up");
    }
    Begun { started, steering: pintle.steering, telemetry: pintle.telemetry, guard }
}

/// What the configuration asks of the guard; without interfaces there is none.
fn guarding(config: &Config) -> Option<guard::Options> {
    let pintle = &config.global.pintle;
    (!pintle.guard.interfaces.is_empty()).then(|| {
        let prefixes = |texts: &[String]| -> Vec<Prefix> {
            let read = |text: &String| match text.parse() {
                Ok(prefix) => Some(prefix),
                Err(error) => {
                    warn!(prefix = text, %error, "the guard leaves a rule out");
                    None
                }
            };
            texts.iter().filter_map(read).collect()
        };
        let listened = config.listeners.iter().filter_map(|listener| u16::try_from(listener.port).ok());
        let ports =
            if pintle.guard.ports.is_empty() { listened.collect() } else { pintle.guard.ports.clone() };
        guard::Options {
            interfaces: pintle.guard.interfaces.clone(),
            mode: match pintle.guard.mode {
                GuardMode::Off => guard::Mode::Off,
                GuardMode::Count => guard::Mode::Count,
                GuardMode::Enforce => guard::Mode::Enforce,
            },
            ports,
            rate: (pintle.guard.syns_per_second > 0)
                .then_some(Rate { per_second: pintle.guard.syns_per_second, burst: pintle.guard.burst }),
            deny: prefixes(&pintle.guard.deny),
            allow: prefixes(&pintle.guard.allow),
            ..guard::Options::default()
        }
    })
}

/// What is in force.
pub(crate) struct Kernel {
    report: Report,
    telemetry: Option<Telemetry>,
    guard: Option<Guard>,
    steering: Option<Steering>,
    duty: Mutex<Duty>,
    recent: Mutex<Recent>,
}

/// Whether guard and telemetry are this process's to manage, and not that of the one which it replaces.
struct Duty {
    in_charge: bool,
    /// What the guard should go by.
    guard: Option<guard::Options>,
}

/// Who gives connections to workers.
pub(crate) struct Steered {
    /// One per worker where the kernel does.
    pub(crate) cells: Vec<Box<dyn LoadCell>>,
    /// The workers do it among themselves.
    pub(crate) userspace: bool,
}

struct Cell(steer::LoadCell);

impl LoadCell for Cell {
    fn publish(&self, load: u32) {
        self.0.set_load(load);
    }

    fn accepted(&self, count: u32) {
        self.0.accepted(count);
    }

    fn settle(&mut self) {
        self.0.settle();
    }
}

impl Kernel {
    /// Attaches steering to the listeners of `workers` workers; `inherited` is what a process before steers by.
    pub(crate) fn steer(
        begun: Begun,
        listening: &Listening,
        workers: usize,
        inherited: Option<(usize, Vec<OwnedFd>)>,
    ) -> (Kernel, Steered) {
        let Begun { started, steering: choice, telemetry: watching, guard: wanted } = begun;
        let Started { steering: program, guard, telemetry, mut report, .. } = started;
        let steering = match (choice, inherited, program) {
            (Choice::Auto, Some((count, maps)), _) if count == workers => match adopt(maps) {
                Ok(steering) => {
                    report.steering = Status::kernel("taken over: less loaded of two workers");
                    Some(steering)
                }
                Err(why) => {
                    report.steering = Status::off(why);
                    None
                }
            },
            // Other workers than the kernel knows of: the program must not choose for them.
            (_, Some(_), _) => {
                release(listening);
                report.steering = Status::off("the number of workers changed in an upgrade");
                None
            }
            (Choice::Auto, None, Some(program)) if workers > 1 => match attach(program, listening) {
                Ok(steering) => Some(steering),
                Err(why) => {
                    report.steering = Status::off(why);
                    None
                }
            },
            _ => None,
        };
        let userspace = steering.is_none() && choice != Choice::Off && workers > 1;
        if steering.is_none() {
            let why = match choice {
                _ if workers < 2 => "one worker".to_owned(),
                Choice::Auto => report.steering.why.clone(),
                Choice::Userspace | Choice::Off => "as configured".to_owned(),
            };
            report.steering = if userspace { Status::userspace(why) } else { Status::off(why) };
        }
        if telemetry.is_none() && watching != Watching::Off {
            let why = match watching {
                Watching::Userspace => "as configured".to_owned(),
                _ => report.telemetry.why.clone(),
            };
            report.telemetry = Status::userspace(format!("TCP_INFO at the end of each call: {why}"));
        }
        info!("kernel: {report}");
        let cell = |slot| Box::new(Cell(slot)) as Box<dyn LoadCell>;
        let cells = steering.as_ref().map_or_else(Vec::new, |steering| {
            (0..workers as u32).map(|slot| cell(steering.load_cell(slot))).collect()
        });
        let duty = Mutex::new(Duty { in_charge: false, guard: wanted });
        let kernel = Kernel { report, telemetry, guard, steering, duty, recent: Mutex::default() };
        (kernel, Steered { cells, userspace })
    }

    /// What a process that takes over from this one, which has so many workers, goes on with.
    pub(crate) fn hand_over(&self, workers: usize) -> io::Result<InKernel> {
        let steering = self.steering.iter().flat_map(Steering::descriptors);
        let steering =
            steering.map(|descriptor| descriptor.try_clone_to_owned()).collect::<Result<_, _>>()?;
        Ok(InKernel {
            steered: (if self.steering.is_some() { workers } else { 0 }, steering),
            guard: self.guard.as_ref().map(Guard::hand_over).transpose().map_err(io::Error::other)?,
            telemetry: self
                .telemetry
                .as_ref()
                .map(Telemetry::hand_over)
                .transpose()
                .map_err(io::Error::other)?,
        })
    }

    /// From now on guard and telemetry are this process's to manage. What was taken over went by the process
    /// before until here.
    pub(crate) fn take_charge(&self) {
        let mut duty = self.duty();
        duty.in_charge = true;
        self.apply(&duty);
    }

    /// Puts another configuration's rules into force. Says what takes a restart.
    pub(crate) fn reload(&self, config: &Config) -> Option<&'static str> {
        let mut duty = self.duty();
        duty.guard = guarding(config);
        if duty.in_charge {
            self.apply(&duty);
        }
        let mut wanted: Vec<&str> =
            config.global.pintle.guard.interfaces.iter().map(String::as_str).collect();
        let guard = self.guard.iter().flat_map(Guard::attachments);
        let mut guarded: Vec<&str> = guard.map(|place| place.interface.as_str()).collect();
        wanted.sort_unstable();
        guarded.sort_unstable();
        // Without interfaces the guard is switched off where it is, which is as good.
        (!wanted.is_empty() && wanted != guarded).then_some("the guard changes its interfaces at a restart")
    }

    fn duty(&self) -> MutexGuard<'_, Duty> {
        self.duty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, duty: &Duty) {
        let Some(guard) = &self.guard else { return };
        // Without interfaces the guard is not wanted any more.
        let off = guard::Options { mode: guard::Mode::Off, ..guard::Options::default() };
        if let Err(error) = guard.apply(duty.guard.as_ref().unwrap_or(&off)) {
            warn!(%error, "the guard has not taken all of the configuration");
        }
    }

    /// The kernel's numbers as metrics, those of the backends and listeners only: others on this machine are none of
    /// ours. Forgets rules whose time is over.
    pub(crate) fn publish(&self, shared: &Shared) {
        if !self.duty().in_charge {
            return;
        }
        if let Some(guard) = &self.guard {
            guard.expire();
            numbers::publish_guard(guard);
        }
        if let Some(telemetry) = &self.telemetry {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.publish(telemetry, &endpoints(shared));
        }
    }

    /// For `/status`.
    pub(crate) fn status(&self) -> Value {
        let mut report = self.report.clone();
        if let Some(guard) = &self.guard {
            // Its mode changes with the configuration.
            report.guard = Status::kernel(guard.describe());
        }
        let mut status = json!(report);
        status["events"] = json!(*self.recent.lock().unwrap_or_else(PoisonError::into_inner));
        status
    }
}

/// Whose connections are ours to tell of.
fn endpoints(shared: &Shared) -> Vec<Endpoint> {
    let generation = shared.generation.load();
    let upstreams = generation.upstreams.all();
    let upstreams = upstreams.flat_map(|backend| backend.addresses.load().to_vec()).map(Endpoint::Upstream);
    let listeners = shared.startup.listeners.iter();
    upstreams.chain(listeners.map(|listener| Endpoint::Listener(listener.address.port()))).collect()
}

fn adopt(maps: Vec<OwnedFd>) -> Result<Steering, String> {
    let maps = maps.try_into().map_err(|_| "the process before gave too little".to_owned())?;
    Steering::adopt(maps).map_err(|error| error.to_string())
}

fn attach(program: steer::Program, listening: &Listening) -> Result<Steering, String> {
    // In case a process before, which is gone, left its own.
    release(listening);
    let groups = listening.groups().ok_or("a worker has several listeners of one address")?;
    let borrowed: Vec<Vec<BorrowedFd<'_>>> =
        groups.iter().map(|group| group.iter().map(|socket| socket.as_fd()).collect()).collect();
    let groups: Vec<&[BorrowedFd<'_>]> = borrowed.iter().map(Vec::as_slice).collect();
    program.attach(&groups).map_err(|unavailable| unavailable.why)
}

/// Lets the kernel's hash choose again.
fn release(listening: &Listening) {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for (address, socket) in listening.sockets() {
        if !seen.contains(&address) {
            seen.push(address);
            // Nothing is attached, most likely.
            let _ = Steering::detach(socket.as_fd());
        }
    }
}
