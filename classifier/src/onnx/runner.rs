//! A thread on which a graph runs, and how long anybody waits for it.
//!
//! Nothing stops a graph that runs. So it runs where nobody else has to: whoever asked waits for [`limit`], and then
//! leaves the thread to itself. While as many as [`MAX_LEFT`] are left so, the graph is not run again; it is once
//! they have come to an end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Time that a run may take whatever it reads; also its start on a busy machine.
const BASE: Duration = Duration::from_secs(5);
/// Time that a run may take for each token: an encoder of 100 million parameters needs some 0.2 GFLOP.
const PER_TOKEN: Duration = Duration::from_millis(50);
/// Threads of one graph that are left to themselves.
const MAX_LEFT: usize = 2;

const RUNNING: u8 = 0;
const ENDED: u8 = 1;
const LEFT: u8 = 2;

/// How long a run on so many tokens may take.
pub(super) fn limit(tokens: usize) -> Duration {
    BASE.saturating_add(PER_TOKEN.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX)))
}

/// Runs of one graph that nobody waits for any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Left(Arc<AtomicUsize>);

/// A thread that does one thing at a time.
pub(super) struct Runner<A, B> {
    left: Left,
    thread: Option<Thread<A, B>>,
}

struct Thread<A, B> {
    ask: SyncSender<(A, Arc<AtomicU8>)>,
    answers: Receiver<Result<B, String>>,
}

impl<A: Send + 'static, B: Send + 'static> Runner<A, B> {
    /// Starts the thread. Where it cannot be, every run is an error.
    pub(super) fn new(left: &Left, mut run: impl FnMut(A) -> Result<B, String> + Send + 'static) -> Self {
        let (ask, asked) = sync_channel::<(A, Arc<AtomicU8>)>(1);
        let (answer, answers) = sync_channel(1);
        let counted = left.clone();
        let body = move || {
            while let Ok((what, state)) = asked.recv() {
                // Operators assert what they believe.
                let result = catch_unwind(AssertUnwindSafe(|| run(what)));
                if state.swap(ENDED, Ordering::AcqRel) == LEFT {
                    counted.0.fetch_sub(1, Ordering::AcqRel);
                    return;
                }
                if answer.send(result.unwrap_or_else(|_| Err("it panicked".to_owned()))).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("pintle-onnx".to_owned()).spawn(body).ok();
        Self { left: left.clone(), thread: thread.map(|_| Thread { ask, answers }) }
    }

    /// Runs once, for as long as `limit` at most.
    ///
    /// # Errors
    ///
    /// What the run says, or that it took too long; after that, every run is an error.
    pub(super) fn run(&mut self, what: A, limit: Duration) -> Result<B, String> {
        if self.left.0.load(Ordering::Acquire) >= MAX_LEFT {
            return Err("earlier runs, which took too long, have not ended yet".to_owned());
        }
        let thread = self.thread.as_ref().ok_or("it has no thread")?;
        let gone = |_| "its thread has ended".to_owned();
        let state = Arc::new(AtomicU8::new(RUNNING));
        thread.ask.send((what, state.clone())).map_err(|_| gone(RecvTimeoutError::Disconnected))?;
        match thread.answers.recv_timeout(limit) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(gone(RecvTimeoutError::Disconnected)),
            Err(RecvTimeoutError::Timeout) => {
                // Counted first, so that its end is not counted before.
                self.left.0.fetch_add(1, Ordering::AcqRel);
                if state.compare_exchange(RUNNING, LEFT, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    self.left.0.fetch_sub(1, Ordering::AcqRel);
                    return thread.answers.recv().unwrap_or_else(|_| Err("its thread has ended".to_owned()));
                }
                self.thread = None;
                Err(format!("it has not ended within {limit:?}; its thread is left to itself"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// One that ends when it is told to.
    fn waiting(left: &Left) -> (Runner<u32, u32>, mpsc::Sender<()>) {
        let (tell, told) = mpsc::channel();
        let run = move |n: u32| {
            if n == 0 {
                let _ = told.recv();
            }
            assert_ne!(n, 13, "as an operator would");
            Ok(n + 1)
        };
        (Runner::new(left, run), tell)
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn a_panic_is_an_error_and_the_next_run_works() {
        let (mut runner, _tell) = waiting(&Left::default());
        assert_eq!(runner.run(1, LONG), Ok(2));
        assert_eq!(runner.run(13, LONG), Err("it panicked".to_owned()));
        assert_eq!(runner.run(2, LONG), Ok(3));
    }

    #[test]
    fn a_run_without_end_holds_nobody_and_the_graph_rests_until_it_ends() {
        let left = Left::default();
        let mut told = Vec::new();
        for _ in 0..MAX_LEFT {
            let (mut runner, tell) = waiting(&left);
            assert!(runner.run(0, SHORT).unwrap_err().contains("not ended within"));
            assert!(runner.run(1, LONG).is_err(), "that thread is lost");
            told.push(tell);
        }
        let (mut next, _tell) = waiting(&left);
        assert!(next.run(1, LONG).unwrap_err().contains("earlier runs"));
        drop(told);
        let until = Instant::now() + LONG;
        while next.run(1, LONG).is_err() {
            assert!(Instant::now() < until, "the others have ended");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_ends_in_the_last_moment_is_an_answer_or_left_and_never_both() {
        let left = Left::default();
        for n in 0..200u32 {
            let mut runner = Runner::new(&left, |wait: u32| {
                std::hint::black_box((0..wait).sum::<u32>());
                Ok(())
            });
            let _ = runner.run(n * 50, Duration::from_micros(30));
        }
        let until = Instant::now() + LONG;
        while left.0.load(Ordering::Acquire) != 0 {
            assert!(Instant::now() < until, "{left:?}");
            std::thread::yield_now();
        }
    }
}
