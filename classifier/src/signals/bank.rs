//! Examples as vectors.
//!
//! # On a GPU
//!
//! Where a GPU computes embeddings, it can compare them with all prototypes of a plan in the same pass: [`gather`] puts
//! these in order for it, and a [`Bank`] that has its place there takes its score from the reading if the reading has
//! it. One that has not (read on the CPU, in several windows, or under another configuration) is compared here.

use std::sync::Arc;

use pintle_hip::abi::{BankScore, MAX_TOP_M};
use pintle_hip::encoder::{BankSpec, Banks};
use pintle_routing::prototype::{self, BankParams};

use crate::reader::TextReading;

/// Prototypes of a set of examples.
#[derive(Debug)]
pub(super) struct Bank {
    prototypes: Vec<Vec<f32>>,
    params: BankParams,
    /// The plain mean of all similarities is the score.
    mean: bool,
    place: Option<Place>,
}

/// Which score of a GPU's is a bank's.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    easy: bool,
}

/// A text's vector, and what it scores as far as a GPU has said so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared<'a> {
    pub(super) vector: &'a [f32],
    scores: &'a [BankScore],
}

impl<'a> Compared<'a> {
    /// Of a reading, under a plan that has these banks on GPUs.
    pub(super) fn of(reading: &'a TextReading, banks: Option<&Banks>) -> Self {
        let known = reading.scores.as_ref().zip(banks).filter(|((id, _), banks)| *id == banks.id());
        let scores = known.map_or(&[][..], |((_, scores), _)| scores);
        Self { vector: &reading.embedding, scores }
    }
}

impl Bank {
    /// Of examples and their vectors, one to one. `None` if no example has a vector.
    pub(super) fn new(examples: &[(&str, Vec<f32>)], params: BankParams, mean: bool) -> Option<Self> {
        let borrowed: Vec<prototype::Example<'_>> =
            examples.iter().map(|(text, vector)| (*text, vector.as_slice())).collect();
        let kept = prototype::prototypes(&borrowed, &params);
        let prototypes: Vec<Vec<f32>> = kept.into_iter().map(|at| examples[at].1.clone()).collect();
        (!prototypes.is_empty()).then_some(Self { prototypes, params, mean, place: None })
    }

    /// As configured: a blend of best and mean of the best few, or the mean of all.
    pub(super) fn score(&self, query: Compared<'_>) -> Option<f64> {
        if let Some((score, easy)) = self.scored(query) {
            return Some(f64::from(if easy { score.easy } else { score.hard }));
        }
        let similarities = self.similarities(query.vector)?;
        if self.mean { prototype::mean(&similarities) } else { prototype::score(&similarities, &self.params) }
    }

    /// The greatest similarity.
    pub(super) fn best(&self, query: Compared<'_>) -> Option<f64> {
        if let Some((score, easy)) = self.scored(query) {
            return Some(f64::from(if easy { score.easy_best } else { score.hard_best }));
        }
        self.similarities(query.vector)?.into_iter().reduce(f64::max)
    }

    fn scored<'a>(&self, query: Compared<'a>) -> Option<(&'a BankScore, bool)> {
        let place = self.place?;
        Some((query.scores.get(place.at)?, place.easy))
    }

    fn similarities(&self, query: &[f32]) -> Option<Vec<f64>> {
        if query.is_empty() || self.prototypes.iter().any(|vector| vector.len() != query.len()) {
            return None;
        }
        Some(self.prototypes.iter().map(|vector| cosine(vector, query)).collect())
    }

    /// Whether the kernel scores as this bank does.
    fn suits(&self) -> bool {
        !self.mean && (1..=MAX_TOP_M as usize).contains(&self.params.top_m)
    }
}

/// The two sides of a rule; a rule with one side has no second.
pub(super) type Sides<'a> = (Option<&'a mut Bank>, Option<&'a mut Bank>);

/// Puts the prototypes of all rules that a GPU can score together for vectors of `hidden` components, if there are at
/// least `least` of them, and gives the banks their places.
pub(super) fn gather(rules: Vec<Sides<'_>>, hidden: usize, least: usize) -> Option<Arc<Banks>> {
    let rules: Vec<Sides<'_>> = rules
        .into_iter()
        .filter(|(hard, easy)| {
            let sides = || [hard, easy].into_iter().flatten();
            let alike = |bank: &&mut Bank| sides().all(|other| other.params == bank.params && bank.suits());
            sides().next().is_some_and(alike)
        })
        .collect();
    let spec = |(hard, easy): &Sides<'_>| {
        let params = hard.as_deref().or(easy.as_deref()).map(|bank| bank.params)?;
        let side = |bank: &'_ Option<&mut Bank>| bank.as_deref().map(|bank| bank.prototypes.clone());
        Some((side(hard).unwrap_or_default(), side(easy).unwrap_or_default(), params))
    };
    let owned: Vec<_> = rules.iter().filter_map(spec).collect();
    if owned.iter().map(|(hard, easy, _)| hard.len() + easy.len()).sum::<usize>() < least {
        return None;
    }
    let specs: Vec<BankSpec<'_>> = owned
        .iter()
        .map(|(hard, easy, params)| BankSpec {
            hard,
            easy,
            top_m: params.top_m,
            best_weight: params.best_weight as f32,
        })
        .collect();
    let banks = Arc::new(Banks::new(hidden, &specs)?);
    for (at, (hard, easy)) in rules.into_iter().enumerate() {
        for (bank, easy) in [(hard, false), (easy, true)] {
            if let Some(bank) = bank {
                bank.place = Some(Place { at, easy });
            }
        }
    }
    Some(banks)
}

/// Dot product of unit vectors. Eight sums side by side: one after another the additions would wait for each other.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*x) * f64::from(*y);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(x, y)| f64::from(*x) * f64::from(*y));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_is_the_sum_of_products_whatever_its_length() {
        for length in [0usize, 1, 7, 8, 9, 384, 385] {
            let vector = |step: f32| -> Vec<f32> { (0..length).map(|i| (i as f32 * step).sin()).collect() };
            let (a, b) = (vector(0.3), vector(1.7));
            let plain: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            assert!((cosine(&a, &b) - plain).abs() < 1e-12, "{length}");
        }
    }

    fn bank(vectors: &[[f32; 4]], top_m: usize, mean: bool) -> Option<Bank> {
        let names = ["a", "b", "c", "d"];
        let examples: Vec<(&str, Vec<f32>)> =
            names.iter().zip(vectors).map(|(name, vector)| (*name, vector.to_vec())).collect();
        let params = BankParams { enabled: false, top_m, ..BankParams::from(&Default::default()) };
        Bank::new(&examples, params, mean)
    }

    #[test]
    fn banks_that_a_gpu_scores_have_their_places_and_others_none() {
        let axes = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]];
        let (mut hard, mut easy) = (bank(&axes[..2], 2, false), bank(&axes[2..], 2, false));
        let (mut mean, mut wide, mut single) =
            (bank(&axes, 2, true), bank(&axes, 9, false), bank(&axes, 1, false));
        let mut gathered = |hidden, least| {
            let rules = vec![
                (mean.as_mut(), None),
                (hard.as_mut(), easy.as_mut()),
                (wide.as_mut(), None),
                (None, None),
                (single.as_mut(), None),
            ];
            gather(rules, hidden, least)
        };
        assert!(gathered(4, 7).is_none(), "too few");
        assert!(gathered(8, 1).is_none(), "of another width");
        let banks = gathered(4, 6).unwrap();
        assert_eq!((banks.len(), banks.prototypes()), (2, 6));
        assert!(mean.unwrap().place.is_none() && wide.unwrap().place.is_none());

        // What a GPU says is taken, for these banks only.
        let scores = vec![
            BankScore { hard: 0.25, easy: 0.5, hard_best: 0.75, easy_best: 1.0, ..BankScore::default() },
            BankScore { hard: -0.5, ..BankScore::default() },
        ];
        let embedding = axes[0].to_vec();
        let mut reading =
            TextReading { embedding, scores: Some((banks.id(), scores)), ..TextReading::default() };
        let (hard, easy) = (hard.unwrap(), easy.unwrap());
        let query = Compared::of(&reading, Some(&banks));
        assert_eq!((hard.score(query), easy.score(query)), (Some(0.25), Some(0.5)));
        assert_eq!((hard.best(query), easy.best(query)), (Some(0.75), Some(1.0)));
        assert_eq!(single.unwrap().score(query), Some(-0.5));
        let known = Some(0.75 + 0.25 * 0.5);
        assert_eq!(hard.score(Compared::of(&reading, None)), known);
        reading.scores.as_mut().unwrap().0 += 1;
        assert_eq!(hard.score(Compared::of(&reading, Some(&banks))), known);
    }
}
