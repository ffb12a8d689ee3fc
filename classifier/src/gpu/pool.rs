//! GPUs and what is on them, over all generations of the configuration.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pintle_config::{Classifier, ClassifierBackend, ClassifierHip};
use serde::Serialize;

use super::{GpuEncoder, GpuStatus, Gpus, pack};
use crate::encoder::{Encoder, EncoderInfo, Family, OutputKind};
use crate::model::{Options, folder};

/// The process's GPUs: opened when a model first asks for one, kept while any configuration wants them.
#[derive(Debug, Default)]
pub struct GpuPool(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    backend: ClassifierBackend,
    settings: ClassifierHip,
    opened: Option<Result<Gpus, String>>,
    encoders: Vec<(EncoderInfo, Weak<GpuEncoder>)>,
}

/// For status reports and the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuReport {
    /// What the configuration asks for: `auto`, `cpu` or `hip`.
    pub asked: &'static str,
    /// Whether GPUs run models.
    pub used: bool,
    /// Whether that is as it was asked for.
    pub well: bool,
    /// Why they do or do not.
    pub why: String,
    /// The GPUs.
    pub devices: Vec<GpuStatus>,
}

impl GpuPool {
    /// Follows a new configuration. GPUs that are open stay as they were opened, since models of the configuration
    /// before are on them; those that could not be opened are tried again. Where the configuration insists on a GPU,
    /// that happens now.
    pub fn follow(&self, settings: &Classifier) {
        let mut state = self.state();
        state.backend = settings.backend;
        if state.backend == ClassifierBackend::Cpu || matches!(state.opened, Some(Err(_))) {
            state.opened = None;
            state.encoders.clear();
        }
        if state.opened.is_none() {
            state.settings = settings.hip.clone();
        } else if state.settings != settings.hip {
            tracing::warn!("classifier.hip has changed: that takes a restart");
        }
        if state.backend == ClassifierBackend::Hip {
            state.open();
        }
    }

    /// The twin of `cpu` on the GPUs, from its folder, which is read if the twin is not there yet. It is asked in
    /// windows of `window` tokens.
    ///
    /// # Errors
    ///
    /// Why there is none, in one sentence; nothing where that is no matter of this model and [`Self::report`] says it.
    pub fn twin(
        &self,
        cpu: &Arc<dyn Encoder>,
        folder: &Path,
        window: usize,
    ) -> Result<Arc<GpuEncoder>, Option<String>> {
        let mut state = self.state();
        if state.backend == ClassifierBackend::Cpu || cpu.info().family == Family::Onnx {
            return Err(None);
        }
        state.open();
        state.encoders.retain(|(_, encoder)| encoder.strong_count() > 0);
        let State { settings, opened, encoders, backend } = &mut *state;
        let gpus = match opened {
            Some(Ok(gpus)) => gpus,
            Some(Err(why)) if *backend == ClassifierBackend::Hip => return Err(Some(why.clone())),
            _ => return Err(None),
        };
        let known = encoders.iter().find(|(info, _)| info == cpu.info());
        if let Some(encoder) = known.and_then(|(_, encoder)| encoder.upgrade()) {
            return Ok(encoder);
        }
        if window > settings.batch_tokens as usize {
            return Err(Some(format!("windows of {window} tokens do not fit classifier.hip.batch_tokens")));
        }
        let encoder = Arc::new(bring(cpu, folder, settings, gpus)?);
        encoders.push((cpu.info().clone(), Arc::downgrade(&encoder)));
        Ok(encoder)
    }

    /// Who runs models, and why.
    #[must_use]
    pub fn report(&self) -> GpuReport {
        let state = self.state();
        let devices = match &state.opened {
            Some(Ok(gpus)) => gpus.status(),
            _ => Vec::new(),
        };
        let used = devices.iter().any(|device| device.resting.is_empty());
        GpuReport {
            asked: state.backend.as_str(),
            used,
            well: state.backend != ClassifierBackend::Hip
                || (used && devices.iter().all(|device| device.resting.is_empty())),
            why: state.why(),
            devices,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self) {
        self.opened.get_or_insert_with(|| Gpus::open(&self.settings));
    }

    fn why(&self) -> String {
        match (&self.opened, self.backend) {
            (_, ClassifierBackend::Cpu) => "classifier.backend is cpu".to_owned(),
            (None, _) => "no model that a GPU could run is in use".to_owned(),
            (Some(Err(why)), _) => why.clone(),
            (Some(Ok(gpus)), _) => {
                let say = |device: &GpuStatus| match device.resting.as_str() {
                    "" => format!("device {} is a {} ({})", device.device, device.name, device.isa),
                    why => format!("device {} rests: {why}", device.device),
                };
                gpus.status().iter().map(say).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// Reads the model of a folder and brings it onto the GPUs.
fn bring(
    cpu: &Arc<dyn Encoder>,
    folder: &Path,
    settings: &ClassifierHip,
    gpus: &Gpus,
) -> Result<GpuEncoder, String> {
    let info = cpu.info();
    let labels = info.outputs.iter().find_map(|output| match &output.kind {
        OutputKind::Sequence { labels } | OutputKind::Token { labels } => Some(labels.clone()),
        OutputKind::Embedding { .. } => None,
    });
    let options = Options { name: info.name.clone(), labels, ..Options::default() };
    let folder = folder::read(folder, options).map_err(|error| error.to_string())?;
    if folder.info != *info {
        return Err("its files changed while it was loaded".to_owned());
    }
    GpuEncoder::new(cpu.clone(), pack(&folder, settings)?, gpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(backend: ClassifierBackend, library: &str) -> Classifier {
        let hip = ClassifierHip { library: library.to_owned(), ..ClassifierHip::default() };
        Classifier { backend, hip, ..Classifier::default() }
    }

    #[test]
    fn without_a_library_the_cpu_runs_models_and_says_why() {
        let pool = GpuPool::default();
        pool.follow(&settings(ClassifierBackend::Hip, "/nowhere/libamdhip64.so"));
        let report = pool.report();
        assert_eq!((report.asked, report.used, report.well), ("hip", false, false));
        assert!(report.why.contains("/nowhere/libamdhip64.so"), "{}", report.why);
    }

    #[test]
    fn nothing_is_opened_before_a_model_asks_unless_the_configuration_insists() {
        let pool = GpuPool::default();
        pool.follow(&settings(ClassifierBackend::Auto, "/nowhere/libamdhip64.so"));
        let report = pool.report();
        assert_eq!((report.used, report.well), (false, true));
        assert_eq!(report.why, "no model that a GPU could run is in use");
        pool.follow(&settings(ClassifierBackend::Cpu, ""));
        assert_eq!(pool.report().why, "classifier.backend is cpu");
    }
}
