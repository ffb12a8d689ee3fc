//! Models that somebody else serves: a guard behind an OpenAI-style chat, or a classifier behind `POST /classify`.
//!
//! Calls wait on threads of their own, so that neither a worker nor a thread that computes ever waits for a network.
//! An endpoint that fails rests, and whoever asks meanwhile is told so at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use pintle_config::secrets::Secrets;
use pintle_config::{Config, ExternalModel as Settings, ExternalProtocol};
use pintle_routing::evidence::Unknown;
use sha2::{Digest, Sha256};

use crate::reader::{Head, ModelError, TextModel, TextReading, TextSession, Wanted};
use crate::service::meters;

mod answer;
mod breaker;
mod calls;
mod endpoint;
#[cfg(test)]
mod tests;

use breaker::Breaker;
pub(crate) use calls::Call;
use calls::Calls;
use endpoint::Endpoint;

/// What runs it, as in status and metrics.
const BACKEND: &str = "http";

/// A model behind an endpoint.
pub struct ExternalModel {
    desk: Arc<Desk>,
    calls: Calls,
    labels: [Option<Vec<String>>; 6],
}

/// What the threads share.
struct Desk {
    name: String,
    endpoint: Endpoint,
    digest: [u8; 32],
    breaker: Breaker,
    answered: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<String>,
}

/// For status reports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExternalStatus {
    /// The model.
    pub name: String,
    /// Where it is asked.
    pub url: String,
    /// Calls that wait or are under way.
    pub open: usize,
    /// Answers that were understood.
    pub answered: u64,
    /// Calls without one.
    pub failed: u64,
    /// Milliseconds for which it is not asked because it failed.
    pub rests_ms: u64,
    /// Why the last call failed; empty if none did.
    pub last_failure: String,
}

impl ExternalModel {
    /// # Errors
    /// What is missing in its settings, in one sentence.
    fn new(
        settings: &Settings,
        protocol: ExternalProtocol,
        secrets: &Secrets,
        at: usize,
        bounds: (usize, usize),
    ) -> Result<Self, String> {
        let (calls, queue) = bounds;
        let key = secrets.external(at).cloned().unwrap_or_default();
        let endpoint = Endpoint::new(settings, protocol, key, calls)?;
        let labels = Head::ALL.map(|head| {
            let labels = endpoint.labels(head)?;
            Some(labels.iter().map(|label| (*label).to_owned()).collect())
        });
        let desk = Arc::new(Desk {
            name: name_of(settings).to_owned(),
            digest: Sha256::digest(endpoint.description()).into(),
            endpoint,
            breaker: Breaker::default(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_failure: Mutex::default(),
        });
        Ok(Self { calls: Calls::new(desk.clone(), calls, queue), desk, labels })
    }

    /// Asks without waiting; `call.reply` is called once, on another thread.
    ///
    /// # Errors
    /// Why it is not asked; `call.reply` is dropped uncalled.
    pub(crate) fn ask(&self, call: Call) -> Result<(), Unknown> {
        if self.desk.breaker.rests(Instant::now()).is_some() {
            return Err(Unknown::ClassifierFailed);
        }
        self.calls.put(call)
    }

    /// How it does.
    pub fn status(&self) -> ExternalStatus {
        let desk = &self.desk;
        let rests = desk.breaker.rests(Instant::now()).unwrap_or_default();
        ExternalStatus {
            name: desk.name.clone(),
            url: desk.endpoint.url().to_owned(),
            open: self.calls.open(),
            answered: desk.answered.load(Ordering::Relaxed),
            failed: desk.failed.load(Ordering::Relaxed),
            rests_ms: rests.as_millis() as u64,
            last_failure: desk.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Desk {
    /// Asks and waits, not longer than until `until`.
    fn read(&self, text: &str, wanted: Wanted, until: Instant) -> Result<TextReading, Unknown> {
        let started = Instant::now();
        if started >= until {
            return Err(Unknown::Deadline);
        }
        if self.breaker.rests(started).is_some() {
            return Err(Unknown::ClassifierFailed);
        }
        let until = until.min(started + self.endpoint.timeout());
        match self.endpoint.ask(text, wanted, until) {
            Ok(reading) => {
                self.breaker.well();
                self.answered.fetch_add(1, Ordering::Relaxed);
                meters::inference(&self.name, BACKEND, 1, started.elapsed());
                Ok(reading)
            }
            Err(failure) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                meters::failed(&self.name, BACKEND);
                let now = Instant::now();
                let rest = match failure.why {
                    Unknown::Deadline => self.breaker.late(now),
                    _ if failure.outage => self.breaker.failed(now),
                    _ => None,
                };
                if let Some(rest) = rest {
                    tracing::error!(
                        model = self.name,
                        url = self.endpoint.url(),
                        error = failure.reason,
                        rest_ms = rest.as_millis() as u64,
                        "an external model failed; its signals are unknown while it rests"
                    );
                }
                *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure.reason;
                Err(failure.why)
            }
        }
    }
}

impl TextModel for ExternalModel {
    fn name(&self) -> &str {
        &self.desk.name
    }

    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn digest(&self) -> [u8; 32] {
        self.desk.digest
    }

    fn dimensions(&self) -> usize {
        0
    }

    fn labels(&self, head: Head) -> Option<&[String]> {
        self.labels[head as usize].as_deref()
    }

    fn session(&self) -> Box<dyn TextSession> {
        Box::new(Waiting(self.desk.clone()))
    }

    fn external(&self) -> Option<&ExternalModel> {
        Some(self)
    }
}

/// A session that waits for each answer.
struct Waiting(Arc<Desk>);

impl TextSession for Waiting {
    fn read(&mut self, texts: &[&str], wanted: Wanted, out: &mut Vec<TextReading>) -> Result<(), ModelError> {
        let before = out.len();
        for text in texts {
            let until = Instant::now() + self.0.endpoint.timeout();
            match self.0.read(text, wanted, until) {
                Ok(reading) => out.push(reading),
                Err(why) => {
                    out.truncate(before);
                    return Err(ModelError(why.as_str().to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// External models that are in use: a reload keeps their connections, and what is known of their health.
#[derive(Default)]
pub(crate) struct Externals(Mutex<HashMap<[u8; 32], Weak<ExternalModel>>>);

impl Externals {
    /// The model that a configuration calls `name`, or the first that has this role.
    ///
    /// # Errors
    /// Why there is none, in one sentence.
    pub(crate) fn open(
        &self,
        config: &Config,
        secrets: &Secrets,
        wanted: Named<'_>,
    ) -> Result<Arc<ExternalModel>, String> {
        let found = config.global.model_catalog.external.iter().enumerate().find(|(_, model)| match wanted {
            Named::Model(name) => name_of(model) == name,
            Named::Role(role) => model.model_role == role,
        });
        let (at, settings) = found.ok_or_else(|| match wanted {
            Named::Model(name) => format!("global.model_catalog.external has no model {name}"),
            Named::Role(role) => format!("global.model_catalog.external has no model of role {role}"),
        })?;
        let pintle = &config.global.pintle.classifier;
        let beyond = pintle.external.iter().find(|beyond| beyond.name == name_of(settings));
        let protocol = beyond.map_or(ExternalProtocol::default(), |beyond| beyond.protocol);
        let bounds = (usize::from(pintle.external_calls), pintle.queue as usize);
        let key = secrets.external(at).map_or("", |key| key.expose());
        let identity: [u8; 32] = Sha256::digest(format!("{settings:?} {protocol:?} {bounds:?} {key}")).into();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, model| model.strong_count() > 0);
        if let Some(model) = known.get(&identity).and_then(Weak::upgrade) {
            return Ok(model);
        }
        let model = ExternalModel::new(settings, protocol, secrets, at, bounds)
            .map_err(|why| format!("external model {}: {why}", name_of(settings)))?;
        let model = Arc::new(model);
        known.insert(identity, Arc::downgrade(&model));
        Ok(model)
    }
}

/// How a configuration speaks of an external model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// By its name.
    Model(&'a str),
    /// By what it is for; the first counts.
    Role(&'a str),
}

fn name_of(settings: &Settings) -> &str {
    match settings.llm_endpoint.name.as_str() {
        "" => &settings.llm_model_name,
        name => name,
    }
}
