//! Comments of the old document, carried to where their fields went.
//!
//! A block of comment lines belongs to the key or list item below it, a comment behind a value to that value.
//! Migration moves value nodes with their positions, so a field is found again by the position of its value.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{Change, Line};
use crate::node::{Kind, Node};
use crate::write::{Anchor, Remarks};

/// Characters of a comment that its line in the report shows.
const SHOWN: usize = 40;

/// Comments read so far, and the fields that they can belong to.
#[derive(Default)]
pub(crate) struct Comments {
    comments: Vec<Comment>,
    points: Vec<Point>,
}

struct Comment {
    line: u32,
    text: String,
    place: Place,
}

enum Place {
    Head,
    Foot,
    Above(usize),
    Behind(usize),
    Nowhere,
}

/// A key with its value, or a list item. Points are in document order, each before what it contains.
struct Point {
    /// Where the key or the item starts.
    line: u32,
    column: u32,
    value: Anchor,
    /// Index after the last point inside this one.
    end: usize,
}

/// What goes around the new document.
pub(super) struct Placed {
    pub(super) head: String,
    pub(super) remarks: Remarks,
    pub(super) foot: String,
    /// Comments whose field is gone.
    pub(super) lost: Vec<Line>,
}

impl Comments {
    /// Reads the comments of a file. What stands before the first field stays at the head of the file, unless
    /// a blank line sets the last block apart; what follows the last field stays at its foot.
    pub(super) fn read(&mut self, text: &str, documents: &[Node]) {
        let from = self.points.len();
        for (index, document) in documents.iter().enumerate() {
            if index > 0 {
                self.item(document, 0);
            } else {
                self.inside(document, 0);
            }
        }
        let mut found = scan(text);
        let first = self.points.get(from).map_or(u32::MAX, |point| point.line);
        let before = found.iter().take_while(|comment| comment.line < first).count();
        let gap = (1..before).rev().find(|&index| found[index - 1].line + 1 < found[index].line);
        let head = match gap {
            Some(gap) if found[before - 1].line + 1 == first => gap,
            _ => before,
        };
        let rest = found.split_off(head);
        self.comments.extend(found.into_iter().map(|Found { line, text, .. }| Comment {
            line,
            text,
            place: Place::Head,
        }));
        self.attach(rest, from, 0, true);
    }

    /// Reads the comments of a document inside a document, whose lines start after line `by`.
    pub(super) fn read_embedded(&mut self, text: &str, document: &Node, by: u32) {
        let from = self.points.len();
        self.item(document, by);
        self.attach(scan(text), from, by, false);
    }

    fn attach(&mut self, found: Vec<Found>, from: usize, by: u32, has_foot: bool) {
        let mut order: Vec<usize> = (from..self.points.len()).collect();
        order.sort_by_key(|&index| (self.points[index].line, self.points[index].column, index));
        for Found { line, text, behind } in found {
            let line = line + by;
            let start = order.partition_point(|&index| self.points[index].line < line);
            let end = order.partition_point(|&index| self.points[index].line <= line);
            let place = if behind {
                match self.on_line(&order[start..end]).or(start.checked_sub(1).map(|at| order[at])) {
                    Some(point) => Place::Behind(point),
                    None => Place::Nowhere,
                }
            } else {
                match order.get(end) {
                    Some(&point) => Place::Above(point),
                    None if has_foot => Place::Foot,
                    None => Place::Nowhere,
                }
            };
            self.comments.push(Comment { line, text, place });
        }
    }

    /// What a comment behind these points of one line belongs to: the innermost, or what holds several.
    fn on_line(&self, points: &[usize]) -> Option<usize> {
        let nested = points.windows(2).all(|pair| pair[1] < self.points[pair[0]].end);
        if nested { points.last() } else { points.first() }.copied()
    }

    fn inside(&mut self, node: &Node, by: u32) {
        match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    self.point(entry.key.line, entry.key.column, &entry.value, by);
                }
            }
            Kind::Seq(items) => items.iter().for_each(|item| self.item(item, by)),
            Kind::Scalar { .. } => {}
        }
    }

    fn item(&mut self, node: &Node, by: u32) {
        self.point(node.line, node.column, node, by);
    }

    fn point(&mut self, line: u32, column: u32, value: &Node, by: u32) {
        let index = self.points.len();
        let anchor = Anchor { line: value.line + by, ..Anchor::of(value) };
        self.points.push(Point { line: line + by, column, value: anchor, end: 0 });
        self.inside(value, by);
        self.points[index].end = self.points.len();
    }

    /// Finds the fields again in the new document.
    pub(super) fn place(self, out: &Node) -> Placed {
        let mut present = HashSet::new();
        collect(out, &mut present);
        let mut placed = Placed {
            head: String::new(),
            remarks: Remarks::default(),
            foot: String::new(),
            lost: Vec::new(),
        };
        let mut last_of_head = 0;
        for Comment { line, text, place } in self.comments {
            let (point, behind) = match place {
                Place::Head => {
                    if last_of_head > 0 && last_of_head + 1 < line {
                        placed.head.push('\n');
                    }
                    last_of_head = line;
                    placed.head += &format!("{text}\n");
                    continue;
                }
                Place::Foot => {
                    placed.foot += &format!("{text}\n");
                    continue;
                }
                Place::Above(point) => (Some(point), false),
                Place::Behind(point) => (Some(point), true),
                Place::Nowhere => (None, false),
            };
            let own = point.map(|index| self.points[index].value);
            // A section that was taken apart is found where its first remaining member is.
            let found = point.and_then(|index| {
                self.points[index..self.points[index].end].iter().find_map(|point| {
                    let rebuilt = Anchor { column: 0, ..point.value };
                    [point.value, rebuilt].into_iter().find(|anchor| present.contains(anchor))
                })
            });
            match found {
                Some(anchor) if behind && own.is_some_and(|own| own.line == anchor.line) => {
                    placed.remarks.behind(anchor, text);
                }
                Some(anchor) => placed.remarks.above(anchor, text),
                None => {
                    let shown: String = text.chars().take(SHOWN).collect();
                    let more = if shown.len() < text.len() { "..." } else { "" };
                    placed.lost.push(Line {
                        change: Change::Dropped,
                        line,
                        from: format!("comment `{shown}{more}`"),
                        to: String::new(),
                        why: "its field is not in the new document".into(),
                    });
                }
            }
        }
        placed
    }
}

fn collect(node: &Node, present: &mut HashSet<Anchor>) {
    let mut value = |value: &Node| {
        if value.line > 0 {
            present.insert(Anchor::of(value));
        }
        collect(value, present);
    };
    match &node.kind {
        Kind::Map(entries) => entries.iter().for_each(|entry| value(&entry.value)),
        Kind::Seq(items) => items.iter().for_each(value),
        Kind::Scalar { .. } => {}
    }
}

struct Found {
    line: u32,
    text: String,
    /// Something else stands before it on its line.
    behind: bool,
}

/// Every comment: a `#` after white space that is not inside a quoted or block scalar.
fn scan(text: &str) -> Vec<Found> {
    let mut scalars = scalars(text).into_iter().peekable();
    let mut found = Vec::new();
    let (mut number, mut quote, mut rest) = (0, None, text);
    while !rest.is_empty() {
        number += 1;
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let line = &rest[..end];
        let skip = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = rest.get(end + skip..).unwrap_or_default();
        let mut before = ' ';
        let mut chars = line.char_indices().enumerate().peekable();
        while let Some((column, (at, c))) = chars.next() {
            let here = (number, column);
            while scalars.next_if(|scalar| scalar.is_before(here)).is_some() {}
            if let Some(mark) = quote {
                if c == mark && mark == '\'' && chars.next_if(|(_, (_, next))| *next == mark).is_some() {
                    // A doubled quote is text.
                } else if c == mark {
                    quote = None;
                } else if c == '\\' && mark == '"' {
                    chars.next();
                }
            } else if scalars.peek().is_some_and(|scalar| scalar.is_quoted_at(here)) {
                quote = Some(c);
            } else if c == '#'
                && matches!(before, ' ' | '\t' | '\u{feff}')
                && !scalars.peek().is_some_and(|scalar| scalar.is_block_over(here))
            {
                found.push(Found {
                    line: number as u32,
                    text: line[at..].trim_end().replace(is_unsafe, " "),
                    behind: !line[..at].trim_matches(['\u{feff}', ' ', '\t']).is_empty(),
                });
                break;
            }
            before = c;
        }
    }
    found
}

/// Characters that end a line, and with it the comment, for some reader of YAML.
fn is_unsafe(c: char) -> bool {
    c.is_control() && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// A scalar that may contain `#` after white space. Places are lines from 1 and columns from 0.
enum Opaque {
    /// Starts with its quote.
    Quoted((usize, usize)),
    /// Starts with the first line of its content; ends before the place.
    Block(usize, (usize, usize)),
}

impl Opaque {
    fn is_before(&self, here: (usize, usize)) -> bool {
        match *self {
            Self::Quoted(start) => start < here,
            Self::Block(_, end) => end <= here,
        }
    }

    fn is_quoted_at(&self, here: (usize, usize)) -> bool {
        matches!(self, Self::Quoted(start) if *start == here)
    }

    fn is_block_over(&self, here: (usize, usize)) -> bool {
        matches!(self, Self::Block(first, end) if *first <= here.0 && here < *end)
    }
}

/// In order of the document. The parser counts a comment behind a quoted scalar as part of it, so that where
/// it ends is left to [`scan`].
fn scalars(text: &str) -> Vec<Opaque> {
    let mut found = Vec::new();
    for next in Parser::new_from_str(text) {
        let Ok((event, span)) = next else { break };
        let Event::Scalar(written, style, ..) = event else { continue };
        let (start, end) = (span.start, span.end);
        match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                found.push(Opaque::Quoted((start.line(), start.col())));
            }
            // Without content, it has the place of its indicator, behind which a comment may stand.
            ScalarStyle::Literal | ScalarStyle::Folded if !written.trim().is_empty() => {
                found.push(Opaque::Block(start.line(), (end.line(), end.col())));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests;
