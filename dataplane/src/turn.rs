//! One turn of a session: facts, decision, backend, answer.

use std::time::Instant;

use pintle_routing::facts::{Dialect, Facts, SessionIdentity};
use pintle_routing::flow::{Attempt, Decided};
use pintle_routing::ids::{DecisionId, Target};
use pintle_routing::learned::Learned;
use pintle_routing::outcome::{Refusal, Route, SessionAction, Verdict};
use pintle_routing::policy::Inputs;
use pintle_routing::units::{Micros, Tokens};
use pintle_sessions::{NameId, Record, Store};
use smallvec::SmallVec;

use crate::attempt::{self, Answered, Call, Caller, Failed, Letter};
use crate::charge::Charge;
use crate::connection::{Body, Connection, Exchange, Next};
use crate::edit::{RelevantTools, SubCall};
use crate::extract;
use crate::failure::Failure;
use crate::json;
use crate::learned;
use crate::local;
use crate::looper;
use crate::memory;
use crate::outgoing::{Forwarded, Wording};
use crate::relay;
use crate::relevance;
use crate::shared::{Generation, now};
use crate::upstream::backend::ModelBackends;

/// Calls to backends that one request may cause.
const MAX_ATTEMPTS: usize = 3;
/// Calls to backends of one model that one request may cause.
const MAX_ATTEMPTS_PER_MODEL: usize = 2;

/// What the decision leaves for the rest of the turn.
pub(crate) struct Plan {
    /// Where to, and why.
    pub(crate) route: Route,
    /// Where the model's value lies in the body, quotes included.
    pub(crate) model: json::Span,
    /// The session's address and record.
    pub(crate) session: Option<SessionIdentity>,
    pub(crate) before: Option<Record>,
    /// The tenant of a request that refers to state at a provider, or whose answer is kept there.
    pub(crate) tenant: Option<Vec<u8>>,
    /// The request refers to such state.
    pub(crate) stateful: bool,
    /// The backend that keeps it.
    pub(crate) keeper: Option<NameId>,
    pub(crate) stream: bool,
    /// Estimated prompt.
    pub(crate) prompt_tokens: Tokens,
    /// What was charged against the limits.
    pub(crate) charge: Option<Charge>,
    /// The tools that have to do with the request, where its decision looks at that.
    pub(crate) relevant: Option<RelevantTools>,
}

impl Plan {
    /// How the client's request is sent on.
    pub(crate) fn wording<'a>(&'a self, body: Body, sub_call: Option<&'a SubCall<'a>>) -> Wording<'a> {
        Wording {
            body,
            model: self.model,
            decision: self.route.decision,
            selected: self.route.action != SessionAction::Explicit,
            relevant: self.relevant.as_ref(),
            sub_call,
        }
    }
}

/// An answer without a model.
pub(crate) struct FixedAnswer {
    pub(crate) decision: DecisionId,
    pub(crate) text: String,
    pub(crate) stream: bool,
}

/// Serves the turn whose head and body lie in the connection's buffers.
///
/// # Errors
/// What to tell the client, if nothing has been told yet.
pub(crate) async fn serve(
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
) -> Result<Next, Failure> {
    let learned = learned::measure(connection, exchange, body).await?;
    let mut plan = match decide(connection, exchange, body, learned.as_ref())? {
        Conclusion::Route(plan) => plan,
        Conclusion::Answer(answer) => {
            return Ok(relay::fixed_answer(connection, exchange, &answer).await);
        }
        Conclusion::Refuse(refusal) => return Err(Failure::refusal(refusal)),
    };
    let generation = exchange.generation.clone();
    plan.relevant = relevance::of(connection, exchange, body, &plan.route).await?;
    if let Some(several) = looper::plan(&generation, &plan)
        && let Some(asked) = looper::asked(connection, exchange, body, several)?
    {
        return looper::serve(connection, exchange, body, plan, (several, asked)).await;
    }
    let answered = reach(connection, exchange, &plan, body).await?;
    // The body is not needed any more, and the answer may take minutes.
    connection.consume();
    relay::run(connection, exchange, plan, answered).await
}

enum Conclusion {
    Route(Box<Plan>),
    Answer(FixedAnswer),
    Refuse(Refusal),
}

/// Reads the facts and decides. Nothing here waits.
fn decide(
    connection: &Connection,
    exchange: &mut Exchange,
    body: Body,
    learned: Option<&Learned>,
) -> Result<Conclusion, Failure> {
    let started = Instant::now();
    let worker = &connection.worker;
    let generation = exchange.generation.clone();
    let settings = &generation.settings;
    let store: &Store = &worker.shared.store;
    let mut spans = worker.spans.borrow_mut();
    let text = scan(connection, exchange, body, &mut spans)?;
    let view = connection.head.view(&connection.input);
    let key = |tenant: &[u8], session: &[u8]| store.session_key(tenant, session);
    let options = extract::Options {
        session_header: &settings.session.header,
        trusted_identity: settings.trusted_identity,
        key: &key,
    };
    let mut facts: Facts<'_> = extract::facts(view, text, &spans, generation.policy.needs(), &options);
    exchange.flow.request.model = facts.requested_model.to_string();
    exchange.flow.request.stream = facts.stream;
    if let Some(session) = facts.session {
        exchange.flow.request.session_source = Some(session.source);
        exchange.flow.request.session_key = format!("{:016x}", (session.key >> 64) as u64);
    }

    let now = now();
    let memory::Recalled { before, snapshot, provider_owner, provider_backend } =
        memory::recall(store, &mut facts, extract::tenant(view), text, &spans, now);
    let live = worker.live.borrow();
    let foresight = generation
        .policy
        .learns_habits()
        .then(|| memory::foresee(&worker.habits.borrow(), &facts, before.as_ref()))
        .flatten();
    let inputs = Inputs {
        facts: &facts,
        session: snapshot.as_ref(),
        provider_owner,
        now,
        live: &live,
        foresight: foresight.as_ref(),
    };
    let outcome = generation.policy.decide_measured(&inputs, learned.unwrap_or(Learned::none()));
    let elapsed = started.elapsed();
    exchange.flow.timings.routing_us = Micros(elapsed.as_micros() as u64);

    let mut conclusion = match &outcome.verdict {
        Verdict::Route(route) => {
            generation.meters.routed(elapsed.as_secs_f64(), route.decision.map(|decision| decision.index()));
            Conclusion::Route(Box::new(Plan {
                route: route.clone(),
                model: spans.model.span(),
                session: facts.session,
                before,
                tenant: (facts.provider_state.is_some() || is_kept(&spans))
                    .then(|| extract::tenant(view).to_vec()),
                stateful: facts.provider_state.is_some(),
                keeper: provider_backend,
                stream: facts.stream,
                prompt_tokens: Tokens(facts.envelope_bytes.div_ceil(4)),
                charge: None,
                relevant: None,
            }))
        }
        Verdict::Answer(answer) => Conclusion::Answer(FixedAnswer {
            decision: answer.decision,
            text: generation.policy.fast_response(answer.decision).unwrap_or_default().to_owned(),
            stream: facts.stream,
        }),
        Verdict::Refuse(refusal) => Conclusion::Refuse(refusal.clone()),
    };
    exchange.flow.decided = Some(Decided::of(&inputs, outcome, settings.record_inputs));
    if let Conclusion::Route(plan) = &mut conclusion {
        let model = &generation.policy.models()[plan.route.target.model.index()].name;
        plan.charge = Charge::take(&worker.shared, &generation, facts.identity, model, plan.prompt_tokens)?;
    }
    Ok(conclusion)
}

/// Whether the provider keeps the answer, so that a later request may refer to it by its id.
fn is_kept(spans: &json::Spans) -> bool {
    spans.dialect == Dialect::OpenAiResponses && !spans.unstored
}

/// Finds where in the body everything lies.
pub(crate) fn scan<'a>(
    connection: &'a Connection,
    exchange: &Exchange,
    body: Body,
    spans: &mut json::Spans,
) -> Result<&'a str, Failure> {
    json::scan(connection.body(body), exchange.dialect(), &json::ScanLimits::default(), spans)
        .map_err(|error| Failure::client(error.status(), "invalid_request_body", error.to_string()))
}

/// Finds a backend that begins to answer.
async fn reach(
    connection: &mut Connection,
    exchange: &mut Exchange,
    plan: &Plan,
    body: Body,
) -> Result<Answered, Failure> {
    let generation = exchange.generation.clone();
    let caller = Caller::of(connection, &generation, None);
    let mut search = Search::new(&caller, plan, exchange.dialect());
    let mut letter = Forwarded { connection, exchange, wording: plan.wording(body, None) };
    let mut last = None;
    let mut found = None;
    let targets = std::iter::once(plan.route.target).chain(plan.route.alternatives.iter().copied());
    for target in targets {
        match search.reach(target, &mut letter).await {
            Ok(answered) => found = Some(Ok(answered)),
            Err(Missed::Final(failure)) => found = Some(Err(failure)),
            Err(Missed::Unspoken(failure)) => {
                last.get_or_insert(failure);
            }
            Err(Missed::Failed(failure)) => last = failure.or(last),
        }
        if found.is_some() {
            break;
        }
    }
    let attempts = search.attempts;
    exchange.flow.attempts = attempts;
    found.unwrap_or_else(|| Err(last.unwrap_or_else(|| no_backend(&generation, plan.route.target))))
}

/// No backend of a target could be tried.
pub(crate) fn no_backend(generation: &Generation, target: Target) -> Failure {
    let name = &generation.policy.models()[target.model.index()].name;
    Failure::upstream(502, "no_backend", format!("Model {name} has no backend that could be tried."))
}

/// Why no backend of a target has begun to answer.
pub(crate) enum Missed {
    /// None of them speaks the client's API.
    Unspoken(Failure),
    /// None of them could be reached; the last failure, if one was tried.
    Failed(Option<Failure>),
    /// One of them may have seen the request.
    Final(Failure),
}

/// A search for a backend, over the targets of one request.
pub(crate) struct Search<'a> {
    caller: &'a Caller,
    plan: &'a Plan,
    dialect: Dialect,
    /// What was tried.
    pub(crate) attempts: SmallVec<[Attempt; 1]>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(caller: &'a Caller, plan: &'a Plan, dialect: Dialect) -> Self {
        Self { caller, plan, dialect, attempts: SmallVec::new() }
    }

    /// Calls the backends of a target, one after another, until one begins to answer.
    pub(crate) async fn reach(
        &mut self,
        target: Target,
        letter: &mut impl Letter,
    ) -> Result<Answered, Missed> {
        let Self { caller, plan, dialect, attempts } = self;
        let generation = &caller.generation;
        let model = &generation.upstreams.models[target.model.index()];
        let preferred = preferred_backend(&caller.worker.shared.store, plan, target, generation);
        let mut tried = barred(model, plan, target, generation, *dialect);
        if !model.backends.is_empty() && tried.len() == model.backends.len() {
            return Err(Missed::Unspoken(unspoken(&model.name, model, *dialect)));
        }
        let most = tried.len() + MAX_ATTEMPTS_PER_MODEL;
        let mut last = None;
        while tried.len() < most && attempts.len() < MAX_ATTEMPTS && !(caller.is_over() && last.is_some()) {
            let picked = caller.worker.balancer.borrow_mut().pick(
                target.model.index(),
                model,
                preferred,
                &tried,
                now().get(),
            );
            let Some(index) = picked else { break };
            tried.push(index);
            if !attempts.is_empty() {
                generation.meters.retries.increment(1);
            }
            let call = Call {
                model: &model.name,
                target,
                backend: &model.backends[index],
                index,
                stateful: plan.stateful,
            };
            let (result, record) = attempt::call(caller, &call, letter).await;
            attempts.push(record);
            match result {
                Ok(answered) => return Ok(answered),
                Err(Failed { failure, untouched }) if untouched && failure.status >= 500 => {
                    last = Some(failure);
                }
                Err(Failed { failure, .. }) => return Err(Missed::Final(failure)),
            }
        }
        Err(Missed::Failed(last))
    }
}

/// Backends of a target that cannot serve the request: those that do not speak its API, and, where one keeps the
/// state that it refers to, all others.
fn barred(
    model: &ModelBackends,
    plan: &Plan,
    target: Target,
    generation: &Generation,
    dialect: Dialect,
) -> SmallVec<[usize; 4]> {
    let keeps = |index| Some(generation.names.backend(target.model, index)) == plan.keeper;
    let keeper = (0..model.backends.len()).find(|index| keeps(*index));
    let mute = |index: usize| model.backends[index].spec.path(dialect).is_none();
    (0..model.backends.len())
        .filter(|index| mute(*index) || keeper.is_some_and(|keeper| keeper != *index))
        .collect()
}

/// A request that no backend of its model would understand.
fn unspoken(name: &str, model: &ModelBackends, dialect: Dialect) -> Failure {
    let spoken = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages]
        .into_iter()
        .filter(|other| model.backends.iter().any(|backend| backend.spec.path(*other).is_some()))
        .map(local::path);
    let others = spoken.collect::<Vec<_>>().join(" or ");
    let asked = local::path(dialect);
    let message =
        format!("Model {name} is not served by any backend that speaks {asked}; ask for it at {others}.");
    Failure::client(400, "unsupported_api", message).about("model")
}

/// The backend that served the session's last turn on this model holds its prefix cache.
fn preferred_backend(store: &Store, plan: &Plan, target: Target, generation: &Generation) -> Option<usize> {
    let before = plan.before.as_ref()?;
    if store.name(before.model)? != generation.policy.target_name(target) {
        return None;
    }
    let name = store.name(before.backend)?;
    let backends = &generation.upstreams.models[target.model.index()].backends;
    backends.iter().position(|backend| backend.spec.name == name)
}
