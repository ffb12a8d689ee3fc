//! Bytes to one positioned node tree, within bounds.
//!
//! Follows yaml.v2 where it is observable: only the first document counts, the last of equal keys wins,
//! aliases and merge keys work, explicit scalar tags decide the type.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::codes;
use crate::findings::Findings;
use crate::node::{Entry, Kind, Node};
use crate::report::Severity;

/// Bytes of a document. Upstream's largest file has 264 kB.
pub const MAX_BYTES: usize = 16 << 20;
/// Nested collections.
pub const MAX_DEPTH: usize = 100;
const TOO_DEEP: &str = "nested deeper than 100 levels";
/// Nodes, with every alias counted as often as it is used.
pub const MAX_NODES: usize = 200_000;
/// Bytes of text in those nodes.
pub const MAX_TEXT: usize = 64 << 20;
/// Anchors that a document may define.
pub const MAX_ANCHORS: usize = 10_000;

/// Parses the first document. `None` when an error was reported, or when there is no document at all.
pub(crate) fn parse(bytes: &[u8], findings: &mut Findings) -> Option<Node> {
    let text = decode(bytes, findings)?;
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text).keep_tags(true);
    loop {
        let (event, span) = match parser.next_event() {
            None => break,
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                let mark = error.marker();
                let mut place = Place { line: mark.line() as u32, column: mark.col() as u32 + 1 };
                let info = error.info();
                if info.contains("recursion limit") {
                    findings.push(Severity::Error, codes::LIMIT, "", place, TOO_DEEP);
                    return None;
                }
                let tab = tab_indent(text, place.line);
                if let Some(column) = tab {
                    place.column = column;
                }
                findings
                    .push(Severity::Error, codes::SYNTAX, "", place, format!("not valid YAML: {info}"))
                    .help_if(tab.is_some(), "indent with spaces; YAML does not allow tabs for indentation");
                return None;
            }
        };
        match builder.event(event, span, findings) {
            Ok(Step::More) => {}
            Ok(Step::Done) => break,
            Err(Stop) => return None,
        }
    }
    if builder.done.is_some() && more_documents(&mut parser) {
        let place = Place { line: builder.end_line, column: 1 };
        findings
            .push(
                Severity::Warning,
                codes::MORE_DOCUMENTS,
                "",
                place,
                "only the first document of the file is read",
            )
            .help("split the file, or remove what follows `---`");
    }
    builder.done
}

/// Parses every document, as tools for Kubernetes write them. Stops at the first error, which is reported.
pub(crate) fn parse_all(bytes: &[u8], findings: &mut Findings) -> Vec<Node> {
    let Some(text) = decode(bytes, findings) else { return Vec::new() };
    let mut builder = Builder::default();
    let mut documents = Vec::new();
    let mut parser = Parser::new_from_str(text).keep_tags(true);
    while let Some(next) = parser.next_event() {
        match next.map(|(event, span)| builder.event(event, span, findings)) {
            Ok(Ok(Step::More)) => {}
            Ok(Ok(Step::Done)) => {
                documents.extend(builder.done.take());
                builder.anchors.clear();
            }
            Ok(Err(Stop)) => break,
            Err(error) => {
                let mark = error.marker();
                let place = Place { line: mark.line() as u32, column: mark.col() as u32 + 1 };
                findings.push(
                    Severity::Error,
                    codes::SYNTAX,
                    "",
                    place,
                    format!("not valid YAML: {}", error.info()),
                );
                break;
            }
        }
    }
    documents
}

/// A position in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Line from 1; 0 for none.
    pub line: u32,
    /// Column from 1.
    pub column: u32,
}

impl From<&Node> for Place {
    fn from(node: &Node) -> Self {
        Self { line: node.line, column: node.column }
    }
}

fn decode<'a>(bytes: &'a [u8], findings: &mut Findings) -> Option<&'a str> {
    if bytes.len() > MAX_BYTES {
        findings.push(
            Severity::Error,
            codes::LIMIT,
            "",
            Place::default(),
            format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len()),
        );
        return None;
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        findings
            .push(Severity::Error, codes::NOT_UTF8, "", Place { line: 1, column: 1 }, "the file is UTF-16")
            .help("save it as UTF-8");
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let valid = &bytes[..error.valid_up_to()];
            let line_start = valid.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let line = valid.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
            let column =
                std::str::from_utf8(&valid[line_start..]).map_or(0, |text| text.chars().count()) as u32 + 1;
            let byte = bytes[error.valid_up_to()];
            findings
                .push(
                    Severity::Error,
                    codes::NOT_UTF8,
                    "",
                    Place { line, column },
                    format!("the file is not UTF-8: byte 0x{byte:02x} at offset {}", error.valid_up_to()),
                )
                .help("save it as UTF-8");
            None
        }
    }
}

/// Column of a tab in the indentation of a line, if there is one.
fn tab_indent(text: &str, line: u32) -> Option<u32> {
    let indent = text.lines().nth(line.checked_sub(1)? as usize)?;
    let at = indent.find(|c: char| c != ' ')?;
    indent[at..].starts_with('\t').then_some(at as u32 + 1)
}

fn more_documents(parser: &mut Parser<'_, saphyr_parser::StrInput<'_>>) -> bool {
    matches!(parser.next_event(), Some(Ok((Event::DocumentStart(..), _))))
}

enum Step {
    More,
    Done,
}

/// An error was reported and parsing cannot go on.
struct Stop;

enum Frame {
    Seq { node: Node, anchor: usize, items: Vec<Node> },
    Map { node: Node, anchor: usize, entries: Vec<Entry>, key: Option<Node> },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    /// Finished anchored nodes with their cost in nodes and text bytes.
    anchors: HashMap<usize, (Node, usize, usize)>,
    nodes: usize,
    text: usize,
    done: Option<Node>,
    end_line: u32,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span, findings: &mut Findings) -> Result<Step, Stop> {
        let place = Place { line: span.start.line() as u32, column: span.start.col() as u32 + 1 };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar(&text, style, tag.as_deref());
                self.charge(1, text.len(), place, findings)?;
                self.finish(Node { line: place.line, column: place.column, kind }, anchor, findings)?;
            }
            Event::Alias(anchor) => {
                let Some((node, nodes, text)) = self.anchors.get(&anchor) else {
                    findings.push(
                        Severity::Error,
                        codes::SYNTAX,
                        self.path(),
                        place,
                        "an alias refers to a value that contains it",
                    );
                    return Err(Stop);
                };
                let (node, nodes, text) = (node, *nodes, *text);
                if self.nodes + nodes > MAX_NODES || self.text + text > MAX_TEXT {
                    return Err(self.too_large(place, findings));
                }
                let node = node.clone();
                self.charge(nodes, text, place, findings)?;
                self.finish(node, 0, findings)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.open(place, findings)?;
                let node = Node { line: place.line, column: place.column, kind: Kind::Seq(Vec::new()) };
                self.stack.push(Frame::Seq { node, anchor, items: Vec::new() });
            }
            Event::MappingStart(anchor, _) => {
                self.open(place, findings)?;
                let node = Node { line: place.line, column: place.column, kind: Kind::Map(Vec::new()) };
                self.stack.push(Frame::Map { node, anchor, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::Seq { mut node, anchor, items }) => {
                    node.kind = Kind::Seq(items);
                    self.finish(node, anchor, findings)?;
                }
                Some(Frame::Map { mut node, anchor, entries, .. }) => {
                    let entries = merge(entries, &self.path(), findings)?;
                    node.kind = Kind::Map(entries);
                    self.finish(node, anchor, findings)?;
                }
                None => return Err(Stop),
            },
            Event::DocumentEnd => {
                self.end_line = place.line;
                return Ok(Step::Done);
            }
            Event::StreamEnd => return Ok(Step::Done),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(..) => {}
        }
        Ok(Step::More)
    }

    fn open(&mut self, place: Place, findings: &mut Findings) -> Result<(), Stop> {
        if self.stack.len() >= MAX_DEPTH {
            findings.push(Severity::Error, codes::LIMIT, "", place, TOO_DEEP);
            return Err(Stop);
        }
        self.charge(1, 0, place, findings)
    }

    fn charge(
        &mut self,
        nodes: usize,
        text: usize,
        place: Place,
        findings: &mut Findings,
    ) -> Result<(), Stop> {
        self.nodes += nodes;
        self.text += text;
        if self.nodes > MAX_NODES || self.text > MAX_TEXT {
            return Err(self.too_large(place, findings));
        }
        Ok(())
    }

    fn too_large(&self, place: Place, findings: &mut Findings) -> Stop {
        findings
            .push(
                Severity::Error,
                codes::LIMIT,
                "",
                place,
                format!("the document grows beyond {MAX_NODES} values or {MAX_TEXT} bytes of text"),
            )
            .help("each use of an alias counts as a copy of what it names");
        Stop
    }

    fn finish(&mut self, node: Node, anchor: usize, findings: &mut Findings) -> Result<(), Stop> {
        if anchor > 0 {
            if self.anchors.len() >= MAX_ANCHORS {
                let place = Place::from(&node);
                findings.push(
                    Severity::Error,
                    codes::LIMIT,
                    "",
                    place,
                    format!("more than {MAX_ANCHORS} anchors"),
                );
                return Err(Stop);
            }
            let (nodes, text) = cost(&node);
            self.charge(nodes, text, Place::from(&node), findings)?;
            self.anchors.insert(anchor, (node.clone(), nodes, text));
        }
        match self.stack.last_mut() {
            None => self.done = Some(node),
            Some(Frame::Seq { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push(Entry { key, value: node }),
            },
        }
        Ok(())
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match frame {
                Frame::Seq { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Frame::Map { key, .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key.as_ref().and_then(Node::text).unwrap_or("?"));
                }
            }
        }
        path
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
    let plain = match tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str()) {
        Some("str" | "binary") => false,
        Some("int" | "float" | "bool" | "null") => true,
        _ => style == ScalarStyle::Plain && tag.is_none_or(|tag| tag.handle != "!" || !tag.suffix.is_empty()),
    };
    Kind::Scalar { text: text.into(), plain }
}

fn cost(node: &Node) -> (usize, usize) {
    match &node.kind {
        Kind::Scalar { text, .. } => (1, text.len()),
        Kind::Seq(items) => items.iter().map(cost).fold((1, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)),
        Kind::Map(entries) => entries
            .iter()
            .flat_map(|entry| [cost(&entry.key), cost(&entry.value)])
            .fold((1, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)),
    }
}

/// Resolves merge keys where they stand and lets the last of equal keys win.
fn merge(entries: Vec<Entry>, path: &str, findings: &mut Findings) -> Result<Vec<Entry>, Stop> {
    let mut merged: Vec<(Entry, bool)> = Vec::with_capacity(entries.len());
    let mut index: HashMap<Box<str>, usize> = HashMap::new();
    let mut put = |entry: Entry, own: bool, findings: &mut Findings| {
        let Some(key) = entry.key.text() else {
            merged.push((entry, own));
            return;
        };
        match index.get(key) {
            Some(&at) => {
                if own && merged[at].1 {
                    let place = Place::from(&entry.key);
                    let first = merged[at].0.key.line;
                    let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                    findings
                        .push(
                            Severity::Warning,
                            codes::DUPLICATE_KEY,
                            path,
                            place,
                            format!("`{key}` is written twice; the last one counts"),
                        )
                        .help(format!("remove the one on line {first}, or this one"));
                }
                merged[at] = (entry, own);
            }
            None => {
                index.insert(key.into(), merged.len());
                merged.push((entry, own));
            }
        }
    };
    for entry in entries {
        if !is_merge(&entry.key) {
            put(entry, true, findings);
            continue;
        }
        let place = Place::from(&entry.value);
        let sources = match entry.value.kind {
            Kind::Map(entries) => vec![entries],
            // yaml.v2 applies a list of merges from last to first, so that the first one wins.
            Kind::Seq(items) => {
                let mut sources = Vec::new();
                for item in items.into_iter().rev() {
                    match item.kind {
                        Kind::Map(entries) => sources.push(entries),
                        _ => return Err(bad_merge(path, place, findings)),
                    }
                }
                sources
            }
            Kind::Scalar { .. } => return Err(bad_merge(path, place, findings)),
        };
        for entry in sources.into_iter().flatten() {
            put(entry, false, findings);
        }
    }
    Ok(merged.into_iter().map(|(entry, _)| entry).collect())
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, Kind::Scalar { text, plain: true } if &**text == "<<")
}

fn bad_merge(path: &str, place: Place, findings: &mut Findings) -> Stop {
    findings.push(
        Severity::Error,
        codes::SYNTAX,
        path,
        place,
        "a merge key `<<` needs a mapping or a list of mappings",
    );
    Stop
}
