//! Rows of numbers, and how far a query is from each.

use super::{MAX_VALUES, PretrainedError};

/// Partial sums that are kept beside each other, so that a compiler can use vector registers. The order of
/// additions is fixed by it: the same numbers give the same sum on every machine.
const LANES: usize = 16;

/// Equally long rows, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) width: usize,
    values: Vec<f32>,
}

impl Rows {
    pub(super) fn new(rows: Vec<Vec<f32>>) -> Result<Self, PretrainedError> {
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 {
            return Err(PretrainedError::Shape("the model holds no vectors"));
        }
        if rows.iter().any(|row| row.len() != width) {
            return Err(PretrainedError::Shape("the model's vectors differ in length"));
        }
        if rows.len().saturating_mul(width) > MAX_VALUES {
            return Err(PretrainedError::TooLarge);
        }
        let values: Vec<f32> = rows.into_iter().flatten().collect();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(PretrainedError::Shape("a number is out of range"));
        }
        Ok(Self { width, values })
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// Squared Euclidean distance.
pub(super) fn squared(a: &[f32], b: &[f32]) -> f64 {
    fold(a, b, |a, b| (a - b) * (a - b))
}

/// Inner product.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    fold(a, b, |a, b| a * b)
}

fn fold(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let mut sums = [0f32; LANES];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in left.by_ref().zip(right.by_ref()) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    let rest = left.remainder().iter().zip(right.remainder()).map(|(a, b)| f64::from(term(*a, *b)));
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + rest.sum::<f64>()
}
