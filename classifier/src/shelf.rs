//! Which model measures what, and where its files are.
//!
//! A [`Library`] lives as long as the process and keeps models that are in use, so that a reload which names the same
//! files loads nothing. A [`ConfiguredShelf`] reads one configuration: an explicit choice under
//! `global.pintle.classifier.models` stands, and is missing if it is missing; without one, what
//! `global.model_catalog` names is taken where it is there, and the embedded model where it is not.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pintle_config::secrets::Secrets;
use pintle_config::{Config, Precision as PrecisionSetting};

use crate::cpu::{Isa, Precision};
use crate::encoder::{Encoder, Family};
use crate::external::{Externals, Named};
use crate::gpu::{GpuEncoder, GpuPool, pack};
use crate::heads::{HeadedEncoder, Heads};
use crate::load::Loaded;
use crate::model::Options;
use crate::model::config::parse_label_mapping;
use crate::model::folder::{Stamp, weights_file};
use crate::reader::{EncoderModel, Head, TextModel, WindowPolicy};
use crate::signals::{Shelf, Slot};
use crate::store::Store;

/// Bytes of a knowledge base's manifest, and of a label mapping.
const MAX_MANIFEST: u64 = 64 << 20;
/// Before the name of an external model.
const EXTERNAL: &str = "external:";
/// What v0.3 calls the part of an external model that judges attacks.
const GUARD_ROLE: &str = "guardrail";

/// Models that are in use.
#[derive(Default)]
pub struct Library {
    gpus: GpuPool,
    loaded: Mutex<HashMap<Key, Weak<dyn Encoder>>>,
    #[cfg(test)]
    reads: std::sync::atomic::AtomicUsize,
    externals: Externals,
}

/// A model on the CPU, and on GPUs.
pub struct Both {
    /// Always there.
    pub cpu: Arc<dyn Encoder>,
    /// Its twin, or why there is none: nothing where that is no matter of this model.
    pub gpu: Result<Arc<GpuEncoder>, Option<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    folder: PathBuf,
    stamp: Stamp,
    labels: Option<Vec<String>>,
    precision: Precision,
}

impl Library {
    /// The GPUs, and who runs models.
    pub fn gpus(&self) -> &GpuPool {
        &self.gpus
    }

    /// The model of a folder, loaded now or before, and its twin on the GPUs, which is asked in windows of at most `window`
    /// tokens. The folder is read once for both, unless GPUs are wanted only after the CPU has the model.
    ///
    /// # Errors
    /// Why it cannot be loaded, in one sentence.
    pub fn load(
        &self,
        folder: &Path,
        labels: Option<Vec<String>>,
        precision: Precision,
        window: usize,
    ) -> Result<Both, String> {
        let weights = folder.join(weights_file(folder));
        std::fs::metadata(&weights).map_err(|error| format!("{}: {error}", weights.display()))?;
        let key =
            Key { folder: folder.to_owned(), stamp: Stamp::of(folder), labels: labels.clone(), precision };
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let options = Options { name, labels, ..Options::default() };
        let read = || {
            #[cfg(test)]
            self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match pinned(folder)? {
                Some((store, name)) => store.load(&name, options).map_err(|error| error.to_string()),
                None => Loaded::read(folder, options).map_err(|error| error.to_string()),
            }
        };
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, model| model.strong_count() > 0);
        if let Some(cpu) = loaded.get(&key).and_then(Weak::upgrade) {
            let window = window.min(cpu.info().max_tokens);
            let twin = self.gpus.twin(&cpu, window, |settings| match read()? {
                Loaded::Network(folder) if folder.info == *cpu.info() => pack(&folder, settings),
                _ => Err("its files changed while it was loaded".to_owned()),
            });
            return Ok(Both { cpu, gpu: twin });
        }
        let model = read()?;
        let packed = self.gpus.pack(&model);
        let cpu = model.into_encoder(precision);
        loaded.insert(key, Arc::downgrade(&cpu));
        let window = window.min(cpu.info().max_tokens);
        // It is asked for only where it was not known to be on the GPUs, and then it has been packed.
        let given = |_: &_| packed.unwrap_or_else(|| Err("the GPUs changed while it was loaded".to_owned()));
        let twin = self.gpus.twin(&cpu, window, given);
        Ok(Both { cpu, gpu: twin })
    }
}

/// One configuration's choice of models.
pub struct ConfiguredShelf<'a> {
    library: &'a Library,
    config: &'a Config,
    secrets: &'a Secrets,
    /// Where relative paths begin.
    base: PathBuf,
    models_dir: PathBuf,
    embedded: Arc<dyn TextModel>,
}

impl<'a> ConfiguredShelf<'a> {
    /// `base` is the directory of the configuration file.
    pub fn new(
        library: &'a Library,
        config: &'a Config,
        secrets: &'a Secrets,
        base: &Path,
        embedded: Arc<dyn TextModel>,
    ) -> Self {
        library.gpus.follow(&config.global.pintle.classifier);
        Self { library, config, secrets, base: base.to_owned(), models_dir: models_dir(config), embedded }
    }

    /// The choice under `global.pintle.classifier.models`; empty for none.
    fn choice(&self, head: Option<Head>) -> &'a str {
        let models = &self.config.global.pintle.classifier.models;
        match head {
            None => &models.embedding,
            Some(Head::Domain) => &models.domain,
            Some(Head::FactCheck) => &models.fact_check,
            Some(Head::UserFeedback) => &models.user_feedback,
            Some(Head::Jailbreak) => &models.jailbreak,
            Some(Head::Modality) => &models.modality,
            Some(Head::Pii) => &models.pii,
        }
    }

    /// What the v0.3 catalog names: the model, and the file that maps its labels. `Err` where it switches the
    /// classifier off.
    fn catalog(&self, head: Option<Head>) -> Result<(&'a str, &'a str), String> {
        let catalog = &self.config.global.model_catalog;
        let (system, modules) = (&catalog.system, &catalog.modules);
        let reference = |id: &'a str, reference: &str| -> &'a str {
            if !id.is_empty() {
                return id;
            }
            match reference {
                "prompt_guard" => &system.prompt_guard,
                "domain_classifier" => &system.domain_classifier,
                "pii_classifier" => &system.pii_classifier,
                "fact_check_classifier" => &system.fact_check_classifier,
                "feedback_detector" => &system.feedback_detector,
                _ => "",
            }
        };
        Ok(match head {
            None => {
                let models = &catalog.embeddings.semantic;
                let path: &str = match models.embedding_config.model_type.as_str() {
                    "bert" => &models.bert_model_path,
                    "qwen3" | "" => &models.qwen3_model_path,
                    "gemma" => &models.gemma_model_path,
                    "multimodal" => &models.multimodal_model_path,
                    _ => &models.mmbert_model_path,
                };
                (path, "")
            }
            Some(Head::Domain) => {
                let module = &modules.classifier.domain;
                (reference(&module.model_id, &module.model_ref), &module.category_mapping_path)
            }
            Some(Head::Pii) => {
                let module = &modules.classifier.pii;
                (reference(&module.model_id, &module.model_ref), &module.pii_mapping_path)
            }
            Some(Head::Jailbreak) => {
                let module = &modules.prompt_guard;
                if !module.enabled {
                    return Err("global.model_catalog.modules.prompt_guard is switched off".into());
                }
                (reference(&module.model_id, &module.model_ref), &module.jailbreak_mapping_path)
            }
            Some(Head::FactCheck) => {
                let module = &modules.hallucination_mitigation.fact_check;
                (reference(&module.model_id, &module.model_ref), "")
            }
            Some(Head::UserFeedback) => {
                let module = &modules.feedback_detector;
                if !module.enabled {
                    return Err("global.model_catalog.modules.feedback_detector is switched off".into());
                }
                (reference(&module.model_id, &module.model_ref), "")
            }
            Some(Head::Modality) => ("", ""),
        })
    }

    /// v0.3's way to say that somebody else serves the guard.
    fn guard_is_external(&self) -> bool {
        let guard = &self.config.global.model_catalog.modules.prompt_guard;
        guard.enabled && guard.use_vllm
    }

    /// The folder of a model by name or path: as given, beside the configuration, or in the directory of models.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        let last = path.file_name().map(|last| self.models_dir.join(last));
        let places = [Some(self.base.join(path)), Some(self.models_dir.join(path)), last];
        places.into_iter().flatten().find(|place| place.join("config.json").is_file())
    }

    /// The model of a folder, and what an operator should know about who runs it.
    fn load(&self, folder: &Path, head: Option<Head>, mapping: &str) -> Result<(Slot, String), String> {
        let labels = self.labels(folder, mapping)?;
        let settings = &self.config.global.pintle.classifier;
        let policy = WindowPolicy {
            tokens: settings.window_tokens as usize,
            max_windows: settings.max_windows.into(),
            ..WindowPolicy::default()
        };
        let precision = precision(settings.precision);
        let Both { cpu: encoder, gpu } = self.library.load(folder, labels, precision, policy.tokens)?;
        let shape = &self.config.global.model_catalog.embeddings.semantic.embedding_config;
        let (layers, dimensions) = match head {
            None => (shape.target_layer, shape.target_dimension),
            Some(_) => (0, 0),
        };
        let count = |value: i64| usize::try_from(value).unwrap_or(0);
        let heads = match pinned(folder)? {
            Some((store, name)) => store.heads(&name).map_err(|error| error.to_string()),
            None => Heads::read(folder).map_err(|error| error.to_string()),
        }?;
        let heads = heads.map(Arc::new);
        let model = |encoder: Arc<dyn Encoder>, backend| {
            let encoder = match &heads {
                Some(heads) => headed(encoder, heads.clone())?,
                None => encoder,
            };
            let model = EncoderModel::new(encoder, backend, head, policy, count(layers), count(dimensions));
            model.map_err(|error| error.to_string())
        };
        let backend = if encoder.info().family == Family::Onnx { "onnx" } else { "cpu" };
        let own = model(encoder.clone(), backend)?;
        let mut slot = Slot { name: own.name().to_owned(), backends: vec![Arc::new(own)] };
        let note = match gpu {
            Ok(twin) => {
                slot.backends.insert(0, Arc::new(model(twin, "hip")?));
                String::new()
            }
            Err(why) => why.map_or(String::new(), |why| format!("the CPU answers: {why}")),
        };
        Ok((slot, note))
    }

    /// Labels from the mapping beside a model: by its configured path, or by its name in the model's folder.
    fn labels(&self, folder: &Path, mapping: &str) -> Result<Option<Vec<String>>, String> {
        let Some(name) = Path::new(mapping).file_name() else { return Ok(None) };
        for path in [self.base.join(mapping), folder.join(name)] {
            if !path.is_file() {
                continue;
            }
            let bytes = read(&path)?;
            let labels = parse_label_mapping(&path.display().to_string(), &bytes);
            return labels.map(Some).map_err(|error| error.to_string());
        }
        Ok(None)
    }

    fn external(&self, head: Option<Head>, named: Named<'_>) -> Result<(Slot, String), String> {
        let model = self.library.externals.open(self.config, self.secrets, named)?;
        if head.is_none_or(|head| model.labels(head).is_none()) {
            let what = head.map_or("embeddings", Head::as_str);
            return Err(format!("external model {} cannot be asked for {what}", model.name()));
        }
        let (name, url) = (model.name().to_owned(), model.status().url);
        Ok((Slot { name, backends: vec![model] }, format!("asked at {url}")))
    }

    fn embedded(&self, head: Option<Head>) -> Result<Slot, String> {
        let has = head.map_or(self.embedded.dimensions() > 0, |head| self.embedded.labels(head).is_some());
        if !has {
            let what = head.map_or("embeddings", Head::as_str);
            return Err(format!("the embedded model does not know {what}"));
        }
        Ok(Slot { name: self.embedded.name().to_owned(), backends: vec![self.embedded.clone()] })
    }
}

impl Shelf for ConfiguredShelf<'_> {
    fn open(&self, head: Option<Head>) -> Result<(Slot, String), String> {
        match self.choice(head) {
            "off" => Err("switched off".into()),
            "embedded" => self.embedded(head).map(|slot| (slot, String::new())),
            "" if head == Some(Head::Jailbreak) && self.guard_is_external() => {
                self.external(head, Named::Role(GUARD_ROLE))
            }
            "" => {
                let (name, mapping) = self.catalog(head)?;
                match self.folder(name).filter(|_| !name.is_empty()) {
                    Some(folder) => {
                        let slot = self.load(&folder, head, mapping);
                        slot.map_err(|why| format!("{}: {why}", folder.display()))
                    }
                    None if name.is_empty() => self.embedded(head).map(|slot| (slot, String::new())),
                    None => self
                        .embedded(head)
                        .map(|slot| (slot, format!("{name} is not there; the embedded model answers"))),
                }
            }
            name if name.starts_with(EXTERNAL) => self.external(head, Named::Model(&name[EXTERNAL.len()..])),
            name => {
                let folder = self.folder(name).ok_or_else(|| {
                    format!("model {name} is not in {} (pintle model list)", self.models_dir.display())
                })?;
                let mapping = self.catalog(head).map_or("", |(_, mapping)| mapping);
                let slot = self.load(&folder, head, mapping);
                slot.map_err(|why| format!("{}: {why}", folder.display()))
            }
        }
    }

    fn manifest(&self, directory: &str, file: &str) -> Result<String, String> {
        let path = self.base.join(directory).join(file);
        String::from_utf8(read(&path)?).map_err(|_| format!("{} is not UTF-8", path.display()))
    }
}

/// Where models are kept.
pub fn models_dir(config: &Config) -> PathBuf {
    let pintle = &config.global.pintle;
    match pintle.classifier.models_dir.as_str() {
        "" => Path::new(&pintle.state_dir).join("models"),
        dir => PathBuf::from(dir),
    }
}

/// The store that pins the files of a folder, and the folder's name there; `None` for a folder that nobody pinned.
fn pinned(folder: &Path) -> Result<Option<(Store, String)>, String> {
    let (Some(dir), Some(name)) = (folder.parent(), folder.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let store = Store::open(dir).map_err(|error| error.to_string())?;
    let known = store.entry(name).is_ok();
    Ok(known.then(|| (store, name.to_owned())))
}

fn headed(encoder: Arc<dyn Encoder>, heads: Arc<Heads>) -> Result<Arc<dyn Encoder>, String> {
    let headed = HeadedEncoder::new(encoder, heads).map_err(|error| error.to_string())?;
    Ok(Arc::new(headed))
}

fn precision(setting: PrecisionSetting) -> Precision {
    match setting {
        PrecisionSetting::F32 => Precision::F32,
        PrecisionSetting::Bf16 => Precision::Bf16,
        PrecisionSetting::Int8 => Precision::Int8,
        // bf16 is f32 where the processor has no bf16.
        PrecisionSetting::Auto if Isa::best() == Isa::Avx512 => Precision::Bf16,
        PrecisionSetting::Auto => Precision::F32,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(MAX_MANIFEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(format!("{} is larger than {MAX_MANIFEST} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use pintle_config::Profile;

    use super::*;
    use crate::store::fetch::{Order, Source, fetch};
    use crate::testing::{Mood, Words};

    fn config(more: &str) -> Config {
        let yaml = format!("{}\n{more}", crate::signals::tests::EVERYTHING);
        let loaded = pintle_config::load(yaml.as_bytes(), "test.yaml", Profile::Pintle);
        loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.report))
    }

    /// A directory of models as operators have it: the golden ones share their tokenizer.
    fn models(names: &[&str]) -> tempfile::TempDir {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            for file in ["config.json", "model.safetensors"] {
                std::fs::copy(golden.join(name).join(file), folder.join(file)).unwrap();
            }
            std::fs::copy(golden.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
        }
        dir
    }

    fn with<T>(config: &Config, base: &Path, then: impl FnOnce(&ConfiguredShelf<'_>) -> T) -> T {
        let library = Library::default();
        let embedded = Arc::new(Words::new("embedded", "embedded", Mood::Well));
        then(&ConfiguredShelf::new(&library, config, &Secrets::default(), base, embedded))
    }

    #[test]
    fn without_a_choice_and_without_files_the_embedded_model_answers() {
        with(&config(""), Path::new("/nowhere"), |shelf| {
            let (slot, note) = shelf.open(Some(Head::Domain)).unwrap();
            assert_eq!(slot.name, "embedded");
            assert!(note.contains("mmbert32k-intent-classifier-merged is not there"), "{note}");
            let (_, note) = shelf.open(Some(Head::Modality)).unwrap();
            assert!(note.is_empty(), "v0.3 names no model for it: {note}");
        });
    }

    #[test]
    fn an_explicit_choice_that_is_missing_stays_missing() {
        let config =
            config("  pintle: {classifier: {models_dir: /nowhere, models: {domain: gone, pii: off}}}");
        with(&config, Path::new("/"), |shelf| {
            let why = shelf.open(Some(Head::Domain)).err().unwrap();
            assert!(why.contains("model gone is not in /nowhere"), "{why}");
            assert_eq!(shelf.open(Some(Head::Pii)).err().unwrap(), "switched off");
        });
    }

    #[test]
    fn a_folder_is_found_by_name_and_loaded_once() {
        let models = models(&["bert_seq", "modernbert_seq_mean"]);
        let yaml = format!(
            "  pintle: {{classifier: {{models_dir: {}, models: {{domain: bert_seq, embedding: modernbert_seq_mean}}}}}}",
            models.path().display()
        );
        let config = config(&yaml);
        let library = Library::default();
        let embedded = Arc::new(Words::new("embedded", "embedded", Mood::Well));
        let secrets = Secrets::default();
        let shelf = ConfiguredShelf::new(&library, &config, &secrets, Path::new("/"), embedded);
        let (slot, note) = shelf.open(Some(Head::Domain)).unwrap();
        assert_eq!((slot.name.as_str(), note.as_str()), ("bert_seq", ""));
        let again = shelf.open(Some(Head::Domain)).unwrap().0;
        assert_eq!(library.loaded.lock().unwrap().len(), 1);
        assert_eq!(slot.backends[0].digest(), again.backends[0].digest());
        drop((slot, again));
        assert!(shelf.open(None).is_ok());
        assert_eq!(library.loaded.lock().unwrap().len(), 1, "what nobody uses is let go");
    }

    #[test]
    fn a_folder_of_which_any_file_is_another_is_read_anew() {
        let models = models(&["bert_seq"]);
        let folder = models.path().join("bert_seq");
        let library = Library::default();
        let load = || library.load(&folder, None, Precision::F32, 512).unwrap().cpu;
        let first = load();
        assert!(Arc::ptr_eq(&first, &load()));
        let mut before = first;
        for file in ["model.safetensors", "config.json", "tokenizer.json"] {
            let mut bytes = std::fs::read(folder.join(file)).unwrap();
            // A blank more, or the same bytes in another file.
            bytes.extend(file.ends_with(".json").then_some(b' '));
            std::fs::write(folder.join("next"), bytes).unwrap();
            std::fs::rename(folder.join("next"), folder.join(file)).unwrap();
            let now = load();
            assert!(!Arc::ptr_eq(&before, &now), "{file}");
            before = now;
        }
        std::fs::create_dir(folder.join("1_Pooling")).unwrap();
        std::fs::write(folder.join("1_Pooling/config.json"), br#"{"pooling_mode_cls_token": true}"#).unwrap();
        assert!(!Arc::ptr_eq(&before, &load()));
    }

    #[test]
    fn files_that_differ_from_their_digests_are_not_loaded() {
        let upstream = models(&["bert_seq"]);
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let order = Order::of("subjects", Source::Path(upstream.path().join("bert_seq")));
        fetch(&mut store, &order, &mut |_, _, _| ()).unwrap();
        let yaml = "  pintle: {classifier: {models_dir: DIR, models: {domain: subjects}}}";
        let config = config(&yaml.replace("DIR", &dir.path().display().to_string()));
        with(&config, Path::new("/"), |shelf| {
            assert_eq!(shelf.open(Some(Head::Domain)).unwrap().0.name, "subjects")
        });
        let weights = dir.path().join("subjects/model.safetensors");
        let mut bytes = std::fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&weights, bytes).unwrap();
        with(&config, Path::new("/"), |shelf| {
            let why = shelf.open(Some(Head::Domain)).err().unwrap();
            assert!(why.contains("model.safetensors: sha256 is"), "{why}");
        });
    }

    #[test]
    fn a_folder_is_read_once_for_the_cpu_and_the_gpu() {
        let Some(emulator) = pintle_hip_emulator::Emulator::take(pintle_hip_emulator::Target::Gfx942) else {
            return;
        };
        let models = models(&["bert_seq"]);
        let of = |hip: &str| {
            config(&format!(
                "  pintle: {{classifier: {{backend: hip, models_dir: {}, models: {{domain: bert_seq, embedding: bert_seq}}, \
                 hip: {{library: \"{}\", watchdog_ms: 120000, batch_texts: 16{hip}}}}}}}",
                models.path().display(),
                emulator.path().display()
            ))
        };
        let library = Library::default();
        let (secrets, base) = (Secrets::default(), Path::new("/"));
        let open = |config: &Config, head| {
            let embedded = Arc::new(Words::new("embedded", "embedded", Mood::Well));
            ConfiguredShelf::new(&library, config, &secrets, base, embedded).open(head).unwrap().0
        };
        let reads = || library.reads.load(std::sync::atomic::Ordering::Relaxed);
        let first = of(", batch_tokens: 512");
        let slots = [open(&first, Some(Head::Domain)), open(&first, None)];
        for slot in &slots {
            let backends: Vec<_> = slot.backends.iter().map(|backend| backend.backend()).collect();
            assert_eq!(backends, ["hip", "cpu"]);
        }
        assert_eq!((reads(), library.gpus.report().devices[0].models), (1, 1));

        // Other batches are packed from the folder, beside the old ones.
        let second = of(", batch_tokens: 256");
        let other = open(&second, None);
        assert_ne!(other.backends[0].instance(), slots[1].backends[0].instance());
        assert_eq!((reads(), library.gpus.report().devices[0].models), (2, 2));

        // Without room for both, what is there stays, and a restart is called for.
        drop(other);
        let third = of(", batch_tokens: 512, memory_bytes: 1048576, precision: bf16");
        let kept = open(&third, None);
        assert_eq!(kept.backends[0].instance(), slots[1].backends[0].instance());
        let waits = library.gpus.report().restart;
        assert!(waits.len() == 1 && waits[0].starts_with("batches and precision of bert_seq"), "{waits:?}");
    }
}
