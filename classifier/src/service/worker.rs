//! A thread of the service.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::TryRecvError;
use pintle_routing::evidence::Unknown;
use pintle_routing::learned::Learned;

use super::cache::Cache;
use super::engine::Engine;
use super::joint::{Answer, Joint};
use super::{Counters, Job, Options, Queues, meters};
use crate::external::{Call, ExternalModel};
use crate::reader::Wanted;
use crate::signals::{Item, SignalPlan};

/// How often a thread without work looks whether a model that it has a session on is gone.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Answers until both queues are closed and empty.
pub(super) fn run(queues: &Queues, cache: &Arc<Cache>, counters: &Arc<Counters>, options: &Options) {
    let mut engine = Engine::new(options.retry_after);
    let mut batch = Vec::with_capacity(options.batch);
    while take(queues, options.batch.max(1), &mut batch, &mut engine) {
        serve(&mut batch, &mut engine, cache, counters);
    }
}

/// Waits for a question, then takes what else is there: first those that a request waits for. False when no
/// question can come any more.
fn take(queues: &Queues, most: usize, batch: &mut Vec<Job>, engine: &mut Engine) -> bool {
    while batch.len() < most {
        match queues.requests.try_recv() {
            Ok(job) => batch.push(job),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    if !batch.is_empty() {
        return true;
    }
    // One question at a time from the background, so that a request waits for one at most.
    loop {
        let patience = if engine.is_empty() { Duration::MAX } else { TIDY_EVERY };
        let first = crossbeam_channel::select_biased! {
            recv(queues.requests) -> job => job.or_else(|_| queues.background.recv()),
            recv(queues.background) -> job => job.or_else(|_| queues.requests.recv()),
            default(patience) => {
                engine.tidy();
                continue;
            }
        };
        return first.map(|job| batch.push(job)).is_ok();
    }
}

/// A question that is being answered.
pub(super) struct Open {
    job: Job,
    items: Vec<Item>,
    compressed: Option<String>,
    pub(super) answers: Vec<Answer>,
}

impl Open {
    fn tell(self, counters: &Counters) {
        let learned = self.learned(counters);
        (self.job.reply)(learned);
    }

    /// What is known of the question now.
    pub(super) fn learned(&self, counters: &Counters) -> Learned {
        for why in self.answers.iter().filter_map(|answer| answer.as_ref().err()) {
            meters::unknown(*why);
        }
        counters.answered.fetch_add(1, Ordering::Relaxed);
        self.job.plan.tell(&self.job.question, &self.items, &self.answers)
    }

    fn text(&self, item: usize) -> &str {
        self.job.question.text(self.items[item].text, self.compressed.as_deref())
    }
}

fn serve(batch: &mut Vec<Job>, engine: &mut Engine, cache: &Arc<Cache>, counters: &Arc<Counters>) {
    let now = Instant::now();
    let mut open: Vec<Open> = Vec::with_capacity(batch.len());
    for job in batch.drain(..) {
        meters::queued(now.saturating_duration_since(job.asked));
        if job.gone.load(Ordering::Relaxed) {
            counters.abandoned.fetch_add(1, Ordering::Relaxed);
        } else if now >= job.deadline {
            late(job, counters);
        } else {
            let (items, compressed) = job.plan.ask(&job.question);
            let answers = vec![Err(Unknown::NoClassifier); items.len()];
            open.push(Open { job, items, compressed, answers });
        }
    }
    // Questions of one plan are read together; two plans meet only around a reload.
    let mut plans: Vec<Arc<SignalPlan>> = Vec::new();
    for question in &open {
        if !plans.iter().any(|plan| Arc::ptr_eq(plan, &question.job.plan)) {
            plans.push(question.job.plan.clone());
        }
    }
    for plan in &plans {
        // What is answered elsewhere is asked first, and on its way while the rest is computed here.
        for (model, slot) in plan.models.iter().enumerate() {
            if let Some(external) = slot.backends.first().and_then(|backend| backend.external()) {
                let work = gather(plan, model, &mut open, cache);
                ask_all(external, work, &mut open, cache, counters);
            }
        }
        for (model, slot) in plan.models.iter().enumerate() {
            if slot.backends.first().is_some_and(|backend| backend.external().is_none()) {
                let work = gather(plan, model, &mut open, cache);
                read_all(plan, model, work, &mut open, engine, cache);
            }
        }
    }
    for mut question in open {
        let whole = match question.job.joint.take() {
            Some(joint) => joint.park(question),
            None => Some(question),
        };
        if let Some(question) = whole {
            question.tell(counters);
        }
    }
}

fn late(job: Job, counters: &Counters) {
    counters.late.fetch_add(1, Ordering::Relaxed);
    meters::unknown(Unknown::Deadline);
    (job.reply)(Learned::missing(Unknown::Deadline));
}

/// A text to be read, and who wants it.
struct Wanting {
    key: u128,
    wanted: Wanted,
    /// Positions: question, item.
    askers: Vec<(usize, usize)>,
}

/// What the open questions of this plan want of this model and nobody knows yet: each distinct text once. Questions
/// whose time is up or whose asker is gone by now are passed over.
fn gather(plan: &Arc<SignalPlan>, model: usize, open: &mut [Open], cache: &Cache) -> Vec<Wanting> {
    let slot = &plan.models[model];
    let mut work: Vec<Wanting> = Vec::new();
    let Some(digest) = slot.backends.first().map(|backend| backend.digest()) else { return work };
    let now = Instant::now();
    for (at, question) in open.iter_mut().enumerate() {
        if !Arc::ptr_eq(&question.job.plan, plan) {
            continue;
        }
        let gone = question.job.gone.load(Ordering::Relaxed) || now >= question.job.deadline;
        for nth in 0..question.items.len() {
            let item = question.items[nth];
            if item.model != model {
                continue;
            }
            if gone {
                question.answers[nth] = Err(Unknown::Deadline);
                continue;
            }
            let key = cache.key(&digest, question.text(nth));
            match work.iter_mut().find(|known| known.key == key) {
                Some(known) => {
                    known.wanted = known.wanted.and(item.wanted);
                    known.askers.push((at, nth));
                }
                None => {
                    work.push(Wanting { key, wanted: item.wanted, askers: vec![(at, nth)] });
                }
            }
        }
    }
    let looked_up = work.len() as u64;
    work.retain(|wanting| match cache.get(wanting.key, wanting.wanted) {
        Some(reading) => {
            for (at, nth) in &wanting.askers {
                open[*at].answers[*nth] = Ok(reading.clone());
            }
            false
        }
        None => true,
    });
    meters::looked_up(&slot.name, looked_up - work.len() as u64, work.len() as u64);
    work
}

/// Hands texts to an external model. Answers arrive at the questions' joints, or are given here if it is not asked.
fn ask_all(
    external: &ExternalModel,
    work: Vec<Wanting>,
    open: &mut [Open],
    cache: &Arc<Cache>,
    counters: &Arc<Counters>,
) {
    for Wanting { key, wanted, askers } in work {
        let (at, nth) = askers[0];
        let text = open[at].text(nth).to_owned();
        let jobs = || askers.iter().map(|(at, _)| &open[*at].job);
        // Whoever has least time decides: all were asked about the same time.
        let until = jobs().map(|job| job.deadline).min();
        let gone = jobs().map(|job| job.gone.clone()).collect();
        let mut joints: Vec<(Arc<Joint>, usize)> = Vec::with_capacity(askers.len());
        for (at, nth) in &askers {
            let Some(joint) = open[*at].job.joint.clone() else { continue };
            joint.expect();
            // Until it is delivered.
            open[*at].answers[*nth] = Err(Unknown::Deadline);
            joints.push((joint, *nth));
        }
        let (cache, counters, theirs) = (cache.clone(), counters.clone(), joints.clone());
        let reply = Box::new(move |answer: Result<_, Unknown>| {
            let answer = answer.map(Arc::new);
            if let Ok(reading) = &answer {
                cache.put(key, reading);
            }
            for (joint, nth) in theirs {
                if let Some(question) = joint.deliver(nth, answer.clone()) {
                    question.tell(&counters);
                }
            }
        });
        let until = until.unwrap_or_else(Instant::now);
        if let Err(why) = external.ask(Call { text, wanted, until, gone, reply }) {
            // No question is parked yet, so none is whole by this.
            for (joint, nth) in joints {
                drop(joint.deliver(nth, Err(why)));
            }
        }
    }
}

/// Reads texts here.
fn read_all(
    plan: &Arc<SignalPlan>,
    model: usize,
    mut work: Vec<Wanting>,
    open: &mut [Open],
    engine: &mut Engine,
    cache: &Cache,
) {
    let slot = &plan.models[model];
    // Texts of which the same is wanted share a call.
    while let Some(wanted) = work.first().map(|wanting| wanting.wanted) {
        let (now, later): (Vec<Wanting>, Vec<Wanting>) =
            work.into_iter().partition(|wanting| wanting.wanted == wanted);
        work = later;
        let texts: Vec<&str> = now
            .iter()
            .map(|wanting| {
                let (at, nth) = wanting.askers[0];
                open[at].text(nth)
            })
            .collect();
        match engine.read(slot, plan.compares(model), &texts, wanted) {
            Ok(readings) => {
                for (wanting, reading) in now.iter().zip(readings) {
                    let reading = Arc::new(reading);
                    cache.put(wanting.key, &reading);
                    for (at, nth) in &wanting.askers {
                        open[*at].answers[*nth] = Ok(reading.clone());
                    }
                }
            }
            Err(why) => {
                for (at, nth) in now.iter().flat_map(|wanting| &wanting.askers) {
                    open[*at].answers[*nth] = Err(why);
                }
            }
        }
    }
}
