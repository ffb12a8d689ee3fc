//! Samples or centroids with a label each.

use serde::Deserialize;
use smallvec::SmallVec;

use super::distance::{Rows, squared};
use super::{PretrainedError, Trained, parse};

const QUALITY_WEIGHT: f64 = 0.9;
const SPEED_WEIGHT: f64 = 0.1;
const LEAST_QUALITY: f64 = 0.01;
const UNKNOWN_QUALITY: f64 = 0.5;
/// Neighbours that vote at most.
const MAX_NEIGHBOURS: usize = 256;
const DEFAULT_NEIGHBOURS: usize = 5;

/// Labelled points.
#[derive(Debug)]
pub(crate) struct Knn {
    pub(super) labels: Vec<String>,
    points: Rows,
    /// By point: its label.
    label: Vec<u16>,
    /// By point: what its vote weighs.
    weight: Vec<f64>,
    neighbours: usize,
}

#[derive(Deserialize)]
struct Samples {
    trained: bool,
    k: usize,
    embeddings: Vec<Vec<f32>>,
    labels: Vec<String>,
    #[serde(default)]
    qualities: Vec<f64>,
    /// Nanoseconds.
    #[serde(default)]
    latencies: Vec<f64>,
}

#[derive(Deserialize)]
struct Centroids {
    trained: bool,
    centroids: Vec<Vec<f32>>,
    cluster_models: Vec<String>,
}

impl Knn {
    pub(super) fn samples(bytes: &[u8]) -> Result<Self, PretrainedError> {
        let data: Samples = parse(Trained::Knn, bytes)?;
        if !data.trained {
            return Err(PretrainedError::NotTrained);
        }
        let fold = |f: fn(f64, f64) -> f64| data.latencies.iter().copied().reduce(f).unwrap_or(1.0);
        let (fastest, slowest) = (fold(f64::min), fold(f64::max));
        let range = (slowest - fastest).max(1.0);
        let weight = |at: usize| {
            let quality =
                data.qualities.get(at).map_or(UNKNOWN_QUALITY, |quality| quality.max(LEAST_QUALITY));
            let latency = data.latencies.get(at).copied().unwrap_or(f64::midpoint(fastest, slowest));
            QUALITY_WEIGHT * quality + SPEED_WEIGHT * (1.0 - (latency - fastest) / range)
        };
        let weight: Vec<f64> = (0..data.embeddings.len()).map(weight).collect();
        let neighbours = if data.k == 0 { DEFAULT_NEIGHBOURS } else { data.k.min(MAX_NEIGHBOURS) };
        Self::labelled(data.embeddings, &data.labels, weight, neighbours)
    }

    pub(super) fn centroids(bytes: &[u8]) -> Result<Self, PretrainedError> {
        let data: Centroids = parse(Trained::Kmeans, bytes)?;
        if !data.trained {
            return Err(PretrainedError::NotTrained);
        }
        Self::labelled(data.centroids, &data.cluster_models, Vec::new(), 1)
    }

    fn labelled(
        points: Vec<Vec<f32>>,
        names: &[String],
        weight: Vec<f64>,
        neighbours: usize,
    ) -> Result<Self, PretrainedError> {
        let points = Rows::new(points)?;
        if names.len() < points.len() {
            return Err(PretrainedError::Shape("a vector has no label"));
        }
        let mut labels: Vec<String> = Vec::new();
        let mut label = Vec::with_capacity(points.len());
        for name in &names[..points.len()] {
            let at = labels.iter().position(|known| known == name).unwrap_or_else(|| {
                labels.push(name.clone());
                labels.len() - 1
            });
            label.push(u16::try_from(at).map_err(|_| PretrainedError::TooLarge)?);
        }
        Ok(Self { labels, points, label, weight, neighbours })
    }

    pub(super) const fn dimension(&self) -> usize {
        self.points.width
    }

    /// Each label's share of the votes of the nearest points; of equally near ones the earlier votes.
    pub(super) fn votes(&self, features: &[f32]) -> Vec<Option<f64>> {
        let mut nearest: SmallVec<[(f64, usize); 16]> = SmallVec::new();
        for (at, point) in self.points.iter().enumerate() {
            let distance = squared(features, point);
            if nearest.len() == self.neighbours && nearest.last().is_some_and(|(last, _)| distance >= *last) {
                continue;
            }
            nearest.truncate(self.neighbours - 1);
            nearest.insert(nearest.partition_point(|(known, _)| *known <= distance), (distance, at));
        }
        let mut votes = vec![None; self.labels.len()];
        let total: f64 = nearest.iter().map(|(_, at)| self.weight[*at]).sum();
        for (_, at) in nearest {
            *votes[usize::from(self.label[at])].get_or_insert(0.0) += self.weight[at] / total;
        }
        votes
    }

    /// `1/(1+d)` for the distance `d` to each label's nearest point.
    pub(super) fn nearest(&self, features: &[f32]) -> Vec<Option<f64>> {
        let mut closeness: Vec<Option<f64>> = vec![None; self.labels.len()];
        for (point, label) in self.points.iter().zip(&self.label) {
            let close = 1.0 / (1.0 + squared(features, point).sqrt());
            let known = &mut closeness[usize::from(*label)];
            *known = Some(known.map_or(close, |known| known.max(close)));
        }
        closeness
    }
}
