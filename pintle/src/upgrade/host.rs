//! The side of the process that serves now.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pintle_control::{ControlRemote, Inherited};
use pintle_ebpf::handed::Handed;
use pintle_ebpf::{guard, telemetry};
use pintle_sessions::Store;
use tracing::{info, warn};

use super::{Channel, Door, MOST_DESCRIPTORS, Message, Offer, PATIENCE, PROTOCOL, START, hear, say};
use crate::feedback::Desk;

/// Pause between two looks at a starting process.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How this program was started, to start it again.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// What this process was started as. To be asked at the start: by the time of an upgrade the file under the
    /// name is another, and that is the one to be started.
    pub(crate) fn of_this_process() -> io::Result<Program> {
        let mut arguments = std::env::args_os();
        // The name as it was given may be a link that is turned to the next version; the resolved one is not.
        let given = arguments.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?,
        };
        let mut arguments: Vec<OsString> = arguments.filter(|argument| argument != "--take-over").collect();
        arguments.push("--take-over".into());
        Ok(Program { path, arguments })
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.path)
            .args(&self.arguments)
            // Addressed to this process, not to its child.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::null())
            .spawn()
    }
}

/// What this process has in the kernel.
pub(crate) struct InKernel {
    /// Workers that the kernel gives connections to by load, and what it goes by.
    pub(crate) steered: (usize, Vec<OwnedFd>),
    /// The guard.
    pub(crate) guard: Option<Handed<guard::Terms>>,
    /// Telemetry.
    pub(crate) telemetry: Option<Handed<telemetry::Terms>>,
}

/// What is handed over, and to whom.
pub(crate) struct Host {
    program: Program,
    store: Arc<Store>,
    desk: Arc<Desk>,
    control: ControlRemote,
    shared: Inherited,
    kernel: InKernel,
    /// Empty once this process has stopped listening.
    listeners: Mutex<Vec<TcpListener>>,
    /// Held while a process is started to take over, until whoever asked for it has been told.
    starting: Mutex<()>,
    /// Held while the service changes hands.
    handing: Mutex<()>,
    /// A process is taking over, or has.
    offered: AtomicBool,
    /// Process id of the one that has; zero for none.
    successor: AtomicU32,
    /// Process id of one that was ended because it took too long.
    given_up: AtomicU32,
}

impl Host {
    /// `shares`: session memory, what feedback has taught, and what the control threads share.
    pub(crate) fn new(
        program: Program,
        (store, desk, shared): (Arc<Store>, Arc<Desk>, Inherited),
        control: ControlRemote,
        listeners: Vec<TcpListener>,
        kernel: InKernel,
    ) -> Arc<Host> {
        Arc::new(Host {
            program,
            store,
            desk,
            control,
            shared,
            kernel,
            listeners: Mutex::new(listeners),
            starting: Mutex::new(()),
            handing: Mutex::new(()),
            offered: AtomicBool::new(false),
            successor: AtomicU32::new(0),
            given_up: AtomicU32::new(0),
        })
    }

    /// Builds the door and starts to answer it. Opened, it takes the place of a predecessor's.
    pub(crate) fn listen(self: &Arc<Self>, path: &Path) -> io::Result<Arc<Door>> {
        let door = Arc::new(Door::build(path)?);
        let (host, own) = (self.clone(), door.clone());
        std::thread::Builder::new().name("pintle-upgrade".to_owned()).spawn(move || host.answer(&own))?;
        Ok(door)
    }

    /// Stops listening: nobody can take over any more.
    pub(crate) fn close(&self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether another process is about to take over, or has.
    pub(crate) fn is_leaving(&self) -> bool {
        self.offered.load(Ordering::Acquire)
    }

    /// The process that has taken over.
    pub(crate) fn successor(&self) -> Option<u32> {
        Some(self.successor.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// The process that has taken over, when all has been said to it and to whoever asked for it. To be asked before
    /// this process ends.
    pub(crate) fn conclude(&self) -> Option<u32> {
        let _handed = self.handing.lock().unwrap_or_else(PoisonError::into_inner);
        let successor = self.successor()?;
        let _told = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        Some(successor)
    }

    /// Starts the program anew, waits until that process has taken over, and tells its process id.
    ///
    /// # Errors
    /// Tells why it did not, in one sentence.
    pub(crate) fn upgrade<T>(&self, tell: impl FnOnce(Result<u32, String>) -> T) -> T {
        match self.starting.try_lock() {
            Ok(_turn) => tell(self.start_and_wait()),
            Err(_) => tell(Err("an upgrade is under way".to_owned())),
        }
    }

    fn start_and_wait(&self) -> Result<u32, String> {
        if let Some(pid) = self.successor() {
            return Err(format!("process {pid} has taken over already"));
        }
        let path = self.program.path.display().to_string();
        let mut child = self.program.start().map_err(|error| format!("cannot start {path}: {error}"))?;
        info!(pid = child.id(), program = path, "starting a process to take over");
        // The number may have been another's before.
        let _ = self.given_up.compare_exchange(child.id(), 0, Ordering::Relaxed, Ordering::Relaxed);
        let deadline = Instant::now() + START;
        loop {
            if self.successor().is_some() {
                // It may still be on its way.
                drop(self.handing.lock().unwrap_or_else(PoisonError::into_inner));
            }
            match self.successor() {
                Some(pid) if pid == child.id() => return Ok(pid),
                Some(pid) => return Err(format!("process {pid} has taken over meanwhile")),
                None => {}
            }
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::park_timeout(LOOK_AGAIN),
                Ok(None) => {
                    // It may have begun to take over this moment; from here on it cannot any more.
                    let _handing = self.handing.lock().unwrap_or_else(PoisonError::into_inner);
                    if self.successor().is_some() {
                        continue;
                    }
                    self.given_up.store(child.id(), Ordering::Relaxed);
                    // Ends a process that hangs; it has nothing that is not this one's too.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("the new process did not take over within {} s", START.as_secs()));
                }
                Ok(Some(status)) => {
                    return Err(format!("the new process ended with {status}; the log says why"));
                }
                Err(error) => return Err(format!("the new process cannot be watched: {error}")),
            }
        }
    }

    fn answer(self: Arc<Self>, door: &Door) {
        while self.successor().is_none() {
            let channel = match door.answer(PATIENCE) {
                Ok(channel) => channel,
                Err(error) => {
                    warn!(%error, "nobody can take over any more");
                    return;
                }
            };
            match hear(&channel) {
                Ok((Message::TakeOver { protocol: PROTOCOL }, _)) => {
                    if let Err(error) = self.hand_over(&channel) {
                        warn!(%error, "a process did not take over; this one serves on");
                    }
                }
                Ok((Message::TakeOver { protocol }, _)) => {
                    refuse(
                        &channel,
                        format!("it speaks version {PROTOCOL} of the hand-over, not {protocol}"),
                    );
                }
                Ok((Message::Upgrade, _)) => {
                    let host = self.clone();
                    let named = std::thread::Builder::new().name("pintle-upgrading".to_owned());
                    // Whoever asked hears that the conversation broke off if there is no thread for it.
                    let _ = named.spawn(move || {
                        host.upgrade(|outcome| match outcome {
                            Ok(pid) => drop(say(&channel, &Message::Upgraded { pid }, &[])),
                            Err(reason) => refuse(&channel, reason),
                        });
                    });
                }
                Ok(_) => refuse(&channel, "that was not expected".to_owned()),
                Err(error) => warn!(%error, "the hand-over socket was used by something else"),
            }
        }
    }

    /// Gives a process what it needs to take over, and lets it.
    fn hand_over(&self, channel: &Channel) -> io::Result<()> {
        let pid = channel.peer()?;
        let listeners: Vec<OwnedFd> = {
            let own = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            own.iter().map(|socket| socket.try_clone().map(OwnedFd::from)).collect::<io::Result<_>>()?
        };
        if listeners.is_empty() {
            refuse(channel, "it is ending".to_owned());
            return Ok(());
        }
        self.offered.store(true, Ordering::Release);
        // The other process begins with what this one has learnt up to here.
        self.desk.hand_over();
        let result = self.offer(channel, &listeners, pid);
        if self.successor().is_none() {
            self.desk.take_back();
            self.offered.store(false, Ordering::Release);
        }
        result
    }

    fn offer(&self, channel: &Channel, listeners: &[OwnedFd], pid: u32) -> io::Result<()> {
        let Inherited { journal_lock, admin_tcp, admin_unix } = &self.shared;
        let InKernel { steered, guard, telemetry } = &self.kernel;
        let offer = Message::Offer(Box::new(Offer {
            protocol: PROTOCOL,
            listeners: listeners.len(),
            admin_tcp: admin_tcp.is_some(),
            admin_unix: admin_unix.is_some(),
            steered: steered.0,
            guard: guard.as_ref().map(|guard| guard.terms.clone()),
            telemetry: telemetry.as_ref().map(|telemetry| telemetry.terms.clone()),
        }));
        let mut locks = vec![self.store.share()?];
        let kept = [journal_lock, admin_tcp, admin_unix].into_iter().flatten();
        for descriptor in kept.chain(&steered.1) {
            locks.push(descriptor.try_clone()?);
        }
        say(channel, &offer, &locks)?;
        if let Some(guard) = guard {
            say(channel, &Message::Guard, &guard.descriptors)?;
        }
        if let Some(telemetry) = telemetry {
            say(channel, &Message::Telemetry, &telemetry.descriptors)?;
        }
        for some in listeners.chunks(MOST_DESCRIPTORS) {
            say(channel, &Message::Listeners, some)?;
        }
        channel.set_patience(Some(START))?;
        match hear(channel)? {
            (Message::Ready, _) => {}
            (Message::Refused { reason }, _) => return Err(io::Error::other(reason)),
            _ => return Err(io::Error::other("it said something else than was expected")),
        }
        channel.set_patience(Some(PATIENCE))?;
        let _handing = self.handing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.given_up.load(Ordering::Relaxed) == pid {
            return Err(io::Error::other("it took too long and was ended"));
        }
        // Known before the control thread knows, which may end this process's requests in no time.
        self.successor.store(pid, Ordering::Release);
        if !self.control.hand_over(pid) {
            self.successor.store(0, Ordering::Release);
            refuse(channel, "it is ending".to_owned());
            return Ok(());
        }
        self.close();
        // From here on it is the one that serves, whether or not it can still say so.
        if let Err(error) = say(channel, &Message::Yours, &[]).and_then(|()| hear(channel)) {
            warn!(pid, %error, "the process that has taken over does not say that it can be upgraded itself");
        }
        Ok(())
    }
}

fn refuse(channel: &Channel, reason: String) {
    // Whoever asked may be gone.
    let _ = say(channel, &Message::Refused { reason }, &[]);
}
