//! Keywords within a few edits.
//!
//! All fuzzy keywords of a policy are compared in one pass over the words of the text. Length and letters rule
//! out nearly every pair before an edit distance is computed.

use pintle_config::Profile;
use smallvec::SmallVec;

use crate::signals::text::{fold, fold_into_lower, words};

/// Edits that the Pintle profile allows: one for this many letters of the keyword. Two edits turn `go`
/// into any other word of two letters.
const LETTERS_PER_EDIT: usize = 3;

type Letters = SmallVec<[char; 32]>;

/// The fuzzy keywords of a policy.
#[derive(Debug, Default)]
pub(super) struct FuzzyKeywords {
    keywords: Vec<Fuzzy>,
    /// Words of the longest keyword.
    longest: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FuzzyId(usize);

#[derive(Debug)]
struct Fuzzy {
    letters: Letters,
    signature: u64,
    max_edits: usize,
    /// Words that the keyword has; a run of as many is compared with it.
    words: usize,
}

/// A word, or a run of words joined by single spaces.
#[derive(Debug, Clone, Copy, Default)]
struct Outline {
    letters: usize,
    signature: u64,
}

impl Outline {
    fn of(word: &str) -> Self {
        word.chars().fold(Self::default(), |outline, c| outline.with(c))
    }

    /// One bit per letter that occurs. Each edit changes at most two bits.
    fn with(self, c: char) -> Self {
        let c = if c.is_ascii() { c.to_ascii_lowercase() } else { c };
        Self { letters: self.letters + 1, signature: self.signature | 1 << (c as u32 % 64) }
    }

    fn then(self, next: Self) -> Self {
        let spaced = self.with(' ');
        Self { letters: spaced.letters + next.letters, signature: spaced.signature | next.signature }
    }
}

impl FuzzyKeywords {
    pub(super) fn add(&mut self, keyword: &str, threshold: usize, profile: Profile) -> FuzzyId {
        let folded = fold_into_lower(keyword);
        let outline = Outline::of(&folded);
        let (max_edits, words) = match profile {
            Profile::Compat => (threshold, 1),
            Profile::Pintle => {
                (threshold.min(outline.letters / LETTERS_PER_EDIT), words(&folded).count().max(1))
            }
        };
        self.longest = self.longest.max(words);
        let letters = folded.chars().collect();
        self.keywords.push(Fuzzy { letters, signature: outline.signature, max_edits, words });
        FuzzyId(self.keywords.len() - 1)
    }

    /// Which keywords some words of a text come near.
    pub(super) fn find(&self, text: &str) -> FuzzyHits {
        let mut hits = FuzzyHits(SmallVec::from_elem(false, self.keywords.len()));
        if self.keywords.is_empty() {
            return hits;
        }
        let folded = fold(text);
        let mut latest: SmallVec<[(&str, Outline); 8]> = SmallVec::new();
        for word in words(&folded) {
            if latest.len() == self.longest {
                latest.remove(0);
            }
            latest.push((word, Outline::of(word)));
            let mut run = Outline::default();
            for words in 1..=latest.len() {
                let first = &latest[latest.len() - words];
                run = if words == 1 { first.1 } else { first.1.then(run) };
                for (keyword, hit) in self.keywords.iter().zip(&mut hits.0) {
                    if !*hit && keyword.words == words && keyword.may_be_near(run) {
                        *hit = keyword.is_near(&latest[latest.len() - words..]);
                    }
                }
            }
        }
        hits
    }
}

/// The keywords that were found.
#[derive(Debug)]
pub(super) struct FuzzyHits(SmallVec<[bool; 32]>);

impl FuzzyHits {
    pub(super) fn contains(&self, id: FuzzyId) -> bool {
        self.0[id.0]
    }
}

impl Fuzzy {
    fn may_be_near(&self, outline: Outline) -> bool {
        let differing = (self.signature ^ outline.signature).count_ones() as usize;
        self.letters.len().abs_diff(outline.letters) <= self.max_edits && differing <= 2 * self.max_edits
    }

    fn is_near(&self, run: &[(&str, Outline)]) -> bool {
        let mut letters = Letters::new();
        for (at, (word, _)) in run.iter().enumerate() {
            if at > 0 {
                letters.push(' ');
            }
            letters.extend(word.chars().map(|c| c.to_ascii_lowercase()));
        }
        within(&self.letters, &letters, self.max_edits)
    }
}

/// Whether the Levenshtein distance of two words is at most `max`.
fn within(a: &[char], b: &[char], max: usize) -> bool {
    let mut row: SmallVec<[usize; 64]> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        let mut least = row[0];
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
            least = least.min(row[j + 1]);
        }
        if least > max {
            return false;
        }
    }
    row[b.len()] <= max
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without a shortcut.
    fn distance(a: &[char], b: &[char]) -> usize {
        match (a, b) {
            ([], rest) | (rest, []) => rest.len(),
            ([x, a @ ..], [y, b @ ..]) if x == y => distance(a, b),
            ([_, a_rest @ ..], [_, b_rest @ ..]) => {
                1 + distance(a_rest, b_rest).min(distance(a_rest, b)).min(distance(a, b_rest))
            }
        }
    }

    proptest! {
        #[test]
        fn the_prefilter_loses_nothing(keyword in "[abc]{1,6}", word in "[abcd]{1,6}", threshold in 0usize..4) {
            let mut keywords = FuzzyKeywords::default();
            let id = keywords.add(&keyword, threshold, Profile::Compat);
            let letters = |s: &str| s.chars().collect::<Vec<_>>();
            let near = distance(&letters(&keyword), &letters(&word)) <= threshold;
            prop_assert_eq!(keywords.find(&word).contains(id), near);
        }
    }
}
