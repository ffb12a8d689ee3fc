//! What passes between those who ask and the thread that owns the device.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::Failure;
use super::shared::Counted;
use super::status::{Counters, Ended};
use crate::program::{Program, Size};

/// Where an answer goes. Its receiver may be gone.
pub(super) type Reply<T> = Sender<Result<T, Failure>>;

/// A question that waits.
pub(super) struct Question<P: Program> {
    pub(super) model: u64,
    pub(super) job: P::Job,
    pub(super) size: Size,
    pub(super) reply: Reply<P::Answer>,
    pub(super) asked: Instant,
    /// Its place in the queue, given up when it is dropped or taken.
    _waiting: Counted,
}

impl<P: Program> Question<P> {
    pub(super) fn new(
        model: u64,
        job: P::Job,
        size: Size,
        reply: Reply<P::Answer>,
        waiting: Counted,
    ) -> Self {
        Self { model, job, size, reply, asked: Instant::now(), _waiting: waiting }
    }
}

/// A model that is to be on the device, whatever happens to the device.
pub(super) struct Registered<P: Program> {
    pub(super) id: u64,
    pub(super) room: Size,
    pub(super) model: Arc<P::Model>,
}

/// What the owner is told besides questions.
pub(super) enum Order<P: Program> {
    Load {
        model: Registered<P>,
        reply: Reply<()>,
    },
    Unload(u64),
    /// There are other limits.
    Follow,
    Stop,
}

/// A batch under way. One that failed while it was queued stays, without replies, until its lane is idle.
pub(super) struct Flight<P: Program> {
    pub(super) model: u64,
    pub(super) jobs: Vec<P::Job>,
    pub(super) replies: Vec<Reply<P::Answer>>,
    pub(super) size: Size,
    pub(super) since: Instant,
}

impl<P: Program> Flight<P> {
    /// The questions' way to the device.
    pub(super) fn of(questions: Vec<Question<P>>) -> Self {
        let model = questions.first().map_or(0, |question| question.model);
        let mut flight = Self {
            model,
            jobs: Vec::with_capacity(questions.len()),
            replies: Vec::with_capacity(questions.len()),
            size: Size::default(),
            since: Instant::now(),
        };
        for question in questions {
            flight.size = flight.size + question.size;
            flight.jobs.push(question.job);
            flight.replies.push(question.reply);
        }
        flight
    }

    /// Tells all who wait.
    pub(super) fn fail(&mut self, failure: &Failure, counters: &Counters) {
        counters.failed(self.replies.len());
        for reply in self.replies.drain(..) {
            let _ = reply.send(Err(failure.clone()));
        }
    }

    /// Hands the answers out.
    pub(super) fn succeed(&mut self, answers: Vec<P::Answer>, counters: &Counters) {
        counters.ended(&Ended {
            questions: self.replies.len(),
            texts: self.size.sequences,
            tokens: self.size.tokens,
            took: self.since.elapsed(),
        });
        for (reply, answer) in self.replies.drain(..).zip(answers) {
            let _ = reply.send(Ok(answer));
        }
    }
}
