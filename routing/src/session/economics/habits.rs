//! What a decision's sessions are usually like, and what one session has been like so far.

use super::super::SessionPhase;
use super::demand::{Asked, DemandHabits, Forecast};
use super::outlook::{DemandAt, Growth, HORIZON, Outlook, UNKNOWN_GROWTH, remaining_turns};
use super::phases::{Context, Kind, PhaseHabits};

/// Turns that a session is expected to have, unless the operator knows better.
pub const EXPECTED_TURNS: f64 = 16.0;
/// Answer of a session that has not answered yet, in tokens.
pub const EXPECTED_COMPLETION: f64 = 300.0;
const COMPLETION_SMOOTHING: f64 = 0.3;
const GROWTH_SMOOTHING: f64 = 0.5;

/// A turn when it arrives: everything but its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeenTurn {
    /// Where it stands.
    pub phase: SessionPhase,
    /// Another decision matched than before.
    pub drift: bool,
    /// Demand in [0,1].
    pub demand: f64,
    /// Whole prompt in tokens.
    pub prompt: f64,
    /// Part that earlier turns sent.
    pub history: f64,
}

/// Learned over all sessions of a decision.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    phases: PhaseHabits,
    demand: DemandHabits,
}

/// One session so far. Bounded: only the latest turns are kept.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    context: Context,
    asked: Vec<Asked>,
    forecasts: Vec<Forecast>,
    turns: usize,
    prompt: Option<f64>,
    growth: Option<f64>,
    completion: Option<f64>,
}

impl Memory {
    /// Turns so far.
    pub fn turns(&self) -> usize {
        self.turns
    }

    /// Tokens that the next answer is expected to have.
    pub fn expected_completion(&self) -> f64 {
        self.completion.unwrap_or(EXPECTED_COMPLETION)
    }

    /// Notes the length of the answer.
    pub fn answered(&mut self, completion: f64) {
        let before = self.completion.unwrap_or(completion);
        self.completion = Some(before + COMPLETION_SMOOTHING * (completion - before));
    }
}

impl Habits {
    /// Takes in a turn and says what to expect after it.
    ///
    /// What is learned depends only on turns that have arrived, never on what was chosen for them.
    pub fn see(
        &mut self,
        memory: &mut Memory,
        turn: &SeenTurn,
        thresholds: &[f64],
        expected: f64,
    ) -> Outlook {
        let kind = Kind::of(turn.phase, turn.drift);
        let special = if kind == Kind::User { 0.0 } else { 1.0 };
        let asked = Asked { demand: turn.demand, special };
        self.phases.learn(memory.context, kind);
        self.demand.learn(memory.turns, &memory.asked, &memory.forecasts, asked);
        memory.context = memory.context.push(kind);
        push(&mut memory.asked, asked);
        memory.turns += 1;
        if let Some(before) = memory.prompt.replace(turn.prompt) {
            let grown = (turn.prompt - before).max(0.0);
            let usual = memory.growth.unwrap_or(grown);
            memory.growth = Some(usual + GROWTH_SMOOTHING * (grown - usual));
        }

        let kinds = self.phases.ahead(memory.context, HORIZON);
        let special: Vec<f64> = kinds.iter().map(|p| 1.0 - p[Kind::User as usize]).collect();
        let forecast = self.demand.forecast(memory.turns, &memory.asked, &special);
        let demand = kinds.iter().enumerate().map(|(j, p)| {
            let mean = self.demand.mix(&forecast, j);
            let locked = p[Kind::Tool as usize] + p[Kind::State as usize];
            let drift = if locked < 1.0 { p[Kind::Drift as usize] / (1.0 - locked) } else { 0.0 };
            DemandAt {
                free: mean.ordinary + drift * (mean.special - mean.ordinary),
                held: mean.special,
                deviation: self.demand.deviation(j),
                locked,
            }
        });
        let growth = Growth {
            prompt: turn.prompt,
            history: turn.history,
            per_turn: memory.growth.unwrap_or(turn.prompt * UNKNOWN_GROWTH),
            completion: memory.expected_completion(),
        };
        let outlook =
            Outlook::new(demand, thresholds, &growth, remaining_turns(expected, memory.turns as f64));
        push(&mut memory.forecasts, forecast);
        outlook
    }
}

/// Keeps the latest [`HORIZON`] items.
fn push<T>(items: &mut Vec<T>, item: T) {
    if items.len() == HORIZON {
        items.remove(0);
    }
    items.push(item);
}
