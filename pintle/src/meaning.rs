//! Classifiers as the process has them: models in use, and the threads that read texts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pintle_classifier::embedded::EmbeddedModel;
use pintle_classifier::service::{Classifier, Options};
use pintle_classifier::shelf::{ConfiguredShelf, Library};
use pintle_classifier::signals::{Inputs, Question, SignalPlan};
use pintle_config::secrets;
use pintle_config::{ClassifierBackend, Config};
use pintle_dataplane::learned::Reading;
use pintle_routing::facts::Facts;
use pintle_routing::learned::{Learned, LearnedNeeds};
use pintle_routing::policy::Policy;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::toolboxes;

/// Models and threads, over all generations of the configuration.
pub(crate) struct Meaning {
    library: Library,
    /// Started when a configuration first needs it; its threads and limits are those of that configuration.
    service: Mutex<Option<Arc<Classifier>>>,
    /// Where the configuration's relative paths begin.
    base: PathBuf,
}

impl Meaning {
    pub(crate) fn new(config_path: &Path) -> Self {
        let base = config_path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self {
            library: Library::default(),
            service: Mutex::default(),
            base: base.unwrap_or(Path::new(".")).to_owned(),
        }
    }

    /// What this configuration asks of classifiers; `None` if nothing. Says in the log which family has no model.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub(crate) fn reading(&self, config: &Config, policy: &Policy) -> io::Result<Option<Reading>> {
        let vectors =
            policy.selects_tools().then(|| Arc::new(self.compile(config, LearnedNeeds::vectors(), &[])));
        let plan = match (self.plan(config, policy), &vectors) {
            (Some(plan), _) => plan,
            (None, Some(_)) => self.compile(config, LearnedNeeds::default(), &[]),
            (None, None) => {
                self.library.gpus().let_go();
                return Ok(None);
            }
        };
        for family in plan.families() {
            if family.model.is_empty() {
                warn!(family = family.family, reason = family.note, "signals without a model are unknown");
            } else {
                let (family, model, backend) = (family.family, &family.model, family.backend);
                info!(family, model, backend, "signals are read");
            }
        }
        let settings = &config.global.pintle.classifier;
        if settings.backend != ClassifierBackend::Cpu {
            let gpus = self.library.gpus().report();
            if gpus.well {
                info!(used = gpus.used, reason = gpus.why, "models on GPUs");
            } else {
                warn!(reason = gpus.why, "classifier.backend is hip: the CPU answers while a GPU cannot");
            }
        }
        Ok(Some(Reading {
            classifier: self.service(config)?,
            plan: Arc::new(plan),
            vectors,
            toolboxes: toolboxes::of(policy, &self.base),
            deadline: Duration::from_millis(settings.deadline_ms.into()),
        }))
    }

    /// What the configuration says of GPUs that takes a restart.
    pub(crate) fn restart(&self) -> Option<String> {
        let waits = self.library.gpus().report().restart;
        (!waits.is_empty()).then(|| format!("restart for other values of {}", waits.join(", ")))
    }

    /// Sets the gauges of GPUs.
    pub(crate) fn publish(&self) {
        self.library.gpus().publish();
    }

    /// What classifiers measure of one request, now.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub(crate) fn measure(
        &self,
        config: &Config,
        policy: &Policy,
        facts: &Facts<'_>,
    ) -> io::Result<Option<Learned>> {
        let Some(plan) = self.plan(config, policy) else { return Ok(None) };
        // A command has time that a request has not.
        let limit = Duration::from_secs(60);
        let service = self.service(config)?;
        Ok(Some(service.ask_and_wait(Arc::new(plan), Question::of(facts), limit)))
    }

    fn plan(&self, config: &Config, policy: &Policy) -> Option<SignalPlan> {
        let needs = policy.learned_needs();
        if needs.is_empty() {
            return None;
        }
        Some(self.compile(config, needs, policy.descriptions()))
    }

    fn compile(&self, config: &Config, needs: LearnedNeeds, descriptions: &[String]) -> SignalPlan {
        // A configuration whose keys are not all set serves nobody; a command goes on without them.
        let secrets = secrets::resolve(config, &secrets::lookup).unwrap_or_default();
        let embedded = Arc::new(EmbeddedModel::shared());
        let shelf = ConfiguredShelf::new(&self.library, config, &secrets, &self.base, embedded);
        SignalPlan::compile(&Inputs { config, needs, descriptions, shelf: &shelf })
    }

    fn service(&self, config: &Config) -> io::Result<Arc<Classifier>> {
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = &*service {
            return Ok(service.clone());
        }
        let settings = &config.global.pintle.classifier;
        let options = Options {
            threads: settings.threads.into(),
            queue: settings.queue as usize,
            batch: settings.batch.into(),
            cache_bytes: usize::try_from(settings.cache_bytes).unwrap_or(usize::MAX),
            ..Options::default()
        };
        let started = Arc::new(Classifier::start(options)?);
        *service = Some(started.clone());
        Ok(started)
    }
}

/// For status reports: what waits, who measures each family, and what GPUs do.
pub(crate) fn status(meaning: &Meaning, reading: Option<&Reading>) -> Value {
    match reading {
        None => Value::Null,
        Some(reading) => json!({
            "gpu": meaning.library.gpus().report(),
            "deadline_ms": reading.deadline.as_millis() as u64,
            "service": reading.classifier.status(),
            "families": reading.plan.families(),
            "external": reading.plan.external(),
        }),
    }
}
