//! Segments of earlier versions: one JSON document per line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;

use memchr::memmem;
use pintle_routing::flow::FlowDocument;
use pintle_routing::flow_id::FlowId;
use serde::Deserialize;

use super::{Damage, Entry, Filter};
use crate::journal::MAX_DOCUMENT_BYTES;
use crate::journal::segments::Segment;

/// A line that tells of lost flows.
#[derive(Deserialize)]
struct LossNotice {
    #[serde(rename = "notice")]
    _notice: String,
    count: u64,
}

/// The document of flow `id`.
pub(super) fn find(content: &[u8], id: FlowId) -> Option<Result<FlowDocument, Damage>> {
    let key = format!("\"id\":\"{id}\"");
    for at in memmem::find_iter(content, &key) {
        let start = memchr::memrchr(b'\n', &content[..at]).map_or(0, |newline| newline + 1);
        let length = memchr::memchr(b'\n', &content[start..])?;
        let line = &content[start..start + length];
        if id_of(line) == Some(id) {
            return Some(serde_json::from_slice(line).map_err(Damage::new));
        }
    }
    None
}

/// Passes everything on in the order of writing. One line is in memory at a time; one longer than any document can be
/// is damaged.
pub(super) fn each(
    segment: &Segment,
    since: Option<FlowId>,
    each: &mut impl FnMut(Entry) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let file = match File::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ControlFlow::Continue(())),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file.take(length));
    let mut line = Vec::new();
    while next_line(&mut reader, &mut line)? {
        let is_early = since.is_some_and(|since| id_of(&line).is_some_and(|id| id < since));
        if !line.is_empty() && !is_early && each(entry(&line)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn entry(line: &[u8]) -> Entry {
    if let Ok(notice) = serde_json::from_slice::<LossNotice>(line) {
        return Entry::Lost(notice.count);
    }
    match serde_json::from_slice::<FlowDocument>(line) {
        Ok(document) if !document.id.is_empty() => Entry::Flow(Box::new(document)),
        _ => Entry::Damaged,
    }
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

/// Documents that may match, the last written first.
pub(super) fn latest<'a>(content: &'a [u8], filter: &Filter) -> impl Iterator<Item = FlowDocument> + use<'a> {
    let needles = Needles::new(filter);
    let ended = memchr::memrchr(b'\n', content).map_or(0, |newline| newline + 1);
    let lines = content[..ended].rsplit(|byte| *byte == b'\n');
    lines
        .filter(move |line| !line.is_empty() && needles.may_match(line))
        .filter_map(|line| serde_json::from_slice(line).ok())
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
    #[derive(Deserialize)]
    struct Head {
        id: FlowId,
    }
    serde_json::from_slice::<Head>(line).ok().map(|head| head.id)
}
