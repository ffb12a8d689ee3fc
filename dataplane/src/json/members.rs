//! The members of one object or the elements of one array, for those who take some out or put some in.

use super::blocks::Native;
use super::cursor::{Cursor, Scanned};
use super::patch::Patch;
use super::spans::{Span, StringSpan};

/// Deeper values than [`ScanLimits`](super::ScanLimits) admits do not come here.
const DEPTH: u32 = super::cursor::MAX_DEPTH;

/// One member or element.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// Its name, if it is a member of an object.
    pub name: Option<StringSpan>,
    /// Its value.
    pub value: Span,
}

impl Item {
    /// From the name, if there is one, to the end of the value.
    pub fn span(&self) -> Span {
        Span { start: self.name.map_or(self.value.start, |name| name.span().start), end: self.value.end }
    }
}

/// An object or array of a body, as a row of items.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Behind the opening bracket.
    open: u32,
    /// What it holds, in order.
    pub items: Vec<Item>,
}

/// The first members of an object, with the value of those that are text.
#[derive(Debug, Default)]
pub struct Texts {
    /// Name and text.
    pub members: Vec<(StringSpan, Option<StringSpan>)>,
    /// There are further members.
    pub more: bool,
}

/// The first `most` members of the object at `value`; none if there is no object.
pub fn texts(body: &str, value: Span, most: usize) -> Texts {
    let mut found = Texts::default();
    let mut cursor = Cursor::<Native>::at_value(body.as_bytes(), DEPTH, value.start as usize);
    let walked = cursor.named_members(|cursor, name| {
        let text = cursor.string_or_skip()?;
        if found.members.len() < most {
            found.members.push((name, text));
        } else {
            found.more = true;
        }
        Ok(())
    });
    if walked.is_ok() { found } else { Texts::default() }
}

impl Row {
    /// The object at `value`; `None` if there is none.
    pub fn object(body: &str, value: Span) -> Option<Row> {
        Row::read(body, value, b'{', |cursor, items| {
            cursor.named_members(|cursor, name| {
                items.push(Item { name: Some(name), value: cursor.span()? });
                Ok(())
            })
        })
    }

    /// The array at `value`; `None` if there is none.
    pub fn array(body: &str, value: Span) -> Option<Row> {
        Row::read(body, value, b'[', |cursor, items| {
            cursor.elements(|cursor| {
                items.push(Item { name: None, value: cursor.span()? });
                Ok(())
            })
        })
    }

    /// The whole body, which is an object.
    pub fn document(body: &str) -> Option<Row> {
        let start = body.len() - body.trim_start_matches([' ', '\t', '\r', '\n']).len();
        Row::object(body, Span { start: u32::try_from(start).ok()?, end: u32::try_from(body.len()).ok()? })
    }

    fn read(
        body: &str,
        value: Span,
        bracket: u8,
        walk: impl FnOnce(&mut Cursor<'_, Native>, &mut Vec<Item>) -> Scanned<()>,
    ) -> Option<Row> {
        if body.as_bytes().get(value.start as usize) != Some(&bracket) {
            return None;
        }
        let mut cursor = Cursor::at_value(body.as_bytes(), DEPTH, value.start as usize);
        let mut row = Row { open: value.start + 1, items: Vec::new() };
        walk(&mut cursor, &mut row.items).ok()?;
        Some(row)
    }

    /// Positions of the items of this name, decoded.
    pub fn named<'r>(&'r self, body: &'r str, name: &'r str) -> impl DoubleEndedIterator<Item = usize> + 'r {
        let is = move |item: &Item| item.name.is_some_and(|found| found.decode(body) == name);
        self.items.iter().enumerate().filter(move |(_, item)| is(item)).map(|(at, _)| at)
    }

    /// The value of the only item of this name, or the last.
    pub fn value(&self, body: &str, name: &str) -> Option<Span> {
        self.named(body, name).next_back().map(|at| self.items[at].value)
    }

    /// Notes the changes that leave only the items that `keep` names by their position, `front` before and
    /// `back` behind them. `front` and `back` are items as they are written, with commas between but not around
    /// them; empty, they are none.
    pub fn rewrite(&self, patch: &mut Patch, keep: impl Fn(usize) -> bool, front: &[u8], back: &[u8]) {
        let spans = || self.items.iter().map(Item::span);
        let first_kept = (0..self.items.len()).find(|at| keep(*at));
        if !front.is_empty() {
            let more = first_kept.is_some() || !back.is_empty();
            patch.insert(self.open, |out| {
                out.extend_from_slice(front);
                out.extend_from_slice(if more { b"," } else { b"" });
            });
        }
        let mut end = self.open;
        let mut before: Option<Span> = None;
        for (at, span) in spans().enumerate() {
            match (keep(at), before) {
                (true, _) => end = span.end,
                // With the comma before it.
                (false, Some(before)) if first_kept.is_some_and(|first| first < at) => {
                    patch.remove(Span { start: before.end, end: span.end });
                }
                (false, _) => {}
            }
            before = Some(span);
        }
        // What stands before the first that is kept, with the commas behind.
        let leading = first_kept.map_or_else(
            || spans().next_back().map(|last| last.end),
            |first| Some(self.items[first].span().start),
        );
        if let (Some(first), Some(end)) = (spans().next(), leading)
            && end > first.start
        {
            patch.remove(Span { start: first.start, end });
        }
        if !back.is_empty() {
            patch.insert(end, |out| {
                out.extend_from_slice(if first_kept.is_some() { b"," } else { b"" });
                out.extend_from_slice(back);
            });
        }
    }
}
