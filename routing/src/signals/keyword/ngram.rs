//! Keywords by shared runs of letters.
//!
//! `sim = (all² − different²)/all²`, where `all` counts the n-grams of both sides with shared ones once and
//! `different = all − shared`. Both sides are padded with n−1 spaces. The text's words are compared one by
//! one, then the whole text.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::signals::text::{fold_into_lower, words};

#[derive(Debug)]
pub(super) struct NGrams {
    /// Per n-gram: the keywords that have it, and how often.
    postings: HashMap<u64, Vec<(u32, u32)>>,
    /// N-grams of each keyword.
    sizes: Vec<u32>,
    threshold: f64,
    arity: usize,
    case_sensitive: bool,
}

impl NGrams {
    pub(super) fn new(keywords: &[String], threshold: f64, arity: usize, case_sensitive: bool) -> Self {
        let mut postings: HashMap<u64, Vec<(u32, u32)>> = HashMap::new();
        let mut sizes = Vec::with_capacity(keywords.len());
        for (at, keyword) in keywords.iter().enumerate() {
            let keyword = if case_sensitive { keyword.clone() } else { fold_into_lower(keyword) };
            let grams = grams(&keyword, arity);
            sizes.push(grams.values().sum());
            for (gram, count) in grams {
                postings.entry(gram).or_default().push((at as u32, count));
            }
        }
        Self { postings, sizes, threshold, arity, case_sensitive }
    }

    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Keywords that are similar enough to a word of the text or to all of it.
    pub(super) fn matching(&self, text: &str) -> usize {
        let folded;
        let text = if self.case_sensitive {
            text
        } else {
            folded = fold_into_lower(text);
            &folded
        };
        let mut matched = vec![false; self.sizes.len()];
        let distinct: HashSet<&str> = words(text).collect();
        for word in distinct {
            self.compare(word, &mut matched);
        }
        if text.len() <= self.longest_comparable() {
            self.compare(text, &mut matched);
        }
        matched.iter().filter(|hit| **hit).count()
    }

    fn compare(&self, candidate: &str, matched: &mut [bool]) {
        let grams = grams(candidate, self.arity);
        let size: u32 = grams.values().sum();
        let mut shared: HashMap<u32, u32> = HashMap::new();
        for (gram, count) in &grams {
            for (keyword, has) in self.postings.get(gram).into_iter().flatten() {
                *shared.entry(*keyword).or_default() += (*count).min(*has);
            }
        }
        for (keyword, shared) in shared {
            let all = f64::from(size + self.sizes[keyword as usize] - shared);
            let different = all - f64::from(shared);
            if (all * all - different * different) / (all * all) >= self.threshold {
                matched[keyword as usize] = true;
            }
        }
    }

    /// Bytes above which no text can be similar to any keyword: reaching the threshold takes
    /// `shared/all ≥ 1 − √(1 − threshold)`, `shared` is at most the keyword's n-grams, and `all` at least
    /// the text's letters, of at most four bytes each.
    fn longest_comparable(&self) -> usize {
        let least_share = 1.0 - (1.0 - self.threshold.min(1.0)).sqrt();
        let largest = f64::from(self.sizes.iter().copied().max().unwrap_or(0));
        (4.0 * largest / least_share.max(1e-6)).min(1e9) as usize
    }
}

/// Hashes of the n-grams of a text, with how often each occurs.
fn grams(text: &str, arity: usize) -> HashMap<u64, u32> {
    let pad = arity - 1;
    let mut letters = Vec::with_capacity(text.len() + 2 * pad);
    letters.extend(std::iter::repeat_n(' ', pad));
    letters.extend(text.chars());
    letters.extend(std::iter::repeat_n(' ', pad));
    let mut counts = HashMap::with_capacity(letters.len());
    let mut bytes = Vec::with_capacity(4 * arity);
    for window in letters.windows(arity) {
        bytes.clear();
        bytes.extend(window.iter().flat_map(|c| (*c as u32).to_le_bytes()));
        *counts.entry(xxh3_64(&bytes)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_similar() {
        let index = NGrams::new(&["kubernetes".into()], 0.4, 3, false);
        assert_eq!(index.matching("deploy to Kubernets please"), 1);
        assert_eq!(index.matching("deploy to a container"), 0);
    }

    #[test]
    fn similarity_follows_the_formula() {
        // "abc" has the grams __a _ab abc bc_ c__, "abd" __a _ab abd bd_ d__: 2 shared, 8 in all.
        let expected = (64.0 - 36.0) / 64.0;
        assert_eq!(NGrams::new(&["abc".into()], expected, 3, false).matching("abd"), 1);
        assert_eq!(NGrams::new(&["abc".into()], expected + 1e-9, 3, false).matching("abd"), 0);
    }
}
