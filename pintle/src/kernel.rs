//! What the kernel does for this process, where it may: see `pintle_ebpf`.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pintle_config::{Config, GuardMode, Steering as Choice, Telemetry as Watching};
use pintle_dataplane::floor::LoadCell;
use pintle_dataplane::listening::Listening;
use pintle_ebpf::guard::{self, Prefix, Rate};
use pintle_ebpf::steer::{self, Steering};
use pintle_ebpf::telemetry::{Endpoint, Telemetry};
use pintle_ebpf::{Options, Report, Started, Status, telemetry};
use serde_json::{Value, json};
use tracing::{info, warn};

/// Loads and attaches what the configuration asks for and gives up the capabilities that this takes. To be called
/// before there is a second thread.
pub(crate) fn start(config: &Config) -> Started {
    let pintle = &config.global.pintle;
    let started = pintle_ebpf::start(&Options {
        steering: pintle.steering == Choice::Auto,
        guard: guarding(config),
        telemetry: (pintle.telemetry == Watching::Auto).then(telemetry::Options::default),
    });
    if !started.dropped.is_empty() {
        info!(numbers = ?started.dropped, "capabilities given up");
    }
    started
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
    guard: Option<guard::Guard>,
    steering: Option<Steering>,
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
        started: Started,
        (choice, watching): (Choice, Watching),
        listening: &Listening,
        workers: usize,
        inherited: Option<(usize, Vec<OwnedFd>)>,
    ) -> (Kernel, Steered) {
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
        (Kernel { report, telemetry, guard, steering }, Steered { cells, userspace })
    }

    /// What a process that takes over steers by.
    pub(crate) fn descriptors(&self) -> std::io::Result<Vec<OwnedFd>> {
        let all = self.steering.iter().flat_map(Steering::descriptors);
        all.map(|descriptor| descriptor.try_clone_to_owned()).collect()
    }

    /// Whether the kernel gives connections to workers by load.
    pub(crate) const fn steers(&self) -> bool {
        self.steering.is_some()
    }

    /// Puts another configuration's rules into force. Interfaces stay as they are.
    pub(crate) fn reload(&self, config: &Config) {
        let Some(guard) = &self.guard else { return };
        // Without interfaces the guard is not wanted any more.
        let options = guarding(config)
            .unwrap_or_else(|| guard::Options { mode: guard::Mode::Off, ..guard::Options::default() });
        if let Err(error) = guard.apply(&options) {
            warn!(%error, "the guard has not taken all of the configuration");
        }
    }

    /// The kernel's sums as metrics; forgets rules whose time is over.
    pub(crate) fn publish(&self) {
        if let Some(guard) = &self.guard {
            guard.expire();
        }
        for (endpoint, sums) in self.telemetry.iter().flat_map(Telemetry::read) {
            let endpoint = match endpoint {
                Endpoint::Upstream(address) => format!("upstream {address}"),
                Endpoint::Listener(port) => format!("listener {port}"),
            };
            let gauge = |name: &'static str, value: f64| {
                metrics::gauge!(name, "endpoint" => endpoint.clone()).set(value);
            };
            gauge("pintle_tcp_srtt_seconds", sums.last_srtt_us as f64 / 1e6);
            gauge("pintle_tcp_min_rtt_seconds", sums.min_rtt_us as f64 / 1e6);
            let count = |name: &'static str, value: u64| {
                metrics::counter!(name, "endpoint" => endpoint.clone()).absolute(value);
            };
            count("pintle_tcp_retransmits_total", sums.retransmits);
            count("pintle_tcp_connections_total", sums.established);
            count("pintle_tcp_connect_failures_total", sums.failed);
            count("pintle_tcp_connect_microseconds_total", sums.connect_us);
        }
    }

    /// For `/status`.
    pub(crate) fn status(&self) -> Value {
        json!(self.report)
    }
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
