//! One thread's sessions on the models that it was asked for, and what to do when a back end fails.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_hip::encoder::Banks;
use pintle_routing::evidence::Unknown;

use super::meters;
use crate::reader::{ModelError, TextModel, TextReading, TextSession, Wanted};
use crate::signals::Slot;

/// Longest rest of a back end that keeps failing.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Sessions that a thread keeps; the one that was not used for longest gives way.
const MAX_SESSIONS: usize = 64;

pub(super) struct Engine {
    sessions: HashMap<SessionKey, State>,
    retry_after: Duration,
    uses: u64,
}

type SessionKey = ([u8; 32], &'static str, usize);

struct State {
    session: Option<Box<dyn TextSession>>,
    failures: u32,
    rests_until: Option<Instant>,
    used: u64,
}

impl Engine {
    pub(super) fn new(retry_after: Duration) -> Self {
        Self { sessions: HashMap::new(), retry_after, uses: 0 }
    }

    /// Lets sessions go whose models are gone, with all that they hold.
    pub(super) fn tidy(&mut self) {
        self.sessions.retain(|_, state| !state.session.as_ref().is_some_and(|session| session.is_orphan()));
    }

    /// Whether there is anything to tidy.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Reads the texts with the first back end that can. One reading per text.
    pub(super) fn read(
        &mut self,
        slot: &Slot,
        banks: Option<&Arc<Banks>>,
        texts: &[&str],
        wanted: Wanted,
    ) -> Result<Vec<TextReading>, Unknown> {
        let mut why = Unknown::NoClassifier;
        for (nth, model) in slot.backends.iter().enumerate() {
            if self.rests(model.as_ref()) {
                why = Unknown::ClassifierFailed;
                continue;
            }
            let started = Instant::now();
            match self.read_with(model.as_ref(), banks, texts, wanted) {
                Ok(readings) => {
                    meters::inference(&slot.name, model.backend(), texts.len(), started.elapsed());
                    if nth > 0 {
                        meters::passed_over(&slot.name, slot.backends[0].backend());
                    }
                    return Ok(readings);
                }
                Err(error) => {
                    why = Unknown::ClassifierFailed;
                    self.failed(model.as_ref(), &slot.name, &error);
                }
            }
        }
        Err(why)
    }

    fn rests(&self, model: &dyn TextModel) -> bool {
        let state = self.sessions.get(&key(model));
        state.and_then(|state| state.rests_until).is_some_and(|until| Instant::now() < until)
    }

    fn read_with(
        &mut self,
        model: &dyn TextModel,
        banks: Option<&Arc<Banks>>,
        texts: &[&str],
        wanted: Wanted,
    ) -> Result<Vec<TextReading>, ModelError> {
        self.uses += 1;
        if !self.sessions.contains_key(&key(model)) {
            self.tidy();
        }
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&key(model)) {
            let oldest = self.sessions.iter().min_by_key(|(_, state)| state.used).map(|(key, _)| *key);
            oldest.map(|key| self.sessions.remove(&key));
        }
        let state = self.sessions.entry(key(model)).or_insert(State {
            session: None,
            failures: 0,
            rests_until: None,
            used: 0,
        });
        state.used = self.uses;
        let session = state.session.get_or_insert_with(|| model.session());
        let mut readings = Vec::with_capacity(texts.len());
        // A defect in a model must not take the service down; the session is thrown away after it.
        let read = || match banks {
            Some(banks) => session.read_comparing(texts, wanted, banks, &mut readings),
            None => session.read(texts, wanted, &mut readings),
        };
        let done = catch_unwind(AssertUnwindSafe(read));
        match done {
            Ok(Ok(())) if readings.len() == texts.len() => {
                if state.failures > 0 {
                    tracing::info!(
                        model = model.name(),
                        backend = model.backend(),
                        "a back end answers again"
                    );
                }
                state.failures = 0;
                state.rests_until = None;
                Ok(readings)
            }
            Ok(Ok(())) => Err(ModelError(format!("{} readings of {} texts", readings.len(), texts.len()))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ModelError("it panicked".into())),
        }
    }

    fn failed(&mut self, model: &dyn TextModel, name: &str, error: &ModelError) {
        let Some(state) = self.sessions.get_mut(&key(model)) else { return };
        state.session = None;
        let first = state.failures == 0;
        let rest = self.retry_after.saturating_mul(1 << state.failures.min(16)).min(LONGEST_REST);
        state.failures = state.failures.saturating_add(1);
        state.rests_until = Some(Instant::now() + rest);
        let backend = model.backend();
        meters::failed(name, backend);
        let rest_ms = rest.as_millis() as u64;
        if first {
            let text = "a classifier's back end failed; another one answers if there is one";
            tracing::error!(model = name, backend, %error, rest_ms, "{text}");
        } else {
            tracing::debug!(model = name, backend, %error, rest_ms, "a classifier's back end failed again");
        }
    }
}

fn key(model: &dyn TextModel) -> SessionKey {
    (model.digest(), model.backend(), model.instance())
}
