//! Changing a body without copying the body.
//!
//! A patched body is a list of slices: what lies before a changed span, the bytes in its place, what lies
//! behind. They go out in one vectored write. Every byte outside the changed spans is the client's own.

use smallvec::SmallVec;

use super::Span;

/// Changes that a patch keeps without allocating: a model name and a few parameters.
const INLINE_CHANGES: usize = 8;

/// Why changes do not fit a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A span reaches beyond the body.
    #[error("a changed span lies outside the body")]
    Outside,
    /// Spans overlap.
    #[error("changed spans overlap")]
    Overlap,
}

/// Changes to one body. Reused from request to request.
///
/// Changes may be noted in any order; [`Patch::settle`] brings them into that of the body. What is inserted at
/// one place stands in the order in which it was noted, before what is put in place of a span that begins there.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    changes: SmallVec<[Change; INLINE_CHANGES]>,
    /// The new bytes of all changes.
    fresh: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    at: Span,
    fresh: Span,
}

impl Patch {
    /// No changes.
    pub fn new() -> Patch {
        Patch::default()
    }

    /// Forgets the changes and keeps the memory.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.fresh.clear();
    }

    /// Puts what `write` appends in place of a span.
    pub fn replace(&mut self, at: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.fresh.len();
        write(&mut self.fresh);
        self.changes.push(Change { at, fresh: Span::new(start, self.fresh.len()) });
    }

    /// Puts what `write` appends before the byte at `at`.
    pub fn insert(&mut self, at: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.replace(Span { start: at, end: at }, write);
    }

    /// Takes a span out.
    pub fn remove(&mut self, at: Span) {
        self.replace(at, |_| {});
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Brings the changes into the order of a body of `length` bytes and returns its new length.
    ///
    /// # Errors
    /// [`PatchError`] if they overlap or reach beyond it.
    pub fn settle(&mut self, length: usize) -> Result<usize, PatchError> {
        // Stable, so that what was inserted first stands first.
        self.changes.sort_by_key(|change| (change.at.start, change.at.end));
        let mut from = 0;
        let mut patched = length;
        for Change { at, fresh } in &self.changes {
            if at.end as usize > length || at.end < at.start {
                return Err(PatchError::Outside);
            }
            if at.start < from {
                return Err(PatchError::Overlap);
            }
            from = at.end;
            patched = patched - at.len() + fresh.len();
        }
        Ok(patched)
    }

    /// The slices of a settled patch in the order in which they go out; empty ones are left out.
    pub fn slices<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut from = 0;
        let changed = self.changes.iter().flat_map(move |Change { at, fresh }| {
            let before = Span { start: std::mem::replace(&mut from, at.end), end: at.start };
            [before.of(body), fresh.of(&self.fresh)]
        });
        let last = self.changes.last().map_or(0, |change| change.at.end as usize);
        changed.chain([body.get(last..).unwrap_or_default()]).filter(|slice| !slice.is_empty())
    }
}
