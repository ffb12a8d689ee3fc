//! Keywords by shared runs of letters.
//!
//! `sim = (all² − different²)/all²`, where `all` counts the n-grams of both sides with shared ones once and
//! `different = all − shared`. Both sides are padded with n−1 spaces. The text's words are compared one by
//! one, then the whole text.

use std::collections::HashMap;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::signals::text::{SeenWords, fold, fold_into_lower, words};

/// Bits of the filter that says which n-grams no keyword has.
const FILTER_BITS: usize = 4096;

#[derive(Debug)]
pub(super) struct NGrams {
    /// Per n-gram: the keywords that have it, and how often.
    postings: HashMap<u64, Vec<(u32, u32)>>,
    filter: Box<[u64; FILTER_BITS / 64]>,
    /// N-grams of each keyword.
    sizes: Vec<u32>,
    /// Least share `shared/all` that reaches the threshold.
    least_share: f64,
    threshold: f64,
    arity: usize,
    case_sensitive: bool,
}

/// N-grams of a text, as packed letters or hashes, unsorted.
type Grams = SmallVec<[u64; 64]>;

impl NGrams {
    pub(super) fn new(keywords: &[String], threshold: f64, arity: usize, case_sensitive: bool) -> Self {
        let mut postings: HashMap<u64, Vec<(u32, u32)>> = HashMap::new();
        let mut filter = Box::new([0; FILTER_BITS / 64]);
        let mut sizes = Vec::with_capacity(keywords.len());
        for (at, keyword) in keywords.iter().enumerate() {
            let keyword = if case_sensitive { keyword.clone() } else { fold_into_lower(keyword) };
            let mut grams = Grams::new();
            collect(&keyword, arity, false, &mut grams);
            sizes.push(grams.len() as u32);
            for (gram, count) in counted(&mut grams) {
                let bit = filter_bit(gram);
                filter[bit / 64] |= 1u64 << (bit % 64);
                postings.entry(gram).or_default().push((at as u32, count));
            }
        }
        let least_share = 1.0 - (1.0 - threshold.min(1.0)).sqrt();
        Self { postings, filter, sizes, least_share, threshold, arity, case_sensitive }
    }

    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Keywords that are similar enough to a word of the text or to all of it.
    pub(super) fn matching(&self, text: &str) -> usize {
        let folded = if self.case_sensitive { text.into() } else { fold(text) };
        let mut matched: SmallVec<[bool; 32]> = SmallVec::from_elem(false, self.sizes.len());
        let mut shared: SmallVec<[u32; 32]> = SmallVec::from_elem(0, self.sizes.len());
        let mut grams = Grams::new();
        let mut seen = SeenWords::new();
        for word in words(&folded).filter(|word| !seen.again(word)) {
            self.compare(word, &mut grams, &mut shared, &mut matched);
        }
        if folded.len() <= self.longest_comparable() {
            self.compare(&folded, &mut grams, &mut shared, &mut matched);
        }
        matched.iter().filter(|hit| **hit).count()
    }

    fn compare(&self, candidate: &str, grams: &mut Grams, shared: &mut [u32], matched: &mut [bool]) {
        grams.clear();
        collect(candidate, self.arity, !self.case_sensitive, grams);
        let size = grams.len();
        let known = |gram: &u64| {
            let bit = filter_bit(*gram);
            self.filter[bit / 64] & 1 << (bit % 64) != 0
        };
        grams.retain(|gram| known(gram));
        let largest = self.sizes.iter().copied().max().unwrap_or(0) as usize;
        // Shared n-grams are at most those left, of at least as many as the candidate has.
        if (grams.len().min(largest) as f64) < self.least_share * size as f64 {
            return;
        }
        shared.fill(0);
        for (gram, count) in counted(grams) {
            for (keyword, has) in self.postings.get(&gram).into_iter().flatten() {
                shared[*keyword as usize] += count.min(*has);
            }
        }
        for (at, shared) in shared.iter().enumerate().filter(|(_, shared)| **shared > 0) {
            let all = size as f64 + f64::from(self.sizes[at]) - f64::from(*shared);
            let different = all - f64::from(*shared);
            matched[at] |= (all * all - different * different) / (all * all) >= self.threshold;
        }
    }

    /// Bytes above which no text can be similar to any keyword: shared n-grams are at most the keyword's, and
    /// all of them at least the text's letters, of at most four bytes each.
    fn longest_comparable(&self) -> usize {
        let largest = f64::from(self.sizes.iter().copied().max().unwrap_or(0));
        (4.0 * largest / self.least_share.max(1e-6)).min(1e9) as usize
    }
}

fn filter_bit(gram: u64) -> usize {
    (gram.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS.ilog2())) as usize
}

/// Appends the n-grams of a text; up to three letters are packed, longer runs hashed.
fn collect(text: &str, arity: usize, lower_ascii: bool, grams: &mut Grams) {
    let pad = || std::iter::repeat_n(' ', arity - 1);
    let lower = |c: char| if lower_ascii { c.to_ascii_lowercase() } else { c };
    let letters = pad().chain(text.chars().map(lower)).chain(pad());
    if arity <= 3 {
        let mask = (1u64 << (21 * arity)) - 1;
        let mut packed = 0u64;
        for (at, c) in letters.enumerate() {
            packed = (packed << 21 | u64::from(c as u32)) & mask;
            if at + 1 >= arity {
                grams.push(packed);
            }
        }
        return;
    }
    let mut window: SmallVec<[u8; 64]> = SmallVec::new();
    for c in letters {
        window.extend((c as u32).to_le_bytes());
        if window.len() == 4 * arity {
            grams.push(xxh3_64(&window));
            window.drain(..4);
        }
    }
}

/// Each n-gram once, with how often it occurs.
fn counted(grams: &mut Grams) -> impl Iterator<Item = (u64, u32)> {
    grams.sort_unstable();
    grams.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32))
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
        for arity in [3, 4] {
            assert_eq!(NGrams::new(&["abc".into()], 0.2, arity, false).matching("ABD"), 1, "{arity}");
        }
        assert_eq!(NGrams::new(&["abc".into()], expected, 3, false).matching("abd"), 1);
        assert_eq!(NGrams::new(&["abc".into()], expected + 1e-9, 3, false).matching("abd"), 0);
    }

    #[test]
    fn a_short_text_is_compared_as_a_whole() {
        let index = NGrams::new(&["new york".into()], 0.9, 3, false);
        assert_eq!(index.matching("new york"), 1);
        assert_eq!(index.matching("new amsterdam"), 0);
    }
}
