//! One call to a backend, up to the head of its answer.
//!
//! # What may be tried again
//!
//! A request is sent to another backend only if the first one cannot have seen any of it: no address, no
//! connection, or nothing written. A connection taken from the pool can have been closed by the backend at
//! the very moment of use; when such a one ends before the first byte of an answer, the same backend gets the request
//! once more on a fresh connection, unless the request refers to state at the provider, where a repetition
//! might not be the same.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use pintle_routing::flow::{Attempt, Fault};
use pintle_routing::ids::Target;
use pintle_routing::units::Micros;

use crate::connection::{Body, Connection, Exchange, gone, head_limits};
use crate::failure::Failure;
use crate::http::head::{
    Credentials, Field, Method, ResponseHead, UpstreamRequest, parse_response, write_upstream_request,
};
use crate::io::stream::Wait;
use crate::io::{IoError, Stream};
use crate::shared::now;
use crate::upstream::Backend;
use crate::upstream::backend::InFlight;
use crate::worker::BUFFER;

/// A backend that has begun to answer.
pub(crate) struct Answered {
    pub(crate) target: Target,
    pub(crate) backend: Arc<Backend>,
    /// Its position among the model's backends.
    pub(crate) index: usize,
    pub(crate) stream: Stream,
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

/// What is sent, and to whom.
pub(crate) struct Call<'a> {
    pub(crate) target: Target,
    pub(crate) backend: &'a Arc<Backend>,
    /// Its position among the model's backends.
    pub(crate) index: usize,
    pub(crate) body: Body,
    /// Where the model's value lies in the body.
    pub(crate) model: Range<usize>,
    /// The request refers to state at a provider.
    pub(crate) stateful: bool,
}

/// Headers of the client that never reach a backend: they are addressed to this gateway.
const OURS: [&[u8]; 8] = [
    b"x-vsr-looper-request",
    b"x-vsr-looper-secret",
    b"x-vsr-looper-decision",
    b"x-vsr-looper-iteration",
    b"x-vsr-skip-processing",
    b"x-authz-user-id",
    b"x-authz-user-groups",
    b"x-selected-model",
];

/// Calls a backend and waits for the head of its answer.
pub(crate) async fn call(
    connection: &mut Connection,
    exchange: &mut Exchange,
    call: &Call<'_>,
) -> Result<Answered, Failed> {
    let mut record = Attempt {
        model: exchange.generation.upstreams.models[call.target.model.index()].name.clone(),
        backend: call.backend.spec.name.clone(),
        ..Attempt::default()
    };
    let result = try_call(connection, exchange, call, &mut record).await;
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
                    worker = connection.worker.id,
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
    exchange.flow.attempts.push(record);
    result
}

async fn try_call(
    connection: &mut Connection,
    exchange: &mut Exchange,
    call: &Call<'_>,
    record: &mut Attempt,
) -> Result<Answered, Failed> {
    let pooled = connection.worker.pool.take(call.backend);
    let reused = pooled.is_some();
    let mut stream = match pooled {
        Some(stream) => stream,
        None => connect(connection, exchange, call, record).await?,
    };
    loop {
        let in_flight = call.backend.health.enter();
        connection.stream.slot().couple(stream.slot());
        let sent = send(connection, exchange, call, &mut stream).await;
        let received = match sent {
            Ok(()) => receive(connection, exchange, &mut stream).await,
            Err(error) => Err(error),
        };
        connection.stream.slot().uncouple();
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
            Err(Broken { error: Some(IoError::Closed | IoError::Os(_)), answered: false, .. })
                if reused && record.address.is_empty() && !call.stateful =>
            {
                // Whatever else is in the pool was closed by the same restart or idle timeout, most likely.
                stream = connect(connection, exchange, call, record).await?;
            }
            Err(broken) => return Err(broken.into_failed(&call.backend.spec.name)),
        }
    }
}

async fn connect(
    connection: &Connection,
    exchange: &Exchange,
    call: &Call<'_>,
    record: &mut Attempt,
) -> Result<Stream, Failed> {
    let name = &call.backend.spec.name;
    let Some(address) = call.backend.address(connection.worker.next_turn()) else {
        let message = format!("Backend {name}: host {} cannot be resolved.", call.backend.spec.host);
        return Err(Failed {
            failure: Failure::upstream(502, "upstream_unresolved", message),
            untouched: true,
        });
    };
    record.address = address.to_string();
    let start = Instant::now();
    let deadline = exchange.generation.settings.timeouts.connect;
    let connected = Stream::connect(address, deadline, &connection.worker.dog).await;
    record.connect_us = Micros(start.elapsed().as_micros() as u64);
    connected.map_err(|error| {
        let failure = match error {
            IoError::TimedOut => Failure::upstream(
                504,
                "upstream_connect_timeout",
                format!("Backend {name} did not accept a connection in time."),
            ),
            IoError::Abandoned => gone("The client left while its backend was being connected."),
            error => Failure::upstream(
                502,
                "upstream_unreachable",
                format!("Backend {name} cannot be reached: {error}."),
            ),
        };
        Failed { failure, untouched: true }
    })
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

/// Writes head and body; the body from where it lies, around the new model.
async fn send(
    connection: &mut Connection,
    exchange: &Exchange,
    call: &Call<'_>,
    stream: &mut Stream,
) -> Result<(), Broken> {
    let spec = &call.backend.spec;
    let literal = match call.target.lora {
        Some(lora) => spec.lora_literals.get(usize::from(lora.0)).unwrap_or(&spec.model_literal),
        None => &spec.model_literal,
    };
    let length = connection.body(call.body).len() - call.model.len() + literal.len();
    let mut gather = connection.worker.gather();
    let id = exchange.id.encode();
    let malformed = |error: crate::http::head::FieldError| Broken {
        error: None,
        failure: Some(Failure::ours(500, "bad_backend_header", format!("Backend {}: {error}.", spec.name))),
        answered: false,
        untouched: true,
    };
    {
        let mut set: smallvec::SmallVec<[Field<'_>; 8]> = smallvec::SmallVec::new();
        // The answer is read for usage and tool calls, so it must come as plain text.
        set.push(Field::new(b"Accept-Encoding", b"identity").map_err(malformed)?);
        if exchange.flow.request.request_id.is_empty() {
            set.push(Field::new(b"x-request-id", &id).map_err(malformed)?);
        }
        for (name, value) in &spec.headers {
            set.push(Field::new(name.as_bytes(), value.as_bytes()).map_err(malformed)?);
        }
        let own_credentials = spec.headers.iter().any(|(name, _)| is_credential(name));
        let keep = connection.settings().api_keys.is_empty() && !own_credentials;
        let request = UpstreamRequest {
            target: spec.chat_path.as_bytes(),
            host: spec.authority.as_bytes(),
            content_length: Some(length as u64),
            credentials: if keep { Credentials::Forward } else { Credentials::Remove },
            set: &set,
            remove: &OURS,
        };
        gather.head.clear();
        let view = connection.head.view(&connection.input);
        write_upstream_request(&mut gather.head, view, &request).map_err(malformed)?;
    }
    let (buffer, range) = connection.take_body(call.body);
    gather.body = buffer;
    let before = range.start..range.start + call.model.start;
    let after = range.start + call.model.end..range.end;
    gather.lay_out(before, literal.clone(), after);
    let deadline = exchange.generation.settings.timeouts.body_idle;
    let (result, mut gather) = stream.write_gather(gather, deadline).await;
    gather.release();
    connection.put_body(call.body, std::mem::take(&mut gather.body));
    connection.worker.recycle_gather(gather);
    result.map_err(|(error, written)| Broken {
        error: Some(error),
        failure: None,
        answered: false,
        untouched: written == 0,
    })
}

fn is_credential(name: &str) -> bool {
    ["authorization", "x-api-key", "api-key"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Reads until the head of the final answer is there.
async fn receive(
    connection: &Connection,
    exchange: &Exchange,
    stream: &mut Stream,
) -> Result<(ResponseHead, usize, Vec<u8>, Instant), Broken> {
    let limits = head_limits(&exchange.generation);
    let mut head = ResponseHead::new();
    let mut received = connection.worker.buffer();
    let mut deadline = exchange.generation.settings.timeouts.first_byte;
    let mut first_byte = None;
    loop {
        if received.capacity() - received.len() < 1024 {
            received.reserve(BUFFER);
        }
        let (result, buffer) = stream.read(received, deadline, Wait::More).await;
        received = buffer;
        if let Err(error) = result {
            let answered = !received.is_empty();
            connection.worker.recycle(received);
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
        deadline = exchange.generation.settings.timeouts.stream_idle;
    }
}
