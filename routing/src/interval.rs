//! Numbers that are known only to lie between two bounds.
//!
//! A sum over signals of which some are unknown is not a number; but it may still be certain on which side
//! of a threshold it falls.

use crate::evidence::{Truth, Unknown};
use crate::signals::predicate::Predicate;

/// A closed interval, possibly unbounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    pub(crate) const ZERO: Self = Self::point(0.0);
    pub(crate) const ANY: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    pub(crate) const fn point(value: f64) -> Self {
        Self { low: value, high: value }
    }

    pub(crate) fn between(a: f64, b: f64) -> Self {
        Self { low: a.min(b), high: a.max(b) }
    }

    pub(crate) fn known(self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { low: self.low + other.low, high: self.high + other.high }
    }

    /// A weight of zero takes even an unbounded value out.
    pub(crate) fn times(self, weight: f64) -> Self {
        if weight == 0.0 { Self::ZERO } else { Self::between(self.low * weight, self.high * weight) }
    }

    /// Whether every value in the interval satisfies the bounds, none does, or it depends. Bounds describe
    /// a range without holes, so two ends that satisfy them speak for everything between.
    pub(crate) fn satisfies(self, bounds: &Predicate) -> Truth {
        match (bounds.holds(self.low), bounds.holds(self.high)) {
            (true, true) => Truth::True,
            (false, false) if !bounds.holds_between(self.low, self.high) => Truth::False,
            _ => Truth::Unknown(Unknown::Undetermined),
        }
    }
}
