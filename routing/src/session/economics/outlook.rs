//! What the next turns are expected to be.

use smallvec::SmallVec;

use super::INLINE_MODELS;

/// Turns that a plan looks ahead. Beyond, a choice made now hardly matters: locks are shorter and a cold
/// prefix is paid once.
pub const HORIZON: usize = 8;

/// A turn to come.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Probability that it comes, given that the one before came.
    pub comes: f64,
    /// Probability that the model must not change on it.
    pub locked: f64,
    /// Prompt in tokens.
    pub prompt: f64,
    /// History in tokens.
    pub history: f64,
    /// Answer in tokens.
    pub completion: f64,
    /// If free: probability that demand reaches each threshold.
    pub free: SmallVec<[f64; INLINE_MODELS]>,
    /// If locked: the same.
    pub held: SmallVec<[f64; INLINE_MODELS]>,
}

impl Step {
    /// Probability that a free turn asks for exactly this tier, of `tiers`.
    pub(super) fn free_tier(&self, tier: usize, tiers: usize) -> f64 {
        let reaches = |t: usize| if t == 0 { 1.0 } else { self.free.get(t - 1).copied().unwrap_or(0.0) };
        let above = if tier + 1 < tiers { reaches(tier + 1) } else { 0.0 };
        (reaches(tier) - above).max(0.0)
    }

    /// Probability that a locked turn asks for a tier above `model`, of `tiers`.
    pub(super) fn locked_above(&self, model: usize, tiers: usize) -> f64 {
        if model + 1 < tiers { self.held.get(model).copied().unwrap_or(0.0) } else { 0.0 }
    }
}

/// The turns to come, nearest first; at most [`HORIZON`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outlook {
    /// Nearest first.
    pub steps: SmallVec<[Step; HORIZON]>,
}

impl Outlook {
    /// Turns expected to follow, within the horizon.
    pub fn expected_turns(&self) -> f64 {
        let mut alive = 1.0;
        let mut sum = 0.0;
        for step in &self.steps {
            alive *= step.comes;
            sum += alive;
        }
        sum
    }
}

/// How tokens grow from turn to turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Prompt of this turn.
    pub prompt: f64,
    /// History of this turn.
    pub history: f64,
    /// Tokens that each turn adds.
    pub per_turn: f64,
    /// Answer of each turn.
    pub completion: f64,
}

/// Share by which a prompt grows if the session has not shown it yet: an eighth, as tool output and answers do in
/// the published workloads.
pub const UNKNOWN_GROWTH: f64 = 0.125;

/// Mean and deviation of demand, free and locked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DemandAt {
    /// Mean on a free turn.
    pub free: f64,
    /// Mean on a locked turn.
    pub held: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Probability of a locked turn.
    pub locked: f64,
}

impl Outlook {
    /// Builds an outlook from demand and growth; `remaining` is the expected number of turns to come.
    pub fn new(
        demand: impl IntoIterator<Item = DemandAt>,
        thresholds: &[f64],
        growth: &Growth,
        remaining: f64,
    ) -> Self {
        let comes = 1.0 - 1.0 / (remaining.max(0.0) + 1.0);
        let steps = demand
            .into_iter()
            .take(HORIZON)
            .enumerate()
            .map(|(j, at)| {
                let added = growth.per_turn * (j + 1) as f64;
                let reaches = |mean: f64| {
                    thresholds.iter().map(|t| above((t - mean) / at.deviation.max(1e-6))).collect()
                };
                Step {
                    comes,
                    locked: at.locked,
                    prompt: growth.prompt + added,
                    history: growth.history + added,
                    completion: growth.completion,
                    free: reaches(at.free),
                    held: reaches(at.held),
                }
            })
            .collect();
        Self { steps }
    }
}

/// Chances that a turn is locked, for a session of unknown habits: a third of free turns is followed by a tool
/// call, every second locked turn by another.
const LOCK_AFTER_FREE: f64 = 0.33;
const LOCK_AFTER_LOCK: f64 = 0.50;
/// Locked turns ask for this much more than free ones.
const LOCK_BONUS: f64 = 0.15;
/// How far the next turns may lie from the level, growing by turn: without habits, far.
const LEVEL_DEVIATION: f64 = 0.30;
const LEVEL_DEVIATION_GROWTH: f64 = 0.05;
/// The same where demand is read off the base selector's choices: they are what the operator wrote down, not
/// a measurement with noise of its own.
const CHOSEN_DEVIATION: f64 = 0.05;
/// A level alone says little about turns further off.
const STEADY_TURNS: usize = 5;

impl Outlook {
    /// An outlook where nothing measures demand: the turns to come ask for what the base selector has been
    /// choosing. Widening it would let the mere possibility of a hard turn overrule the operator's choice.
    pub fn as_chosen(level: f64, locked: bool, thresholds: &[f64], growth: &Growth, remaining: f64) -> Self {
        let demand = Self::locks(locked).map(|(_, chance)| DemandAt {
            free: level,
            held: level,
            deviation: CHOSEN_DEVIATION,
            locked: chance,
        });
        Self::new(demand, thresholds, growth, remaining)
    }

    /// Chances that the next turns are locked, nearest first.
    fn locks(locked: bool) -> impl Iterator<Item = (usize, f64)> {
        let mut chance = if locked { 1.0 } else { 0.0 };
        (0..STEADY_TURNS).map(move |j| {
            chance = chance * LOCK_AFTER_LOCK + (1.0 - chance) * LOCK_AFTER_FREE;
            (j, chance)
        })
    }

    /// An outlook from a session's level of measured demand, where nothing was learned about its kind.
    pub fn steady(level: f64, locked: bool, thresholds: &[f64], growth: &Growth, remaining: f64) -> Self {
        let demand = Self::locks(locked).map(|(j, chance)| DemandAt {
            free: level,
            held: level + LOCK_BONUS,
            deviation: LEVEL_DEVIATION + LEVEL_DEVIATION_GROWTH * j as f64,
            locked: chance,
        });
        Self::new(demand, thresholds, growth, remaining)
    }
}

/// Turns that a session is expected to go on for: what is left of the prior, and never less than a share of
/// the turns it has had, because a session that outlives its prior tends to go on.
pub fn remaining_turns(expected: f64, turns: f64) -> f64 {
    (expected - turns).max(4.0 + turns / 4.0)
}

/// Probability that a standard normal variable exceeds `z`.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.2.17; absolute error below 7.5e-8.
pub fn above(z: f64) -> f64 {
    let x = z.abs();
    let t = 1.0 / (1.0 + 0.231_641_9 * x);
    let series = ((((1.330_274_429 * t - 1.821_255_978) * t + 1.781_477_937) * t - 0.356_563_782) * t
        + 0.319_381_530)
        * t;
    let tail = (-x * x / 2.0).exp() * 0.398_942_280_401_432_7 * series;
    if z >= 0.0 { tail } else { 1.0 - tail }
}
