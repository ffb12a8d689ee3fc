//! Examples as vectors.

use pintle_routing::prototype::{self, BankParams};

/// Prototypes of a set of examples.
#[derive(Debug)]
pub(super) struct Bank {
    prototypes: Vec<Vec<f32>>,
    params: BankParams,
    /// The plain mean of all similarities is the score.
    mean: bool,
}

impl Bank {
    /// Of examples and their vectors, one to one. `None` if no example has a vector.
    pub(super) fn new(examples: &[(&str, Vec<f32>)], params: BankParams, mean: bool) -> Option<Self> {
        let borrowed: Vec<prototype::Example<'_>> =
            examples.iter().map(|(text, vector)| (*text, vector.as_slice())).collect();
        let kept = prototype::prototypes(&borrowed, &params);
        let prototypes: Vec<Vec<f32>> = kept.into_iter().map(|at| examples[at].1.clone()).collect();
        (!prototypes.is_empty()).then_some(Self { prototypes, params, mean })
    }

    /// As configured: a blend of best and mean of the best few, or the mean of all.
    pub(super) fn score(&self, query: &[f32]) -> Option<f64> {
        let similarities = self.similarities(query)?;
        if self.mean { prototype::mean(&similarities) } else { prototype::score(&similarities, &self.params) }
    }

    /// The greatest similarity.
    pub(super) fn best(&self, query: &[f32]) -> Option<f64> {
        self.similarities(query)?.into_iter().reduce(f64::max)
    }

    fn similarities(&self, query: &[f32]) -> Option<Vec<f64>> {
        if query.is_empty() || self.prototypes.iter().any(|vector| vector.len() != query.len()) {
            return None;
        }
        Some(self.prototypes.iter().map(|vector| cosine(vector, query)).collect())
    }
}

/// Dot product of unit vectors.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}
