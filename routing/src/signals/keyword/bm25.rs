//! Keywords as documents, the text as a query, ranked by Okapi BM25.
//!
//! `idf(t)·f·(k1+1)/(f + k1·(1 − b + b·|d|/avgdl))` summed over the query's distinct terms, with
//! `idf(t) = ln(1 + (N − n + 0.5)/(n + 0.5))`, k1 = 1.2, b = 0.75; English stop words are left out and words
//! are reduced to their stems (Snowball).

use std::collections::{BTreeSet, HashMap, HashSet};

use rust_stemmers::{Algorithm, Stemmer};

use crate::signals::text::{fold_into_lower, words};

const K1: f64 = 1.2;
const B: f64 = 0.75;

pub(super) struct Bm25 {
    /// Per stem: the keywords that have it and what it adds to their score.
    postings: HashMap<String, Vec<(u32, f64)>>,
    keywords: usize,
    threshold: f64,
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
        let mut frequency: HashMap<&str, HashMap<u32, f64>> = HashMap::new();
        for (at, document) in documents.iter().enumerate() {
            for term in document {
                *frequency.entry(term).or_default().entry(at as u32).or_default() += 1.0;
            }
        }
        let postings = frequency.into_iter().map(|(term, documents_with)| {
            let n = documents_with.len() as f64;
            let idf = (1.0 + (count - n + 0.5) / (n + 0.5)).ln();
            let scores = documents_with.into_iter().map(|(at, f)| {
                let length = documents[at as usize].len() as f64;
                (at, idf * f * (K1 + 1.0) / (f + K1 * (1.0 - B + B * length / average)))
            });
            (term.to_owned(), scores.collect())
        });
        Self { postings: postings.collect(), keywords: keywords.len(), threshold }
    }

    pub(super) fn len(&self) -> usize {
        self.keywords
    }

    /// Keywords whose score reaches the threshold.
    pub(super) fn matching(&self, text: &str) -> usize {
        let stemmer = Stemmer::create(Algorithm::English);
        let folded = fold_into_lower(text);
        let distinct: HashSet<&str> = words(&folded).filter(|word| !is_stop_word(word)).collect();
        let stems: BTreeSet<_> = distinct.into_iter().map(|word| stemmer.stem(word)).collect();
        let mut scores = vec![0.0; self.keywords];
        for stem in &stems {
            for (at, score) in self.postings.get(stem.as_ref()).into_iter().flatten() {
                scores[*at as usize] += score;
            }
        }
        scores.iter().filter(|score| **score >= self.threshold).count()
    }
}

fn terms(text: &str, stemmer: &Stemmer) -> Vec<String> {
    let folded = fold_into_lower(text);
    words(&folded).filter(|word| !is_stop_word(word)).map(|word| stemmer.stem(word).into_owned()).collect()
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
