//! One pass over a text for every literal of a policy.
//!
//! All literals of all rules (keywords, keyword sets, sequence markers, event terms) share one automaton
//! per case mode, so that the cost of a pass depends on the text and on how often literals occur in it,
//! not on how many rules there are.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use smallvec::{SmallVec, smallvec};

use super::text::{Boundary, fold, fold_into_lower};

/// Automata larger than this many pattern bytes are kept compact instead of fast.
const DENSE_PATTERN_BYTES: usize = 64 * 1024;

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
}

impl ScannerBuilder {
    /// Adds a literal. `placed` keeps the places of its occurrences, not only their number.
    pub(crate) fn add(
        &mut self,
        text: &str,
        case_sensitive: bool,
        boundary: Boundary,
        placed: bool,
    ) -> Literal {
        let key = if case_sensitive { text.to_owned() } else { fold_into_lower(text) };
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
        })
    }
}

#[derive(Debug)]
struct Automaton {
    automaton: AhoCorasick,
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
        let mut ranges = Vec::with_capacity(texts.len());
        let mut patterns = Vec::new();
        for (_, same) in texts {
            let from = patterns.len() as u32;
            patterns.extend(same);
            ranges.push((from, patterns.len() as u32));
        }
        Ok(Some(Self { automaton, ranges, patterns }))
    }

    fn scan(&self, text: &str, hits: &mut Hits) {
        for found in self.automaton.find_overlapping_iter(text) {
            let (from, to) = self.ranges[found.pattern().as_usize()];
            for pattern in &self.patterns[from as usize..to as usize] {
                let at = pattern.literal.0 as usize;
                let overlaps_itself = hits.counts[at] > 0 && found.start() < hits.last_end[at];
                if overlaps_itself || !pattern.boundary.holds(text, found.start(), found.end()) {
                    continue;
                }
                hits.counts[at] = hits.counts[at].saturating_add(1);
                hits.last_end[at] = found.end();
                if pattern.placed {
                    hits.places.push(Place {
                        literal: pattern.literal,
                        start: found.start(),
                        end: found.end(),
                    });
                }
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
            folded.scan(&fold(text), &mut hits);
        }
        hits
    }
}
