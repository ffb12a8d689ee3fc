//! A folder as `huggingface_hub` and sentence-transformers lay it out.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::config::{self, Pooling, Task};
use super::tokenizer::Tokenizer;
use super::{LoadError, Network, ONNX_FILE, WEIGHTS_FILE};
use crate::encoder::{EncoderInfo, OutputInfo, OutputKind};

/// Files of a folder beside the weights.
pub(crate) const CONFIG_FILE: &str = "config.json";
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";
pub(crate) const POOLING_FILE: &str = "1_Pooling/config.json";
pub(crate) const MODULES_FILE: &str = "modules.json";

/// Most bytes of `model.safetensors`.
pub const MAX_WEIGHTS_BYTES: u64 = 4 << 30;
/// Most bytes of `model.onnx`: no protocol buffer is longer.
pub const MAX_GRAPH_BYTES: u64 = i32::MAX as u64;
/// Most bytes of any other file.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;

/// What is decided by who loads, not by the folder.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The name that the model gets.
    pub name: String,
    /// Labels instead of those in `config.json`, by index ([`config::parse_label_mapping`]).
    pub labels: Option<Vec<String>>,
    /// How embeddings are pooled, instead of what `1_Pooling/config.json` says; the mean where nobody says.
    pub pooling: Option<Pooling>,
}

/// The files of a model, unread. Sizes are the caller's care.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// `config.json`.
    pub config: &'a [u8],
    /// `model.safetensors`, or `model.onnx`.
    pub weights: &'a [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `1_Pooling/config.json`.
    pub pooling: Option<&'a [u8]>,
    /// `modules.json`.
    pub modules: Option<&'a [u8]>,
}

/// A model in memory, not yet packed for any back end.
#[derive(Debug)]
pub struct Folder {
    /// Its weights.
    pub network: Network,
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// How embeddings are pooled.
    pub pooling: Pooling,
    /// What any back end says about it.
    pub info: EncoderInfo,
}

/// Reads a folder with a network's weights.
///
/// # Errors
///
/// [`LoadError`].
pub fn read(folder: &Path, options: Options) -> Result<Folder, LoadError> {
    with_files(folder, WEIGHTS_FILE, |files| parse(files, options))
}

/// Reads the files of a folder, and gives them to `then`.
pub(crate) fn with_files<T>(
    folder: &Path,
    weights: &str,
    then: impl FnOnce(Files<'_>) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let text = |name: &str| read_file(folder, name, MAX_TEXT_BYTES);
    let optional = |name: &str| match text(name) {
        Err(LoadError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    };
    let (pooling, modules) = (optional(POOLING_FILE)?, optional(MODULES_FILE)?);
    let most = if weights == ONNX_FILE { MAX_GRAPH_BYTES } else { MAX_WEIGHTS_BYTES };
    then(Files {
        config: &text(CONFIG_FILE)?,
        weights: &read_file(folder, weights, most)?,
        tokenizer: &text(TOKENIZER_FILE)?,
        pooling: pooling.as_deref(),
        modules: modules.as_deref(),
    })
}

/// How the files of a folder were found, without reading them: a folder with another stamp is another model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Stamp([Option<Written>; 5]);

/// Of a file: its number, when it was written, and its bytes.
type Written = (u64, Option<SystemTime>, u64);

impl Stamp {
    /// Of every file that [`with_files`] may read.
    pub(crate) fn of(folder: &Path) -> Self {
        let files = [weights_file(folder), CONFIG_FILE, TOKENIZER_FILE, POOLING_FILE, MODULES_FILE];
        Self(files.map(|name| {
            let about = std::fs::metadata(folder.join(name)).ok()?;
            Some((about.ino(), about.modified().ok(), about.len()))
        }))
    }
}

/// The file with the weights of a folder: a network's where there is one, else a graph.
pub(crate) fn weights_file(folder: &Path) -> &'static str {
    if !folder.join(WEIGHTS_FILE).exists() && folder.join(ONNX_FILE).exists() {
        ONNX_FILE
    } else {
        WEIGHTS_FILE
    }
}

fn read_file(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, LoadError> {
    let path = folder.join(name);
    let io = |source| LoadError::Io { file: path.display().to_string(), source };
    let file = File::open(&path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    if bytes > limit {
        return Err(LoadError::TooLarge { file: path.display().to_string(), bytes, limit });
    }
    let mut contents = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(limit).read_to_end(&mut contents).map_err(io)?;
    Ok(contents)
}

/// Reads files that are in memory already.
///
/// # Errors
///
/// [`LoadError`].
pub fn parse(files: Files<'_>, options: Options) -> Result<Folder, LoadError> {
    let mut config = config::parse(files.config)?;
    if let Some(labels) = options.labels {
        config.labels = labels;
    }
    refuse_other_modules(files.modules)?;
    let pooling = pooling(options.pooling, files.pooling)?;
    let tokenizer = Tokenizer::parse(files.tokenizer)?;
    check_vocabulary(&tokenizer, config.vocabulary)?;
    let network = Network::parse(config, files.weights)?;
    let info = info(options.name, &network, digest(&files, pooling));
    Ok(Folder { network, tokenizer, pooling, info })
}

/// Refuses a tokenizer whose ids the model does not know.
pub(crate) fn check_vocabulary(tokenizer: &Tokenizer, vocabulary: usize) -> Result<(), LoadError> {
    if tokenizer.vocabulary() <= vocabulary {
        return Ok(());
    }
    let reason = format!("{} tokens for a vocabulary of {vocabulary}", tokenizer.vocabulary());
    Err(LoadError::malformed(TOKENIZER_FILE, reason))
}

/// As chosen, as the file says, or the mean.
pub(crate) fn pooling(chosen: Option<Pooling>, file: Option<&[u8]>) -> Result<Pooling, LoadError> {
    match (chosen, file) {
        (Some(pooling), _) => Ok(pooling),
        (None, Some(bytes)) => parse_pooling(bytes),
        (None, None) => Ok(Pooling::Mean),
    }
}

fn info(name: String, network: &Network, digest: [u8; 32]) -> EncoderInfo {
    let config = &network.config;
    let mut outputs = vec![OutputInfo {
        name: "embedding".to_owned(),
        kind: OutputKind::Embedding { dimensions: config.hidden },
    }];
    if let Some(head) = &network.head {
        let labels = config.labels.clone();
        let kind = match head.task {
            Task::Token => OutputKind::Token { labels },
            _ => OutputKind::Sequence { labels },
        };
        outputs.push(OutputInfo { name: "labels".to_owned(), kind });
    }
    EncoderInfo {
        name,
        digest,
        family: config.family,
        hidden: config.hidden,
        layers: network.blocks.len(),
        max_tokens: config.positions,
        outputs,
    }
}

/// Over the length and content of every file, and what was chosen beside them.
pub(crate) fn digest(files: &Files<'_>, pooling: Pooling) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [files.config, files.weights, files.tokenizer] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update([match pooling {
        Pooling::First => 0,
        Pooling::Mean => 1,
    }]);
    hash.finalize().into()
}

fn parse_pooling(bytes: &[u8]) -> Result<Pooling, LoadError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        pooling_mode_cls_token: bool,
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
        #[serde(default)]
        pooling_mode_max_tokens: bool,
        /// Newer files have one name instead of the switches.
        pooling_mode: Option<String>,
    }
    let raw: Raw =
        serde_json::from_slice(bytes).map_err(|error| LoadError::malformed(POOLING_FILE, error))?;
    let switches = (raw.pooling_mode_cls_token, raw.pooling_mode_mean_tokens, raw.pooling_mode_max_tokens);
    match (raw.pooling_mode.as_deref(), switches) {
        (Some("cls"), _) | (None, (true, false, false)) => Ok(Pooling::First),
        (Some("mean"), _) | (None, (false, true, false)) => Ok(Pooling::Mean),
        _ => Err(LoadError::unsupported(POOLING_FILE, "pooling other than by the first token or the mean")),
    }
}

/// sentence-transformers may put dense layers after pooling, which this loader would silently leave out.
pub(crate) fn refuse_other_modules(bytes: Option<&[u8]>) -> Result<(), LoadError> {
    #[derive(Deserialize)]
    struct Module {
        #[serde(rename = "type")]
        kind: String,
    }
    let Some(bytes) = bytes else { return Ok(()) };
    let modules: Vec<Module> =
        serde_json::from_slice(bytes).map_err(|error| LoadError::malformed(MODULES_FILE, error))?;
    for module in modules {
        if !["Transformer", "Pooling", "Normalize"].iter().any(|known| module.kind.ends_with(known)) {
            return Err(LoadError::unsupported(MODULES_FILE, module.kind));
        }
    }
    Ok(())
}
