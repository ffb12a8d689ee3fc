//! Keywords as documents, the text as a query, ranked by Okapi BM25.
//!
//! `idf(t)·f·(k1+1)/(f + k1·(1 − b + b·|d|/avgdl))` summed over the query's distinct terms, with
//! `idf(t) = ln(1 + (N − n + 0.5)/(n + 0.5))`, k1 = 1.2, b = 0.75; English stop words are left out and words
//! are reduced to their stems (Snowball).

use std::collections::{BTreeMap, HashMap};

use rust_stemmers::{Algorithm, Stemmer};
use smallvec::SmallVec;

use crate::signals::text::{SeenWords, words};

const K1: f64 = 1.2;
const B: f64 = 0.75;

pub(super) struct Bm25 {
    postings: HashMap<String, Term>,
    /// First letters of all stems.
    initials: SmallVec<[char; 32]>,
    terms: usize,
    keywords: usize,
    threshold: f64,
}

/// A stem that keywords have.
struct Term {
    id: usize,
    /// The keywords, and what it adds to their score.
    scores: Vec<(u32, f64)>,
}

impl std::fmt::Debug for Bm25 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bm25").field("keywords", &self.keywords).field("threshold", &self.threshold).finish()
    }
}

impl Bm25 {
    pub(super) fn new(keywords: &[String], threshold: f64) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let documents: Vec<Vec<String>> = keywords.iter().map(|keyword| terms(keyword, &stemmer)).collect();
        let count = documents.len() as f64;
        let average = documents.iter().map(Vec::len).sum::<usize>() as f64 / count.max(1.0);
        let mut frequency: BTreeMap<&str, BTreeMap<u32, f64>> = BTreeMap::new();
        for (at, document) in documents.iter().enumerate() {
            for term in document {
                *frequency.entry(term).or_default().entry(at as u32).or_default() += 1.0;
            }
        }
        let mut initials: SmallVec<[char; 32]> =
            frequency.keys().filter_map(|term| term.chars().next()).collect();
        initials.sort_unstable();
        initials.dedup();
        let postings: HashMap<String, Term> = frequency
            .into_iter()
            .enumerate()
            .map(|(id, (term, documents_with))| {
                let n = documents_with.len() as f64;
                let idf = (1.0 + (count - n + 0.5) / (n + 0.5)).ln();
                let scores = documents_with.into_iter().map(|(at, f)| {
                    let length = documents[at as usize].len() as f64;
                    (at, idf * f * (K1 + 1.0) / (f + K1 * (1.0 - B + B * length / average)))
                });
                (term.to_owned(), Term { id, scores: scores.collect() })
            })
            .collect();
        Self { terms: postings.len(), postings, initials, keywords: keywords.len(), threshold }
    }

    pub(super) fn len(&self) -> usize {
        self.keywords
    }

    /// Keywords whose score reaches the threshold.
    pub(super) fn matching(&self, text: &str) -> usize {
        let stemmer = Stemmer::create(Algorithm::English);
        let mut counted: SmallVec<[bool; 32]> = SmallVec::from_elem(false, self.terms);
        let mut scores: SmallVec<[f64; 32]> = SmallVec::from_elem(0.0, self.keywords);
        let mut lower = String::new();
        let mut seen = SeenWords::new();
        for word in words(text) {
            if !word.chars().next().is_some_and(|c| self.initials.contains(&folded(c))) {
                continue;
            }
            // Each stem counts once, so a word that comes again adds nothing.
            if seen.again(word) {
                continue;
            }
            lower.clear();
            lower.extend(word.chars().map(folded));
            if is_stop_word(&lower) {
                continue;
            }
            let Some(term) = self.postings.get(stemmer.stem(&lower).as_ref()) else { continue };
            if !std::mem::replace(&mut counted[term.id], true) {
                for (at, score) in &term.scores {
                    scores[*at as usize] += score;
                }
            }
        }
        scores.iter().filter(|score| **score >= self.threshold).count()
    }
}

/// Stems keep the first letter of their words, so its case is all that has to be folded to tell words apart
/// that no keyword has.
fn folded(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn terms(text: &str, stemmer: &Stemmer) -> Vec<String> {
    let lower = |word: &str| word.chars().map(folded).collect::<String>();
    let words = words(text).map(lower).filter(|word| !is_stop_word(word));
    words.map(|word| stemmer.stem(&word).into_owned()).collect()
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// Common English function words, sorted.
const STOP_WORDS: [&str; 120] = [
    "a", "about", "above", "after", "again", "against", "all", "am", "an", "and", "any", "are", "as", "at",
    "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can", "could",
    "did", "do", "does", "doing", "down", "during", "each", "few", "for", "from", "further", "had", "has",
    "have", "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it",
    "its", "just", "me", "more", "most", "my", "no", "nor", "not", "now", "of", "off", "on", "once", "only",
    "or", "other", "our", "ours", "out", "over", "own", "s", "same", "she", "should", "so", "some", "such",
    "t", "than", "that", "the", "their", "theirs", "them", "then", "there", "these", "they", "this", "those",
    "through", "to", "too", "under", "until", "up", "very", "was", "we", "were", "what", "when", "where",
    "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your", "yours",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
        assert!(is_stop_word("the") && !is_stop_word("kernel"));
    }

    #[test]
    fn a_keyword_matches_through_its_stem() {
        let index = Bm25::new(&["database migration".into(), "poetry".into()], 0.1);
        assert_eq!(index.matching("We are migrating our databases"), 1);
        assert_eq!(index.matching("the of and"), 0);
    }

    #[test]
    fn inflections_of_one_stem_count_once() {
        let index = Bm25::new(&["run".into()], 0.1);
        let once = Bm25 { threshold: 0.2877, ..Bm25::new(&["run".into()], 0.1) };
        assert_eq!(index.matching("run running runs"), 1);
        // One document, one term: idf = ln(1 + 0.5/1.5) and the length term is 1.
        assert_eq!(once.matching("run"), once.matching("run running runs"));
        assert_eq!(Bm25 { threshold: 0.2876, ..Bm25::new(&["run".into()], 0.1) }.matching("run"), 1);
        assert_eq!(Bm25 { threshold: 0.2878, ..Bm25::new(&["run".into()], 0.1) }.matching("run runs"), 0);
    }
}
