//! Policies to compare with: the published one, its ablations, single-turn and sticky.

use super::accounting::{Schedule, warmth};
use super::workload::{Phase, Session, Workload};

/// A rule of the published policy that an ablation leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ablation {
    /// Nothing is left out.
    Full,
    /// Tool loops do not hold.
    NoToolLock,
    /// Provider state does not hold.
    NoStateLock,
    /// A new topic is an ordinary turn.
    NoDriftReset,
    /// An idle boundary is an ordinary turn.
    NoIdleBoundary,
    /// The prior of remaining turns is unknown.
    NoRemainingPrior,
    /// The dearest model's cache is worth no more than another's.
    NoDearCost,
}

impl Ablation {
    /// All, in the order of the published table.
    pub const ALL: [Self; 7] = [
        Self::NoToolLock,
        Self::NoStateLock,
        Self::NoDriftReset,
        Self::NoIdleBoundary,
        Self::NoRemainingPrior,
        Self::NoDearCost,
        Self::Full,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "published",
            Self::NoToolLock => "published-no-tool-lock",
            Self::NoStateLock => "published-no-context-portability",
            Self::NoDriftReset => "published-no-decision-drift-reset",
            Self::NoIdleBoundary => "published-no-idle-boundary",
            Self::NoRemainingPrior => "published-no-remaining-prior",
            Self::NoDearCost => "published-no-frontier-cost",
        }
    }
}

/// Every turn on the tier of its demand.
pub fn single_turn(workload: &Workload) -> Schedule {
    let of = |session: &Session| session.turns.iter().map(|turn| workload.tier(turn.demand)).collect();
    workload.sessions.iter().map(of).collect()
}

/// Every turn on the tier of the session's first demand.
pub fn sticky(workload: &Workload) -> Schedule {
    let of = |session: &Session| {
        let first = session.turns.first().map_or(0, |turn| workload.tier(turn.demand));
        vec![first; session.turns.len()]
    };
    workload.sessions.iter().map(of).collect()
}

/// The published session policy.
pub struct Published<'a> {
    workload: &'a Workload,
    ablation: Ablation,
    pressure: Vec<f64>,
}

/// What the published policy keeps of a session.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishedState {
    turn: usize,
    model: usize,
    switches: usize,
}

impl<'a> Published<'a> {
    /// The policy, or one without a rule.
    pub fn new(workload: &'a Workload, ablation: Ablation) -> Self {
        let checkout: Vec<f64> = workload
            .models
            .iter()
            .map(|m| {
                let saved = m.prompt_per_1m - m.cached_input_per_1m;
                if saved > 0.0 { saved } else { m.prompt_per_1m.max(0.0) }
            })
            .collect();
        let dearest = checkout.iter().copied().fold(0.0, f64::max);
        let pressure = checkout.iter().map(|c| if dearest > 0.0 { c / dearest } else { 0.5 }).collect();
        Self { workload, ablation, pressure }
    }

    /// Model of the next turn and the published word for why.
    pub fn next(&self, session: &Session, state: &mut PublishedState) -> (usize, &'static str) {
        let (model, reason) = self.choose(session, *state);
        state.switches += usize::from(model != state.model);
        state.model = model;
        state.turn += 1;
        (model, reason)
    }

    fn choose(&self, session: &Session, state: PublishedState) -> (usize, &'static str) {
        let turn = &session.turns[state.turn];
        let (current, base) = (state.model, self.workload.tier(turn.demand));
        let without = |rule| self.ablation == rule;
        if state.turn == 0 {
            return (base, "cold_select");
        }
        match turn.phase {
            Phase::ToolLoop if !without(Ablation::NoToolLock) => return (current, "tool_loop_hard_lock"),
            Phase::ProviderState if !without(Ablation::NoStateLock) => {
                return (current, "context_portability_hard_lock");
            }
            Phase::TopicDrift if !without(Ablation::NoDriftReset) => {
                return (base, "decision_drift_select");
            }
            _ => {}
        }
        if turn.idle && !without(Ablation::NoIdleBoundary) {
            return (base, "idle_select");
        }
        if base == current {
            return (current, "base_selects_current");
        }
        let models = &self.workload.models;
        let gain = models[base].quality - models[current].quality;
        let history = turn.history_tokens as f64;
        let mut mass = (history / 16_000.0).min(1.0);
        if let Some(prior) = session.turn_prior.filter(|_| !without(Ablation::NoRemainingPrior)) {
            mass = mass.max(((prior - state.turn as f64).max(0.0) / 8.0).min(1.0));
        }
        let multiplier = if without(Ablation::NoDearCost) {
            1.0
        } else {
            1.0 + 1.6 * self.pressure[base].max(self.pressure[current])
        };
        let warm = warmth(turn.phase, turn.history_tokens, current + 1 == models.len(), false);
        let cost = 0.05 + 0.20 * mass * warm * multiplier + 0.04 * (state.switches as f64 / 8.0).min(1.0);
        if gain > cost {
            (base, "quality_gain_clears_switch_cost")
        } else {
            (current, "continuity_cost_blocks_switch")
        }
    }

    /// The whole workload.
    pub fn schedule(&self) -> Schedule {
        let of = |session: &Session| {
            let mut state = PublishedState::default();
            session.turns.iter().map(|_| self.next(session, &mut state).0).collect()
        };
        self.workload.sessions.iter().map(of).collect()
    }
}
