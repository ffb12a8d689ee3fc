//! What the data plane measures about each model and a selector may use.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::experience::Experience;
use crate::ids::ModelId;

/// Points of a latency distribution that are kept: the 0th, 5th, … 100th percentile.
pub const QUANTILE_POINTS: usize = 21;

/// A latency distribution as percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Observations behind the distribution.
    pub samples: u32,
    /// Percentiles 0, 5, … 100 in milliseconds.
    pub points_ms: [f32; QUANTILE_POINTS],
}

impl Latency {
    /// The percentiles of `sorted` samples (ascending, milliseconds), by linear interpolation between
    /// the two nearest ranks at `p/100 · (n−1)`. `None` without samples.
    pub fn of_sorted(sorted: &[f64]) -> Option<Self> {
        let mut points_ms = [0.0; QUANTILE_POINTS];
        for (step, point) in points_ms.iter_mut().enumerate() {
            *point = percentile_of_sorted(sorted, step as f64 * STEP)? as f32;
        }
        Some(Self { samples: u32::try_from(sorted.len()).unwrap_or(u32::MAX), points_ms })
    }

    /// The `percent`th percentile in milliseconds, interpolated between kept points.
    pub fn percentile(&self, percent: f64) -> f64 {
        let at = (percent.clamp(0.0, 100.0)) / STEP;
        let low = (at.floor() as usize).min(QUANTILE_POINTS - 1);
        let high = (low + 1).min(QUANTILE_POINTS - 1);
        let (a, b) = (f64::from(self.points_ms[low]), f64::from(self.points_ms[high]));
        a + (b - a) * (at - low as f64)
    }
}

const STEP: f64 = 100.0 / (QUANTILE_POINTS as f64 - 1.0);

/// The `percent`th percentile of ascending samples: linear interpolation at `percent/100 · (n−1)`.
pub fn percentile_of_sorted(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = percent.clamp(0.0, 100.0) / 100.0 * last as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(last);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64))
}

/// One model's live state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelLive {
    /// At least one backend is believed to be up.
    pub available: bool,
    /// Requests in flight.
    pub in_flight: u32,
    /// Time to first token of streamed 2xx answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Latency>,
    /// Time per output token of 2xx answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Latency>,
}

impl Default for ModelLive {
    fn default() -> Self {
        Self { available: true, in_flight: 0, ttft: None, tpot: None }
    }
}

/// Live state of all models. `LiveSignals::default()` is right before anything was observed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveSignals {
    /// In the order of `policy.models()`. A model beyond the end counts as available, idle and unmeasured.
    pub models: Vec<ModelLive>,
    /// Bytes of envelope per prompt token, as learned by [`TokenRatio`](crate::signals::TokenRatio); anything
    /// but a positive number counts as [`DEFAULT_BYTES_PER_TOKEN`](crate::signals::DEFAULT_BYTES_PER_TOKEN).
    pub bytes_per_token: f64,
    /// What feedback has taught; empty before there was any. Recorded beside the rest, as far as it was read.
    #[serde(skip)]
    pub experience: Arc<Experience>,
}

/// What is out of the ordinary in [`LiveSignals`], to be recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveExcerpt {
    /// Models that are not available, idle and unmeasured.
    #[serde(skip_serializing_if = "SmallVec::is_empty")]
    pub models: SmallVec<[(ModelId, ModelLive); 1]>,
    /// As in [`LiveSignals`].
    pub bytes_per_token: f64,
}

impl LiveExcerpt {
    /// Live state as it was, but for models at the end that were as ever.
    pub(crate) fn signals(&self, experience: &Arc<Experience>) -> LiveSignals {
        let last = self.models.iter().map(|(model, _)| model.index() + 1).max();
        let mut models = vec![ModelLive::default(); last.unwrap_or(0)];
        for (model, live) in &self.models {
            models[model.index()] = *live;
        }
        LiveSignals { models, bytes_per_token: self.bytes_per_token, experience: Arc::clone(experience) }
    }
}

impl From<&LiveSignals> for LiveExcerpt {
    fn from(live: &LiveSignals) -> Self {
        let models = live.models.iter().enumerate().filter(|(_, live)| **live != ModelLive::default());
        Self {
            models: models.map(|(at, live)| (ModelId(at as u16), *live)).collect(),
            bytes_per_token: live.bytes_per_token,
        }
    }
}

impl LiveSignals {
    /// The state of one model.
    pub fn of(&self, model: ModelId) -> ModelLive {
        self.models.get(model.index()).copied().unwrap_or_default()
    }

    /// Whether a model has a backend that is up.
    pub fn available(&self, model: ModelId) -> bool {
        self.models.get(model.index()).is_none_or(|live| live.available)
    }
}
