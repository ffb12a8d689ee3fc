//! Shortening a text before it is read by models: the sentences that say most, in their order.
//!
//! Sentences are scored by four measures, each divided by its maximum: centrality (TextRank over the cosine of
//! term counts), position (the middle counts least), rarity of terms (TF-IDF) and distance from the centroid.
//! The first and last few are kept as far as the budget goes, then the best. The formulas and the weights of
//! each profile are v0.3's.

use std::collections::{BTreeSet, HashMap};

use pintle_config::PromptCompression;

/// Sentences that are scored; of more, evenly many are left out.
const MAX_SENTENCES: usize = 500;
const DAMPING: f64 = 0.85;
const MAX_ROUNDS: usize = 100;
const CONVERGED: f64 = 1e-5;
/// Bytes of a token, for the budget.
const BYTES_PER_TOKEN: usize = 4;

/// Settings of the shortening; off by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compression {
    /// Tokens to keep; 0 switches it off.
    budget: usize,
    min_length: usize,
    weights: Weights,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Weights {
    centrality: f64,
    position: f64,
    rarity: f64,
    novelty: f64,
    depth: f64,
    first: usize,
    last: usize,
}

impl Compression {
    /// Off unless enabled with a budget.
    pub fn compile(config: &PromptCompression) -> Self {
        if !config.enabled {
            return Self::default();
        }
        let or = |own: f64, profile: f64| if own > 0.0 { own } else { profile };
        let count =
            |own: i64, profile: usize| usize::try_from(own).ok().filter(|n| *n > 0).unwrap_or(profile);
        let (c, p, r, n, depth, first, last) =
            match config.profile.to_ascii_lowercase().replace('-', "_").as_str() {
                "coding" => (0.15, 0.30, 0.40, 0.15, 0.6, 2, 4),
                "medical" => (0.20, 0.35, 0.30, 0.15, 0.5, 3, 2),
                "security" => (0.15, 0.30, 0.25, 0.30, 0.6, 2, 3),
                // Its published weights add up to 0.85.
                "multi_turn" => (0.15 / 0.85, 0.25 / 0.85, 0.35 / 0.85, 0.10 / 0.85, 0.5, 2, 5),
                _ => (0.20, 0.40, 0.35, 0.05, 0.5, 3, 2),
            };
        Self {
            budget: usize::try_from(config.max_tokens).unwrap_or(0),
            min_length: usize::try_from(config.min_length).unwrap_or(0),
            weights: Weights {
                centrality: or(config.textrank_weight, c),
                position: or(config.position_weight, p),
                rarity: or(config.tfidf_weight, r),
                novelty: or(config.novelty_weight, n),
                depth: or(config.position_depth, depth),
                first: count(config.preserve_first_n, first),
                last: count(config.preserve_last_n, last),
            },
        }
    }

    /// The shortened text, or `None` where the text is left alone.
    pub fn apply(&self, text: &str) -> Option<String> {
        if self.budget == 0 || text.len() < self.min_length || tokens(text) <= self.budget {
            return None;
        }
        let all = sentences(text);
        let sentences = sample(&all);
        if sentences.len() < 2 {
            return None;
        }
        let scores = self.weights.scores(&sentences);
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        let count = sentences.len();
        let first = 0..self.weights.first.min(count);
        let last = (count - self.weights.last.min(count)..count).rev();
        let mut left = self.budget;
        let mut kept = BTreeSet::new();
        for at in first.chain(last).chain(order) {
            let cost = tokens(sentences[at]);
            if cost <= left && kept.insert(at) {
                left -= cost;
            }
        }
        if kept.is_empty() {
            return None;
        }
        let kept: Vec<&str> = kept.into_iter().map(|at| sentences[at]).collect();
        Some(kept.join(" "))
    }
}

fn tokens(text: &str) -> usize {
    text.len().div_ceil(BYTES_PER_TOKEN)
}

/// Sentences end at a line's end, and at `.`, `!` or `?` before white space (their wide forms anywhere).
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next_is_space = characters.peek().is_none_or(|(_, next)| next.is_whitespace());
        let ends = match character {
            '\n' | '。' | '！' | '？' => true,
            '.' | '!' | '?' => next_is_space,
            _ => false,
        };
        if ends {
            let end = at + character.len_utf8();
            found.push(text[start..end].trim());
            start = end;
        }
    }
    found.push(text[start..].trim());
    found.retain(|sentence| !sentence.is_empty());
    found
}

fn sample<'a>(all: &[&'a str]) -> Vec<&'a str> {
    if all.len() <= MAX_SENTENCES {
        return all.to_vec();
    }
    (0..MAX_SENTENCES).map(|at| all[at * (all.len() - 1) / (MAX_SENTENCES - 1)]).collect()
}

/// Terms and how often they occur, by number, in rising order.
type Counts = Vec<(u32, f64)>;

impl Weights {
    fn scores(&self, sentences: &[&str]) -> Vec<f64> {
        let counts = term_counts(sentences);
        let n = sentences.len();
        let depth = |at: usize| 1.0 - self.depth * (std::f64::consts::PI * at as f64 / (n - 1) as f64).sin();
        let measures = [
            (self.centrality, text_rank(&counts)),
            (self.position, (0..n).map(depth).collect()),
            (self.rarity, rarity(&counts)),
            (self.novelty, novelty(&counts)),
        ];
        let mut scores = vec![0.0; n];
        for (weight, mut values) in measures {
            let most = values.iter().copied().fold(0.0, f64::max);
            if most > 0.0 {
                values.iter_mut().for_each(|value| *value /= most);
            }
            scores.iter_mut().zip(values).for_each(|(score, value)| *score += weight * value);
        }
        scores
    }
}

fn term_counts(sentences: &[&str]) -> Vec<Counts> {
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut all = Vec::with_capacity(sentences.len());
    for sentence in sentences {
        let mut counts: HashMap<u32, f64> = HashMap::new();
        for word in sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let next = numbers.len() as u32;
            let number = *numbers.entry(word.to_lowercase()).or_insert(next);
            *counts.entry(number).or_default() += 1.0;
        }
        let mut counts: Counts = counts.into_iter().collect();
        counts.sort_by_key(|(term, _)| *term);
        all.push(counts);
    }
    all
}

fn dot(a: &Counts, b: &Counts) -> f64 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += a[i].1 * b[j].1;
                i += 1;
                j += 1;
            }
        }
    }
    sum
}

fn cosine(a: &Counts, b: &Counts) -> f64 {
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

/// Mihalcea and Tarau 2004, on the graph of pairwise cosines.
fn text_rank(counts: &[Counts]) -> Vec<f64> {
    let n = counts.len();
    let mut edges = vec![0.0; n * n];
    for a in 0..n {
        for b in a + 1..n {
            let weight = cosine(&counts[a], &counts[b]);
            edges[a * n + b] = weight;
            edges[b * n + a] = weight;
        }
    }
    let out: Vec<f64> = (0..n).map(|a| edges[a * n..(a + 1) * n].iter().sum()).collect();
    let mut rank = vec![1.0 / n as f64; n];
    for _ in 0..MAX_ROUNDS {
        let next: Vec<f64> = (0..n)
            .map(|to| {
                let shares = (0..n).filter(|from| out[*from] > 0.0);
                let flow: f64 = shares.map(|from| edges[from * n + to] / out[from] * rank[from]).sum();
                (1.0 - DAMPING) / n as f64 + DAMPING * flow
            })
            .collect();
        let change: f64 = rank.iter().zip(&next).map(|(a, b)| (a - b).abs()).sum();
        rank = next;
        if change < CONVERGED {
            break;
        }
    }
    rank
}

/// Mean over a sentence's terms of count times `ln((N + 1) / (df + 1))`.
fn rarity(counts: &[Counts]) -> Vec<f64> {
    let mut containing: HashMap<u32, f64> = HashMap::new();
    for (term, _) in counts.iter().flatten() {
        *containing.entry(*term).or_default() += 1.0;
    }
    let n = counts.len() as f64;
    let of = |sentence: &Counts| {
        let words: f64 = sentence.iter().map(|(_, count)| count).sum();
        let sum: f64 =
            sentence.iter().map(|(term, count)| count * ((n + 1.0) / (containing[term] + 1.0)).ln()).sum();
        if words > 0.0 { sum / words } else { 0.0 }
    };
    counts.iter().map(of).collect()
}

fn novelty(counts: &[Counts]) -> Vec<f64> {
    let mut centroid: HashMap<u32, f64> = HashMap::new();
    for (term, count) in counts.iter().flatten() {
        *centroid.entry(*term).or_default() += count / counts.len() as f64;
    }
    let mut centroid: Counts = centroid.into_iter().collect();
    centroid.sort_by_key(|(term, _)| *term);
    counts.iter().map(|sentence| (1.0 - cosine(sentence, &centroid)).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(budget: i64) -> Compression {
        Compression::compile(&PromptCompression { enabled: true, max_tokens: budget, ..Default::default() })
    }

    #[test]
    fn short_texts_and_texts_without_a_budget_are_left_alone() {
        assert_eq!(with(0).apply(&"word ".repeat(1000)), None);
        assert_eq!(with(100).apply("One. Two."), None);
        assert_eq!(Compression::default().apply(&"word. ".repeat(1000)), None);
    }

    #[test]
    fn the_first_and_the_last_sentences_stay_and_the_budget_holds() {
        let middle: String = (0..200).map(|n| format!("Filler number {n} says nothing at all. ")).collect();
        let text = format!("Fix the parser. {middle}Answer in French please.");
        let short = with(80).apply(&text).unwrap();
        assert!(short.starts_with("Fix the parser."), "{short}");
        assert!(short.ends_with("Answer in French please."), "{short}");
        assert!(tokens(&short) <= 80 + 20, "joining spaces aside: {}", tokens(&short));
    }

    #[test]
    fn sentences_of_other_scripts_end_too() {
        assert_eq!(
            sentences("今日は。元気？ 3.5 is fine. Yes!\nNo"),
            ["今日は。", "元気？", "3.5 is fine.", "Yes!", "No"]
        );
    }

    #[test]
    fn more_sentences_than_are_scored_still_end_with_the_last() {
        let text: String = (0..5000).map(|n| format!("Line {n}.\n")).collect();
        let short = with(200).apply(&text).unwrap();
        assert!(short.starts_with("Line 0.") && short.ends_with("Line 4999."));
    }
}
