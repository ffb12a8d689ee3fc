//! Evidence that takes a classifier: asked for before the decision, waited for no longer than its deadline.
//!
//! The body is scanned here for the texts alone and again for the decision. That costs a small part of what
//! reading a text with any model costs, and nothing of a request is borrowed while it waits. A client that hangs up
//! meanwhile takes its question along.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pintle_classifier::service::{Classifier, Overloaded, Priority, Settled};
use pintle_classifier::signals::{Question, SignalPlan};
use pintle_routing::evidence::Unknown;
use pintle_routing::learned::Learned;
use pintle_routing::units::Micros;

use crate::connection::{Body, Connection, Exchange, gone};
use crate::extract;
use crate::failure::Failure;
use crate::toolbox::Toolbox;
use crate::turn;

/// What a generation asks of the classifier.
pub struct Reading {
    /// Who answers.
    pub classifier: Arc<Classifier>,
    /// Models and examples.
    pub plan: Arc<SignalPlan>,
    /// Only vectors of texts, for decisions that choose tools by what they say; `None` if there is no such decision.
    pub vectors: Option<Arc<SignalPlan>>,
    /// Tools that decisions may add to a request, by the database's configured name.
    pub toolboxes: HashMap<String, Toolbox>,
    /// The longest wait.
    pub deadline: Duration,
}

/// What classifiers measured of the request, or `None` if its policy asks for nothing.
///
/// # Errors
/// When the body is not a request, which the decision would say too; when the client has gone.
pub(crate) async fn measure(
    connection: &Connection,
    exchange: &mut Exchange,
    body: Body,
) -> Result<Option<Learned>, Failure> {
    let generation = exchange.generation.clone();
    let Some(reading) = generation.reading.as_ref().filter(|reading| !reading.plan.is_empty()) else {
        return Ok(None);
    };
    let question = question(connection, exchange, body)?;
    let asked = Instant::now();
    let waiting = connection.worker.tower.enter();
    let place = Arc::new(Mutex::new(None));
    let reply = {
        let (place, bell, task) = (place.clone(), connection.worker.tower.bell().clone(), waiting.task());
        Box::new(move |learned: Learned| {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(learned);
            bell.ring(task);
        })
    };
    let deadline = asked + reading.deadline;
    let plan = reading.plan.clone();
    let learned = match reading.classifier.ask(plan, question, deadline, Priority::Request, reply) {
        Err(Overloaded) => Learned::missing(Unknown::Overloaded),
        Ok(asked) => {
            let client = connection.stream.slot();
            let _attended = client.client().attend(connection.worker.tower.bell(), waiting.task());
            let look = || {
                let answer = place.lock().unwrap_or_else(PoisonError::into_inner).take();
                answer.map(Some).or_else(|| client.aborted().then_some(None))
            };
            let mut answer = monoio::time::timeout(reading.deadline, waiting.until(look)).await;
            if answer.is_err() {
                answer = match asked.settle() {
                    Settled::Known(learned) => Ok(Some(*learned)),
                    // Made while the time ran out; it takes microseconds.
                    Settled::Coming => monoio::time::timeout(reading.deadline, waiting.until(look)).await,
                    Settled::Unread => answer,
                };
            }
            match answer {
                Ok(Some(learned)) => learned,
                Ok(None) => return Err(gone("The client left while its request was being read.")),
                Err(_) => Learned::missing(Unknown::Deadline),
            }
        }
    };
    exchange.flow.timings.classifier_us = Some(Micros(asked.elapsed().as_micros() as u64));
    Ok(Some(learned))
}

/// The texts that the policy reads.
fn question(connection: &Connection, exchange: &Exchange, body: Body) -> Result<Question, Failure> {
    let worker = &connection.worker;
    let generation = &exchange.generation;
    let mut spans = worker.spans.borrow_mut();
    let text = turn::scan(connection, exchange, body, &mut spans)?;
    let view = connection.head.view(&connection.input);
    let options = extract::Options {
        session_header: &generation.settings.session.header,
        trusted_identity: false,
        key: &|_, _| 0,
    };
    let facts = extract::facts(view, text, &spans, generation.policy.needs(), &options);
    Ok(Question::of(&facts))
}
