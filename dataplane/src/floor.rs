//! Which worker serves a connection, where the kernel does not choose it by load.
//!
//! The kernel gives a connection to a worker by a hash of its addresses, which is uneven where connections are few
//! and long. The worker that accepts one draws another worker at random and hands the connection on if that one
//! has less to do: of two workers drawn at random the less loaded serves, as the kernel does it where it may. A
//! worker's load is what it publishes plus what was handed to it and not taken up yet; the second part keeps a
//! burst from falling on one worker.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use crate::io::bell::Bell;

/// Load of one request in progress.
pub const STREAM: u32 = 256;
/// Load of one open connection, which is likely to bring requests.
pub const OPEN: u32 = STREAM / 2;
/// Connections that may be on their way to one worker; further ones stay where they were accepted.
const ON_THEIR_WAY: usize = 256;

/// Where one worker tells the kernel how busy it is.
pub trait LoadCell: Send {
    /// Publishes the worker's load, in units of 1/[`STREAM`] of a request.
    fn publish(&self, load: u32);
    /// Says that so many more connections were accepted.
    fn accepted(&self, count: u32);
    /// Gives up on connections that were sent here long ago and never came. Called about once a second.
    fn settle(&mut self);
}

/// What the workers know of each other's load.
pub struct Floor {
    seats: Vec<Seat>,
    hands_over: bool,
    handed_over: AtomicU64,
}

/// On a cache line of its own: its worker writes it at every request.
#[repr(align(128))]
struct Seat {
    load: AtomicU32,
    coming: AtomicU32,
    inbox: ArrayQueue<(TcpStream, usize)>,
    bell: OnceLock<(Arc<Bell>, usize)>,
}

impl Floor {
    /// A floor for so many workers. `hands_over`: the workers balance connections among themselves.
    pub fn new(workers: usize, hands_over: bool) -> Arc<Self> {
        let seat = || Seat {
            load: AtomicU32::new(0),
            coming: AtomicU32::new(0),
            inbox: ArrayQueue::new(ON_THEIR_WAY),
            bell: OnceLock::new(),
        };
        let seats = (0..workers).map(|_| seat()).collect();
        Arc::new(Self { seats, hands_over: hands_over && workers > 1, handed_over: AtomicU64::new(0) })
    }

    /// Load of every worker, in units of 1/[`STREAM`] of a request.
    pub fn loads(&self) -> Vec<u32> {
        (0..self.seats.len()).map(|worker| self.load(worker)).collect()
    }

    /// Connections that another worker served than the one that accepted them.
    pub fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// Opens the worker's inbox: from now on others ring for the task that empties it.
    pub(crate) fn open(&self, worker: usize, bell: Arc<Bell>, task: usize) {
        // Called once per worker.
        let _ = self.seats[worker].bell.set((bell, task));
    }

    pub(crate) fn publish(&self, worker: usize, load: u32) {
        self.seats[worker].load.store(load, Ordering::Relaxed);
    }

    /// Hands a connection that worker `own` accepted to a less loaded one; gives it back if it should stay.
    /// `draw` is any number that differs from call to call.
    pub(crate) fn pass(
        &self,
        own: usize,
        draw: u64,
        socket: TcpStream,
        listener: usize,
    ) -> Option<TcpStream> {
        if !self.hands_over {
            return Some(socket);
        }
        let others = self.seats.len() as u64 - 1;
        // Neighbouring numbers must not lead to neighbouring workers in turn.
        let mixed = draw.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let drawn = (((mixed >> 32) * others) >> 32) as usize;
        let other = if drawn < own { drawn } else { drawn + 1 };
        // One connection less at least: handing over costs a wake-up.
        if self.load(other) + OPEN > self.load(own) {
            return Some(socket);
        }
        let seat = &self.seats[other];
        let Some((bell, task)) = seat.bell.get() else { return Some(socket) };
        seat.coming.fetch_add(1, Ordering::Relaxed);
        match seat.inbox.push((socket, listener)) {
            Ok(()) => {
                self.handed_over.fetch_add(1, Ordering::Relaxed);
                bell.ring(*task);
                None
            }
            Err((socket, _)) => {
                seat.coming.fetch_sub(1, Ordering::Relaxed);
                Some(socket)
            }
        }
    }

    /// The next connection that was handed to a worker.
    pub(crate) fn take(&self, worker: usize) -> Option<(TcpStream, usize)> {
        let taken = self.seats[worker].inbox.pop()?;
        self.seats[worker].coming.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }

    pub(crate) fn is_empty(&self, worker: usize) -> bool {
        self.seats[worker].inbox.is_empty()
    }

    fn load(&self, worker: usize) -> u32 {
        let Seat { load, coming, .. } = &self.seats[worker];
        load.load(Ordering::Relaxed)
            .saturating_add(coming.load(Ordering::Relaxed).saturating_mul(STREAM + OPEN))
    }
}
