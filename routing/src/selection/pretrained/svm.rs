//! One classifier per label, linear or with a Gaussian kernel.

use serde::Deserialize;

use super::distance::{Rows, dot, squared};
use super::{MAX_VALUES, PretrainedError, Trained, parse};

const ZERO_NORM: f64 = 1e-10;

/// Classifiers of all labels.
#[derive(Debug)]
pub(crate) struct Svm {
    pub(super) labels: Vec<String>,
    pub(super) dimension: usize,
    classifiers: Vec<(usize, Classifier)>,
}

#[derive(Debug)]
enum Classifier {
    Linear { weights: Rows, rho: f64 },
    Gaussian { alpha: Vec<f64>, support: Rows, rho: f64, gamma: f64 },
}

#[derive(Deserialize)]
struct Data {
    trained: bool,
    #[serde(default)]
    linear_classifiers: Vec<LinearData>,
    #[serde(default)]
    rbf_classifiers: Vec<GaussianData>,
}

#[derive(Deserialize)]
struct LinearData {
    model_name: String,
    weights: Vec<f32>,
    rho: f64,
}

#[derive(Deserialize)]
struct GaussianData {
    model_name: String,
    alpha: Vec<f64>,
    support_vectors: Vec<Vec<f32>>,
    rho: f64,
    gamma: f64,
}

impl Svm {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PretrainedError> {
        let data: Data = parse(Trained::Svm, bytes)?;
        if !data.trained {
            return Err(PretrainedError::NotTrained);
        }
        let mut svm = Self { labels: Vec::new(), dimension: 0, classifiers: Vec::new() };
        let mut values = 0usize;
        for linear in data.linear_classifiers {
            let weights = Rows::new(vec![linear.weights])?;
            let width = weights.width;
            svm.add(linear.model_name, width, Classifier::Linear { weights, rho: linear.rho })?;
        }
        for gaussian in data.rbf_classifiers {
            let support = Rows::new(gaussian.support_vectors)?;
            if gaussian.alpha.len() > support.len() {
                return Err(PretrainedError::Shape("a coefficient has no support vector"));
            }
            let width = support.width;
            values = values.saturating_add(support.len().saturating_mul(width));
            if values > MAX_VALUES {
                return Err(PretrainedError::TooLarge);
            }
            let (alpha, rho, gamma) = (gaussian.alpha, gaussian.rho, gaussian.gamma);
            svm.add(gaussian.model_name, width, Classifier::Gaussian { alpha, support, rho, gamma })?;
        }
        if svm.classifiers.is_empty() {
            return Err(PretrainedError::Shape("the model holds no classifiers"));
        }
        Ok(svm)
    }

    fn add(&mut self, label: String, width: usize, classifier: Classifier) -> Result<(), PretrainedError> {
        if self.dimension != 0 && self.dimension != width {
            return Err(PretrainedError::Shape("the model's vectors differ in length"));
        }
        self.dimension = width;
        let at = self.labels.iter().position(|known| *known == label).unwrap_or_else(|| {
            self.labels.push(label);
            self.labels.len() - 1
        });
        self.classifiers.push((at, classifier));
        Ok(())
    }

    /// Decision values; of several classifiers of a label the greatest.
    pub(super) fn margins(&self, features: &[f32]) -> Vec<Option<f64>> {
        let norm = dot(features, features).sqrt();
        let unit: Vec<f32> = match norm > ZERO_NORM {
            true => features.iter().map(|value| (f64::from(*value) / norm) as f32).collect(),
            false => features.to_vec(),
        };
        let mut margins: Vec<Option<f64>> = vec![None; self.labels.len()];
        for (label, classifier) in &self.classifiers {
            let margin = classifier.margin(&unit);
            let known = &mut margins[*label];
            *known = Some(known.map_or(margin, |known| known.max(margin)));
        }
        margins
    }
}

impl Classifier {
    fn margin(&self, unit: &[f32]) -> f64 {
        match self {
            Self::Linear { weights, rho } => weights.iter().map(|row| dot(row, unit)).sum::<f64>() - rho,
            Self::Gaussian { alpha, support, rho, gamma } => {
                let terms = alpha.iter().zip(support.iter());
                terms.map(|(alpha, row)| alpha * (-gamma * squared(unit, row)).exp()).sum::<f64>() - rho
            }
        }
    }
}
