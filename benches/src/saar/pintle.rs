//! The router's own policy, driven as the router drives it: locks first, then [`economics`].

use pintle_routing::session::economics::{self, Habits, Memory, Now, Outlook, SeenTurn, Terms};
use pintle_routing::session::{Pricing, SessionPhase};

use super::accounting::Schedule;
use super::workload::{Phase, Turn, Workload};

/// What the policy expects after a turn. It depends on the turns that have arrived and not on the choices made for
/// them, so that one pass serves every shortfall price.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The turns to come.
    pub outlook: Outlook,
    /// Answer of this turn, in tokens.
    pub completion: f64,
}

fn phase(turn: &Turn) -> SessionPhase {
    match turn.phase {
        Phase::ToolLoop => SessionPhase::ToolLoop,
        Phase::ProviderState => SessionPhase::ProviderState,
        Phase::UserTurn | Phase::TopicDrift => SessionPhase::UserTurn,
    }
}

/// Expectations of every turn, learned in order of arrival.
pub fn expectations(workload: &Workload) -> Vec<Vec<Expectation>> {
    let mut habits = Habits::default();
    let mut memories: Vec<Memory> = vec![Memory::default(); workload.sessions.len()];
    let mut all: Vec<Vec<Expectation>> = vec![Vec::new(); workload.sessions.len()];
    for &(s, t) in &workload.order {
        let turn = &workload.sessions[s].turns[t];
        let memory = &mut memories[s];
        let seen = SeenTurn {
            phase: phase(turn),
            drift: turn.phase == Phase::TopicDrift,
            demand: turn.demand,
            prompt: turn.prompt_tokens as f64,
            history: turn.history_tokens as f64,
        };
        let completion = memory.expected_completion();
        let outlook = habits.see(memory, &seen, &workload.tiers, economics::habits::EXPECTED_TURNS);
        memory.answered(turn.completion_tokens as f64);
        all[s].push(Expectation { outlook, completion });
    }
    all
}

/// The policy at one set of terms.
pub struct Pintle<'a> {
    workload: &'a Workload,
    prices: Vec<Pricing>,
    terms: Terms,
}

impl<'a> Pintle<'a> {
    /// The policy with its terms.
    pub fn new(workload: &'a Workload, terms: Terms) -> Self {
        Self {
            workload,
            prices: workload.models.iter().map(super::workload::Model::pricing).collect(),
            terms,
        }
    }

    /// Model of a turn and why; `previous` is the first model on a session's first turn.
    pub fn choose(
        &self,
        turn: &Turn,
        first: bool,
        expected: &Expectation,
        previous: usize,
    ) -> (usize, &'static str) {
        if turn.phase.is_locked() && !first {
            let reason = if turn.phase == Phase::ToolLoop {
                "hard_lock=tool_loop"
            } else {
                "hard_lock=provider_state"
            };
            return (previous, reason);
        }
        let now = Now {
            prompt: turn.prompt_tokens as f64,
            history: turn.history_tokens as f64,
            completion: expected.completion,
            tier: self.workload.tier(turn.demand),
            phase: phase(turn),
            freshness: 1.0,
            measured_share: None,
        };
        let plan =
            economics::plan(&self.prices, &self.terms, &now, &expected.outlook, Some(previous), |_| true);
        let model = economics::cheapest(&plan, Some(previous), |_| true).unwrap_or(previous);
        (model, if model == previous { "stay_is_cheaper" } else { "switch_is_cheaper" })
    }

    /// The whole workload.
    pub fn schedule(&self, expectations: &[Vec<Expectation>]) -> Schedule {
        let sessions = self.workload.sessions.iter().zip(expectations);
        sessions
            .map(|(session, expected)| {
                let mut previous = 0;
                let turns = session.turns.iter().zip(expected).enumerate();
                turns
                    .map(|(t, (turn, expected))| {
                        previous = self.choose(turn, t == 0, expected, previous).0;
                        previous
                    })
                    .collect()
            })
            .collect()
    }
}
