//! GPUs and what is on them, over all generations of the configuration.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use pintle_config::{Classifier, ClassifierBackend, ClassifierHip, HipPrecision};
use pintle_hip::encoder::EncoderModel;
use pintle_hip::engine::Status;
use serde::Serialize;

use super::{GpuEncoder, Gpus, pack};
use crate::encoder::{Encoder, EncoderInfo, Family};
use crate::load::Loaded;

/// The process's GPUs: opened when a model first asks for one, kept while any configuration wants them.
#[derive(Debug, Default)]
pub struct GpuPool(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    backend: ClassifierBackend,
    /// In force: what takes a restart is as it was when the GPUs were opened.
    settings: ClassifierHip,
    opened: Option<Result<Gpus, String>>,
    encoders: Vec<Known>,
    /// What the configuration says otherwise than it is.
    restart: Vec<String>,
    /// Devices that gauges were set for.
    published: BTreeSet<u32>,
}

#[derive(Debug)]
struct Known {
    info: EncoderInfo,
    packing: Packing,
    encoder: Weak<GpuEncoder>,
}

/// What a model in memory was packed for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packing {
    precision: HipPrecision,
    tokens: u32,
    texts: u16,
}

impl Packing {
    fn of(settings: &ClassifierHip) -> Self {
        Self { precision: settings.precision, tokens: settings.batch_tokens, texts: settings.batch_texts }
    }
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
    /// What the configuration says that takes a restart.
    pub restart: Vec<String>,
    /// The GPUs.
    pub devices: Vec<Status>,
}

impl GpuPool {
    /// Follows a new configuration. GPUs that are open take its limits and devices; which library it is and how many
    /// batches are under way stay, and the report says so. GPUs that could not be opened are tried again. Where the
    /// configuration insists on a GPU, that happens now.
    pub fn follow(&self, settings: &Classifier) {
        let mut state = self.state();
        state.backend = settings.backend;
        if state.backend == ClassifierBackend::Cpu {
            state.opened = None;
            state.encoders.clear();
        }
        state.follow(&settings.hip);
        if state.backend == ClassifierBackend::Hip {
            state.open();
        }
    }

    /// Gives the GPUs back, as soon as nothing uses them any more: a configuration asks nothing of models.
    pub fn let_go(&self) {
        let mut state = self.state();
        state.opened = None;
        state.encoders.clear();
        state.restart.clear();
    }

    /// Packs a model that has just been read, if it goes to GPUs and is not there yet: what [`Self::twin`] takes.
    pub fn pack(&self, model: &Loaded) -> Option<Result<EncoderModel, String>> {
        let mut state = self.state();
        let folder = model.network()?;
        if state.gpus(folder.info.family).is_err() || state.known(&folder.info).is_some() {
            return None;
        }
        let settings = state.settings.clone();
        // It takes long for a large model, and who asks how things are need not wait for it.
        drop(state);
        Some(pack(folder, &settings))
    }

    /// The twin of `cpu` on the GPUs; `packed` is asked for the model if it is not there yet. It is asked in windows of
    /// `window` tokens.
    ///
    /// # Errors
    ///
    /// Why there is none, in one sentence; nothing where that is no matter of this model and [`Self::report`] says it.
    pub fn twin(
        &self,
        cpu: &Arc<dyn Encoder>,
        window: usize,
        packed: impl FnOnce(&ClassifierHip) -> Result<EncoderModel, String>,
    ) -> Result<Arc<GpuEncoder>, Option<String>> {
        let mut state = self.state();
        state.gpus(cpu.info().family)?;
        state.encoders.retain(|known| known.encoder.strong_count() > 0);
        if window > state.settings.batch_tokens as usize {
            return Err(Some(format!("windows of {window} tokens do not fit classifier.hip.batch_tokens")));
        }
        let State { settings, encoders, restart, opened, .. } = &mut *state;
        let packing = Packing::of(settings);
        let same = |known: &&Known| known.info == *cpu.info();
        let known = encoders.iter().rev().find(|known| same(known) && known.packing == packing);
        let known = known.and_then(|known| known.encoder.upgrade());
        let other = encoders.iter().rev().find(same).and_then(|known| known.encoder.upgrade());
        let Some(Ok(gpus)) = opened else { return Err(None) };
        let made = match known {
            Some(known) if known.is_on(gpus) => return Ok(known),
            Some(known) => known.moved(gpus),
            None => packed(settings).and_then(|model| GpuEncoder::new(cpu.clone(), model, gpus)),
        };
        match (made, other) {
            (Ok(made), _) => {
                let made = Arc::new(made);
                let encoder = Arc::downgrade(&made);
                encoders.push(Known { info: cpu.info().clone(), packing, encoder });
                Ok(made)
            }
            // Two of it do not fit, and the one that is there answers as well.
            (Err(why), Some(other)) => {
                let note = format!("batches and precision of {} on GPUs ({why})", cpu.info().name);
                if !restart.contains(&note) {
                    restart.push(note);
                }
                Ok(other)
            }
            (Err(why), None) => Err(Some(why)),
        }
    }

    /// Who runs models, and why.
    #[must_use]
    pub fn report(&self) -> GpuReport {
        let state = self.state();
        let devices = state.devices();
        let used = devices.iter().any(Status::is_up);
        GpuReport {
            asked: state.backend.as_str(),
            used,
            well: state.backend != ClassifierBackend::Hip || (used && devices.iter().all(Status::is_up)),
            why: state.why(),
            restart: state.restart.clone(),
            devices,
        }
    }

    /// Sets the gauges of every device; those of one that is not used any more become 0. Leaves them while a model is
    /// being loaded.
    pub fn publish(&self) {
        let mut state = match self.0.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let devices = state.devices();
        let now: BTreeSet<u32> = devices.iter().map(|device| device.device).collect();
        let gone = state.published.difference(&now).map(|device| Status::refused(*device, "not used"));
        gone.chain(devices).for_each(|device| device.publish());
        state.published.extend(now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self) {
        self.opened.get_or_insert_with(|| Gpus::open(&self.settings));
    }

    fn follow(&mut self, wanted: &ClassifierHip) {
        self.restart.clear();
        let Some(Ok(gpus)) = &mut self.opened else {
            self.opened = None;
            self.settings = wanted.clone();
            return;
        };
        let ours = &self.settings;
        if wanted.library != ours.library {
            self.restart.push("classifier.hip.library".to_owned());
        }
        if wanted.batches != ours.batches {
            self.restart.push(format!("classifier.hip.batches (now {})", ours.batches));
        }
        let library = ours.library.clone();
        let followed = ClassifierHip { library, batches: ours.batches, ..wanted.clone() };
        // What could not be used is tried again even if nothing has changed.
        let devices = gpus.follow(&followed);
        self.settings = followed;
        if let Err(why) = devices {
            self.opened = Some(Err(why));
        }
    }

    /// Opens the GPUs for a model of this family.
    ///
    /// # Errors
    ///
    /// As [`GpuPool::twin`].
    fn gpus(&mut self, family: Family) -> Result<(), Option<String>> {
        if self.backend == ClassifierBackend::Cpu || family == Family::Onnx {
            return Err(None);
        }
        self.open();
        match &self.opened {
            Some(Ok(_)) => Ok(()),
            Some(Err(why)) if self.backend == ClassifierBackend::Hip => Err(Some(why.clone())),
            _ => Err(None),
        }
    }

    /// The model as it would be packed now.
    fn known(&self, info: &EncoderInfo) -> Option<Arc<GpuEncoder>> {
        let packing = Packing::of(&self.settings);
        let known = self.encoders.iter().rev().find(|known| known.info == *info && known.packing == packing);
        known.and_then(|known| known.encoder.upgrade())
    }

    fn devices(&self) -> Vec<Status> {
        match &self.opened {
            Some(Ok(gpus)) => gpus.status(),
            _ => Vec::new(),
        }
    }

    fn why(&self) -> String {
        match (&self.opened, self.backend) {
            (_, ClassifierBackend::Cpu) => "classifier.backend is cpu".to_owned(),
            (None, _) => "no model that a GPU could run is in use".to_owned(),
            (Some(Err(why)), _) => why.clone(),
            (Some(Ok(gpus)), _) => {
                let say = |device: &Status| match device.resting.as_str() {
                    "" => format!("device {} is a {} ({})", device.device, device.name, device.isa),
                    why => format!("device {} rests: {why}", device.device),
                };
                gpus.status().iter().map(say).collect::<Vec<_>>().join("; ")
            }
        }
    }
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
    fn gpus_are_let_go_and_opened_again() {
        let pool = GpuPool::default();
        let asked = settings(ClassifierBackend::Hip, "/nowhere/libamdhip64.so");
        pool.follow(&asked);
        pool.let_go();
        assert_eq!(pool.report().why, "no model that a GPU could run is in use");
        pool.follow(&asked);
        assert!(pool.report().why.contains("/nowhere"), "{}", pool.report().why);
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
