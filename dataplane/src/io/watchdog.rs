//! Deadlines without timers: one sweep per tick over all sockets of a worker.
//!
//! # How a deadline ends an operation
//!
//! The owner of a socket arms its slot before an operation and disarms it afterwards. When the sweep finds
//! a slot past its deadline it marks it expired and calls `shutdown(2)`; the pending operation then
//! completes by itself (a read with zero bytes, a write or connect with an error) and its owner sees the
//! mark. The price is precision: a deadline never fires early, and up to two ticks late. It is counted from the first
//! sweep after it was armed, which has a clock in its hand; a worker that was busy with one long request has not swept
//! for as long, and counted from the last sweep a short deadline could have passed before its wait began.
//!
//! # How a vanished client is noticed
//!
//! While a request waits for its upstream nobody reads from the client. Slots that are `coupled` to an
//! upstream slot are asked, all in one `poll(2)` per tick, whether their peer hung up. A reset ends the
//! upstream call at once; a half-closed client has [`Watchdog::half_closed_ms`] left to get its answer,
//! since some clients shut down their sending side on purpose. A client that is [attended](Client::attend) is asked
//! too, and its hang-up wakes the task that works for it.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::bell::Bell;
use super::socket;

/// Time between two sweeps.
pub const TICK: Duration = Duration::from_millis(50);

const NEVER: u64 = u64::MAX;

/// When an operation is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Never,
    /// This many milliseconds after the next sweep.
    After(u64),
    /// At this many milliseconds since the watchdog was made.
    At(u64),
}

/// What a fired deadline shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// Receiving only: a pending read ends, an answer can still be written.
    Read,
    /// Both directions.
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Live,
    Expired,
    Aborted,
}

struct Entry {
    fd: RawFd,
    due: Due,
    shut: Shut,
    fate: Fate,
    /// A connection that waits for its next request; closed at once when the worker drains.
    idle: bool,
    /// Slots of the upstream connections that work for this client; mostly one.
    upstreams: SmallVec<[u32; 1]>,
    /// The task that works for this client without any upstream.
    attendant: Option<(Arc<Bell>, usize)>,
    coupled_at: u64,
    half_closed_at: u64,
}

impl Entry {
    /// How often it counts in [`Watchdog::coupled`].
    fn couplings(&self) -> u32 {
        u32::from(!self.upstreams.is_empty()) + u32::from(self.attendant.is_some())
    }
}

/// The deadlines of one worker.
pub struct Watchdog {
    entries: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<u32>>,
    poll: RefCell<(Vec<libc::pollfd>, Vec<u32>)>,
    started: Instant,
    now: Cell<u64>,
    coupled: Cell<u32>,
    half_closed: Cell<u64>,
}

impl Watchdog {
    /// A watchdog with no slots. The worker calls [`Watchdog::sweep`] every [`TICK`].
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::default(),
            free: RefCell::default(),
            poll: RefCell::default(),
            started: Instant::now(),
            now: Cell::new(0),
            coupled: Cell::new(0),
            half_closed: Cell::new(1_000),
        })
    }

    /// How long a half-closed client's request may still run, in milliseconds.
    pub fn half_closed_ms(&self) -> u64 {
        self.half_closed.get()
    }

    /// Sets [`Watchdog::half_closed_ms`].
    pub fn set_half_closed_ms(&self, ms: u64) {
        self.half_closed.set(ms);
    }

    /// Milliseconds since the watchdog was made, as of the last sweep.
    pub fn now_ms(&self) -> u64 {
        self.now.get()
    }

    /// Watches a socket until the returned slot is dropped, which must happen before the socket is closed.
    pub fn watch(self: &Rc<Self>, fd: RawFd) -> Slot {
        let entry = Entry {
            fd,
            due: Due::Never,
            shut: Shut::Both,
            fate: Fate::Live,
            idle: false,
            upstreams: SmallVec::new(),
            attendant: None,
            coupled_at: 0,
            half_closed_at: NEVER,
        };
        let mut entries = self.entries.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => {
                entries[index as usize] = Some(entry);
                index
            }
            None => {
                entries.push(Some(entry));
                u32::try_from(entries.len() - 1).expect("fewer sockets than 2^32")
            }
        };
        Slot { dog: self.clone(), index }
    }

    /// Ends what is overdue. Returns how many slots fired.
    pub fn sweep(&self) -> u32 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.now.set(now);
        let mut fired = 0;
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            match entry.due {
                // The part of a millisecond that `now` lacks is on top.
                Due::After(wait) => entry.due = Due::At(now.saturating_add(wait).saturating_add(1)),
                Due::At(due) if due <= now && entry.fate == Fate::Live => {
                    entry.fate = Fate::Expired;
                    entry.due = Due::Never;
                    socket::shutdown(entry.fd, entry.shut == Shut::Both);
                    fired += 1;
                }
                Due::At(_) | Due::Never => {}
            }
        }
        if self.coupled.get() > 0 {
            fired += self.sweep_hangups(now);
        }
        fired
    }

    fn sweep_hangups(&self, now: u64) -> u32 {
        let mut poll = self.poll.borrow_mut();
        let (fds, slots) = &mut *poll;
        fds.clear();
        slots.clear();
        // A request younger than a tick is about to be answered: not worth the question.
        let old = now.saturating_sub(TICK.as_millis() as u64);
        for (index, entry) in self.entries.borrow().iter().enumerate() {
            if let Some(entry) = entry
                && (!entry.upstreams.is_empty() || entry.attendant.is_some())
                && entry.coupled_at < old
            {
                fds.push(libc::pollfd { fd: entry.fd, events: libc::POLLRDHUP, revents: 0 });
                slots.push(index as u32);
            }
        }
        if fds.is_empty() || !socket::poll_now(fds) {
            return 0;
        }
        let mut fired = 0;
        let mut entries = self.entries.borrow_mut();
        for (fd, index) in fds.iter().zip(slots.iter()) {
            if fd.revents == 0 {
                continue;
            }
            let Some(entry) = entries[*index as usize].as_mut() else { continue };
            let gone = fd.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0;
            if !gone && entry.half_closed_at == NEVER {
                entry.half_closed_at = now;
            }
            if !gone && now.saturating_sub(entry.half_closed_at) < self.half_closed.get() {
                continue;
            }
            entry.fate = Fate::Aborted;
            socket::shutdown(entry.fd, true);
            self.coupled.set(self.coupled.get() - entry.couplings());
            let upstreams = std::mem::take(&mut entry.upstreams);
            if let Some((bell, task)) = entry.attendant.take() {
                bell.ring(task);
            }
            fired += 1;
            abort(&mut entries, &upstreams);
        }
        fired
    }

    /// Ends the wait of every idle connection, so that a draining worker is not held up by them.
    pub fn end_idle(&self) {
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            if entry.idle && entry.fate == Fate::Live {
                entry.fate = Fate::Expired;
                socket::shutdown(entry.fd, false);
            }
        }
    }

    /// Shuts every watched socket: the drain deadline has passed.
    pub fn end_all(&self) {
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            entry.fate = Fate::Aborted;
            socket::shutdown(entry.fd, true);
        }
    }

    fn with<R>(&self, index: u32, f: impl FnOnce(&mut Entry) -> R) -> R {
        f(self.entries.borrow_mut()[index as usize].as_mut().expect("a slot outlives its entry"))
    }
}

/// One watched socket.
pub struct Slot {
    dog: Rc<Watchdog>,
    index: u32,
}

impl Slot {
    /// Sets the deadline of the operation that starts now. `idle` marks a wait that draining may end.
    pub fn arm(&self, after: Duration, shut: Shut, idle: bool) {
        // No time left is overdue already: a peer that sends a byte between any two sweeps has its wait armed anew
        // each time, with what is left of it.
        let begun = after.subsec_nanos().div_ceil(1_000_000);
        let due = match after.as_secs().saturating_mul(1000).saturating_add(begun.into()) {
            0 => Due::At(0),
            wait => Due::After(wait),
        };
        self.dog.with(self.index, |entry| {
            entry.due = due;
            entry.shut = shut;
            entry.idle = idle;
        });
    }

    /// Clears the deadline.
    pub fn disarm(&self) {
        self.dog.with(self.index, |entry| {
            entry.due = Due::Never;
            entry.idle = false;
        });
    }

    /// The deadline fired (or an idle wait was ended by draining).
    pub fn expired(&self) -> bool {
        self.dog.with(self.index, |entry| entry.fate == Fate::Expired)
    }

    /// The other side of a coupled pair vanished, or the worker gave up draining.
    pub fn aborted(&self) -> bool {
        self.dog.with(self.index, |entry| entry.fate == Fate::Aborted)
    }

    /// This socket as the client for whom others work.
    pub fn client(&self) -> Client {
        Client { dog: self.dog.clone(), index: self.index }
    }
}

/// A client's socket, for those who work for it and do not hold it. Used only while its slot lives.
#[derive(Clone)]
pub struct Client {
    dog: Rc<Watchdog>,
    index: u32,
}

impl Client {
    /// From now on a hang-up of this client [aborts](Slot::aborted) its slot and rings for `task`, until the returned
    /// value is dropped.
    pub fn attend(&self, bell: &Arc<Bell>, task: usize) -> Attended {
        let now = self.dog.now.get();
        self.dog.with(self.index, |entry| {
            entry.attendant = Some((bell.clone(), task));
            entry.coupled_at = now;
            entry.half_closed_at = NEVER;
        });
        self.dog.coupled.set(self.dog.coupled.get() + 1);
        Attended(self.clone())
    }

    /// From now on a hang-up of this client ends the work of `upstream`.
    pub fn couple(&self, upstream: &Slot) {
        let now = self.dog.now.get();
        let fresh = self.dog.with(self.index, |entry| {
            let fresh = entry.upstreams.is_empty();
            if fresh {
                entry.coupled_at = now;
                entry.half_closed_at = NEVER;
            }
            if !entry.upstreams.contains(&upstream.index) {
                entry.upstreams.push(upstream.index);
            }
            fresh
        });
        if fresh {
            self.dog.coupled.set(self.dog.coupled.get() + 1);
        }
    }

    /// Ends [`Client::couple`].
    pub fn uncouple(&self, upstream: &Slot) {
        let last = self.dog.with(self.index, |entry| {
            let before = entry.upstreams.len();
            entry.upstreams.retain(|index| *index != upstream.index);
            before > 0 && entry.upstreams.is_empty()
        });
        if last {
            self.dog.coupled.set(self.dog.coupled.get() - 1);
        }
    }

    /// Ends the work of all upstreams, whose answers are not wanted any more. Says whether there were any.
    pub fn dismiss(&self) -> bool {
        let upstreams = self.dog.with(self.index, |entry| std::mem::take(&mut entry.upstreams));
        if upstreams.is_empty() {
            return false;
        }
        self.dog.coupled.set(self.dog.coupled.get() - 1);
        abort(&mut self.dog.entries.borrow_mut(), &upstreams);
        true
    }
}

/// A client that somebody works for; see [`Client::attend`].
pub struct Attended(Client);

impl Drop for Attended {
    fn drop(&mut self) {
        let Client { dog, index } = &self.0;
        if dog.with(*index, |entry| entry.attendant.take()).is_some() {
            dog.coupled.set(dog.coupled.get() - 1);
        }
    }
}

fn abort(entries: &mut [Option<Entry>], upstreams: &[u32]) {
    for index in upstreams {
        if let Some(entry) = entries[*index as usize].as_mut() {
            entry.fate = Fate::Aborted;
            socket::shutdown(entry.fd, true);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let couplings = self.dog.with(self.index, |entry| entry.couplings());
        self.dog.coupled.set(self.dog.coupled.get() - couplings);
        self.dog.entries.borrow_mut()[self.index as usize] = None;
        self.dog.free.borrow_mut().push(self.index);
    }
}
