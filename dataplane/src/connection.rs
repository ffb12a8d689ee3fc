//! One client connection: requests in order, each answered before the next is read.
//!
//! Pipelined requests wait in the input buffer. Whatever leaves the end of a request in doubt (a bad head, a
//! broken chunk, a body that was refused) is answered and ends the connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_routing::facts::Dialect;
use pintle_routing::flow::{Fault, FlowRecord};
use pintle_routing::flow_id::FlowId;
use pintle_routing::units::Micros;
use smallvec::SmallVec;

use crate::failure::Failure;
use crate::http::chunked::Decoder;
use crate::http::head::{
    self, BodyFraming, CONTINUE, Field, RequestHead, Version, parse_request, write_own_response,
};
use crate::io::stream::Wait;
use crate::io::{IoError, Stream};
use crate::local;
use crate::settings::ListenerSettings;
use crate::shared::{Generation, Held, Life, now};
use crate::turn;
use crate::worker::{BUFFER, Worker};

/// Header that names the flow document of a response.
pub(crate) const REPLAY_ID: &[u8] = b"x-vsr-replay-id";

const JSON: &[u8] = b"application/json";

/// A client connection between two reads.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) stream: Stream,
    listener: usize,
    /// What has arrived and is not used up; starts with the current request.
    pub(crate) input: Vec<u8>,
    pub(crate) head: RequestHead,
    /// Length of the current request's head.
    pub(crate) head_len: usize,
    /// Decoded body of a chunked request.
    decoded: Vec<u8>,
    /// The part of the current request that is still in the input, as far as it has been read.
    unconsumed: Option<Body>,
    held: Held,
    served: u64,
}

/// Where the current request's body lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Behind the head in the input buffer.
    Inline(usize),
    /// Taken out of its chunks.
    Decoded,
}

/// Whether the connection serves another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Keep,
    Close,
}

/// An answer that no backend gave.
struct OwnAnswer<'a> {
    status: u16,
    kind: &'a [u8],
    body: &'a [u8],
    extra: &'a [Field<'a>],
    /// The client has asked for the head alone.
    head_only: bool,
}

/// One request while it is served.
pub(crate) struct Exchange {
    pub(crate) flow: Box<FlowRecord>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) id: FlowId,
    pub(crate) start: Instant,
    /// When the request had been read whole.
    pub(crate) read: Instant,
    /// The body has been read, so that another request may follow.
    pub(crate) body_read: bool,
}

impl Exchange {
    pub(crate) fn dialect(&self) -> Dialect {
        self.flow.dialect()
    }

    /// The model that the request was meant for, as far as that was decided.
    pub(crate) fn model(&self) -> &str {
        let decided = self.flow.decided.as_ref();
        match decided.and_then(|decided| decided.outcome.verdict.route()) {
            Some(route) => &self.generation.policy.models()[route.target.model.index()].name,
            None => "unknown",
        }
    }
}

/// Answers one request on a connection that is over the limit, without reading it.
pub(crate) async fn refuse_full(worker: &Rc<Worker>, mut stream: Stream) {
    let generation = worker.shared.generation.load_full();
    let id = worker.ids.borrow_mut().next(now());
    let mut flow = FlowRecord::begin(id, id.at(), worker.id);
    let failure =
        Failure::ours(503, "too_many_connections", "The gateway has no room for another connection.");
    let (mut body, mut out) = (Vec::new(), Vec::new());
    failure.body(Dialect::OpenAiChat, &id.to_string(), &mut body);
    let answer = OwnAnswer { status: failure.status, kind: JSON, body: &body, extra: &[], head_only: false };
    write_answer(&mut out, id, &answer, Version::Http11, false);
    let _ = stream.write_all(out, Duration::from_millis(100)).await;
    flow.ending.status = failure.status;
    flow.failure = Some(failure.message.into_owned());
    finish(worker, flow, &generation, Instant::now());
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Stream, listener: usize) {
    let mut connection = Connection {
        held: Held::none(&worker.shared),
        input: worker.buffer(),
        worker,
        stream,
        listener,
        head: RequestHead::new(),
        head_len: 0,
        decoded: Vec::new(),
        unconsumed: None,
        served: 0,
    };
    while let Some(()) = connection.next_head().await {
        if connection.request().await == Next::Close {
            break;
        }
    }
    connection.worker.recycle(std::mem::take(&mut connection.input));
}

impl Connection {
    pub(crate) fn settings(&self) -> &ListenerSettings {
        self.worker.listener(self.listener)
    }

    /// Reads the next request's head. `None` ends the connection; what had to be said is said.
    async fn next_head(&mut self) -> Option<()> {
        self.head.clear();
        let mut generation = self.worker.shared.generation.load_full();
        let mut begun: Option<Instant> = (!self.input.is_empty()).then(Instant::now);
        loop {
            let limits = head_limits(&generation);
            if begun.is_some() {
                match parse_request(&self.input, &limits, &mut self.head) {
                    Ok(Some(len)) => {
                        self.head_len = len;
                        return Some(());
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let failure = Failure::client(error.status(), "malformed_request", error.to_string());
                        self.fail_unread(&generation, failure.closing()).await;
                        return None;
                    }
                }
            }
            let timeouts = &generation.settings.timeouts;
            let (deadline, wait) = match begun {
                Some(begun) => (timeouts.head.saturating_sub(begun.elapsed()), Wait::More),
                None if self.served == 0 => (timeouts.head, Wait::NextRequest),
                None if self.worker.shared.life() == Life::Draining && !self.worker.shared.is_retiring() => {
                    return None;
                }
                None => (timeouts.keep_alive, Wait::NextRequest),
            };
            self.make_room(BUFFER.min(limits.head_bytes));
            match self.read(deadline, wait).await {
                Ok(_) if begun.is_none() => {
                    begun = Some(Instant::now());
                    // A request is served under the policy that is in force when it begins to arrive.
                    generation = self.worker.shared.generation.load_full();
                }
                Ok(_) => {}
                Err(IoError::TimedOut) if begun.is_some() => {
                    let failure =
                        Failure::client(408, "request_timeout", "The request head took too long to arrive.");
                    self.fail_unread(&generation, failure.closing()).await;
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    /// Serves the request whose head is in `input`.
    async fn request(&mut self) -> Next {
        self.served += 1;
        self.unconsumed = Some(Body::Inline(0));
        let generation = self.worker.shared.generation.load_full();
        let at = now();
        let id = self.worker.ids.borrow_mut().next(at);
        let mut flow = FlowRecord::begin(id, at, self.worker.id);
        let view = self.head.view(&self.input);
        flow.request.method = String::from_utf8_lossy(view.method_text()).into_owned();
        flow.request.path = String::from_utf8_lossy(view.path()).into_owned();
        if let Some(given) = view.field("x-request-id") {
            flow.request.request_id = String::from_utf8_lossy(given).into_owned();
        }
        let route = local::route(view.path(), self.head.method());
        flow.request.dialect = local::dialect(view.path());
        let body_read = self.head.framing() == BodyFraming::None;
        let mut exchange =
            Exchange { flow, generation, id, start: Instant::now(), read: Instant::now(), body_read };

        self.worker.begin();
        let next = match self.answer(&mut exchange, route).await {
            Ok(next) => next,
            Err(failure) => self.fail(&mut exchange, failure).await,
        };
        self.consume();
        self.worker.end();
        finish(&self.worker, exchange.flow, &exchange.generation, exchange.start);
        next
    }

    async fn answer(&mut self, exchange: &mut Exchange, route: local::Route) -> Result<Next, Failure> {
        match route {
            local::Route::Unknown => return Err(local::unknown_path(&exchange.flow.request.path)),
            local::Route::WrongMethod(allow) => {
                return Err(local::wrong_method(&exchange.flow.request.method, allow));
            }
            _ => {}
        }
        if !matches!(route, local::Route::Health | local::Route::Ready) {
            local::authorize(self.settings(), self.head.view(&self.input))?;
        }
        if let local::Route::Model(_) = route {
            local::plain(self.head.view(&self.input))?;
        }
        let body = self.read_body(exchange).await?;
        self.unconsumed = Some(body);
        exchange.read = Instant::now();
        match route {
            local::Route::Model(_) => turn::serve(self, exchange, body).await,
            _ => {
                let (status, text) = local::answer(route, &self.worker.shared, &exchange.generation);
                Ok(self.respond(exchange, status, JSON, &text, &[]).await)
            }
        }
    }

    /// Reads the current request's body whole.
    async fn read_body(&mut self, exchange: &mut Exchange) -> Result<Body, Failure> {
        let settings = exchange.generation.settings.timeouts;
        let framing = self.head.framing();
        if self.head.expects_continue() && self.input.len() == self.head_len {
            self.stream
                .write_static(CONTINUE, settings.client_write)
                .await
                .map_err(|_| gone("The client left before it sent its body."))?;
        }
        match framing {
            BodyFraming::None => {
                exchange.body_read = true;
                Ok(Body::Inline(0))
            }
            BodyFraming::Length(length) => {
                // `parse_request` has checked it against the limit.
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let end = self.head_len + length;
                while self.input.len() < end {
                    // Grown as bytes come, not as they are promised: promises cost a client nothing.
                    let missing = end - self.input.len();
                    self.make_room(missing.min(self.input.len().max(BUFFER)));
                    self.read(settings.body_idle, Wait::More).await.map_err(body_failure)?;
                    self.hold(self.input.len(), exchange)?;
                }
                exchange.body_read = true;
                exchange.flow.request.bytes = length as u64;
                Ok(Body::Inline(length))
            }
            BodyFraming::Chunked => {
                let mut decoder = Decoder::new(exchange.generation.settings.limits.body_bytes);
                self.decoded.clear();
                let mut rest = self.input.split_off(self.head_len);
                loop {
                    let used = decoder.feed(&rest, &mut self.decoded).map_err(|error| {
                        Failure::client(error.status(), "malformed_body", error.to_string()).closing()
                    })?;
                    rest.drain(..used);
                    self.hold(self.decoded.len(), exchange)?;
                    if decoder.is_done() {
                        break;
                    }
                    if rest.capacity() == 0 {
                        rest.reserve(BUFFER);
                    }
                    let (result, buffer) = self.stream.read(rest, settings.body_idle, Wait::More).await;
                    rest = buffer;
                    result.map_err(body_failure)?;
                }
                self.input.extend_from_slice(&rest);
                exchange.body_read = true;
                exchange.flow.request.bytes = self.decoded.len() as u64;
                Ok(Body::Decoded)
            }
        }
    }

    fn hold(&mut self, bytes: usize, exchange: &Exchange) -> Result<(), Failure> {
        if self.held.cover(bytes, exchange.generation.settings.limits.buffered_bytes) {
            return Ok(());
        }
        let message = "The gateway holds as many request bytes as it is allowed to; try again soon.";
        Err(Failure::ours(503, "over_capacity", message).closing())
    }

    /// The current request's body.
    pub(crate) fn body(&self, body: Body) -> &[u8] {
        match body {
            Body::Inline(length) => &self.input[self.head_len..self.head_len + length],
            Body::Decoded => &self.decoded,
        }
    }

    /// Takes the buffer that holds the body, and where the body lies in it. [`Connection::put_body`] returns it.
    pub(crate) fn take_body(&mut self, body: Body) -> (Vec<u8>, std::ops::Range<usize>) {
        match body {
            Body::Inline(length) => (std::mem::take(&mut self.input), self.head_len..self.head_len + length),
            Body::Decoded => {
                let decoded = std::mem::take(&mut self.decoded);
                let range = 0..decoded.len();
                (decoded, range)
            }
        }
    }

    /// Gives back what [`Connection::take_body`] took.
    pub(crate) fn put_body(&mut self, body: Body, buffer: Vec<u8>) {
        match body {
            Body::Inline(_) => self.input = buffer,
            Body::Decoded => self.decoded = buffer,
        }
    }

    /// Drops the current request from the input, if that has not been done; what follows it is the next one.
    pub(crate) fn consume(&mut self) {
        let end = match self.unconsumed.take() {
            None => return,
            Some(Body::Inline(length)) => self.head_len + length,
            Some(Body::Decoded) => self.head_len,
        };
        self.held.release();
        if end >= self.input.len() {
            self.input.clear();
        } else {
            self.input.drain(..end);
        }
        if self.input.is_empty() && self.input.capacity() > LARGEST_KEPT {
            self.worker.recycle(std::mem::replace(&mut self.input, self.worker.buffer()));
        }
        if self.decoded.capacity() > LARGEST_KEPT {
            self.decoded = Vec::new();
        }
    }

    /// Whether the client and this process both want another request on this connection.
    pub(crate) fn keep_alive(&self) -> bool {
        self.head.keep_alive() && self.worker.shared.life() != Life::Draining
    }

    fn make_room(&mut self, room: usize) {
        let spare = self.input.capacity() - self.input.len();
        if spare < room.clamp(1, 4096) {
            self.input.reserve(room);
        }
    }

    async fn read(&mut self, deadline: Duration, wait: Wait) -> Result<usize, IoError> {
        let buffer = std::mem::take(&mut self.input);
        let (result, buffer) = self.stream.read(buffer, deadline, wait).await;
        self.input = buffer;
        result
    }

    /// Sends an answer of our own.
    pub(crate) async fn respond(
        &mut self,
        exchange: &mut Exchange,
        status: u16,
        kind: &[u8],
        body: &[u8],
        extra: &[Field<'_>],
    ) -> Next {
        let keep = exchange.body_read && self.keep_alive();
        // As it was recorded: a head that is refused is forgotten.
        let head_only = exchange.flow.request.method == "HEAD";
        let mut out = self.worker.buffer();
        let answer = OwnAnswer { status, kind, body, extra, head_only };
        write_answer(&mut out, exchange.id, &answer, self.head.version(), keep);
        let deadline = exchange.generation.settings.timeouts.client_write;
        let (sent, out) = self.stream.write_all(out, deadline).await;
        self.worker.recycle(out);
        exchange.flow.ending.status = status;
        exchange.flow.ending.fault = Fault::None;
        if sent.is_ok() && keep { Next::Keep } else { Next::Close }
    }

    /// Answers with an error, in the client's dialect.
    async fn fail(&mut self, exchange: &mut Exchange, failure: Failure) -> Next {
        let mut body = Vec::with_capacity(256);
        failure.body(exchange.dialect(), &exchange.id.to_string(), &mut body);
        exchange.body_read &= !failure.close;
        let generation = exchange.generation.clone();
        let decided = exchange.flow.decided.as_ref().and_then(|decided| decided.outcome.verdict.route());
        let names = decided.map(|route| {
            let policy = &generation.policy;
            (policy.target_name(route.target), route.decision.map_or("", |id| policy.decision_name(id)))
        });
        let mut numbers = [itoa::Buffer::new(); 4];
        let mut extra: SmallVec<[Field<'_>; 8]> = SmallVec::new();
        if let Some((model, decision)) = names {
            // A name that no header may carry is left out; the flow document has it.
            extra.extend(Field::new(b"x-vsr-selected-model", model.as_bytes()));
            if !decision.is_empty() {
                extra.extend(Field::new(b"x-vsr-selected-decision", decision.as_bytes()));
            }
        }
        for ((name, number), buffer) in
            failure.headers.iter().flat_map(|headers| headers.iter()).zip(&mut numbers)
        {
            extra.extend(Field::new(name.as_bytes(), buffer.format(*number).as_bytes()));
        }
        if failure.status == 401 {
            let realm = b"Bearer realm=\"pintle\"";
            extra.push(Field::new(b"WWW-Authenticate", realm).expect("a valid field"));
        }
        if let Some(allow) = failure.allow {
            extra.push(Field::new(b"Allow", allow.as_bytes()).expect("methods are valid"));
        }
        let next = if failure.status == GONE {
            exchange.flow.ending.status = GONE;
            Next::Close
        } else {
            self.respond(exchange, failure.status, JSON, &body, &extra).await
        };
        exchange.flow.ending.fault = failure.fault;
        exchange.generation.meters.failed(exchange.model(), failure.code);
        exchange.flow.failure = Some(failure.message.into_owned());
        next
    }

    /// Answers a request whose head never became one.
    async fn fail_unread(&mut self, generation: &Arc<Generation>, failure: Failure) {
        let at = now();
        let id = self.worker.ids.borrow_mut().next(at);
        let mut flow = FlowRecord::begin(id, at, self.worker.id);
        if let Some((method, path)) = head::addressed(&self.input) {
            flow.request.method = String::from_utf8_lossy(method).into_owned();
            flow.request.path = String::from_utf8_lossy(path).into_owned();
            flow.request.dialect = local::dialect(path);
        }
        let mut exchange = Exchange {
            flow,
            generation: generation.clone(),
            id,
            start: Instant::now(),
            read: Instant::now(),
            body_read: false,
        };
        self.head.clear();
        self.fail(&mut exchange, failure).await;
        finish(&self.worker, exchange.flow, &exchange.generation, exchange.start);
    }
}

/// An input buffer larger than this is not kept for the next request.
const LARGEST_KEPT: usize = 256 * 1024;

/// Status recorded for a client that left before its answer (nginx's 499).
pub(crate) const GONE: u16 = 499;

pub(crate) fn gone(message: &'static str) -> Failure {
    Failure::client(GONE, "client_closed_request", message).closing()
}

fn body_failure(error: IoError) -> Failure {
    match error {
        IoError::TimedOut => {
            Failure::client(408, "request_timeout", "The request body took too long to arrive.").closing()
        }
        _ => gone("The client left before it had sent its whole body."),
    }
}

pub(crate) fn head_limits(generation: &Generation) -> head::Limits {
    let limits = &generation.settings.limits;
    head::Limits {
        head_bytes: limits.head_bytes,
        headers: limits.headers,
        body_bytes: limits.body_bytes as u64,
    }
}

/// Appends an answer of our own.
fn write_answer(out: &mut Vec<u8>, id: FlowId, answer: &OwnAnswer<'_>, version: Version, keep: bool) {
    let id = id.encode();
    let mut fields: SmallVec<[Field<'_>; 8]> = SmallVec::new();
    fields.extend([
        Field::new(b"Content-Type", answer.kind).expect("a valid field"),
        Field::new(REPLAY_ID, &id).expect("base 32 is valid"),
    ]);
    fields.extend_from_slice(answer.extra);
    write_own_response(out, answer.status, &fields, answer.body.len() as u64, version, keep);
    if !answer.head_only {
        out.extend_from_slice(answer.body);
    }
}

/// Counts a flow and hands it to the journal.
fn finish(worker: &Worker, mut flow: Box<FlowRecord>, generation: &Arc<Generation>, start: Instant) {
    flow.timings.total_us = Micros(start.elapsed().as_micros() as u64);
    generation.meters.ended(flow.ending.status, flow.ending.fault);
    if !worker.shared.sink.offer(flow, generation) {
        generation.meters.flows_dropped.increment(1);
    }
}
