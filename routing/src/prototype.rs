//! Banks of examples, thinned to prototypes.
//!
//! From many example vectors a few are kept that stand for the others: greedy clusters of similar vectors,
//! each represented by its medoid. A query is scored against the bank by a blend of its best similarity and
//! the mean of its best few.

use pintle_config::PrototypeScoring;

/// How a bank is built and scored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BankParams {
    /// Thin the examples at all.
    pub enabled: bool,
    /// Cosine similarity from which two examples are in one cluster.
    pub cluster_similarity: f64,
    /// Prototypes kept.
    pub max_prototypes: usize,
    /// Weight of the best similarity against the mean of the best `top_m`.
    pub best_weight: f64,
    /// Similarities that are averaged.
    pub top_m: usize,
    /// Least lead over the runner-up, where a family uses it; 0 is none.
    pub margin: f64,
}

impl From<&PrototypeScoring> for BankParams {
    fn from(config: &PrototypeScoring) -> Self {
        let or = |value: f32, default: f64| if value > 0.0 { f64::from(value) } else { default };
        let count =
            |value: i64, default: usize| usize::try_from(value).ok().filter(|n| *n > 0).unwrap_or(default);
        Self {
            enabled: config.enabled.unwrap_or(true),
            cluster_similarity: or(config.cluster_similarity_threshold, 0.9),
            max_prototypes: count(config.max_prototypes, 8),
            best_weight: or(config.best_weight, 0.75).min(1.0),
            top_m: count(config.top_m, 2),
            margin: f64::from(config.margin_threshold.max(0.0)),
        }
    }
}

/// One example: its text, which identifies it and breaks ties, and its unit vector.
pub type Example<'a> = (&'a str, &'a [f32]);

/// Indexes of the examples that stand for all, in order of the size of their clusters, then of their mean
/// similarity in it, then of their text. Duplicate texts and empty vectors are left out first.
pub fn prototypes(examples: &[Example<'_>], params: &BankParams) -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    let distinct: Vec<usize> = (0..examples.len())
        .filter(|at| !examples[*at].1.is_empty() && seen.insert(examples[*at].0))
        .collect();
    if !params.enabled {
        return distinct;
    }
    let similarity = |a: usize, b: usize| cosine(examples[a].1, examples[b].1);
    let mut left = distinct;
    let mut medoids: Vec<(usize, f64, usize)> = Vec::new();
    while !left.is_empty() {
        let cluster_of = |seed: usize| -> Vec<usize> {
            let near =
                |other: &usize| *other == seed || similarity(seed, *other) >= params.cluster_similarity;
            left.iter().copied().filter(near).collect()
        };
        let mut best: Option<(usize, Vec<usize>)> = None;
        for seed in &left {
            let cluster = cluster_of(*seed);
            let better = best.as_ref().is_none_or(|(known, members)| {
                cluster.len() > members.len()
                    || (cluster.len() == members.len() && examples[*seed].0 < examples[*known].0)
            });
            if better {
                best = Some((*seed, cluster));
            }
        }
        let Some((_, cluster)) = best else { break };
        let mean = |at: usize| cluster.iter().map(|b| similarity(at, *b)).sum::<f64>() / cluster.len() as f64;
        let medoid = cluster.iter().copied().map(|at| (at, mean(at))).reduce(|a, b| {
            let ordering = b.1.total_cmp(&a.1).then_with(|| examples[a.0].0.cmp(examples[b.0].0));
            if ordering.is_gt() { b } else { a }
        });
        if let Some((at, mean)) = medoid {
            medoids.push((cluster.len(), mean, at));
        }
        left.retain(|at| !cluster.contains(at));
    }
    medoids.sort_by(|a, b| {
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then_with(|| examples[a.2].0.cmp(examples[b.2].0))
    });
    medoids.into_iter().take(params.max_prototypes).map(|(_, _, at)| at).collect()
}

/// `best_weight · max + (1 − best_weight) · mean(best top_m)`; `None` for an empty bank.
pub fn score(similarities: &[f64], params: &BankParams) -> Option<f64> {
    let mut sorted = similarities.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let best = *sorted.first()?;
    let top = &sorted[..params.top_m.clamp(1, sorted.len())];
    let mean = top.iter().sum::<f64>() / top.len() as f64;
    Some(params.best_weight * best + (1.0 - params.best_weight) * mean)
}

/// The plain mean, for `aggregation_method: mean`; `None` for an empty bank.
pub fn mean(similarities: &[f64]) -> Option<f64> {
    let count = similarities.len();
    (count > 0).then(|| similarities.iter().sum::<f64>() / count as f64)
}

/// Dot product of unit vectors.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> BankParams {
        BankParams::from(&PrototypeScoring::default())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let expected = BankParams {
            enabled: true,
            cluster_similarity: 0.9,
            max_prototypes: 8,
            best_weight: 0.75,
            top_m: 2,
            margin: 0.0,
        };
        assert_eq!(params(), expected);
    }

    #[test]
    fn similar_examples_are_represented_by_the_middle_one() {
        let at = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let vectors = [at(0.0), at(10.0), at(20.0), at(90.0), at(90.0)];
        let names = ["a", "b", "c", "far", "far"];
        let examples: Vec<Example<'_>> =
            names.iter().zip(&vectors).map(|(n, v)| (*n, v.as_slice())).collect();
        assert_eq!(
            prototypes(&examples, &params()),
            [1, 3],
            "the duplicate goes, b is the medoid of a, b, c"
        );
        let off = BankParams { enabled: false, ..params() };
        assert_eq!(prototypes(&examples, &off), [0, 1, 2, 3]);
        let one = BankParams { max_prototypes: 1, ..params() };
        assert_eq!(prototypes(&examples, &one), [1], "the largest cluster stays");
    }

    #[test]
    fn a_bank_blends_its_best_with_the_mean_of_its_top() {
        let blended = score(&[0.2, 0.9, 0.5], &params()).unwrap();
        assert!((blended - (0.75 * 0.9 + 0.25 * 0.7)).abs() < 1e-12);
        assert_eq!(score(&[], &params()), None);
        assert_eq!(score(&[0.4], &params()), Some(0.4));
        assert_eq!(mean(&[0.2, 0.4]), Some(0.30000000000000004));
    }
}
