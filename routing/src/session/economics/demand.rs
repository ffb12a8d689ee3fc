//! What the next turns will ask for.
//!
//! Two forecasters, each weighed by how well it did lately at each distance:
//!
//! - an autoregression on the session's own latest demands and kinds of turn, fitted by recursive least squares
//!   with forgetting, and
//! - the mean course of earlier sessions by turn number, shifted to this session's own level.
//!
//! Before anything is learned the autoregression is a plain smoothing of the session's level.

use super::outlook::HORIZON;
use super::track::Past;

/// Turns that the autoregression looks back.
pub const LAGS: usize = 6;
const FEATURES: usize = 2 + 2 * LAGS;
const COURSE_TURNS: usize = 256;
const FORGETTING: f64 = 0.9995;
const PRIOR_VARIANCE: f64 = 0.05;
const VARIANCE_CAP: f64 = 10.0;
const ERROR_DECAY: f64 = 0.998;
const PRIOR_ERRORS: f64 = 20.0;
/// Wide on purpose: until forecasts at a distance have been checked, the far turns decide little.
const PRIOR_DEVIATION: f64 = 0.20;
const PRIOR_DEVIATION_GROWTH: f64 = 0.10;
const COURSE_DECAY: f64 = 0.97;
const COURSE_TRUST: f64 = 4.0;
const LEVEL_DECAY: f64 = 0.8;
const SMOOTHING: [f64; LAGS] = [0.50, 0.22, 0.12, 0.08, 0.05, 0.03];
const PRIOR_BONUS: f64 = 0.15;

/// A turn as the forecasters see it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Asked {
    /// Demand in [0,1].
    pub demand: f64,
    /// 1 outside ordinary user turns, else 0; a probability for turns to come.
    pub special: f64,
}

/// Expected demand of a turn, ordinary and special.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Expected {
    /// If it is an ordinary turn.
    pub ordinary: f64,
    /// If it is not.
    pub special: f64,
}

impl Expected {
    /// Expected demand, if the turn is special with this probability.
    pub fn given(&self, special: f64) -> f64 {
        self.ordinary + special * (self.special - self.ordinary)
    }

    fn shifted_to(mean: f64, mean_special: f64, bonus: f64) -> Self {
        Self { ordinary: mean - mean_special * bonus, special: mean + (1.0 - mean_special) * bonus }
    }
}

#[derive(Debug, Clone)]
struct Regression {
    weights: [f64; FEATURES],
    covariance: Vec<f64>,
}

impl Default for Regression {
    fn default() -> Self {
        let mut weights = [0.0; FEATURES];
        weights[1 + LAGS] = PRIOR_BONUS;
        for (i, share) in SMOOTHING.iter().enumerate() {
            weights[1 + i] = *share;
            weights[2 + LAGS + i] = -PRIOR_BONUS * share;
        }
        let mut covariance = vec![0.0; FEATURES * FEATURES];
        for i in 0..FEATURES {
            covariance[i * FEATURES + i] = PRIOR_VARIANCE;
        }
        Self { weights, covariance }
    }
}

/// Constant, latest demands, whether the turn is special, whether the latest were. Turns before the session's
/// start repeat its first one.
fn features(past: &Past, special: f64) -> [f64; FEATURES] {
    let past = past.newest_first();
    let mut x = [0.0; FEATURES];
    x[0] = 1.0;
    x[1 + LAGS] = special;
    for i in 0..LAGS {
        if let Some(asked) = past.get(i).or(past.last()) {
            x[1 + i] = asked.demand;
            x[2 + LAGS + i] = asked.special;
        }
    }
    x
}

impl Regression {
    fn predict(&self, x: &[f64; FEATURES]) -> f64 {
        self.weights.iter().zip(x).map(|(w, x)| w * x).sum()
    }

    fn learn(&mut self, x: &[f64; FEATURES], y: f64) {
        let mut gain = [0.0; FEATURES];
        for (i, gain) in gain.iter_mut().enumerate() {
            *gain = (0..FEATURES).map(|j| self.covariance[i * FEATURES + j] * x[j]).sum();
        }
        let scale = FORGETTING + x.iter().zip(&gain).map(|(x, g)| x * g).sum::<f64>();
        let error = y - self.predict(x);
        for (weight, gain) in self.weights.iter_mut().zip(&gain) {
            *weight += gain / scale * error;
        }
        for i in 0..FEATURES {
            for j in 0..FEATURES {
                let at = i * FEATURES + j;
                let shrunk = (self.covariance[at] - gain[i] * gain[j] / scale) / FORGETTING;
                self.covariance[at] = if i == j { shrunk.min(VARIANCE_CAP) } else { shrunk };
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct CourseTurn {
    demand: f64,
    special: f64,
    weight: f64,
}

/// A decaying mean of squared errors.
#[derive(Debug, Clone, Copy)]
struct Errors {
    sum: f64,
    weight: f64,
}

impl Errors {
    /// Before anything is learned, at a distance; 0 is the next turn.
    fn unknown(distance: usize) -> Self {
        let deviation = PRIOR_DEVIATION + PRIOR_DEVIATION_GROWTH * distance as f64;
        Self { sum: deviation * deviation * PRIOR_ERRORS, weight: PRIOR_ERRORS }
    }

    fn add(&mut self, error: f64) {
        self.sum = self.sum * ERROR_DECAY + error * error;
        self.weight = self.weight * ERROR_DECAY + 1.0;
    }

    fn mean(&self) -> f64 {
        (self.sum / self.weight).max(1e-6)
    }
}

/// What both forecasters say, nearest turn first.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Forecast {
    regression: [Expected; HORIZON],
    course: [Option<Expected>; HORIZON],
}

/// Learned habits of demand.
#[derive(Debug, Clone)]
pub struct DemandHabits {
    regression: Regression,
    course: Vec<CourseTurn>,
    regression_errors: [Errors; HORIZON],
    course_errors: [Errors; HORIZON],
    errors: [Errors; HORIZON],
}

impl Default for DemandHabits {
    fn default() -> Self {
        let unknown = std::array::from_fn(Errors::unknown);
        Self {
            regression: Regression::default(),
            course: Vec::new(),
            regression_errors: unknown,
            course_errors: unknown,
            errors: unknown,
        }
    }
}

impl DemandHabits {
    /// Learns from turn number `turn`, given the turns before it.
    ///
    /// What would have been forecast for it from each of those turns is worked out here, in hindsight, so that a
    /// session has nothing to carry along but its turns.
    pub fn learn(&mut self, turn: usize, past: &Past, asked: Asked) {
        let turns = past.newest_first();
        for distance in 0..turns.len() {
            let known = past.before(distance);
            let mut special = [asked.special; HORIZON];
            for (special, between) in special.iter_mut().zip(turns[..distance].iter().rev()) {
                *special = between.special;
            }
            let forecast = self.forecast(turn - distance, &known, &special[..=distance]);
            let error = |expected: Expected| asked.demand - expected.given(asked.special);
            let mixed = error(self.mix(&forecast, distance));
            self.errors[distance].add(mixed);
            self.regression_errors[distance].add(error(forecast.regression[distance]));
            if let Some(course) = forecast.course[distance] {
                self.course_errors[distance].add(error(course));
            }
        }
        if turns.len() >= 2 {
            self.regression.learn(&features(past, asked.special), asked.demand);
        }
        if turn < COURSE_TURNS {
            if self.course.len() <= turn {
                self.course.resize(turn + 1, CourseTurn::default());
            }
            let at = &mut self.course[turn];
            at.demand = at.demand * COURSE_DECAY + asked.demand;
            at.special = at.special * COURSE_DECAY + asked.special;
            at.weight = at.weight * COURSE_DECAY + 1.0;
        }
    }

    /// Forecasts turn number `turn` and those after it from the turns before; their chances of being special
    /// are given, nearest first, and say how far to look.
    pub fn forecast(&self, turn: usize, past: &Past, special: &[f64]) -> Forecast {
        let mut forecast = Forecast::default();
        let level = self.level(turn, past);
        let bonus = self.regression.weights[1 + LAGS];
        let mut extended = *past;
        for (j, special) in special.iter().take(HORIZON).enumerate() {
            let mean = |s: f64| self.regression.predict(&features(&extended, s)).clamp(-0.2, 1.2);
            let expected = Expected { ordinary: mean(0.0), special: mean(1.0) };
            forecast.regression[j] = expected;
            extended.push_newer(Asked { demand: expected.given(*special), special: *special });
            forecast.course[j] = self.course.get(turn + j).filter(|c| c.weight > 0.0).map(|course| {
                let trust = course.weight / (course.weight + COURSE_TRUST);
                let mean = course.demand / course.weight + level;
                let usual = Expected::shifted_to(mean, course.special / course.weight, bonus);
                Expected {
                    ordinary: expected.ordinary + trust * (usual.ordinary - expected.ordinary),
                    special: expected.special + trust * (usual.special - expected.special),
                }
            });
        }
        forecast
    }

    /// How far this session lies above the mean course, recent turns weighing more.
    fn level(&self, turn: usize, past: &Past) -> f64 {
        let bonus = self.regression.weights[1 + LAGS];
        let (mut sum, mut weight, mut recency) = (0.0, 0.5, 1.0);
        let numbered = (0..turn).rev().zip(past.newest_first());
        for (number, asked) in numbered {
            if let Some(course) = self.course.get(number).filter(|c| c.weight > 0.0) {
                let mean = course.demand / course.weight;
                let usual = Expected::shifted_to(mean, course.special / course.weight, bonus);
                sum += recency * (asked.demand - usual.given(asked.special));
                weight += recency;
            }
            recency *= LEVEL_DECAY;
        }
        sum / weight
    }

    /// The mixed forecast at a distance; 0 is the next turn.
    pub fn mix(&self, forecast: &Forecast, distance: usize) -> Expected {
        let regression = forecast.regression[distance];
        let Some(course) = forecast.course[distance] else { return regression };
        let precision = |errors: &Errors| errors.mean().powi(-2);
        let (a, b) = (precision(&self.regression_errors[distance]), precision(&self.course_errors[distance]));
        let share = b / (a + b);
        Expected {
            ordinary: regression.ordinary + share * (course.ordinary - regression.ordinary),
            special: regression.special + share * (course.special - regression.special),
        }
    }

    /// Standard deviation of the mixed forecast at a distance.
    pub fn deviation(&self, distance: usize) -> f64 {
        self.errors[distance].mean().sqrt()
    }
}
