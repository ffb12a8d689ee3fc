//! Which worker serves a connection, where the kernel does not choose it by load.
//!
//! The kernel gives a connection to a worker by a hash of its addresses, which is uneven where connections are few
//! and long. The worker that accepts one draws another worker at random and hands the connection on if that one
//! has less to do: of two workers drawn at random the less loaded serves, as the kernel does it where it may. A
//! worker's load is what it publishes plus what was handed to it and not taken up yet; the second part keeps a
//! burst from falling on one worker.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use crate::io::bell::Bell;
use crate::io::runtime;

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
    /// Its worker is ending.
    closed: AtomicBool,
}

impl Floor {
    /// A floor for so many workers. `hands_over`: the workers balance connections among themselves.
    pub fn new(workers: usize, hands_over: bool) -> Arc<Self> {
        let seat = || Seat {
            load: AtomicU32::new(0),
            coming: AtomicU32::new(0),
            inbox: ArrayQueue::new(ON_THEIR_WAY),
            bell: OnceLock::new(),
            closed: AtomicBool::new(false),
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

    /// Closes the worker's inbox: what is in it now is the last, and what comes after that its sender takes back.
    pub(crate) fn close(&self, worker: usize) {
        self.seats[worker].closed.store(true, Ordering::Relaxed);
        // Before the inbox is looked at: of two threads, each of which writes one place and reads the other's, one at
        // least sees what the other wrote.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn publish(&self, worker: usize, load: u32) {
        self.seats[worker].load.store(load, Ordering::Relaxed);
    }

    /// Hands a connection that worker `own` accepted to a less loaded one; gives it, or another one that did not
    /// arrive, back if it should stay. `draw` is any number that differs from call to call.
    pub(crate) fn pass(
        &self,
        own: usize,
        draw: u64,
        socket: TcpStream,
        listener: usize,
    ) -> Option<(TcpStream, usize)> {
        if !self.hands_over {
            return Some((socket, listener));
        }
        let others = self.seats.len() as u64 - 1;
        // Neighbouring numbers must not lead to neighbouring workers in turn.
        let mixed = draw.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let drawn = (((mixed >> 32) * others) >> 32) as usize;
        let other = if drawn < own { drawn } else { drawn + 1 };
        // One connection less at least: handing over costs a wake-up.
        if self.load(other) + OPEN > self.load(own) {
            return Some((socket, listener));
        }
        let seat = &self.seats[other];
        let Some((bell, task)) = seat.bell.get() else { return Some((socket, listener)) };
        seat.coming.fetch_add(1, Ordering::Relaxed);
        match seat.inbox.push((socket, listener)) {
            Ok(()) => {
                fence(Ordering::SeqCst);
                if seat.closed.load(Ordering::Relaxed)
                    && let Some(back) = self.take(other)
                {
                    // Who accepted it may run on another driver. This cannot fail on an open socket.
                    let _ = back.0.set_nonblocking(!runtime::on_io_uring());
                    return Some(back);
                }
                self.handed_over.fetch_add(1, Ordering::Relaxed);
                bell.ring(*task);
                None
            }
            Err(back) => {
                seat.coming.fetch_sub(1, Ordering::Relaxed);
                Some(back)
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::io::bell::Tower;
    use crate::io::runtime::DriverChoice;

    /// Times that the end and the hand-over meet.
    const MEETINGS: usize = 300;

    #[test]
    fn whoever_is_handed_to_a_worker_that_ends_is_served_by_one_of_the_two() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let bell = runtime::run(DriverChoice::Epoll, |_, _| async { Tower::raise().unwrap().bell().clone() })
            .unwrap();
        let (mut stayed, mut went) = (0, 0);
        for turn in 0..MEETINGS {
            let floor = Floor::new(2, true);
            floor.open(1, bell.clone(), 0);
            floor.publish(0, 4 * STREAM);
            let together = Barrier::new(2);
            let (kept, found) = thread::scope(|scope| {
                let ends = scope.spawn(|| {
                    together.wait();
                    // Both orders happen.
                    (0..turn % 64).for_each(|_| std::hint::spin_loop());
                    floor.close(1);
                    floor.take(1)
                });
                together.wait();
                let kept = floor.pass(0, turn as u64, socket, 3);
                (kept, ends.join().unwrap())
            });
            (stayed, went) = (stayed + usize::from(kept.is_some()), went + usize::from(found.is_some()));
            let mut served: Vec<(TcpStream, usize)> = kept.into_iter().chain(found).collect();
            // Handed over and not looked for any more: the worker that took it up has still to end.
            served.extend(floor.take(1));
            let (back, at) = served.pop().expect("served by somebody");
            assert!(served.is_empty(), "and by nobody else");
            assert_eq!(at, 3);
            socket = back;
        }
        assert_eq!(stayed + went, MEETINGS, "nobody is left in the inbox of a worker that has ended");
    }
}
