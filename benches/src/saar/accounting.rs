//! What a schedule of models cost, and what it delivered.

use super::workload::{Phase, Turn, Workload};

/// Which turns get the prefix cache credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheCredit {
    /// The formula's warmth on every turn, whichever policy chose the model.
    Honest,
    /// Never: how the published table charges its single-turn baseline.
    None,
}

/// Share of the prompt that the benchmark counts as cached.
///
/// `dearest` is true for the last model in tier order.
pub fn warmth(phase: Phase, history_tokens: u64, dearest: bool, switched: bool) -> f64 {
    let mut warmth = (history_tokens as f64 / 48_000.0).clamp(0.5, 0.72);
    match phase {
        Phase::ToolLoop => warmth += 0.12,
        Phase::ProviderState => warmth += 0.08,
        Phase::UserTurn | Phase::TopicDrift => {}
    }
    if dearest {
        warmth += 0.06;
    }
    if switched {
        warmth *= 0.20;
    }
    warmth.clamp(0.0, 0.85)
}

/// Dollars of one turn on one model.
pub fn turn_cost(workload: &Workload, turn: &Turn, model: usize, switched: bool, credit: CacheCredit) -> f64 {
    let share = match credit {
        CacheCredit::Honest => {
            warmth(turn.phase, turn.history_tokens, model + 1 == workload.models.len(), switched)
        }
        CacheCredit::None => 0.0,
    };
    let cached = (turn.prompt_tokens as f64 * share) as u64;
    let prices = &workload.models[model];
    ((turn.prompt_tokens - cached) as f64 * prices.prompt_per_1m
        + cached as f64 * prices.cached_input_per_1m
        + turn.completion_tokens as f64 * prices.completion_per_1m)
        / 1e6
}

/// A model per turn, per session.
pub type Schedule = Vec<Vec<usize>>;

/// Totals over a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Turns.
    pub turns: usize,
    /// Turns on another model than the turn before; a session begins on the first model.
    pub switches: usize,
    /// Switches inside a tool loop.
    pub unsafe_tool: usize,
    /// Switches on provider state.
    pub unsafe_state: usize,
    /// Dollars, summed over turns that are rounded to eight decimals as the published table does.
    pub cost: f64,
    /// Mean quality of the models that served.
    pub quality: f64,
    /// Share of turns served below the tier of their demand.
    pub shortfall: f64,
    /// Turns on the dearest model.
    pub dearest: usize,
}

impl Summary {
    /// Switches where the model must not change.
    pub fn violations(&self) -> usize {
        self.unsafe_tool + self.unsafe_state
    }
}

/// Charges a schedule.
pub fn summarize(workload: &Workload, schedule: &Schedule, credit: CacheCredit) -> Summary {
    let mut s = Summary::default();
    let mut below = 0usize;
    for (session, models) in workload.sessions.iter().zip(schedule) {
        let mut previous = 0;
        for (t, (turn, &model)) in session.turns.iter().zip(models).enumerate() {
            let switched = model != previous;
            s.turns += 1;
            s.switches += usize::from(switched);
            if switched && t > 0 {
                s.unsafe_tool += usize::from(turn.phase == Phase::ToolLoop);
                s.unsafe_state += usize::from(turn.phase == Phase::ProviderState);
            }
            let cost = turn_cost(workload, turn, model, switched, credit);
            s.cost += (cost * 1e8).round_ties_even() / 1e8;
            s.quality += workload.models[model].quality;
            below += usize::from(model < workload.tier(turn.demand));
            s.dearest += usize::from(model + 1 == workload.models.len());
            previous = model;
        }
    }
    let turns = s.turns.max(1) as f64;
    s.quality /= turns;
    s.shortfall = below as f64 / turns;
    s
}
