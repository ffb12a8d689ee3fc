//! One call to a backend, up to the head of its answer.
//!
//! # What may be tried again
//!
//! A request is sent to another backend only if the first one cannot have seen any of it: no address, no
//! connection, or nothing written. A connection taken from the pool can have been closed by the backend at
//! the very moment of use; when such a one ends before the first byte of an answer, the same backend gets the request
//! once more on a fresh connection, unless the request refers to state at the provider, where a repetition
//! might not be the same.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_routing::flow::{Attempt, Fault};
use pintle_routing::ids::Target;

use crate::connection::{Connection, GONE, gone, head_limits};
use crate::failure::Failure;
use crate::http::head::{Method, ResponseHead, parse_response};
use crate::io::stream::Wait;
use crate::io::watchdog::Client;
use crate::io::{Gather, IoError};
use crate::shared::{Generation, now};
use crate::upstream::backend::InFlight;
use crate::upstream::reach::{reach, tls_failure};
use crate::upstream::{Backend, Link};
use crate::worker::{BUFFER, Worker};

/// A backend that has begun to answer.
pub(crate) struct Answered {
    pub(crate) target: Target,
    pub(crate) backend: Arc<Backend>,
    /// Its position among the model's backends.
    pub(crate) index: usize,
    pub(crate) stream: Link,
    pub(crate) head: ResponseHead,
    pub(crate) head_len: usize,
    /// The head and what came with it.
    pub(crate) received: Vec<u8>,
    pub(crate) first_byte: Instant,
    /// Counts the request as in flight until the answer ends.
    pub(crate) _in_flight: InFlight,
}

/// A call that came to nothing.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// The backend cannot have seen any of the request.
    pub(crate) untouched: bool,
}

/// To whom a request is sent.
pub(crate) struct Call<'a> {
    /// Its name in records.
    pub(crate) model: &'a str,
    pub(crate) target: Target,
    pub(crate) backend: &'a Arc<Backend>,
    /// Its position among the model's backends.
    pub(crate) index: usize,
    /// The request refers to state at a provider.
    pub(crate) stateful: bool,
}

/// What is sent.
pub(crate) trait Letter {
    /// Puts head, body and patch into `gather`, and says where in its body buffer the body lies. Returns what was
    /// edited beyond the model, a line each.
    ///
    /// # Errors
    /// What keeps the request from being sent. Nothing is taken then.
    fn pack(
        &mut self,
        call: &Call<'_>,
        gather: &mut Gather,
    ) -> Result<(std::ops::Range<usize>, Vec<String>), Failure>;

    /// Takes the body buffer back out of `gather`.
    fn unpack(&mut self, gather: &mut Gather);
}

/// On whose behalf backends are called.
pub(crate) struct Caller {
    pub(crate) worker: Rc<Worker>,
    pub(crate) generation: Arc<Generation>,
    /// Whose hang-up ends the call.
    pub(crate) client: Client,
    /// When the call is not worth waiting for any more.
    pub(crate) until: Option<Instant>,
    /// When the time of all calls for one answer is over.
    over: Option<Instant>,
    /// Nobody wants an answer any more.
    dismissed: Cell<bool>,
}

impl Caller {
    /// The client of a connection, whose requests are worth waiting for until `until`.
    pub(crate) fn of(connection: &Connection, generation: &Arc<Generation>, until: Option<Instant>) -> Self {
        Self {
            worker: connection.worker.clone(),
            generation: generation.clone(),
            client: connection.stream.slot().client(),
            until,
            over: until,
            dismissed: Cell::new(false),
        }
    }

    /// The same for a call that has at most so long by itself.
    pub(crate) fn at_most(&self, time: Duration) -> Self {
        Self {
            worker: self.worker.clone(),
            generation: self.generation.clone(),
            client: self.client.clone(),
            until: Some(Instant::now() + self.patience(time)),
            over: self.over,
            dismissed: Cell::new(false),
        }
    }

    /// Ends all calls that are under way, and those that have not begun.
    pub(crate) fn dismiss(&self) {
        self.dismissed.set(true);
        self.client.dismiss();
    }

    /// Nobody wants an answer any more.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.dismissed.get()
    }

    /// Why a call ended before its answer did.
    pub(crate) fn ended(&self) -> Failure {
        if self.is_dismissed() {
            return Failure { fault: Fault::None, ..gone("The call was not wanted any more.") };
        }
        gone("The client left before its answer began.")
    }

    /// No answer is worth waiting for any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_some_and(|over| Instant::now() >= over)
    }

    /// A wait of at most `most`, and no longer than the call may last.
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        self.until.map_or(most, |until| most.min(until.saturating_duration_since(Instant::now())))
    }
}

/// Calls a backend and waits for the head of its answer. What happened is recorded either way.
pub(crate) async fn call(
    caller: &Caller,
    call: &Call<'_>,
    letter: &mut impl Letter,
) -> (Result<Answered, Failed>, Attempt) {
    let mut record = Attempt {
        model: call.model.to_owned(),
        backend: call.backend.spec.name.clone(),
        ..Attempt::default()
    };
    let mut result = try_call(caller, call, letter, &mut record).await;
    if let Err(Failed { failure, .. }) = &mut result {
        match failure.status {
            504 if caller.is_over() => *failure = out_of_time(&call.backend.spec.name),
            GONE => *failure = caller.ended(),
            _ => {}
        }
    }
    match &result {
        Ok(answered) => {
            if let (true, Some(peer)) = (record.address.is_empty(), answered.stream.peer()) {
                record.address = peer.to_string();
            }
            record.status = Some(answered.head.status());
            if answered.head.status() >= 500 {
                record.fault = Fault::Upstream;
            }
            call.backend.health.succeeded();
        }
        Err(failed) => {
            record.error = Some(failed.failure.message.to_string());
            record.fault = failed.failure.fault;
            if failed.failure.fault == Fault::Upstream && call.backend.health.failed(now().get()) {
                tracing::warn!(
                    worker = caller.worker.id,
                    model = record.model,
                    backend = record.backend,
                    error = %failed.failure.message,
                    "backend is down"
                );
            }
            metrics::counter!(
                "pintle_upstream_failures_total",
                "model" => record.model.clone(),
                "backend" => record.backend.clone(),
                "reason" => failed.failure.code
            )
            .increment(1);
        }
    }
    (result, record)
}

/// It may have answered in the time that a backend has: this is not its fault.
pub(crate) fn out_of_time(backend: &str) -> Failure {
    let message = format!("Backend {backend} had not answered when the time for all calls was over.");
    Failure::ours(504, "out_of_time", message)
}

async fn try_call(
    caller: &Caller,
    call: &Call<'_>,
    letter: &mut impl Letter,
    record: &mut Attempt,
) -> Result<Answered, Failed> {
    let pooled = caller.worker.pool.take(call.backend);
    let reused = pooled.is_some();
    let mut stream = match pooled {
        Some(stream) => stream,
        None => connect(caller, call, record).await?,
    };
    loop {
        if caller.is_dismissed() {
            return Err(Failed { failure: caller.ended(), untouched: true });
        }
        let in_flight = call.backend.health.enter();
        caller.client.couple(stream.slot());
        let sent = send(caller, call, letter, &mut stream, record).await;
        let received = match sent {
            Ok(()) => receive(caller, &mut stream).await,
            Err(error) => Err(error),
        };
        caller.client.uncouple(stream.slot());
        match received {
            Ok((head, head_len, received, first_byte)) => {
                return Ok(Answered {
                    target: call.target,
                    backend: call.backend.clone(),
                    index: call.index,
                    stream,
                    head,
                    head_len,
                    received,
                    first_byte,
                    _in_flight: in_flight,
                });
            }
            Err(Broken {
                error: Some(IoError::Closed | IoError::Truncated | IoError::Os(_)),
                answered: false,
                ..
            }) if reused && record.address.is_empty() && !call.stateful => {
                // Whatever else is in the pool was closed by the same restart or idle timeout, most likely.
                stream = connect(caller, call, record).await?;
            }
            Err(broken) => {
                record.kernel = stream.observe(call.backend);
                return Err(broken.into_failed(&call.backend.spec.name));
            }
        }
    }
}

async fn connect(caller: &Caller, call: &Call<'_>, record: &mut Attempt) -> Result<Link, Failed> {
    let deadline = caller.patience(caller.generation.settings.timeouts.connect);
    let worker = &caller.worker;
    reach(call.backend, worker.next_turn(), deadline, &worker.dog, record)
        .await
        .map_err(|failure| Failed { failure, untouched: true })
}

/// An exchange with a backend that broke.
struct Broken {
    error: Option<IoError>,
    /// Set instead of `error` when the backend's own words were wrong.
    failure: Option<Failure>,
    /// Bytes of an answer had come.
    answered: bool,
    /// The backend cannot have seen any of the request.
    untouched: bool,
}

impl Broken {
    fn into_failed(self, name: &str) -> Failed {
        let failure = match (self.failure, self.error) {
            (Some(failure), _) => failure,
            (None, Some(IoError::TimedOut)) => {
                Failure::upstream(504, "upstream_timeout", format!("Backend {name} did not answer in time."))
            }
            (None, Some(IoError::Abandoned)) => gone("The client left before its answer began."),
            (None, Some(IoError::Tls(error))) => tls_failure(name, &error),
            (None, Some(IoError::Os(error))) => Failure::upstream(
                502,
                "upstream_closed",
                format!("Backend {name} broke the connection: {error}."),
            ),
            (None, _) => Failure::upstream(
                502,
                "upstream_closed",
                format!("Backend {name} closed the connection before it answered."),
            ),
        };
        Failed { failure, untouched: self.untouched }
    }
}

/// Writes head and body; the body from where it lies, around its edits.
async fn send(
    caller: &Caller,
    call: &Call<'_>,
    letter: &mut impl Letter,
    stream: &mut Link,
    record: &mut Attempt,
) -> Result<(), Broken> {
    let unsent = |failure| Broken { error: None, failure: Some(failure), answered: false, untouched: true };
    let mut gather = caller.worker.gather();
    let (range, edits) = letter.pack(call, &mut gather).map_err(unsent)?;
    record.edits = edits;
    if let Err(error) = gather.lay_out(range) {
        letter.unpack(&mut gather);
        return Err(unsent(Failure::ours(500, "bad_edit", error.to_string())));
    }
    let deadline = caller.patience(caller.generation.settings.timeouts.body_idle);
    let (result, mut gather) = stream.write_gather(gather, deadline).await;
    gather.release();
    letter.unpack(&mut gather);
    caller.worker.recycle_gather(gather);
    result.map_err(|(error, written)| Broken {
        error: Some(error),
        failure: None,
        answered: false,
        untouched: written == 0,
    })
}

/// Reads until the head of the final answer is there.
async fn receive(
    caller: &Caller,
    stream: &mut Link,
) -> Result<(ResponseHead, usize, Vec<u8>, Instant), Broken> {
    let limits = head_limits(&caller.generation);
    let mut head = ResponseHead::new();
    let mut received = caller.worker.buffer();
    let mut deadline = caller.patience(caller.generation.settings.timeouts.first_byte);
    let mut first_byte = None;
    loop {
        if received.capacity() - received.len() < 1024 {
            received.reserve(BUFFER);
        }
        let (result, buffer) = stream.read(received, deadline, Wait::More).await;
        received = buffer;
        if let Err(error) = result {
            let answered = !received.is_empty();
            caller.worker.recycle(received);
            return Err(Broken { error: Some(error), failure: None, answered, untouched: false });
        }
        let first_byte = *first_byte.get_or_insert_with(Instant::now);
        loop {
            match parse_response(&received, Method::Post, &limits, &mut head) {
                Ok(Some(len)) if head.is_interim() => {
                    received.drain(..len);
                    head.clear();
                }
                Ok(Some(len)) => return Ok((head, len, received, first_byte)),
                Ok(None) => break,
                Err(error) => {
                    return Err(Broken {
                        error: None,
                        failure: Some(Failure::upstream(
                            error.status(),
                            "upstream_malformed",
                            error.to_string(),
                        )),
                        answered: true,
                        untouched: false,
                    });
                }
            }
        }
        deadline = caller.patience(caller.generation.settings.timeouts.stream_idle);
    }
}
