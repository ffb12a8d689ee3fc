//! Keywords within a few edits.

use std::collections::HashSet;

use pintle_config::Profile;

use crate::signals::text::{fold_into_lower, words};

/// Edits that the Pintle profile allows: one for this many letters of the keyword. Two edits turn `go`
/// into any other word of two letters.
const LETTERS_PER_EDIT: usize = 3;

/// One keyword, to be found within a bounded edit distance.
#[derive(Debug)]
pub(super) struct Fuzzy {
    letters: Vec<char>,
    signature: u64,
    max_edits: usize,
    /// Words that the keyword has; a run of as many is compared with it.
    words: usize,
}

/// The distinct words of a text and their letters, folded.
#[derive(Debug)]
pub(super) struct FuzzyText {
    words: Vec<Word>,
    /// The words in order, for keywords of several words.
    sequence: Vec<String>,
}

#[derive(Debug)]
struct Word {
    letters: Vec<char>,
    signature: u64,
}

impl FuzzyText {
    pub(super) fn of(text: &str) -> Self {
        let folded = fold_into_lower(text);
        let sequence: Vec<String> = words(&folded).map(str::to_owned).collect();
        let mut seen = HashSet::new();
        let distinct = sequence.iter().filter(|word| seen.insert(word.as_str())).map(|word| Word::of(word));
        Self { words: distinct.collect(), sequence }
    }
}

impl Word {
    fn of(word: &str) -> Self {
        let letters: Vec<char> = word.chars().collect();
        Self { signature: signature(&letters), letters }
    }
}

/// One bit per letter that occurs. Each edit changes at most two bits.
fn signature(letters: &[char]) -> u64 {
    letters.iter().fold(0, |bits, c| bits | 1 << (*c as u32 % 64))
}

impl Fuzzy {
    pub(super) fn new(keyword: &str, threshold: usize, profile: Profile) -> Self {
        let folded = fold_into_lower(keyword);
        let letters: Vec<char> = folded.chars().collect();
        let (max_edits, words) = match profile {
            Profile::Compat => (threshold, 1),
            Profile::Pintle => {
                (threshold.min(letters.len() / LETTERS_PER_EDIT), words(&folded).count().max(1))
            }
        };
        Self { signature: signature(&letters), letters, max_edits, words }
    }

    pub(super) fn matches(&self, text: &FuzzyText) -> bool {
        if self.words == 1 {
            return text.words.iter().any(|word| self.is_near(word));
        }
        text.sequence.windows(self.words).any(|run| self.is_near(&Word::of(&run.join(" "))))
    }

    fn is_near(&self, word: &Word) -> bool {
        let differing = (self.signature ^ word.signature).count_ones() as usize;
        self.letters.len().abs_diff(word.letters.len()) <= self.max_edits
            && differing <= 2 * self.max_edits
            && within(&self.letters, &word.letters, self.max_edits)
    }
}

/// Whether the Levenshtein distance of two words is at most `max`.
pub(crate) fn within(a: &[char], b: &[char], max: usize) -> bool {
    let mut row: Vec<usize> = (0..=b.len()).collect();
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
