//! `knn`, `kmeans`, `svm`, `mlp`: selectors that were trained elsewhere and are read from v0.3's JSON files.
//!
//! Each looks at the query's embedding, followed by fourteen numbers of which the one of the query's category is 1
//! (`other` for a category that is not in the list), and gives every label that it was trained for a value:
//!
//! | kind | value of a label | score of a candidate |
//! |---|---|---|
//! | knn | votes of the `k` nearest samples (Euclidean), each `0.9·max(quality, 0.01) + 0.1·speed`, quality 0.5 where none is given, speed 1 for the fastest sample and 0 for the slowest | share of all votes |
//! | kmeans | distance `d` to the nearest centroid of the label | `1/(1+d)` |
//! | svm | decision value on the unit vector: `w·x − rho`, or `Σ α·exp(−γ‖x−s‖²) − rho` | softmax over the candidates |
//! | mlp | output of the layers | softmax over the candidates |
//!
//! v0.3.0 takes the best label of all, and the first candidate when that label is none; here the best label among
//! the candidates is taken. The compat profile does as v0.3.0: the chosen gets 1, the others 0.
//!
//! Whoever reads files passes their bytes in: see [`Pretrained`].

use std::sync::Arc;

use pintle_config::{Config, Profile};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::{Choice, Context, Scores, best, unlearned};
use crate::trace::{Learnt, ScoreReason, Unlearned};

mod distance;
mod knn;
mod mlp;
mod svm;
#[cfg(test)]
mod tests;

/// Numbers that one file may hold: one pass over them is the price of a decision.
const MAX_VALUES: usize = 16 * 1024 * 1024;

/// Subjects of the fourteen last features, in order.
const CATEGORIES: [&str; 14] = [
    "math",
    "physics",
    "chemistry",
    "biology",
    "computer science",
    "history",
    "economics",
    "business",
    "law",
    "health",
    "psychology",
    "philosophy",
    "other",
    "unknown",
];
const OTHER: usize = 12;

/// What v0.3.0 states as its confidence in any choice of these.
const COMPAT_CONFIDENCE: f64 = 0.8;

/// A selector that is trained elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is named as the algorithm's type is")]
pub enum Trained {
    Knn,
    Kmeans,
    Svm,
    Mlp,
}

impl Trained {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Knn, Self::Kmeans, Self::Svm, Self::Mlp];

    /// The algorithm's type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Kmeans => "kmeans",
            Self::Svm => "svm",
            Self::Mlp => "mlp",
        }
    }

    fn path(self, config: &Config) -> String {
        let ml = &config.global.router.model_selection.ml;
        let own = match self {
            Self::Knn => &ml.knn.pretrained_path,
            Self::Kmeans => &ml.kmeans.pretrained_path,
            Self::Svm => &ml.svm.pretrained_path,
            Self::Mlp => &ml.mlp.pretrained_path,
        };
        match (own.trim(), ml.models_path.trim()) {
            ("", "") => String::new(),
            ("", directory) => format!("{}/{}_model.json", directory.trim_end_matches('/'), self.as_str()),
            (own, _) => own.to_owned(),
        }
    }
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PretrainedError {
    /// It is not the JSON that it should be.
    #[error("not a {kind} model: {what}")]
    Format {
        /// The kind that was expected.
        kind: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Its numbers do not fit together.
    #[error("{0}")]
    Shape(&'static str),
    /// It says itself that it is not trained.
    #[error("the model is not trained")]
    NotTrained,
    /// It is larger than a decision can afford to look at.
    #[error("more than {MAX_VALUES} numbers")]
    TooLarge,
}

/// Files that were read.
#[derive(Debug, Clone, Default)]
pub struct Pretrained {
    models: [Option<Arc<Model>>; 4],
    digests: [u64; 4],
}

impl Pretrained {
    /// The files that the decisions of a configuration need: of which kind, and the path as it is written.
    pub fn files(config: &Config) -> Vec<(Trained, String)> {
        let global = config.global.router.model_selection.session_aware.base_method.trim();
        let used = |kind: Trained| {
            let is = |name: &str| name.trim().eq_ignore_ascii_case(kind.as_str());
            config.routing.decisions.iter().filter_map(|decision| decision.algorithm.as_ref()).any(
                |algorithm| {
                    let own = algorithm.session_aware.as_ref().map_or("", |block| block.base_method.trim());
                    let base = if own.is_empty() { global } else { own };
                    is(&algorithm.kind)
                        || algorithm.kind.trim().eq_ignore_ascii_case("session_aware") && is(base)
                },
            )
        };
        let kinds = Trained::ALL.into_iter().filter(|kind| used(*kind));
        kinds.map(|kind| (kind, kind.path(config))).filter(|(_, path)| !path.is_empty()).collect()
    }

    /// Takes the contents of a file in.
    pub fn read(&mut self, kind: Trained, bytes: &[u8]) -> Result<(), PretrainedError> {
        let model = match kind {
            Trained::Knn => Model::Knn(knn::Knn::samples(bytes)?),
            Trained::Kmeans => Model::Kmeans(knn::Knn::centroids(bytes)?),
            Trained::Svm => Model::Svm(svm::Svm::read(bytes)?),
            Trained::Mlp => Model::Mlp(mlp::Mlp::read(bytes)?),
        };
        self.models[kind as usize] = Some(Arc::new(model));
        self.digests[kind as usize] = xxh3_64(bytes);
        Ok(())
    }

    pub(crate) fn get(&self, kind: Trained) -> Option<&Arc<Model>> {
        self.models[kind as usize].as_ref()
    }

    /// Of everything that was read.
    pub(crate) const fn digests(&self) -> [u64; 4] {
        self.digests
    }
}

/// What a file holds.
#[derive(Debug)]
pub(crate) enum Model {
    Knn(knn::Knn),
    Kmeans(knn::Knn),
    Svm(svm::Svm),
    Mlp(mlp::Mlp),
}

impl Model {
    fn labels(&self) -> &[String] {
        match self {
            Self::Knn(model) | Self::Kmeans(model) => &model.labels,
            Self::Svm(model) => &model.labels,
            Self::Mlp(model) => &model.labels,
        }
    }

    fn dimension(&self) -> usize {
        match self {
            Self::Knn(model) | Self::Kmeans(model) => model.dimension(),
            Self::Svm(model) => model.dimension,
            Self::Mlp(model) => model.dimension,
        }
    }

    /// One value per label, higher is better; `None` for a label that nothing speaks for.
    fn values(&self, features: &[f32]) -> Vec<Option<f64>> {
        match self {
            Self::Knn(model) => model.votes(features),
            Self::Kmeans(model) => model.nearest(features),
            Self::Svm(model) => model.margins(features),
            Self::Mlp(model) => model.outputs(features),
        }
    }

    const fn learnt(&self) -> Learnt {
        match self {
            Self::Knn(_) => Learnt::Votes,
            Self::Kmeans(_) => Learnt::Closeness,
            Self::Svm(_) => Learnt::Margin,
            Self::Mlp(_) => Learnt::Probability,
        }
    }
}

/// One decision's use of a file.
#[derive(Debug, Clone)]
pub(crate) struct Chooser {
    pub(crate) kind: Trained,
    model: Arc<Model>,
    /// By candidate: its label.
    labels: Vec<Option<u16>>,
}

impl Chooser {
    /// `names` are the candidates' names as the file's labels would have them: the adapter's, else the model's.
    pub(crate) fn new<'a>(kind: Trained, model: &Arc<Model>, names: impl Iterator<Item = &'a str>) -> Self {
        let known = model.labels();
        let label = |name: &str| known.iter().position(|label| label == name).map(|at| at as u16);
        Self { kind, model: Arc::clone(model), labels: names.map(label).collect() }
    }

    pub(super) fn select(&self, context: &Context<'_>, scores: &mut Scores) -> Choice {
        let embedding = match context.query.embedding {
            Ok(embedding) => embedding,
            Err(why) => return unlearned(Unlearned::NoEmbedding(why), scores),
        };
        if embedding.len() + CATEGORIES.len() != self.model.dimension() {
            return unlearned(Unlearned::Dimension, scores);
        }
        let values = self.model.values(&features(embedding, context.category));
        let of = |at: usize| self.labels[at].and_then(|label| values[usize::from(label)]);
        if context.profile == Profile::Compat {
            return self.as_v0_3(&values, scores);
        }
        let eligible: SmallVec<[usize; 8]> =
            (0..scores.len()).filter(|at| scores[*at].reason.eligible()).collect();
        if eligible.iter().all(|at| of(*at).is_none()) {
            return unlearned(Unlearned::NoLabel, scores);
        }
        let softmax = matches!(*self.model, Model::Svm(_) | Model::Mlp(_));
        let greatest = eligible.iter().filter_map(|at| of(*at)).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = eligible.iter().filter_map(|at| of(*at)).map(|value| (value - greatest).exp()).sum();
        for at in eligible {
            let score = &mut scores[at];
            (score.score, score.reason) = match of(at) {
                None => (0.0, ScoreReason::NotTrained),
                Some(value) if softmax => {
                    ((value - greatest).exp() / sum, ScoreReason::Learnt(self.model.learnt(), value))
                }
                Some(value) => (value.clamp(0.0, 1.0), ScoreReason::Learnt(self.model.learnt(), value)),
            };
        }
        let index = best(scores);
        Choice { index, confidence: index.map_or(0.0, |at| scores[at].score) }
    }

    fn as_v0_3(&self, values: &[Option<f64>], scores: &mut Scores) -> Choice {
        let ranked = values.iter().enumerate().filter_map(|(label, value)| Some((label, (*value)?)));
        let winner = ranked.reduce(|a, b| if b.1 > a.1 { b } else { a });
        let chosen = winner.and_then(|(label, value)| {
            // Of two candidates of one name v0.3.0 finds the last.
            let at = (0..scores.len()).rev().find(|at| self.labels[*at] == Some(label as u16))?;
            scores[at].reason.eligible().then_some((at, value))
        });
        let Some((chosen, value)) = chosen else { return unlearned(Unlearned::NoLabel, scores) };
        for (at, score) in scores.iter_mut().enumerate().filter(|(_, score)| score.reason.eligible()) {
            score.score = f64::from(u8::from(at == chosen));
            score.reason = match at == chosen {
                true => ScoreReason::Learnt(self.model.learnt(), value),
                false => ScoreReason::NotTrained,
            };
        }
        Choice { index: Some(chosen), confidence: COMPAT_CONFIDENCE }
    }
}

fn features(embedding: &[f32], category: &str) -> Vec<f32> {
    let at = CATEGORIES.iter().position(|known| *known == category).unwrap_or(OTHER);
    let mut features = Vec::with_capacity(embedding.len() + CATEGORIES.len());
    features.extend_from_slice(embedding);
    features.extend((0..CATEGORIES.len()).map(|category| f32::from(u8::from(category == at))));
    features
}

fn parse<'a, T: serde::Deserialize<'a>>(kind: Trained, bytes: &'a [u8]) -> Result<T, PretrainedError> {
    serde_json::from_slice(bytes)
        .map_err(|error| PretrainedError::Format { kind: kind.as_str(), what: error.to_string() })
}
