//! An answer's body as a list of byte strings, each with the time at which it is due.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::stats::Ledger;

/// Counts an answer as in progress until it is dropped, and as aborted if it was not finished by then.
#[derive(Debug)]
pub(crate) struct InFlight {
    ledger: Arc<Ledger>,
    finished: bool,
}

impl InFlight {
    pub(crate) fn start(ledger: &Arc<Ledger>) -> Self {
        ledger.with(|s| {
            s.in_flight += 1;
            s.max_in_flight = s.max_in_flight.max(s.in_flight);
        });
        Self { ledger: Arc::clone(ledger), finished: false }
    }

    /// The answer ended as planned: whole, or cut on purpose.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let finished = self.finished;
        self.ledger.with(|s| {
            s.in_flight -= 1;
            *(if finished { &mut s.completed } else { &mut s.aborted }) += 1;
        });
    }
}

#[derive(Debug)]
struct Step {
    due: Duration,
    bytes: Bytes,
}

/// Hyper drops what it has not written yet when a body fails, so the failure waits for the write.
const CUT_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Planned,
    Waiting,
}

/// A response body that plays its steps at their times.
#[derive(Debug)]
pub(crate) struct Script {
    start: Instant,
    steps: VecDeque<Step>,
    /// Length announced in `content-length`; chunked when absent.
    length: Option<u64>,
    /// End with an error, so that the connection breaks, instead of with the end of the body.
    cut: Option<Cut>,
    timer: Pin<Box<Sleep>>,
    in_flight: Option<InFlight>,
}

impl Script {
    /// A body that is there at once.
    pub(crate) fn whole(bytes: impl Into<Bytes>, in_flight: Option<InFlight>) -> Self {
        let bytes = bytes.into();
        let mut script = Self::new(Instant::now(), in_flight);
        script.length = Some(bytes.len() as u64);
        script.push(Duration::ZERO, bytes);
        script
    }

    /// An empty script whose times count from `start`.
    pub(crate) fn new(start: Instant, in_flight: Option<InFlight>) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(start));
        Self { start, steps: VecDeque::new(), length: None, cut: None, timer, in_flight }
    }

    /// Adds bytes that are due this long after the start; times must not decrease.
    pub(crate) fn push(&mut self, due: Duration, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.steps.push_back(Step { due, bytes });
        }
    }

    /// Drops the second half of the bytes and breaks the connection there.
    pub(crate) fn cut_in_half(&mut self) {
        let keep = self.steps.len() / 2;
        if keep == 0
            && let Some(step) = self.steps.front_mut()
        {
            step.bytes.truncate(step.bytes.len() / 2);
        }
        self.steps.truncate(keep.max(1));
        self.cut = Some(Cut::Planned);
    }

    fn finish(&mut self) {
        if let Some(mut in_flight) = self.in_flight.take() {
            in_flight.finish();
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(due) = self.steps.front().map(|step| self.start + step.due) else {
            if self.cut == Some(Cut::Planned) {
                self.cut = Some(Cut::Waiting);
                self.timer.as_mut().reset(Instant::now() + CUT_AFTER);
            }
            if self.cut.is_some() && self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.finish();
            let broken = self.cut.take().map(|_| Err(io::Error::other("cut on purpose")));
            return Poll::Ready(broken);
        };
        if due > Instant::now() {
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let step = self.steps.pop_front();
        if self.steps.is_empty() && self.cut.is_none() {
            self.finish();
        }
        Poll::Ready(step.map(|step| Ok(Frame::data(step.bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
