//! One pass over a text for every literal of a policy.
//!
//! All literals of all rules (keywords, keyword sets, sequence markers, event terms) share one automaton
//! per case mode, so that the cost of a pass depends on the text and on how often literals occur in it,
//! not on how many rules there are.
//!
//! # Why two searchers
//!
//! Overlapping matches need the automaton, which looks at every byte. Most of a text holds no literal at all,
//! and a packed searcher skips that part many bytes at a time. So the packed searcher finds where some literal
//! begins, and the literals that begin there are compared one by one. Where literals are so frequent that
//! this costs more than it saves, the automaton takes over: a hostile text gains nothing.

use std::collections::HashMap;

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, Input, MatchKind, Span};
use smallvec::{SmallVec, smallvec};

use super::text::{Boundary, fold, fold_compatible, fold_into_lower};

/// Automata larger than this many pattern bytes are kept compact instead of fast.
const DENSE_PATTERN_BYTES: usize = 64 * 1024;

/// The automaton takes over when there are more beginnings than one in this many bytes.
const FREQUENT: usize = 64;
/// Beginnings that are followed before their frequency is looked at.
const FREE_BEGINNINGS: usize = 8;
/// Bytes that are lower-cased at a time, on the stack.
const BLOCK: usize = 2048;

/// One literal of a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Literal(u32);

/// How often each literal occurred, and where those did whose places matter.
#[derive(Debug)]
pub(crate) struct Hits {
    counts: SmallVec<[u32; 96]>,
    last_end: SmallVec<[usize; 96]>,
    places: Vec<Place>,
}

/// Where a marked literal occurred.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) literal: Literal,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Hits {
    /// Occurrences that do not overlap each other.
    pub(crate) fn count(&self, literal: Literal) -> u32 {
        self.counts[literal.0 as usize]
    }

    /// Occurrences of literals that were added with their places, in order of their ends within each
    /// case mode.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }
}

#[derive(Debug, Clone, Copy)]
struct Pattern {
    boundary: Boundary,
    literal: Literal,
    placed: bool,
}

/// Collects literals.
#[derive(Debug, Default)]
pub(crate) struct ScannerBuilder {
    exact: HashMap<String, Vec<Pattern>>,
    folded: HashMap<String, Vec<Pattern>>,
    literals: u32,
    compatible: bool,
}

impl ScannerBuilder {
    /// Literals that ignore case will also be found in text that is written in another compatible form.
    pub(crate) fn compatible(compatible: bool) -> Self {
        Self { compatible, ..Self::default() }
    }

    /// Adds a literal. `placed` keeps the places of its occurrences, not only their number.
    pub(crate) fn add(
        &mut self,
        text: &str,
        case_sensitive: bool,
        boundary: Boundary,
        placed: bool,
    ) -> Literal {
        let key = match (case_sensitive, self.compatible) {
            (true, _) => text.to_owned(),
            (false, true) => fold_into_lower(&fold_compatible(text)),
            (false, false) => fold_into_lower(text),
        };
        let patterns = if case_sensitive { &mut self.exact } else { &mut self.folded };
        let same = patterns.entry(key).or_default();
        if let Some(known) = same.iter().find(|p| p.boundary == boundary && p.placed == placed) {
            return known.literal;
        }
        let literal = Literal(self.literals);
        self.literals += 1;
        same.push(Pattern { boundary, literal, placed });
        literal
    }

    pub(crate) fn build(self) -> Result<Scanner, BuildError> {
        Ok(Scanner {
            exact: Automaton::build(self.exact, false)?,
            folded: Automaton::build(self.folded, true)?,
            literals: self.literals as usize,
            compatible: self.compatible,
        })
    }
}

#[derive(Debug)]
struct Automaton {
    automaton: AhoCorasick,
    ignore_ascii_case: bool,
    /// Bytes of the longest literal.
    longest: usize,
    /// Finds where literals begin; `None` if there are too many of them for it.
    beginnings: Option<Searcher>,
    /// The literals' texts, sorted, as the automaton numbers them.
    texts: Vec<Box<[u8]>>,
    /// First of `texts` that begins with each byte, and one more.
    by_first_byte: Box<[u16; 257]>,
    /// By pattern of the automaton: a range of `patterns`.
    ranges: Vec<(u32, u32)>,
    patterns: Vec<Pattern>,
}

impl Automaton {
    fn build(
        texts: HashMap<String, Vec<Pattern>>,
        ignore_ascii_case: bool,
    ) -> Result<Option<Self>, BuildError> {
        let mut texts: Vec<_> = texts.into_iter().filter(|(text, _)| !text.is_empty()).collect();
        if texts.is_empty() {
            return Ok(None);
        }
        texts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let bytes: usize = texts.iter().map(|(text, _)| text.len()).sum();
        let kind =
            if bytes <= DENSE_PATTERN_BYTES { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(ignore_ascii_case)
            .kind(Some(kind))
            .build(texts.iter().map(|(text, _)| text.as_bytes()))?;
        let mut packed = packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder();
        let longest = texts.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
        // Sixteen bits number the texts, and a block holds any of them: others are left to the automaton.
        let fitting = texts.len() < usize::from(u16::MAX) && longest <= BLOCK / 2;
        let beginnings =
            fitting.then(|| packed.extend(texts.iter().map(|(text, _)| text.as_bytes())).build()).flatten();
        let mut by_first_byte = Box::new([0; 257]);
        let mut ranges = Vec::with_capacity(texts.len());
        let mut patterns = Vec::new();
        let mut plain = Vec::with_capacity(texts.len());
        for (text, same) in texts {
            let from = patterns.len() as u32;
            patterns.extend(same);
            ranges.push((from, patterns.len() as u32));
            plain.push(text.into_bytes().into_boxed_slice());
        }
        for (byte, first) in by_first_byte.iter_mut().enumerate() {
            *first = plain.partition_point(|text| usize::from(text[0]) < byte) as u16;
        }
        Ok(Some(Self {
            automaton,
            ignore_ascii_case,
            beginnings,
            longest,
            texts: plain,
            by_first_byte,
            ranges,
            patterns,
        }))
    }

    fn scan(&self, text: &str, hits: &mut Hits) {
        let from = hits.places.len();
        match &self.beginnings {
            Some(beginnings) => self.skip_through(beginnings, text, hits),
            None => self.walk_through(text, 0, hits),
        }
        hits.places[from..].sort_by_key(|place| place.end);
    }

    fn skip_through(&self, beginnings: &Searcher, text: &str, hits: &mut Hits) {
        let bytes = text.as_bytes();
        let mut followed = 0;
        let mut from = 0;
        let mut lower = [0; BLOCK];
        loop {
            let end = bytes.len().min(from + BLOCK);
            let block = &mut lower[..end - from];
            block.copy_from_slice(&bytes[from..end]);
            if self.ignore_ascii_case {
                block.make_ascii_lowercase();
            }
            // What begins so late that it may not end in this block is found in the next one.
            let last = end == bytes.len();
            let late = if last { end } else { end - (self.longest - 1) };
            let mut at = 0;
            while let Some(found) = beginnings.find_in(&*block, Span { start: at, end: block.len() }) {
                let start = from + found.start();
                if start >= late {
                    break;
                }
                followed += 1;
                if followed > FREE_BEGINNINGS + start / FREQUENT {
                    return self.walk_through(text, start, hits);
                }
                let rest = &block[found.start()..];
                let first = usize::from(rest[0]);
                for index in
                    usize::from(self.by_first_byte[first])..usize::from(self.by_first_byte[first + 1])
                {
                    if rest.starts_with(&self.texts[index]) {
                        self.hit(text, index, start, start + self.texts[index].len(), hits);
                    }
                }
                at = found.start() + 1;
            }
            if last {
                return;
            }
            from = late;
        }
    }

    /// Finds every literal that begins at `from` or later.
    fn walk_through(&self, text: &str, from: usize, hits: &mut Hits) {
        let input = Input::new(text).span(from..text.len());
        for found in self.automaton.find_overlapping_iter(input) {
            self.hit(text, found.pattern().as_usize(), found.start(), found.end(), hits);
        }
    }

    fn hit(&self, text: &str, index: usize, start: usize, end: usize, hits: &mut Hits) {
        let (from, to) = self.ranges[index];
        for pattern in &self.patterns[from as usize..to as usize] {
            let at = pattern.literal.0 as usize;
            let overlaps_itself = hits.counts[at] > 0 && start < hits.last_end[at];
            if overlaps_itself || !pattern.boundary.holds(text, start, end) {
                continue;
            }
            hits.counts[at] = hits.counts[at].saturating_add(1);
            hits.last_end[at] = end;
            if pattern.placed {
                hits.places.push(Place { literal: pattern.literal, start, end });
            }
        }
    }
}

/// All literals of a policy.
#[derive(Debug)]
pub(crate) struct Scanner {
    exact: Option<Automaton>,
    folded: Option<Automaton>,
    literals: usize,
    compatible: bool,
}

impl Scanner {
    /// Finds every literal in a text.
    pub(crate) fn scan(&self, text: &str) -> Hits {
        let mut hits = Hits {
            counts: smallvec![0; self.literals],
            last_end: smallvec![0; self.literals],
            places: Vec::new(),
        };
        if let Some(exact) = &self.exact {
            exact.scan(text, &mut hits);
        }
        if let Some(folded) = &self.folded {
            let text = if self.compatible { fold_compatible(text) } else { fold(text) };
            folded.scan(&text, &mut hits);
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scanner(literals: &[&str]) -> (Scanner, Vec<Literal>) {
        let mut builder = ScannerBuilder::default();
        let handles =
            literals.iter().map(|text| builder.add(text, false, Boundary::None, true)).collect::<Vec<_>>();
        (builder.build().unwrap(), handles)
    }

    proptest! {
        /// Skipping finds exactly what walking finds, in dense texts and in sparse ones.
        #[test]
        fn both_searchers_agree(text in "[abc ]{0,40}(x{0,300}[abcA-C]{0,6}){0,30}") {
            let (scanner, literals) = scanner(&["a", "ab", "abc", "bca", "cc", "c a"]);
            let hits = scanner.scan(&text);
            let lower = text.to_ascii_lowercase();
            let folded = scanner.folded.as_ref().unwrap();
            let mut walked = Hits {
                counts: smallvec![0; literals.len()],
                last_end: smallvec![0; literals.len()],
                places: Vec::new(),
            };
            folded.walk_through(&lower, 0, &mut walked);
            for literal in literals {
                prop_assert_eq!(hits.count(literal), walked.count(literal));
            }
            let ends = |hits: &Hits| hits.places().iter().map(|place| place.end).collect::<Vec<_>>();
            prop_assert_eq!(ends(&hits), ends(&walked));
        }
    }
}
