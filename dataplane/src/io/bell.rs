//! Waking a worker from another thread.
//!
//! A worker's runtime belongs to one thread, and so do its wakers. Another thread that has something for a task
//! there puts it where the task finds it, leaves the task's number here and rings: one byte through a socket pair,
//! which the worker reads as it reads any socket, on io_uring and on epoll. While a ring is on its way, more of
//! them cost nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use crossbeam_queue::SegQueue;
use monoio::io::AsyncReadRent;

/// Rings that one read takes in.
const RINGS: usize = 64;

/// The outer side: may be rung from any thread.
#[derive(Debug)]
pub struct Bell {
    /// Numbers of tasks to be woken. As many at most as wait.
    tasks: SegQueue<usize>,
    ringing: AtomicBool,
    socket: UnixStream,
}

impl Bell {
    /// Wakes the task of this number.
    pub fn ring(&self, task: usize) {
        self.tasks.push(task);
        if !self.ringing.swap(true, Ordering::AcqRel) {
            // Full or closed: a byte is on its way already, or the worker has ended.
            let _ = (&self.socket).write(&[1]);
        }
    }
}

/// The worker's side.
pub struct Tower {
    bell: Arc<Bell>,
    waiting: RefCell<Slots>,
}

#[derive(Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Tower {
    /// A bell, and a task on this thread that listens to it.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn raise() -> io::Result<Rc<Self>> {
        let (outer, inner) = UnixStream::pair()?;
        outer.set_nonblocking(true)?;
        inner.set_nonblocking(true)?;
        let inner = monoio::net::UnixStream::from_std(inner)?;
        let bell = Arc::new(Bell { tasks: SegQueue::new(), ringing: AtomicBool::new(false), socket: outer });
        let tower = Rc::new(Self { bell, waiting: RefCell::default() });
        monoio::spawn(listen(Rc::downgrade(&tower), tower.bell.clone(), inner));
        Ok(tower)
    }

    /// For those who ring.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// A number for the current task, until the returned value is dropped.
    pub fn enter(self: &Rc<Self>) -> Waiting {
        let mut slots = self.waiting.borrow_mut();
        let task = slots.free.pop().unwrap_or_else(|| {
            slots.wakers.push(None);
            slots.wakers.len() - 1
        });
        Waiting { tower: self.clone(), task }
    }

    fn wake(&self) {
        // Cleared first: whoever pushes after this rings again. Read as well, so that what those pushed who did not
        // ring because of it is seen.
        self.bell.ringing.swap(false, Ordering::AcqRel);
        while let Some(task) = self.bell.tasks.pop() {
            let waker = self.waiting.borrow_mut().wakers.get_mut(task).and_then(Option::take);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

async fn listen(tower: std::rc::Weak<Tower>, bell: Arc<Bell>, mut inner: monoio::net::UnixStream) {
    let mut buffer = vec![0; RINGS];
    loop {
        let (read, back) = inner.read(buffer).await;
        buffer = back;
        match (read, tower.upgrade()) {
            (Ok(1..), Some(tower)) => tower.wake(),
            (Err(error), Some(_)) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    // What is rung from now on is not heard; nobody waits.
    bell.ringing.store(true, Ordering::Release);
}

/// A task's place.
pub struct Waiting {
    tower: Rc<Tower>,
    task: usize,
}

impl Waiting {
    /// The number to ring.
    pub fn task(&self) -> usize {
        self.task
    }

    /// Waits until `look` finds something. It is called at least once, and again after each ring; a ring meant for
    /// a task that had this number before does no harm.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            // The waker is left before looking, so that what comes in between is not missed.
            let mut slots = self.tower.waiting.borrow_mut();
            slots.wakers[self.task] = Some(context.waker().clone());
            drop(slots);
            look().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut slots = self.tower.waiting.borrow_mut();
        slots.wakers[self.task] = None;
        slots.free.push(self.task);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    fn on_each_driver(test: impl AsyncFn()) {
        use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
        let mut legacy = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build().unwrap();
        legacy.block_on(test());
        match RuntimeBuilder::<IoUringDriver>::new().enable_timer().build() {
            Ok(mut uring) => uring.block_on(test()),
            Err(error) => println!("SKIP io_uring: {error}"),
        }
    }

    #[test]
    fn what_another_thread_leaves_is_found() {
        on_each_driver(async || {
            let tower = Tower::raise().unwrap();
            for round in 0..200u32 {
                let waiting = tower.enter();
                let place = Arc::new(Mutex::new(None));
                let (bell, task, put) = (tower.bell().clone(), waiting.task(), place.clone());
                let other = std::thread::spawn(move || {
                    *put.lock().unwrap() = Some(round);
                    bell.ring(task);
                });
                assert_eq!(waiting.until(|| place.lock().unwrap().take()).await, round);
                other.join().unwrap();
            }
        });
    }

    #[test]
    fn many_tasks_wait_at_once() {
        on_each_driver(async || {
            let tower = Tower::raise().unwrap();
            let mut tasks = Vec::new();
            for n in 0..300usize {
                let waiting = tower.enter();
                let place = Arc::new(Mutex::new(None));
                let (bell, task, put) = (tower.bell().clone(), waiting.task(), place.clone());
                std::thread::spawn(move || {
                    *put.lock().unwrap() = Some(n);
                    bell.ring(task);
                });
                tasks
                    .push(monoio::spawn(async move { waiting.until(|| place.lock().unwrap().take()).await }));
            }
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await, n);
            }
            assert!(tower.waiting.borrow().free.len() <= 300);
        });
    }

    #[test]
    fn whoever_stops_waiting_gives_the_number_back() {
        on_each_driver(async || {
            let tower = Tower::raise().unwrap();
            let waiting = tower.enter();
            let task = waiting.task();
            let never = monoio::time::timeout(Duration::from_millis(5), waiting.until(|| None::<()>)).await;
            assert!(never.is_err());
            drop(waiting);
            tower.bell().ring(task);
            let next = tower.enter();
            assert_eq!(next.task(), task);
            let mut looks = 0;
            let found = next.until(|| {
                looks += 1;
                (looks > 1).then_some(looks)
            });
            assert_eq!(found.await, 2, "the late ring only makes it look again");
        });
    }
}
