//! Finding flow documents again, while the process that writes them runs or long after it died.
//!
//! Readers take no lock. A segment may grow or disappear under them, and the end of it may be unfinished: only what is
//! whole is read, and a segment that is gone is passed over.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use memchr::memmem;
use pintle_routing::flow::FlowDocument;
use pintle_routing::flow_id::FlowId;
use serde::Serialize;

use super::packed::{self, Index};
use super::segments::{self, Format, Segment};

mod lines;

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
    /// The flow was found, but this build cannot make its document.
    #[error("flow {id} is recorded, but its document is not readable by this version: {source}")]
    Document {
        /// The flow.
        id: FlowId,
        /// What is wrong with it.
        source: Damage,
    },
}

/// What is wrong with something that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(String);

impl Damage {
    pub(crate) fn new(what: impl ToString) -> Damage {
        Damage(what.to_string())
    }
}

/// One thing in the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A flow.
    Flow(Box<FlowDocument>),
    /// The journal says that it lost so many flows here.
    Lost(u64),
    /// Something that cannot be read.
    Damaged,
}

/// The document of flow `id` from the journal in `dir`; `None` if it holds none.
///
/// A flow is written when it ends, so it stands in the segment that was open when it began or in a later
/// one. Those are searched first, nearest first; the others follow in case the clock had been set back.
pub fn find(dir: &Path, id: FlowId) -> Result<Option<FlowDocument>, ReadError> {
    let segments = segments::list(dir).map_err(|source| io_error(dir, source))?;
    let first = segments.partition_point(|segment| segment.opened_at.get() <= id.at().get());
    let (earlier, later) = segments.split_at(first.saturating_sub(1));
    for segment in later.iter().chain(earlier.iter().rev()) {
        let Some(content) = read(segment).map_err(|source| io_error(dir, source))? else { continue };
        let found = match segment.format {
            Format::Lines => lines::find(&content, id),
            Format::Packed => {
                let index = Index::of(&content);
                index.flows().find(|flow| flow.id == id).map(|flow| index.document(flow))
            }
        };
        if let Some(found) = found {
            return found.map(Some).map_err(|source| ReadError::Document { id, source });
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

/// Passes everything on, in the order of writing, until `each` breaks. With `since`, flows with smaller ids are left
/// out.
pub fn for_each(
    dir: &Path,
    since: Option<FlowId>,
    mut each: impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let segments = segments::list(dir).map_err(|source| io_error(dir, source))?;
    for segment in &segments {
        let flow = match segment.format {
            Format::Lines => lines::each(segment, since, &mut each),
            Format::Packed => each_packed(segment, since, &mut each),
        };
        if flow.map_err(|source| io_error(dir, source))?.is_break() {
            break;
        }
    }
    Ok(())
}

fn each_packed(
    segment: &Segment,
    since: Option<FlowId>,
    each: &mut impl FnMut(Entry) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let content = read(segment)?;
    Ok(content.map_or(ControlFlow::Continue(()), |content| for_each_in(&content, since, each)))
}

/// As [`for_each`], of one segment's content, which may be anything.
pub fn for_each_in(
    content: &[u8],
    since: Option<FlowId>,
    mut each: impl FnMut(Entry) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let index = Index::of(content);
    for entry in &index.entries {
        let entry = match entry {
            packed::Entry::Flow(flow) if since.is_some_and(|since| flow.id < since) => continue,
            packed::Entry::Flow(flow) => match index.document(flow) {
                Ok(document) => Entry::Flow(Box::new(document)),
                Err(_) => Entry::Damaged,
            },
            packed::Entry::Lost(count) => Entry::Lost(*count),
            packed::Entry::Damaged => Entry::Damaged,
        };
        each(entry)?;
    }
    ControlFlow::Continue(())
}

fn collect<T>(dir: &Path, filter: &Filter, keep: impl Fn(FlowDocument) -> T) -> Result<Vec<T>, ReadError> {
    let limit = filter.limit.min(MAX_LISTED);
    let mut found = Vec::new();
    let segments = segments::list(dir).map_err(|source| io_error(dir, source))?;
    for segment in segments.iter().rev() {
        if found.len() >= limit {
            break;
        }
        let Some(content) = read(segment).map_err(|source| io_error(dir, source))? else { continue };
        let mut keep_matching = |documents: &mut dyn Iterator<Item = FlowDocument>| {
            let matching = documents.filter(|document| matches(document, filter));
            found.extend(matching.take(limit - found.len()).map(&keep));
        };
        match segment.format {
            Format::Lines => keep_matching(&mut lines::latest(&content, filter)),
            Format::Packed => {
                let index = Index::of(&content);
                let session = filter.session.as_deref().map(memmem::Finder::new);
                let flows = index.flows().rev();
                let flows = flows
                    .filter(|flow| filter.before.is_none_or(|before| flow.id < before))
                    // A text lies in a record as it is, so most others can be left out unread.
                    .filter(|flow| session.as_ref().is_none_or(|key| key.find(flow.record).is_some()));
                keep_matching(&mut flows.filter_map(|flow| index.document(flow).ok()));
            }
        }
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

#[cfg(test)]
mod tests;
