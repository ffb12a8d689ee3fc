//! The answer on its way back: passed on as it arrives, watched as it passes.

use std::time::Instant;

use pintle_routing::flow::Fault;
use pintle_routing::ids::Target;
use pintle_routing::outcome::SessionAction;
use pintle_routing::units::{Micros, Tokens};
use smallvec::SmallVec;

use crate::answer_head;
use crate::attempt::Answered;
use crate::bill;
use crate::commit::{Commit, Committed};
use crate::connection::{Connection, Exchange, GONE, Next};
use crate::failure::Failure;
use crate::fixed::Fixed;
use crate::framing::{Framing, Piece};
use crate::http::head::{Field, ResponseFraming, Version};
use crate::io::IoError;
use crate::io::stream::Wait;
use crate::meters::Turn;
use crate::observe::{Mark, Observer};
use crate::turn::{FixedAnswer, Plan};
use crate::worker::BUFFER;

/// How the answer ended.
enum End {
    Whole,
    UpstreamBroke(Failure),
    ClientLeft,
}

/// Passes the answer on to its end and records the turn.
///
/// # Errors
/// A defect of the answer that was noticed before anything of it had been passed on.
pub(crate) async fn run(
    connection: &mut Connection,
    exchange: &mut Exchange,
    mut plan: Box<Plan>,
    mut answered: Answered,
) -> Result<Next, Failure> {
    let status = answered.head.status();
    exchange.flow.ending.status = status;
    exchange.flow.timings.first_byte_us =
        Some(Micros(answered.first_byte.duration_since(exchange.read).as_micros() as u64));
    let generation = exchange.generation.clone();
    let mut relay = Relay {
        observer: observer(&answered, generation.settings.limits.observed_bytes),
        framing: Framing::of(answered.head.framing()),
        // HTTP/1.0 has no chunks: its clients get the payload and a close.
        unchunk: answered.head.framing() == ResponseFraming::Chunked
            && connection.head.version() == Version::Http10,
        success: (200..300).contains(&status),
        committed: None,
        committed_at: Mark::default(),
    };
    generation.meters.models[answered.target.model.index()].requested();

    let upstream_keeps = answered.head.keep_alive();
    let mut keep = connection.keep_alive();
    let mut out = connection.worker.buffer();
    answer_head::write(&mut out, connection, exchange, &plan, &answered, relay.unchunk, &mut keep);

    let mut piece = std::mem::take(&mut answered.received);
    let first = &piece[answered.head_len..];
    let mut step = relay.pass(connection, exchange, &plan, &answered, first, &mut out)?;
    let mut reusable = step.used == first.len();
    if !relay.unchunk {
        out.extend_from_slice(&first[..step.used]);
    }

    let client = connection.stream.slot().client();
    let client_write = generation.settings.timeouts.client_write;
    let stream_idle = generation.settings.timeouts.stream_idle;
    let end = loop {
        let (sent, buffer) = connection.stream.write_all(out, client_write).await;
        out = buffer;
        out.clear();
        if sent.is_err() {
            break End::ClientLeft;
        }
        if step.ended {
            break End::Whole;
        }
        piece.clear();
        if piece.capacity() < BUFFER {
            piece.reserve(BUFFER);
        }
        client.couple(answered.stream.slot());
        let (read, buffer) = answered.stream.read(piece, stream_idle, Wait::More).await;
        client.uncouple(answered.stream.slot());
        piece = buffer;
        match read {
            Ok(_) => {}
            Err(IoError::Abandoned) => break End::ClientLeft,
            Err(IoError::Closed) if matches!(relay.framing, Framing::Close) => {
                relay.end(connection, exchange, &plan, &answered);
                break End::Whole;
            }
            Err(error) => {
                let message = format!(
                    "Backend {} broke its answer off after {} bytes: {error}.",
                    answered.backend.spec.name,
                    relay.observer.seen().bytes()
                );
                break End::UpstreamBroke(Failure::upstream(502, "upstream_broke_off", message));
            }
        }
        // Passed on from the buffer it was read into, unless its framing has to go.
        match relay.pass(connection, exchange, &plan, &answered, &piece, &mut out) {
            Ok(next) => step = next,
            Err(failure) => break End::UpstreamBroke(failure),
        }
        reusable &= step.used == piece.len();
        if !relay.unchunk {
            piece.truncate(step.used);
            std::mem::swap(&mut out, &mut piece);
        }
    };
    connection.worker.recycle(out);
    connection.worker.recycle(piece);

    let whole = matches!(end, End::Whole);
    relay.finish(exchange, &plan, &answered, whole);
    if let (Some(charge), Some(usage)) = (plan.charge.take(), exchange.flow.usage) {
        charge.settle(Tokens(usage.prompt.get().saturating_add(usage.completion.get())));
    }
    let Answered { stream, backend, .. } = answered;
    if let Some(attempt) = exchange.flow.attempts.last_mut() {
        attempt.kernel = stream.observe(&backend);
    }
    if whole && upstream_keeps && reusable && !matches!(relay.framing, Framing::Close) {
        let pool = &generation.settings.pool;
        connection.worker.pool.put(&backend, stream, pool.idle_per_backend, connection.worker.dog.now_ms());
    }
    match end {
        End::Whole => {
            if status >= 400 {
                generation.meters.failed(exchange.model(), "upstream_status");
            }
            exchange.flow.ending.fault = match status {
                500.. => Fault::Upstream,
                400.. => Fault::Client,
                _ => Fault::None,
            };
            Ok(if keep { Next::Keep } else { Next::Close })
        }
        End::UpstreamBroke(failure) => {
            generation.meters.failed(exchange.model(), failure.code);
            exchange.flow.ending.fault = Fault::Upstream;
            exchange.flow.failure = Some(failure.message.into_owned());
            Ok(Next::Close)
        }
        End::ClientLeft => {
            generation.meters.failed(exchange.model(), "client_closed_request");
            exchange.flow.ending.status = GONE;
            exchange.flow.ending.fault = Fault::Client;
            exchange.flow.failure = Some("The client left before it had its whole answer.".into());
            Ok(Next::Close)
        }
    }
}

struct Relay {
    observer: Observer,
    framing: Framing,
    unchunk: bool,
    success: bool,
    committed: Option<Committed>,
    /// What had been seen then.
    committed_at: Mark,
}

impl Relay {
    /// Looks at a piece and commits the turn if it ends the answer. Appends the payload to `out` if the
    /// client cannot have its chunks.
    fn pass(
        &mut self,
        connection: &Connection,
        exchange: &mut Exchange,
        plan: &Plan,
        answered: &Answered,
        piece: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Piece, Failure> {
        let observer = &mut self.observer;
        let unchunk = self.unchunk;
        let step = self.framing.follow(piece, |payload| {
            observer.feed(payload);
            if unchunk {
                out.extend_from_slice(payload);
            }
        })?;
        if step.ended {
            self.end(connection, exchange, plan, answered);
        } else if self.observer.finished() {
            self.commit(connection, exchange, plan, answered);
        }
        Ok(step)
    }

    /// The last byte has come and has not been passed on.
    fn end(&mut self, connection: &Connection, exchange: &mut Exchange, plan: &Plan, answered: &Answered) {
        self.observer.end();
        match self.committed {
            None => self.commit(connection, exchange, plan, answered),
            Some(committed) if self.observer.seen().mark() != self.committed_at => {
                turn(connection, exchange, plan, answered).amend(committed, self.observer.seen());
            }
            Some(_) => {}
        }
    }

    fn commit(&mut self, connection: &Connection, exchange: &mut Exchange, plan: &Plan, answered: &Answered) {
        if !self.success || self.committed.is_some() || self.observer.seen().failed() {
            return;
        }
        self.committed = turn(connection, exchange, plan, answered).store(self.observer.seen());
        self.committed_at = self.observer.seen().mark();
        exchange.flow.ending.committed = self.committed.is_some();
    }

    /// Counts the turn.
    fn finish(&mut self, exchange: &mut Exchange, plan: &Plan, answered: &Answered, whole: bool) {
        let generation = &exchange.generation;
        let seen = self.observer.seen();
        exchange.flow.ending.finish_reason = seen.finish_reason().map(str::to_owned);
        let meters = &generation.meters.models[answered.target.model.index()];
        count_action(exchange, plan, answered.target);
        if !self.success {
            return;
        }
        let usage = bill::usage(seen, plan.prompt_tokens);
        exchange.flow.usage = Some(usage);
        exchange.flow.cost = bill::cost(&generation.policy, answered.target, &usage);
        if let Some(cost) = exchange.flow.cost {
            meters.cost(cost.get());
        }
        if whole {
            meters.answered(&Turn {
                ttft: answered.first_byte.duration_since(exchange.read).as_secs_f64(),
                total: Instant::now().duration_since(exchange.start).as_secs_f64(),
                prompt: usage.prompt.get(),
                completion: usage.completion.get(),
                streamed: plan.stream,
            });
        }
    }
}

fn turn<'a>(
    connection: &'a Connection,
    exchange: &'a Exchange,
    plan: &'a Plan,
    answered: &Answered,
) -> Commit<'a> {
    Commit::of(&connection.worker, &exchange.generation, plan, (answered.target, answered.index))
}

/// Counts what session policy did with a turn that `target` answered.
pub(crate) fn count_action(exchange: &Exchange, plan: &Plan, target: Target) {
    let generation = &exchange.generation;
    let action = plan.route.action;
    metrics::counter!(
        "llm_routing_reason_codes_total",
        "reason_code" => action.as_str(),
        "model" => generation.policy.models()[target.model.index()].name.clone()
    )
    .increment(1);
    let served = generation.policy.target_name(target);
    let before = exchange.flow.decided.as_ref().and_then(|decided| decided.session.as_ref());
    if let Some(before) = before.filter(|before| !before.model.is_empty() && before.model != served) {
        metrics::counter!(
            "llm_session_model_transitions_total",
            "from_model" => before.model.clone(),
            "to_model" => served.to_owned()
        )
        .increment(1);
    }
    if matches!(action, SessionAction::Released(_)) {
        generation.meters.breaches.increment(1);
    }
}

fn observer(answered: &Answered, limit: usize) -> Observer {
    let status = answered.head.status();
    let response = answered.head.view(&answered.received);
    if !(200..300).contains(&status) || response.content_encoding().is_some() {
        Observer::blind()
    } else if response.is_event_stream() {
        Observer::events(limit)
    } else {
        Observer::whole(limit)
    }
}

/// Answers a `fast_response`: fixed text, in the client's dialect.
pub(crate) async fn fixed_answer(
    connection: &mut Connection,
    exchange: &mut Exchange,
    answer: &FixedAnswer,
) -> Next {
    let id = exchange.id.to_string();
    let fixed = Fixed { id: &id, created: exchange.flow.at.get() / 1000, text: &answer.text };
    let body = fixed.body(exchange.dialect(), answer.stream);
    let kind: &[u8] = if answer.stream { b"text/event-stream" } else { b"application/json" };
    let generation = exchange.generation.clone();
    let decision = generation.policy.decision_name(answer.decision).as_bytes();
    let extra: SmallVec<[Field<'_>; 2]> =
        [(&b"x-vsr-fast-response"[..], &b"true"[..]), (b"x-vsr-selected-decision", decision)]
            .into_iter()
            .filter_map(|(name, value)| Field::new(name, value).ok())
            .collect();
    connection.respond(exchange, 200, kind, &body, &extra).await
}
