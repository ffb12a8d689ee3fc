//! Replacing the process that serves by another, without a request that fails.
//!
//! The new process finds the old one by a unix socket in the state directory, and is given descriptors: of every
//! listening socket, of the admin API's listeners, and of the locks on session memory and journal. It opens
//! everything beside the old process and starts its workers; from then on both accept from the same queues.
//! When it says that it serves, the old one stops accepting, makes it the service manager's main process, and
//! lets its own requests end. Whatever fails before that leaves the old process as it was.
//!
//! ```text
//! new -> old   take_over
//! old -> new   offer, with locks, admin listeners and what steering goes by
//! old -> new   guard, telemetry, if there are: the kernel's attachments and tables, which the new one goes on with
//! old -> new   listeners, with sockets, as often as needed
//! new -> old   ready
//! old -> new   yours
//! new -> old   settled: it can be found and upgraded itself now
//! ```
//!
//! `pintle upgrade` says `upgrade` at the same socket, and hears `upgraded` or `refused`.

mod host;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pintle_control::Inherited;
use pintle_control::passing::{self, Channel, Door, MOST_DESCRIPTORS};
use pintle_dataplane::listening::Listening;
use pintle_ebpf::handed::Handed;
use pintle_ebpf::{guard, telemetry};
use serde::{Deserialize, Serialize};

use crate::environment;

pub(crate) use host::{Host, InKernel, Program};

/// Version of the conversation.
const PROTOCOL: u32 = 2;
/// How long either side waits for what takes the other no time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new process may take to start.
pub(crate) const START: Duration = Duration::from_secs(120);

/// Why another process was not taken over from, or did not take over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("the running gateway cannot be reached at {path}: {source}")]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("the running gateway does not hand over: {0}")]
    Refused(String),
    #[error(
        "the running gateway speaks version {0} of the hand-over and this one {PROTOCOL}; restart instead"
    )]
    Protocol(u32),
    #[error("the running gateway said something else than was expected")]
    Unexpected,
    #[error("the hand-over broke off: {0}")]
    Broken(#[from] io::Error),
}

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum Message {
    TakeOver { protocol: u32 },
    Offer(Box<Offer>),
    Guard,
    Telemetry,
    Listeners,
    Ready,
    Yours,
    Settled,
    Upgrade,
    Upgraded { pid: u32 },
    Refused { reason: String },
}

/// What the process that serves has.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    protocol: u32,
    listeners: usize,
    admin_tcp: bool,
    admin_unix: bool,
    /// Workers, if the kernel gives connections to them by load.
    steered: usize,
    guard: Option<guard::Terms>,
    telemetry: Option<telemetry::Terms>,
}

/// The socket of a state directory.
pub(crate) fn door(state_dir: &Path) -> PathBuf {
    state_dir.join("upgrade.sock")
}

fn say(channel: &Channel, message: &Message, descriptors: &[OwnedFd]) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    channel.send(&text, &borrowed)
}

fn hear(channel: &Channel) -> io::Result<(Message, Vec<OwnedFd>)> {
    let (text, descriptors) = channel.receive()?;
    if text.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process is gone"));
    }
    Ok((serde_json::from_slice(&text).map_err(io::Error::other)?, descriptors))
}

/// Waits for the descriptors that go with what was offered, if it was.
fn handed<T>(
    channel: &Channel,
    terms: Option<T>,
    expected: fn(&Message) -> bool,
) -> Result<Option<Handed<T>>, UpgradeError> {
    let Some(terms) = terms else { return Ok(None) };
    match hear(channel)? {
        (said, descriptors) if expected(&said) => Ok(Some(Handed { terms, descriptors })),
        _ => Err(UpgradeError::Unexpected),
    }
}

/// The process that serves until this one takes over.
pub(crate) struct Predecessor {
    channel: Channel,
    pid: u32,
    listeners: Vec<TcpListener>,
    session_lock: Option<OwnedFd>,
    control: Option<Inherited>,
    steered: Option<(usize, Vec<OwnedFd>)>,
    kernel: pintle_ebpf::Inherited,
}

impl Predecessor {
    /// Asks the process that serves from `state_dir` for what it has. `None` if there is none.
    pub(crate) fn ask(state_dir: &Path) -> Result<Option<Predecessor>, UpgradeError> {
        let path = door(state_dir);
        let channel = match Channel::connect(&path, PATIENCE) {
            Ok(channel) => channel,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(UpgradeError::Unreachable { path, source }),
        };
        let pid = channel.peer()?;
        say(&channel, &Message::TakeOver { protocol: PROTOCOL }, &[])?;
        let (offer, descriptors) = match hear(&channel)? {
            (Message::Offer(offer), descriptors) if offer.protocol == PROTOCOL => (offer, descriptors),
            (Message::Offer(offer), _) => return Err(UpgradeError::Protocol(offer.protocol)),
            (Message::Refused { reason }, _) => return Err(UpgradeError::Refused(reason)),
            _ => return Err(UpgradeError::Unexpected),
        };
        let Offer { listeners, admin_tcp, admin_unix, steered, guard, telemetry, .. } = *offer;
        let mut descriptors = descriptors.into_iter();
        let mut next = |wanted: bool| {
            let given = if wanted { descriptors.next() } else { None };
            (given.is_some() == wanted).then_some(given).ok_or(UpgradeError::Unexpected)
        };
        let session_lock = next(true)?;
        let control = Inherited {
            journal_lock: next(true)?,
            admin_tcp: next(admin_tcp)?,
            admin_unix: next(admin_unix)?,
        };
        let steered = (steered > 0).then(|| (steered, descriptors.collect()));
        let kernel = pintle_ebpf::Inherited {
            guard: handed(&channel, guard, |said| matches!(said, Message::Guard))?,
            telemetry: handed(&channel, telemetry, |said| matches!(said, Message::Telemetry))?,
        };
        let mut sockets = Vec::new();
        while sockets.len() < listeners {
            match hear(&channel)? {
                (Message::Listeners, given) if !given.is_empty() => {
                    sockets.extend(given.into_iter().map(TcpListener::from));
                }
                _ => return Err(UpgradeError::Unexpected),
            }
        }
        let control = Some(control);
        Ok(Some(Predecessor { channel, pid, listeners: sockets, session_lock, control, steered, kernel }))
    }

    /// Its process id.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Its listening sockets.
    pub(crate) fn listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// Its lock on session memory.
    pub(crate) fn session_lock(&mut self) -> Option<OwnedFd> {
        self.session_lock.take()
    }

    /// What the kernel's choice of workers goes by, and for how many.
    pub(crate) fn steered(&mut self) -> Option<(usize, Vec<OwnedFd>)> {
        self.steered.take()
    }

    /// What is attached in the kernel besides steering.
    pub(crate) fn kernel(&mut self) -> pintle_ebpf::Inherited {
        std::mem::take(&mut self.kernel)
    }

    /// What control threads share.
    pub(crate) fn control(&mut self) -> Option<Inherited> {
        self.control.take()
    }

    /// Says that this process serves. From the return on it serves alone.
    pub(crate) fn take_over(&self) -> Result<(), UpgradeError> {
        say(&self.channel, &Message::Ready, &[])?;
        match hear(&self.channel)? {
            (Message::Yours, _) => Ok(()),
            (Message::Refused { reason }, _) => Err(UpgradeError::Refused(reason)),
            _ => Err(UpgradeError::Unexpected),
        }
    }

    /// Says that this process can be upgraded itself.
    pub(crate) fn settled(&self) {
        // It only waits for this to report when the whole is over.
        let _ = say(&self.channel, &Message::Settled, &[]);
    }
}

/// Leaves the listening sockets with the service manager too, by address, so that connections wait in them while
/// the service is restarted.
pub(crate) fn keep_in_fd_store(listening: &Listening) {
    let Some(manager) = environment::notify_socket() else { return };
    let mut by_address: BTreeMap<SocketAddr, Vec<BorrowedFd<'_>>> = BTreeMap::new();
    for (address, socket) in listening.sockets() {
        by_address.entry(address).or_default().push(socket.as_fd());
    }
    let stored =
        by_address.iter().map(|(address, sockets)| passing::store(&manager, &name(*address), sockets));
    let removed = listening.surplus().iter().map(|address| passing::unstore(&manager, &name(*address)));
    if let Some(error) = stored.chain(removed).find_map(Result::err) {
        tracing::warn!(%error, "the service manager's descriptor store cannot be used");
    }
}

/// An address as a name in the descriptor store, where colons are not allowed.
fn name(address: SocketAddr) -> String {
    format!("pintle-{address}").replace(':', "_")
}

/// Asks the process that serves from `state_dir` to start its successor; returns the successor's process id.
pub(crate) fn request(state_dir: &Path) -> Result<u32, UpgradeError> {
    let path = door(state_dir);
    let channel = Channel::connect(&path, START + PATIENCE)
        .map_err(|source| UpgradeError::Unreachable { path, source })?;
    say(&channel, &Message::Upgrade, &[])?;
    match hear(&channel)? {
        (Message::Upgraded { pid }, _) => Ok(pid),
        (Message::Refused { reason }, _) => Err(UpgradeError::Refused(reason)),
        _ => Err(UpgradeError::Unexpected),
    }
}
