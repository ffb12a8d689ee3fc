//! One of several calls: what is sent, to whom, and what its answer says.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::time::{Duration, Instant};

use pintle_routing::facts::Dialect;
use pintle_routing::flow::{Attempt, SubCall as Record, Usage};
use pintle_routing::ids::Target;
use pintle_routing::looper::{self, Ask, Logprobs, Plan as Several};
use pintle_routing::units::Usd;
use smallvec::SmallVec;

use super::compose::one_line;
use crate::attempt::{self, Answered, Call, Caller, Letter};
use crate::bill;
use crate::connection::{Body, Connection, Exchange};
use crate::edit::SubCall;
use crate::failure::Failure;
use crate::framing::Framing;
use crate::io::stream::Wait;
use crate::io::{Gather, IoError};
use crate::json::Span;
use crate::json::completion::Completion;
use crate::json::text::quote_into;
use crate::observe::Seen;
use crate::outgoing::{Heading, Wording, compose, compose_head, model_literal, sub_call_headers};
use crate::shared::Held;
use crate::turn::{Missed, Plan, Search, no_backend};
use crate::worker::BUFFER;

/// Tokens of a judgement, at most.
const JUDGEMENT_TOKENS: u32 = 256;
/// Of a judgement.
const JUDGEMENT_TEMPERATURE: &str = "0.1";

/// What all calls of one request share.
pub(super) struct Errand<'a> {
    pub(super) connection: &'a Connection,
    pub(super) exchange: &'a Exchange,
    pub(super) plan: &'a Plan,
    pub(super) body: Body,
    pub(super) several: &'a Several,
    pub(super) caller: &'a Caller,
    /// Answers, which are kept to the end, and copies of the request that are on their way.
    held: RefCell<Held>,
    bytes: Cell<usize>,
}

/// A call that has ended.
pub(super) struct Done {
    pub(super) id: usize,
    pub(super) target: Target,
    pub(super) attempts: SmallVec<[Attempt; 1]>,
    pub(super) result: Result<Answer, Failure>,
    pub(super) took: Duration,
}

/// What came of a call.
pub(super) struct Answer {
    /// The answer's body.
    pub(super) body: String,
    /// Its first choice.
    pub(super) choice: Span,
    /// What is told to the run; taken from here.
    pub(super) told: looper::Answered,
    pub(super) seen: Seen,
    /// The backend's position among the model's.
    pub(super) backend: usize,
    pub(super) usage: Option<Usage>,
    pub(super) cost: Option<Usd>,
}

impl<'a> Errand<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        exchange: &'a Exchange,
        plan: &'a Plan,
        body: Body,
        several: &'a Several,
        caller: &'a Caller,
    ) -> Self {
        let held = RefCell::new(Held::none(&caller.worker.shared));
        Self { connection, exchange, plan, body, several, caller, held, bytes: Cell::new(0) }
    }

    /// Makes a call, to its end.
    pub(super) async fn make(&self, call: looper::Call) -> Done {
        let started = Instant::now();
        let mut attempts = SmallVec::new();
        let result = match &call.ask {
            Ask::Original { top_logprobs, temperature } => {
                let asks = SubCall { top_logprobs: *top_logprobs, temperature: *temperature, prompt: None };
                self.ask_again(call.target, &asks, &mut attempts).await
            }
            Ask::Synthesis { prompt, temperature } => {
                let asks = SubCall { top_logprobs: None, temperature: *temperature, prompt: Some(prompt) };
                self.ask_again(call.target, &asks, &mut attempts).await
            }
            Ask::Verification { prompt } => {
                let mut letter = Judge { errand: self, prompt, body: Vec::new() };
                self.ask_model(call.target, &mut letter, &mut attempts).await
            }
            Ask::Entailment { question, answer, threshold } => {
                self.ask_verifier(call.target, question, answer, *threshold, &mut attempts).await
            }
        };
        let (id, ask) = (u32::try_from(call.id).unwrap_or(u32::MAX), call.ask.name().to_owned());
        for attempt in &mut attempts {
            attempt.sub_call = Some(Box::new(Record { id, ask: ask.clone(), ..Record::default() }));
        }
        if let (Ok(answer), Some(record)) =
            (&result, attempts.last_mut().and_then(|last| last.sub_call.as_mut()))
        {
            (record.usage, record.cost_usd) = (answer.usage, answer.cost);
        }
        if let (Err(failure), Some(last)) = (&result, attempts.last_mut()) {
            last.error.get_or_insert_with(|| failure.message.to_string());
            last.fault = failure.fault;
        }
        Done { id: call.id, target: call.target, attempts, result, took: started.elapsed() }
    }

    /// Sends the client's request, altered.
    async fn ask_again(
        &self,
        target: Target,
        asks: &SubCall<'_>,
        attempts: &mut SmallVec<[Attempt; 1]>,
    ) -> Result<Answer, Failure> {
        let wording = self.plan.wording(self.body, Some(asks));
        let mut letter = Copied { errand: self, wording, body: Vec::new() };
        let result = self.ask_model(target, &mut letter, attempts).await;
        self.give_back(letter.body.len());
        result
    }

    async fn ask_model(
        &self,
        target: Target,
        letter: &mut impl Letter,
        attempts: &mut SmallVec<[Attempt; 1]>,
    ) -> Result<Answer, Failure> {
        let dialect = self.exchange.dialect();
        let mut search = Search::new(self.caller, self.plan, dialect);
        let reached = search.reach(target, letter).await;
        *attempts = search.attempts;
        let answered = reached.map_err(|missed| match missed {
            Missed::Unspoken(failure) | Missed::Final(failure) | Missed::Failed(Some(failure)) => failure,
            Missed::Failed(None) => no_backend(&self.caller.generation, target),
        })?;
        let backend = answered.index;
        let name = answered.backend.spec.name.clone();
        let body = one_line(self.read(self.caller, answered, attempts.last_mut()).await?);
        let seen = Seen::of_body(body.as_bytes());
        let completion = Completion::read(&body, dialect).filter(|_| !seen.failed()).ok_or_else(|| {
            let why = seen.error().unwrap_or("its answer is none of this API");
            Failure::upstream(502, "upstream_malformed", format!("Backend {name}: {why}."))
        })?;
        let lone = self.several.lone_margin();
        let arguments = self.several.reads_arguments().then(|| completion.means_of_arguments(&body, lone));
        let arguments = arguments.flatten();
        let logprobs = completion.means(lone).map(|all| Logprobs {
            average: all.logprob,
            margin: all.margin,
            filtered_average: arguments.map(|means| means.logprob),
            filtered_margin: arguments.and_then(|means| means.margin),
        });
        let usage = bill::usage(&seen, self.plan.prompt_tokens);
        Ok(Answer {
            choice: completion.choice,
            told: looper::Answered { content: completion.content, reasoning: completion.reasoning, logprobs },
            cost: bill::cost(&self.caller.generation.policy, target, &usage),
            usage: Some(usage),
            body,
            seen,
            backend,
        })
    }

    /// Asks the server that judges answers. What it says is read by the run.
    async fn ask_verifier(
        &self,
        target: Target,
        question: &str,
        answer: &str,
        threshold: f64,
        attempts: &mut SmallVec<[Attempt; 1]>,
    ) -> Result<Answer, Failure> {
        let generation = &self.caller.generation;
        let found = self.several.verifier().and_then(|verifier| {
            Some((
                generation.upstreams.service(&verifier.url)?,
                Duration::from_secs(verifier.timeout_seconds),
            ))
        });
        let Some((backend, timeout)) = found else {
            return Err(Failure::ours(500, "no_verifier", "There is no verifier that could be asked."));
        };
        // A call of its own time; it is never under way when others are dismissed, for it is made alone.
        let caller = self.caller.at_most(timeout);
        let call = Call { model: "verifier", target, backend, index: 0, stateful: false };
        let mut body = b"{\"question\":".to_vec();
        quote_into(question, &mut body);
        body.extend_from_slice(b",\"answer\":");
        quote_into(answer, &mut body);
        body.extend_from_slice(format!(",\"threshold\":{threshold}}}").as_bytes());
        let (result, record) = attempt::call(&caller, &call, &mut Entailment { body }).await;
        attempts.push(record);
        let answered = result.map_err(|failed| failed.failure)?;
        let body = self.read(&caller, answered, attempts.last_mut()).await?;
        let told = looper::Answered { content: body, ..looper::Answered::default() };
        Ok(Answer {
            body: String::new(),
            choice: Span::default(),
            told,
            seen: Seen::default(),
            backend: 0,
            usage: None,
            cost: None,
        })
    }

    /// Reads an answer to its end.
    async fn read(
        &self,
        caller: &Caller,
        mut answered: Answered,
        attempt: Option<&mut Attempt>,
    ) -> Result<String, Failure> {
        let settings = &caller.generation.settings;
        let name = &answered.backend.spec.name;
        let broken = |code, why: String| Failure::upstream(502, code, format!("Backend {name} {why}."));
        let (keep, status) = (answered.head.keep_alive(), answered.head.status());
        let plain = {
            let head = answered.head.view(&answered.received);
            head.content_encoding().is_none() && !head.is_event_stream()
        };
        let mut framing = Framing::of(answered.head.framing());
        let mut body = Vec::new();
        let mut piece = std::mem::take(&mut answered.received);
        let mut from = answered.head_len;
        let ended = loop {
            let before = body.len();
            let step = framing.follow(&piece[from..], |payload| body.extend_from_slice(payload))?;
            if body.len() > settings.limits.observed_bytes {
                break Err(broken(
                    "upstream_too_large",
                    "gives an answer that is too large to be read".into(),
                ));
            }
            if let Err(failure) = self.take(body.len() - before) {
                break Err(failure);
            }
            if step.ended {
                break Ok(step.used == piece.len() - from);
            }
            piece.clear();
            from = 0;
            if piece.capacity() < BUFFER {
                piece.reserve(BUFFER);
            }
            let patience = caller.patience(settings.timeouts.stream_idle);
            caller.client.couple(answered.stream.slot());
            let (read, buffer) = answered.stream.read(piece, patience, Wait::More).await;
            caller.client.uncouple(answered.stream.slot());
            piece = buffer;
            match read {
                Ok(_) => {}
                Err(IoError::Closed) if matches!(framing, Framing::Close) => break Ok(false),
                Err(IoError::Abandoned) => break Err(caller.ended()),
                Err(IoError::TimedOut) if caller.is_over() => break Err(attempt::out_of_time(name)),
                Err(error) => {
                    break Err(broken("upstream_broke_off", format!("broke its answer off: {error}")));
                }
            }
        };
        if let Some(attempt) = attempt {
            attempt.kernel = answered.stream.observe(&answered.backend);
        }
        caller.worker.recycle(piece);
        let reusable = ended?;
        let why = match String::from_utf8(body) {
            Ok(body) if plain && (200..300).contains(&status) => {
                if reusable && keep {
                    let (pool, now) = (&settings.pool, caller.worker.dog.now_ms());
                    let Answered { stream, backend, .. } = answered;
                    caller.worker.pool.put(&backend, stream, pool.idle_per_backend, now);
                }
                return Ok(body);
            }
            Ok(body) if plain => {
                let seen = Seen::of_body(body.as_bytes());
                format!("answered {status}: {}", seen.error().unwrap_or("it does not say why"))
            }
            _ => "gives an answer that is no plain JSON".into(),
        };
        Err(broken("upstream_status", why))
    }

    /// Counts bytes that are held from now on.
    fn take(&self, more: usize) -> Result<(), Failure> {
        self.bytes.set(self.bytes.get() + more);
        let limit = self.caller.generation.settings.limits.buffered_bytes;
        if self.held.borrow_mut().cover(self.bytes.get(), limit) {
            return Ok(());
        }
        Err(Failure::ours(503, "over_capacity", "The gateway holds as many bytes as it is allowed to."))
    }

    /// Of these bytes, what comes next may take the place.
    fn give_back(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }
}

/// The client's request with what the call changes in it. A copy, for several are on their way at once.
struct Copied<'a> {
    errand: &'a Errand<'a>,
    wording: Wording<'a>,
    body: Vec<u8>,
}

impl Letter for Copied<'_> {
    fn pack(&mut self, call: &Call<'_>, gather: &mut Gather) -> Result<(Range<usize>, Vec<String>), Failure> {
        let Errand { connection, exchange, .. } = self.errand;
        let remarks = compose(connection, exchange, call, &self.wording, gather)?;
        let before = std::mem::take(&mut self.body);
        self.errand.give_back(before.len());
        let mut copy = before;
        copy.clear();
        gather
            .patch
            .slices(connection.body(self.wording.body))
            .for_each(|slice| copy.extend_from_slice(slice));
        gather.patch.clear();
        self.errand.take(copy.len())?;
        gather.body = copy;
        Ok((0..gather.body.len(), remarks))
    }

    fn unpack(&mut self, gather: &mut Gather) {
        self.body = std::mem::take(&mut gather.body);
    }
}

/// A question whether an answer is right.
struct Judge<'a> {
    errand: &'a Errand<'a>,
    prompt: &'a str,
    body: Vec<u8>,
}

impl Letter for Judge<'_> {
    fn pack(&mut self, call: &Call<'_>, gather: &mut Gather) -> Result<(Range<usize>, Vec<String>), Failure> {
        let Errand { connection, exchange, plan, .. } = self.errand;
        let body = &mut self.body;
        body.clear();
        body.extend_from_slice(b"{\"model\":");
        body.extend_from_slice(model_literal(call));
        // `store` is said so that no provider keeps what nobody will refer to.
        let (asks, most, rest) = match exchange.dialect() {
            Dialect::OpenAiChat => ("messages", "max_tokens", ",\"logprobs\":true,\"top_logprobs\":1"),
            Dialect::OpenAiResponses => ("input", "max_output_tokens", ",\"store\":false"),
            Dialect::AnthropicMessages => ("messages", "max_tokens", ""),
        };
        body.extend_from_slice(format!(",\"{asks}\":[{{\"role\":\"user\",\"content\":").as_bytes());
        quote_into(self.prompt, body);
        let rest =
            format!("}}],\"{most}\":{JUDGEMENT_TOKENS},\"temperature\":{JUDGEMENT_TEMPERATURE}{rest}}}");
        body.extend_from_slice(rest.as_bytes());
        let mut remarks = Vec::new();
        let heading = Heading {
            decision: plan.route.decision,
            length: body.len(),
            further: sub_call_headers(exchange),
        };
        compose_head(connection, exchange, call, &heading, &mut remarks, &mut gather.head)?;
        gather.patch.clear();
        gather.body = std::mem::take(&mut self.body);
        Ok((0..gather.body.len(), remarks))
    }

    fn unpack(&mut self, gather: &mut Gather) {
        self.body = std::mem::take(&mut gather.body);
    }
}

/// The same question to a verifier. Nothing of the client's own head goes there.
struct Entailment {
    body: Vec<u8>,
}

impl Letter for Entailment {
    fn pack(&mut self, call: &Call<'_>, gather: &mut Gather) -> Result<(Range<usize>, Vec<String>), Failure> {
        let spec = &call.backend.spec;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             accept-encoding: identity\r\n\r\n",
            spec.chat_path.as_deref().unwrap_or("/"),
            spec.authority,
            self.body.len()
        );
        gather.head.clear();
        gather.head.extend_from_slice(head.as_bytes());
        gather.patch.clear();
        gather.body = std::mem::take(&mut self.body);
        Ok((0..gather.body.len(), Vec::new()))
    }

    fn unpack(&mut self, gather: &mut Gather) {
        self.body = std::mem::take(&mut gather.body);
    }
}
