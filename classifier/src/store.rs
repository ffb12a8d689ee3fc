//! Models on disk: a folder each, and one manifest that pins every file by its digest.
//!
//! ```text
//! DIR/models.json            the manifest
//! DIR/NAME/config.json ...   a model's files
//! DIR/.partial/              downloads that have not ended
//! ```
//!
//! Files are pinned when they are fetched, or before, where the catalogue ([`catalogue`]) or the caller knows their
//! digests. Nothing is loaded, and nothing is put into a model's folder, that does not match.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::heads::{HEADS_FILE, Heads, MAX_HEADS_BYTES};
use crate::load::Loaded;
use crate::model::folder::{
    CONFIG_FILE, Files, MAX_GRAPH_BYTES, MAX_TEXT_BYTES, MAX_WEIGHTS_BYTES, MODULES_FILE, POOLING_FILE,
    TOKENIZER_FILE,
};
use crate::model::{LoadError, ONNX_FILE, Options, WEIGHTS_FILE};

pub mod catalogue;
pub mod fetch;

/// Name of the manifest.
const MANIFEST: &str = "models.json";
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
const VERSION: u32 = 1;

/// The files of a model that are kept, and whether every model has them. One of the weights' files is there, too.
pub const FILES: [(&str, bool); 8] = [
    (CONFIG_FILE, true),
    (TOKENIZER_FILE, true),
    (WEIGHTS_FILE, false),
    (ONNX_FILE, false),
    (MODULES_FILE, false),
    (POOLING_FILE, false),
    (HEADS_FILE, false),
    ("LICENSE", false),
];

/// Why the store refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is damaged or of a later version.
    #[error("{path}: {reason}")]
    Manifest {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A name that is no folder's.
    #[error("{0:?} is no model's name: 1 to 64 letters, digits, '.', '-' and '_', the first no '.'")]
    Name(String),
    /// There is no such model.
    #[error("no model {0:?}; 'pintle model list' lists what there is")]
    Unknown(String),
    /// A file is not what was pinned.
    #[error("{file}: sha256 is {found}, pinned is {pinned}")]
    Digest {
        /// The file.
        file: String,
        /// Its digest.
        found: String,
        /// The digest it must have.
        pinned: String,
    },
    /// The files are whole but no model that can be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Fetching failed; what has arrived is kept and goes on next time.
    #[error("{source_name}: {reason}")]
    Fetch {
        /// Where from.
        source_name: String,
        /// What happened.
        reason: String,
    },
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.display().to_string(), source }
    }
}

/// What the manifest says of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is used for, such as `embedding`, `domain`, `pii`.
    pub role: String,
    /// Where it came from, in the words of [`fetch::Source`].
    pub source: String,
    /// SPDX expression or `unknown`.
    pub licence: String,
    /// What has to be said of its authors wherever it is used; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notice: String,
    /// By path within the model's folder.
    pub files: BTreeMap<String, Pin>,
}

impl Entry {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|pin| pin.bytes).sum()
    }
}

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Size.
    pub bytes: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    models: BTreeMap<String, Entry>,
}

/// A directory of models.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    models: BTreeMap<String, Entry>,
}

impl Store {
    /// Opens a directory; one that does not exist is an empty store.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], [`StoreError::Manifest`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.into();
        let path = dir.join(MANIFEST);
        let bytes = match read_bounded(&path, MAX_MANIFEST_BYTES) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { dir, models: BTreeMap::new() });
            }
            other => other?,
        };
        let fail = |reason: String| StoreError::Manifest { path: path.display().to_string(), reason };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(fail(format!("version {} instead of {VERSION}", manifest.version)));
        }
        for (name, entry) in &manifest.models {
            check_name(name)?;
            if let Some(file) = entry.files.keys().find(|file| !FILES.iter().any(|(known, _)| known == file))
            {
                return Err(fail(format!("{name}: {file:?} is no file of a model")));
            }
        }
        Ok(Self { dir, models: manifest.models })
    }

    /// Every model, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.models.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// One model.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unknown`].
    pub fn entry(&self, name: &str) -> Result<&Entry, StoreError> {
        self.models.get(name).ok_or_else(|| StoreError::Unknown(name.to_owned()))
    }

    /// Where a model's files lie.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Reads a model's files and compares their digests.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unknown`], [`StoreError::Io`], [`StoreError::Digest`] for the first file that differs.
    pub fn verify(&self, name: &str) -> Result<(), StoreError> {
        self.entry(name)?.files.keys().try_for_each(|file| self.read(name, file).map(drop))
    }

    /// Loads a model whose every file matches its digest. The digest is computed of the very bytes that are loaded.
    ///
    /// # Errors
    ///
    /// As [`Self::verify`], and [`StoreError::Load`].
    pub fn load(&self, name: &str, options: Options) -> Result<Loaded, StoreError> {
        let optional = |file: &str| {
            let pinned = self.entry(name)?.files.contains_key(file);
            pinned.then(|| self.read(name, file)).transpose()
        };
        let (pooling, modules) = (optional(POOLING_FILE)?, optional(MODULES_FILE)?);
        // As where a folder is read that is not pinned.
        let network = self.entry(name)?.files.contains_key(WEIGHTS_FILE);
        let weights = if network { WEIGHTS_FILE } else { ONNX_FILE };
        let files = Files {
            config: &self.read(name, CONFIG_FILE)?,
            weights: &self.read(name, weights)?,
            tokenizer: &self.read(name, TOKENIZER_FILE)?,
            pooling: pooling.as_deref(),
            modules: modules.as_deref(),
        };
        let options =
            Options { name: if options.name.is_empty() { name.to_owned() } else { options.name }, ..options };
        Ok(Loaded::parse(files, weights, options)?)
    }

    /// The heads that stand on a model's embedding; `None` where it has none.
    ///
    /// # Errors
    ///
    /// As [`Self::verify`], and [`StoreError::Load`].
    pub fn heads(&self, name: &str) -> Result<Option<Heads>, StoreError> {
        if !self.entry(name)?.files.contains_key(HEADS_FILE) {
            return Ok(None);
        }
        Ok(Some(Heads::parse(&self.read(name, HEADS_FILE)?)?))
    }

    fn read(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.folder(name).join(file);
        let pin = self.entry(name)?.files.get(file).ok_or_else(|| {
            StoreError::Load(LoadError::malformed(&path.display().to_string(), "not in the manifest"))
        })?;
        let bytes = read_bounded(&path, limit(file))?;
        check(&path, &hex(Sha256::digest(&bytes).as_slice()), &pin.sha256)?;
        Ok(bytes)
    }

    /// Puts a fetched model in place of one of its name, and writes the manifest.
    ///
    /// `from` holds exactly the files that `entry` names, with its digests.
    fn install(&mut self, name: &str, from: &Path, entry: Entry) -> Result<(), StoreError> {
        let folder = self.folder(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(StoreError::io(&folder))?;
        }
        fs::rename(from, &folder).map_err(StoreError::io(&folder))?;
        self.models.insert(name.to_owned(), entry);
        self.write()
    }

    /// Forgets a model and deletes its files.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unknown`], [`StoreError::Io`].
    pub fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.entry(name)?;
        // First the manifest: files that it does not name are harmless, missing ones are not.
        self.models.remove(name);
        self.write()?;
        let folder = self.folder(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(&folder)(error)),
            _ => Ok(()),
        }
    }

    fn write(&self) -> Result<(), StoreError> {
        let path = self.dir.join(MANIFEST);
        let next = self.dir.join("models.json.new");
        let manifest = Manifest { version: VERSION, models: self.models.clone() };
        let text = serde_json::to_string_pretty(&manifest).expect("strings and numbers") + "\n";
        let mut file = fs::File::create(&next).map_err(StoreError::io(&next))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(StoreError::io(&next))?;
        fs::rename(&next, &path).map_err(StoreError::io(&path))
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(letter) {
        Ok(())
    } else {
        Err(StoreError::Name(name.to_owned()))
    }
}

fn check(file: &Path, found: &str, pinned: &str) -> Result<(), StoreError> {
    if found.eq_ignore_ascii_case(pinned) {
        return Ok(());
    }
    let (found, pinned) = (found.to_owned(), pinned.to_owned());
    Err(StoreError::Digest { file: file.display().to_string(), found, pinned })
}

fn limit(file: &str) -> u64 {
    match file {
        WEIGHTS_FILE => MAX_WEIGHTS_BYTES,
        ONNX_FILE => MAX_GRAPH_BYTES,
        HEADS_FILE => MAX_HEADS_BYTES,
        _ => MAX_TEXT_BYTES,
    }
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let file = fs::File::open(path).map_err(StoreError::io(path))?;
    let bytes = file.metadata().map_err(StoreError::io(path))?.len();
    if bytes > limit {
        return Err(LoadError::TooLarge { file: path.display().to_string(), bytes, limit }.into());
    }
    let mut contents = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(limit).read_to_end(&mut contents).map_err(StoreError::io(path))?;
    Ok(contents)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
