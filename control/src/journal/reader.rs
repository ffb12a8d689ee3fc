//! Finding flow documents again, while the process that writes them runs or long after it died.
//!
//! Readers take no lock. A segment may grow or disappear under them, and its last line may be unfinished:
//! only lines that end are read, and a segment that is gone is passed over.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use memchr::memmem;
use pintle_routing::flow::FlowDocument;
use pintle_routing::flow_id::FlowId;
use serde::Serialize;

use super::MAX_DOCUMENT_BYTES;
use super::segments::{self, Segment};

/// Most documents that one listing returns.
pub const MAX_LISTED: usize = 1000;

/// What a listing is narrowed to; empty filters match everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// At most this many, newest first; capped at [`MAX_LISTED`].
    pub limit: usize,
    /// First characters of the session key in hexadecimal.
    pub session: Option<String>,
    /// Name of the decision that matched.
    pub decision: Option<String>,
    /// Canonical name of the target that was chosen.
    pub model: Option<String>,
    /// Only flows with a smaller id, so that a listing can be continued.
    pub before: Option<FlowId>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowSummary {
    /// The flow id.
    pub id: String,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// First characters of the session key in hexadecimal; empty without a session.
    pub session: String,
    /// The model that the client named.
    pub asked: String,
    /// The target that was chosen.
    pub model: Option<String>,
    /// The decision that matched.
    pub decision: Option<String>,
    /// What session policy did: `new`, `stayed`, `held_tool_loop`, ...
    pub action: Option<&'static str>,
    /// Status that the client got.
    pub status: u16,
    /// Cost in US dollars, if known.
    pub cost_usd: Option<f64>,
    /// From the request's first byte to the answer's last, in microseconds.
    pub total_us: u64,
}

impl FlowSummary {
    fn of(document: &FlowDocument) -> FlowSummary {
        FlowSummary {
            id: document.id.clone(),
            at: document.at.get(),
            session: document.request.session_key.clone(),
            asked: document.request.model.clone(),
            model: document.verdict.target.clone(),
            decision: document.verdict.decision.clone(),
            action: document.session.action.map(|action| action.as_str()),
            status: document.outcome.status,
            cost_usd: document.cost_usd.map(|cost| cost.get()),
            total_us: document.timings.total_us.get(),
        }
    }
}

/// Why a flow could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory or a segment cannot be read.
    #[error("cannot read the flow journal in {dir}: {source}")]
    Io {
        /// The journal's directory.
        dir: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The flow was found, but this build cannot read its document.
    #[error("flow {id} is recorded, but its document is not readable by this version: {source}")]
    Document {
        /// The flow.
        id: FlowId,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The document of flow `id` from the journal in `dir`; `None` if it holds none.
pub fn find(dir: &Path, id: FlowId) -> Result<Option<FlowDocument>, ReadError> {
    let Some(line) = find_line(dir, id)? else { return Ok(None) };
    serde_json::from_slice(&line).map(Some).map_err(|source| ReadError::Document { id, source })
}

/// The document of flow `id` as the line of JSON that was written, without the newline.
///
/// A flow is written when it ends, so it stands in the segment that was open when it began or in a later
/// one. Those are searched first, nearest first; the others follow in case the clock had been set back.
pub fn find_line(dir: &Path, id: FlowId) -> Result<Option<Vec<u8>>, ReadError> {
    let segments = segments::list(dir).map_err(|source| io_error(dir, source))?;
    let first = segments.partition_point(|segment| segment.opened_at.get() <= id.at().get());
    let (earlier, later) = segments.split_at(first.saturating_sub(1));
    let key = format!("\"id\":\"{id}\"");
    let finder = memmem::Finder::new(&key);
    for segment in later.iter().chain(earlier.iter().rev()) {
        let Some(content) = read(segment).map_err(|source| io_error(dir, source))? else { continue };
        for at in finder.find_iter(&content) {
            let start = memchr::memrchr(b'\n', &content[..at]).map_or(0, |newline| newline + 1);
            let Some(length) = memchr::memchr(b'\n', &content[start..]) else { break };
            let line = &content[start..start + length];
            if id_of(line) == Some(id) {
                return Ok(Some(line.to_vec()));
            }
        }
    }
    Ok(None)
}

/// The last `count` documents, newest first.
pub fn tail(dir: &Path, count: usize) -> Result<Vec<FlowDocument>, ReadError> {
    let filter = Filter { limit: count, ..Filter::default() };
    collect(dir, &filter, |document| document)
}

/// Summaries of the documents that match `filter`, the last written first.
pub fn list(dir: &Path, filter: &Filter) -> Result<Vec<FlowSummary>, ReadError> {
    collect(dir, filter, |document| FlowSummary::of(&document))
}

/// Passes every document to `each` as the line of JSON that was written, without the newline, in the order of
/// writing, until `each` breaks. With `since`, lines of smaller flow ids are left out.
///
/// One line is in memory at a time. A line longer than any document can be, or without an id, is damaged;
/// its first [`MAX_DOCUMENT_BYTES`] are passed on, for the caller to count.
pub fn for_each_line(
    dir: &Path,
    since: Option<FlowId>,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let segments = segments::list(dir).map_err(|source| io_error(dir, source))?;
    let mut line = Vec::new();
    for segment in &segments {
        let Some(mut reader) = lines(segment).map_err(|source| io_error(dir, source))? else { continue };
        while next_line(&mut reader, &mut line).map_err(|source| io_error(dir, source))? {
            let is_early = since.is_some_and(|since| id_of(&line).is_some_and(|id| id < since));
            if !line.is_empty() && !is_early && each(&line).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A segment as far as it had been written by now, or `None` if it has been removed meanwhile.
fn lines(segment: &Segment) -> io::Result<Option<impl BufRead>> {
    let file = match File::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    Ok(Some(BufReader::new(file.take(length))))
}

/// Reads one line that ends; false if there is none.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let most = MAX_DOCUMENT_BYTES + 1;
    reader.by_ref().take(most as u64).read_until(b'\n', line)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(true);
    }
    if line.len() < most {
        return Ok(false);
    }
    line.truncate(MAX_DOCUMENT_BYTES);
    reader.skip_until(b'\n')?;
    Ok(true)
}

fn collect<T>(dir: &Path, filter: &Filter, keep: impl Fn(FlowDocument) -> T) -> Result<Vec<T>, ReadError> {
    let limit = filter.limit.min(MAX_LISTED);
    let mut found = Vec::new();
    let needles = Needles::new(filter);
    let segments = segments::list(dir).map_err(|source| io_error(dir, source))?;
    for segment in segments.iter().rev() {
        if found.len() >= limit {
            break;
        }
        let Some(content) = read(segment).map_err(|source| io_error(dir, source))? else { continue };
        let ended = memchr::memrchr(b'\n', &content).map_or(0, |newline| newline + 1);
        let lines = content[..ended].rsplit(|byte| *byte == b'\n');
        let documents = lines
            .filter(|line| !line.is_empty() && needles.may_match(line))
            .filter_map(|line| serde_json::from_slice::<FlowDocument>(line).ok())
            .filter(|document| matches(document, filter));
        found.extend(documents.take(limit - found.len()).map(&keep));
    }
    Ok(found)
}

fn matches(document: &FlowDocument, filter: &Filter) -> bool {
    let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    let Ok(id) = document.id.parse::<FlowId>() else { return false };
    filter.before.is_none_or(|before| id < before)
        && filter.session.as_ref().is_none_or(|key| document.request.session_key.starts_with(key))
        && is(&filter.decision, &document.verdict.decision)
        && is(&filter.model, &document.verdict.target)
}

/// Byte strings that a matching line must contain, to leave out most lines before parsing them.
struct Needles(Vec<memmem::Finder<'static>>);

impl Needles {
    fn new(filter: &Filter) -> Needles {
        let texts = [&filter.session, &filter.decision, &filter.model];
        let quoted = texts.into_iter().flatten().filter_map(|text| serde_json::to_string(text).ok());
        let finders =
            quoted.map(|text| memmem::Finder::new(&text.as_bytes()[1..text.len() - 1]).into_owned());
        Needles(finders.collect())
    }

    fn may_match(&self, line: &[u8]) -> bool {
        self.0.iter().all(|finder| finder.find(line).is_some())
    }
}

/// The id that a line's document carries, without reading the rest of it into memory.
fn id_of(line: &[u8]) -> Option<FlowId> {
    #[derive(serde::Deserialize)]
    struct Head {
        id: FlowId,
    }
    serde_json::from_slice::<Head>(line).ok().map(|head| head.id)
}

/// The content of a segment, or `None` if it has been removed meanwhile.
fn read(segment: &Segment) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let mut content = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut content)?;
    Ok(Some(content))
}

fn io_error(dir: &Path, source: io::Error) -> ReadError {
    ReadError::Io { dir: dir.to_path_buf(), source }
}
