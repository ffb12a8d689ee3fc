//! One answer out of several models: the calls of a decision's `confidence`, `ratings` or `remom`.
//!
//! Routing's [`Run`] says which calls to make and what their answers amount to; here they are made, through the same
//! backends, pools and health as any other, and the client's answer is composed of them. Nothing is passed on before
//! all calls have ended, so a client that asked for a stream gets its events at once.
//!
//! # What goes to one model all the same
//!
//! A turn that is held (an open tool loop, state at a provider), a request that names its model, one in which no
//! user says anything, and one that is to be answered in the background.
//!
//! # One API
//!
//! Each call is made in the client's own API, and the answer is one of it. What that API cannot say is refused before
//! anybody is asked: several answers in one message of Anthropic's, or how sure a model was where no log probabilities
//! are told.
//!
//! # Why in one task
//!
//! The calls borrow the client's request and share its watch: they are polled together ([`gang`]) by the task of the
//! client's connection, and end with it.

mod call;
mod compose;
mod gang;
#[cfg(test)]
mod tests;

use std::time::Instant;

use pintle_routing::facts::{Dialect, Needs};
use pintle_routing::flow::Looped;
use pintle_routing::looper::{Conclusion, Plan as Several, Run};
use pintle_routing::outcome::{SessionAction, SessionPhase};
use pintle_routing::units::{Micros, Tokens, Usd};
use smallvec::SmallVec;

use crate::answer_head::Told;
use crate::attempt::Caller;
use crate::bill;
use crate::commit::Commit;
use crate::connection::{Body, Connection, Exchange, GONE, Next, gone};
use crate::edit::sub_call;
use crate::extract;
use crate::failure::Failure;
use crate::http::head::Field;
use crate::json::members::Row;
use crate::json::text::quote_into;
use crate::local;
use crate::meters::Turn;
use crate::relay;
use crate::shared::Generation;
use crate::turn::{self, Plan};
use crate::upstream::backend::Backend;
use call::{Done, Errand};
use compose::{Choice, Reply};
use gang::Gang;

/// How several models are asked in this turn; `None` where one is.
pub(crate) fn plan<'g>(generation: &'g Generation, plan: &Plan) -> Option<&'g Several> {
    let route = &plan.route;
    let free = route.phase == SessionPhase::UserTurn
        && !plan.stateful
        && route.action != SessionAction::Explicit
        && !route.action.is_hard_locked();
    generation.policy.looper(route.decision?).filter(|_| free)
}

/// What the client asks.
pub(crate) struct Asked {
    question: String,
    include_usage: bool,
    logprobs: bool,
}

/// Reads what the client asks; `None` if one model is to be asked all the same.
///
/// # Errors
/// A request in an API that has no word for what the algorithm needs or gives, or that no candidate's backends speak.
pub(crate) fn asked(
    connection: &Connection,
    exchange: &Exchange,
    body: Body,
    several: &Several,
) -> Result<Option<Asked>, Failure> {
    let dialect = exchange.dialect();
    let mut spans = connection.worker.spans.borrow_mut();
    let text = turn::scan(connection, exchange, body, &mut spans)?;
    let options = extract::Options { session_header: "", trusted_identity: false, key: &|_, _| 0 };
    let needs = Needs { current_user: true, ..Needs::default() };
    let facts = extract::facts(connection.head.view(&connection.input), text, &spans, needs, &options);
    let question = facts.texts.current_user.to_string();
    let top = Row::document(text);
    let value = |name: &str| top.as_ref().and_then(|top| top.value(text, name));
    let is_true = |name: &str| value(name).and_then(|value| text.get(value.range())) == Some("true");
    // Such a request is answered at once with a promise, and the answer fetched from the one who made it.
    let background = dialect == Dialect::OpenAiResponses && is_true("background");
    if question.is_empty() || background {
        return Ok(None);
    }
    check(exchange, several)?;
    let logprobs = match dialect {
        Dialect::OpenAiChat => is_true("logprobs"),
        Dialect::OpenAiResponses => value("include")
            .and_then(|value| Row::array(text, value))
            .is_some_and(|include| sub_call::includes(text, &include)),
        Dialect::AnthropicMessages => false,
    };
    Ok(Some(Asked { question, include_usage: spans.include_usage, logprobs }))
}

/// Whether the client's API has words for the algorithm, and any candidate speaks it.
fn check(exchange: &Exchange, several: &Several) -> Result<(), Failure> {
    let (dialect, generation) = (exchange.dialect(), &exchange.generation);
    let path = local::path(dialect);
    let refuse = |why: String| {
        let message = format!("This request is answered by several models ({}), {why}.", several.name());
        Err(Failure::client(400, "unsupported_api", message).about("model"))
    };
    if dialect == Dialect::AnthropicMessages {
        let elsewhere = format!(
            "ask at {} or {}",
            local::path(Dialect::OpenAiChat),
            local::path(Dialect::OpenAiResponses)
        );
        if several.gives_all() {
            return refuse(format!("and {path} has room for one answer; {elsewhere}, or name a model"));
        }
        if several.needs_logprobs() {
            return refuse(format!(
                "which are judged by log probabilities, and {path} has none; {elsewhere}, name a model, or configure \
                 self_verify or automix_entailment as the decision's confidence_method"
            ));
        }
    }
    let speaks = |backend: &Backend| backend.spec.path(dialect).is_some();
    let models = || several.targets().iter().map(|target| &generation.upstreams.models[target.model.index()]);
    if models().any(|model| model.backends.is_empty() || model.backends.iter().any(|backend| speaks(backend)))
    {
        return Ok(());
    }
    let spoken = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages]
        .into_iter()
        .filter(|other| models().flat_map(|model| &model.backends).any(|b| b.spec.path(*other).is_some()))
        .map(local::path);
    let others = spoken.collect::<Vec<_>>().join(" or ");
    refuse(format!("none of which is served by a backend that speaks {path}; ask at {others}"))
}

/// Asks the models, answers the client and records the turn.
///
/// # Errors
/// What to tell the client where there is no answer.
pub(crate) async fn serve(
    connection: &mut Connection,
    exchange: &mut Exchange,
    body: Body,
    mut plan: Box<Plan>,
    (several, asked): (&Several, Asked),
) -> Result<Next, Failure> {
    let generation = exchange.generation.clone();
    let until = Instant::now() + generation.settings.looper.timeout;
    let mut run = several.begin(&asked.question);
    let (mut done, left) = {
        let caller = Caller::of(connection, &generation, Some(until));
        let errand = Errand::new(connection, exchange, &plan, body, several, &caller);
        ask(&errand, &mut run, until).await
    };
    // The body is not needed any more.
    connection.consume();
    exchange.flow.timings.first_byte_us = Some(Micros(exchange.read.elapsed().as_micros() as u64));
    account(exchange, &run, several, &mut done);
    if let (Some(charge), Some(usage)) = (plan.charge.take(), exchange.flow.usage) {
        charge.settle(Tokens(usage.prompt.get().saturating_add(usage.completion.get())));
    }
    if left {
        return Err(gone("The client left before its answer began."));
    }
    let choices = match run.conclusion() {
        Some(Conclusion::Answer { choices, .. }) => choices,
        Some(Conclusion::Failed { reason }) => {
            let late = |done: &Done| done.result.as_ref().is_err_and(|failure| failure.status == 504);
            let status = if done.iter().any(late) { 504 } else { 502 };
            return Err(Failure::upstream(status, "looper_failed", reason.clone()));
        }
        None => return Err(Failure::ours(500, "looper_failed", "The calls ended without a conclusion.")),
    };
    let answers: SmallVec<[&Done; 4]> =
        choices.iter().filter_map(|id| done.iter().find(|done| done.id == *id)).collect();
    commit(connection, exchange, &plan, &answers);
    relay::count_action(exchange, &plan, answers[0].target);
    Ok(answer(connection, exchange, &plan, &asked, several, &run, &answers).await)
}

/// Makes the calls that the run wants, until it wants no more and all have ended. Says whether the client left.
async fn ask<'a>(errand: &'a Errand<'a>, run: &mut Run<'_>, until: Instant) -> (Vec<Done>, bool) {
    let mut gang = Gang::new();
    let mut all = Vec::new();
    let mut left = false;
    loop {
        while let Some(call) = run.next_call() {
            gang.add(errand.make(call));
        }
        let Some(mut done) = gang.next().await else { break };
        match &mut done.result {
            Ok(answer) => run.answered(done.id, std::mem::take(&mut answer.told)),
            Err(failure) => {
                run.failed(done.id, failure.message.trim_end_matches('.'));
                // Calls that are dismissed end as if their client had left.
                if failure.status == GONE && !errand.caller.is_dismissed() {
                    left = true;
                    run.give_up("The client left.");
                }
            }
        }
        all.push(done);
        if Instant::now() >= until {
            run.give_up("The time is over.");
        }
        if run.conclusion().is_some() && !gang.is_empty() && !errand.caller.is_dismissed() {
            errand.caller.dismiss();
        }
    }
    all.sort_by_key(|done| done.id);
    (all, left)
}

/// Records the calls: who was asked what, what it took and cost, and what it amounts to.
fn account(exchange: &mut Exchange, run: &Run<'_>, several: &Several, done: &mut [Done]) {
    let generation = &exchange.generation;
    for done in done.iter_mut() {
        if let Some(record) = done.attempts.last_mut().and_then(|last| last.sub_call.as_mut()) {
            record.confidence = run.confidence(done.id);
        }
        exchange.flow.attempts.append(&mut done.attempts);
        let meters = &generation.meters.models[done.target.model.index()];
        if let Ok((answer, usage)) = done.result.as_ref().map(|answer| (answer, answer.usage))
            && let Some(usage) = usage
        {
            meters.requested();
            if let Some(cost) = answer.cost {
                meters.cost(cost.get());
            }
            let took = done.took.as_secs_f64();
            meters.answered(&Turn {
                ttft: took,
                total: took,
                prompt: usage.prompt.get(),
                completion: usage.completion.get(),
                streamed: false,
            });
        }
        let outcome = if done.result.is_ok() { "answered" } else { "failed" };
        metrics::counter!("pintle_looper_calls_total", "algorithm" => several.name(), "outcome" => outcome)
            .increment(1);
    }
    let answers = || done.iter().filter_map(|done| done.result.as_ref().ok());
    exchange.flow.usage = bill::sum(answers().filter_map(|answer| answer.usage.as_ref()));
    let costs = || answers().filter_map(|answer| answer.cost);
    exchange.flow.cost = costs().next().is_some().then(|| Usd(costs().map(Usd::get).sum()));
    let (choices, reason) = match run.conclusion() {
        Some(Conclusion::Answer { choices, reason }) => (choices.as_slice(), reason.clone()),
        Some(Conclusion::Failed { reason }) => (&[][..], reason.clone()),
        None => (&[][..], String::new()),
    };
    let number = |id: usize| u32::try_from(id).unwrap_or(u32::MAX);
    exchange.flow.looper = Some(Box::new(Looped {
        algorithm: several.name().to_owned(),
        calls: number(run.iterations()),
        choices: choices.iter().map(|id| number(*id)).collect(),
        reason,
    }));
}

/// Remembers the turn as one of the model whose answer comes first; tool calls of the others are theirs all the same.
fn commit(connection: &Connection, exchange: &mut Exchange, plan: &Plan, answers: &[&Done]) {
    for (nth, done) in answers.iter().enumerate() {
        let Ok(answer) = &done.result else { continue };
        let by = (done.target, answer.backend);
        let commit = Commit::of(&connection.worker, &exchange.generation, plan, by);
        if nth == 0 {
            exchange.flow.ending.committed = commit.store(&answer.seen).is_some();
            exchange.flow.ending.finish_reason = answer.seen.finish_reason().map(str::to_owned);
        } else {
            commit.pin(&answer.seen);
        }
    }
}

async fn answer(
    connection: &mut Connection,
    exchange: &mut Exchange,
    plan: &Plan,
    asked: &Asked,
    several: &Several,
    run: &Run<'_>,
    answers: &[&Done],
) -> Next {
    let generation = exchange.generation.clone();
    let policy = &generation.policy;
    let choices: Vec<Choice<'_>> = answers
        .iter()
        .filter_map(|done| {
            let answer = done.result.as_ref().ok()?;
            let model = (answers.len() > 1).then(|| policy.target_name(done.target));
            Some(Choice { body: &answer.body, at: answer.choice, model })
        })
        .collect();
    let names: SmallVec<[&str; 4]> = answers.iter().map(|done| policy.target_name(done.target)).collect();
    let id = exchange.id.to_string();
    let reply = Reply {
        id: &id,
        created: exchange.flow.at.get() / 1000,
        model: &names.join(","),
        choices: &choices,
        usage: exchange.flow.usage.unwrap_or_default(),
        logprobs: asked.logprobs,
        more: &rounds(several, run, policy),
    };
    let kind: &[u8] = if plan.stream { b"text/event-stream" } else { b"application/json" };
    let body = reply.body(exchange.dialect(), plan.stream, asked.include_usage);
    let mut used: SmallVec<[&str; 4]> = SmallVec::new();
    for (target, _) in (0..run.iterations()).filter_map(|id| run.answer(id)) {
        let name = policy.target_name(target);
        if !used.contains(&name) {
            used.push(name);
        }
    }
    let used = used.join(",");
    let iterations = run.iterations().to_string();
    let mut told = Told::of(policy, exchange, plan, answers[0].target, 200);
    let mut fields = told.fields();
    let about: [(&[u8], &str); 4] = [
        (b"x-vsr-looper-model", names[0]),
        (b"x-vsr-looper-models-used", &used),
        (b"x-vsr-looper-iterations", &iterations),
        (b"x-vsr-looper-algorithm", several.name()),
    ];
    fields.extend(about.into_iter().filter_map(|(name, value)| Field::new(name, value.as_bytes()).ok()));
    connection.respond(exchange, 200, kind, &body, &fields).await
}

/// The member in which `remom` shows what was answered on the way, named and shaped as in v0.3.
fn rounds(several: &Several, run: &Run<'_>, policy: &pintle_routing::policy::Policy) -> Vec<u8> {
    let mut out = Vec::new();
    if !several.shows_rounds() {
        return out;
    }
    out.extend_from_slice(b",\"reasoning_mom_responses\":[");
    for (nth, calls) in run.rounds().enumerate() {
        let comma = if nth > 0 { "," } else { "" };
        let breadth = calls.len();
        out.extend_from_slice(
            format!("{comma}{{\"round\":{},\"breadth\":{breadth},\"responses\":[", nth + 1).as_bytes(),
        );
        for (at, (target, answer)) in calls.filter_map(|id| run.answer(id)).enumerate() {
            out.extend_from_slice(if at > 0 { b",{\"model\":" } else { b"{\"model\":" });
            quote_into(policy.target_name(target), &mut out);
            out.extend_from_slice(b",\"content\":");
            quote_into(&answer.content, &mut out);
            if !answer.reasoning.is_empty() {
                out.extend_from_slice(b",\"reasoning\":");
                quote_into(&answer.reasoning, &mut out);
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    out
}
