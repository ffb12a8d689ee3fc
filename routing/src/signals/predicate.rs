//! Bounds on a measured number.

use pintle_config::NumericPredicate;

/// At most one lower and one upper bound; the first of gt, gte, lt, lte is the one confidence is measured from.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Predicate {
    gt: Option<f64>,
    gte: Option<f64>,
    lt: Option<f64>,
    lte: Option<f64>,
}

impl From<&NumericPredicate> for Predicate {
    fn from(p: &NumericPredicate) -> Self {
        Self { gt: p.gt, gte: p.gte, lt: p.lt, lte: p.lte }
    }
}

impl Predicate {
    pub(crate) fn bounds(gt: Option<f64>, gte: Option<f64>, lt: Option<f64>, lte: Option<f64>) -> Self {
        Self { gt, gte, lt, lte }
    }

    pub(crate) fn holds(&self, value: f64) -> bool {
        self.gt.is_none_or(|bound| value > bound)
            && self.gte.is_none_or(|bound| value >= bound)
            && self.lt.is_none_or(|bound| value < bound)
            && self.lte.is_none_or(|bound| value <= bound)
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether some number strictly between two others satisfies the bounds.
    pub(crate) fn holds_between(&self, low: f64, high: f64) -> bool {
        let least = [self.gt, self.gte].into_iter().flatten().fold(low, f64::max);
        let most = [self.lt, self.lte].into_iter().flatten().fold(high, f64::min);
        least < most
    }

    /// Distance from `value` to the bound that is named first.
    pub(crate) fn first_distance(&self, value: f64) -> Option<f64> {
        self.gt.or(self.gte).or(self.lt).or(self.lte).map(|bound| (value - bound).abs())
    }

    /// Distance from `value` to the nearest bound.
    pub(crate) fn nearest_distance(&self, value: f64) -> Option<f64> {
        [self.gt, self.gte, self.lt, self.lte]
            .into_iter()
            .flatten()
            .map(|bound| (value - bound).abs())
            .min_by(f64::total_cmp)
    }
}

/// `1/(1+e^(−slope·distance))`: 0.5 on the bound, towards 1 away from it.
pub(crate) fn sigmoid(slope: f64, distance: f64) -> f64 {
    1.0 / (1.0 + (-slope * distance).exp())
}
