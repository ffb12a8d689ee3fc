//! A perceptron: linear layers, rectifiers and batch normalisation.

use serde::Deserialize;

use super::distance::{Rows, dot};
use super::{PretrainedError, Trained, parse};

const DEFAULT_EPSILON: f64 = 1e-5;

/// Layers, first to last.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(super) labels: Vec<String>,
    pub(super) dimension: usize,
    layers: Vec<Layer>,
}

#[derive(Debug)]
enum Layer {
    Linear {
        weights: Rows,
        bias: Vec<f32>,
    },
    Rectify,
    /// Normalisation folded into `x·scale + shift`.
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
}

#[derive(Deserialize)]
struct Data {
    algorithm: String,
    trained: bool,
    model_names: Vec<String>,
    feature_dim: usize,
    layers: Vec<LayerData>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum LayerData {
    Linear {
        weight: Vec<Vec<f32>>,
        bias: Option<Vec<f32>>,
    },
    Relu,
    BatchNorm {
        num_features: usize,
        weight: Option<Vec<f64>>,
        bias: Option<Vec<f64>>,
        running_mean: Option<Vec<f64>>,
        running_var: Option<Vec<f64>>,
        eps: Option<f64>,
    },
    Dropout,
}

impl Mlp {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PretrainedError> {
        let data: Data = parse(Trained::Mlp, bytes)?;
        if data.algorithm != "mlp" {
            let what = format!("its algorithm is {:?}", data.algorithm);
            return Err(PretrainedError::Format { kind: "mlp", what });
        }
        if !data.trained {
            return Err(PretrainedError::NotTrained);
        }
        let mut width = data.feature_dim;
        let mut layers = Vec::with_capacity(data.layers.len());
        for layer in data.layers {
            if let Some(layer) = Layer::of(layer, &mut width)? {
                layers.push(layer);
            }
        }
        if width != data.model_names.len() || width == 0 {
            return Err(PretrainedError::Shape("the last layer does not give one number per model"));
        }
        Ok(Self { labels: data.model_names, dimension: data.feature_dim, layers })
    }

    /// Outputs of the last layer.
    pub(super) fn outputs(&self, features: &[f32]) -> Vec<Option<f64>> {
        let mut values = features.to_vec();
        for layer in &self.layers {
            match layer {
                Layer::Linear { weights, bias } => {
                    let row = |(row, bias): (&[f32], &f32)| (dot(row, &values) + f64::from(*bias)) as f32;
                    values = weights.iter().zip(bias).map(row).collect();
                }
                Layer::Rectify => values.iter_mut().for_each(|value| *value = value.max(0.0)),
                Layer::Affine { scale, shift } => {
                    for ((value, scale), shift) in values.iter_mut().zip(scale).zip(shift) {
                        *value = *value * scale + shift;
                    }
                }
            }
        }
        values.into_iter().map(|value| Some(f64::from(value)).filter(|value| value.is_finite())).collect()
    }
}

impl Layer {
    /// Checks a layer against the `width` that the one before it gives, and sets its own.
    fn of(data: LayerData, width: &mut usize) -> Result<Option<Self>, PretrainedError> {
        const MISFIT: PretrainedError = PretrainedError::Shape("a layer does not fit the one before it");
        Ok(match data {
            LayerData::Dropout => None,
            LayerData::Relu => Some(Self::Rectify),
            LayerData::Linear { weight, bias } => {
                let weights = Rows::new(weight)?;
                let bias = bias.unwrap_or_else(|| vec![0.0; weights.len()]);
                if weights.width != *width || bias.len() != weights.len() {
                    return Err(MISFIT);
                }
                *width = weights.len();
                Some(Self::Linear { weights, bias })
            }
            LayerData::BatchNorm { num_features, weight, bias, running_mean, running_var, eps } => {
                let given = |values: Option<Vec<f64>>, absent: f64| {
                    let values = values.unwrap_or_else(|| vec![absent; num_features]);
                    if values.len() == *width { Ok(values) } else { Err(MISFIT) }
                };
                let (weight, bias) = (given(weight, 1.0)?, given(bias, 0.0)?);
                let (mean, variance) = (given(running_mean, 0.0)?, given(running_var, 1.0)?);
                let epsilon = eps.unwrap_or(DEFAULT_EPSILON);
                let scale: Vec<f64> =
                    weight.iter().zip(&variance).map(|(w, v)| w / (v + epsilon).sqrt()).collect();
                let shift =
                    bias.iter().zip(&mean).zip(&scale).map(|((b, m), s)| (b - m * s) as f32).collect();
                Some(Self::Affine { scale: scale.into_iter().map(|s| s as f32).collect(), shift })
            }
        })
    }
}
