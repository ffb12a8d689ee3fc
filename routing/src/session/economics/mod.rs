//! What it costs to stay and what it costs to switch, in dollars.
//!
//! A model chosen now is paid for now and later: it is warm for the next turn, and if the next turns are locked
//! (a tool loop, provider state) they run on it whatever they ask for. So every candidate is priced by the
//! expected cost of the whole continuation, found by dynamic programming over an [`Outlook`] of a few turns:
//!
//! ```text
//! V_j(m) = s_j · [ ℓ_j · (c_j(m, warm) + p·P(tier > m | locked) + V_{j+1}(m))
//!                + (1 − ℓ_j) · E_tier min_a (c_j(a, warm iff a = m) + p·[a < tier] + k·[a ≠ m] + V_{j+1}(a)) ]
//! total(a) = c_0(a, warm iff a = current) + p·[a < tier_0] + k·[a ≠ current] + V_1(a)
//! ```
//!
//! `c` is the price of a turn's tokens, `p` the shortfall price, `k` the price of a switch, `ℓ_j` the probability
//! that the turn is locked, `s_j` the probability that it comes at all. Models are in tier order, cheapest first.
//! Hard locks are not priced: a locked turn never gets here.

pub mod demand;
pub mod foresight;
pub mod habits;
pub mod outlook;
pub mod phases;
#[cfg(test)]
mod tests;
pub mod track;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Pricing, SessionPhase};
pub use foresight::Foresight;
pub use habits::Habits;
pub use outlook::{HORIZON, Outlook, Step};
pub use phases::Kind;
pub use track::{Seen, Track};

/// Candidates that a plan holds without allocating.
pub const INLINE_MODELS: usize = 8;

/// What share of a prompt a backend serves from its prefix cache.
///
/// The default numbers are those of the published session-routing benchmark (vllm-project/semantic-router
/// v0.3.0, `bench/agentic_routing_experiment.py`); a deployment whose backends report cached tokens overrides them
/// by what it measures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CacheModel {
    /// Least warm share.
    pub floor: f64,
    /// Largest warm share before bonuses.
    pub ceiling: f64,
    /// History at which the share would reach 1 without a ceiling, in tokens.
    pub history_scale: f64,
    /// Added inside a tool loop.
    pub tool_bonus: f64,
    /// Added on provider state.
    pub state_bonus: f64,
    /// Added for the dearest model.
    pub dearest_bonus: f64,
    /// Factor after a switch.
    pub cold_factor: f64,
    /// Largest share of all.
    pub cap: f64,
}

impl Default for CacheModel {
    fn default() -> Self {
        Self {
            floor: 0.5,
            ceiling: 0.72,
            history_scale: 48_000.0,
            tool_bonus: 0.12,
            state_bonus: 0.08,
            dearest_bonus: 0.06,
            cold_factor: 0.20,
            cap: 0.85,
        }
    }
}

impl CacheModel {
    /// Cached share of a prompt on a model.
    pub fn share(&self, phase: SessionPhase, history_tokens: f64, dearest: bool, switched: bool) -> f64 {
        let mut share = (history_tokens / self.history_scale).min(self.ceiling).max(self.floor);
        share += match phase {
            SessionPhase::UserTurn => 0.0,
            SessionPhase::ToolLoop => self.tool_bonus,
            SessionPhase::ProviderState => self.state_bonus,
        };
        if dearest {
            share += self.dearest_bonus;
        }
        if switched {
            share *= self.cold_factor;
        }
        share.clamp(0.0, self.cap)
    }
}

/// Dollars that decide between token costs and service.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// One turn served below its tier.
    pub shortfall_price: f64,
    /// One change of model, beyond the tokens that it recomputes.
    pub switch_price: f64,
    /// How prompts are cached.
    pub cache: CacheModel,
}

/// A switch is priced as this share of a shortfall turn: a new model reads the conversation for the first time,
/// and one such handoff is taken to hurt as much as a fraction of a turn below tier.
pub const SWITCH_SHARE: f64 = 0.22;

const TYPICAL_PROMPT: f64 = 10_000.0;
const TYPICAL_CACHED: f64 = 0.5;
const TYPICAL_COMPLETION: f64 = 300.0;

impl Terms {
    /// Terms at a shortfall price, the switch priced at its share.
    pub fn at(shortfall_price: f64) -> Self {
        Self { shortfall_price, switch_price: SWITCH_SHARE * shortfall_price, cache: CacheModel::default() }
    }
}

/// The shortfall price that is used when the operator names none.
///
/// What a typical warm turn costs more on the dearest model than on the next tier below it, so that a turn
/// which needs the dearest model gets it where the session is already there, and where it is not, only
/// if it stays long enough to earn the cold prefix back. A single model needs no price.
pub fn default_shortfall_price(models: &[Pricing]) -> f64 {
    let mut costs: SmallVec<[f64; INLINE_MODELS]> = models.iter().map(typical_cost).collect();
    costs.sort_by(f64::total_cmp);
    match costs.as_slice() {
        [.., below, dearest] => dearest - below,
        _ => 0.0,
    }
}

/// Dollars of a typical warm turn: 10,000 prompt tokens, half of them cached, 300 answered.
pub fn typical_cost(prices: &Pricing) -> f64 {
    token_cost(prices, TYPICAL_PROMPT, TYPICAL_CACHED, TYPICAL_COMPLETION).total()
}

/// Token costs of one turn in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TokenCost {
    /// Prompt tokens that are computed.
    pub prompt: f64,
    /// Prompt tokens that are cached.
    pub cached: f64,
    /// Completion tokens.
    pub completion: f64,
}

impl TokenCost {
    /// All three.
    pub fn total(&self) -> f64 {
        self.prompt + self.cached + self.completion
    }
}

/// Prices a turn's tokens; `cached_share` in [0,1].
pub fn token_cost(prices: &Pricing, prompt: f64, cached_share: f64, completion: f64) -> TokenCost {
    TokenCost {
        prompt: prompt * (1.0 - cached_share) * prices.prompt.get() / 1e6,
        cached: prompt * cached_share * prices.cached.get() / 1e6,
        completion: completion * prices.completion.get() / 1e6,
    }
}

/// The turn to be decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// Whole prompt in tokens.
    pub prompt: f64,
    /// Part that earlier turns sent.
    pub history: f64,
    /// Expected answer in tokens.
    pub completion: f64,
    /// Tier that the turn asks for, an index in tier order.
    pub tier: usize,
    /// Where the turn stands.
    pub phase: SessionPhase,
    /// Factor in [0,1] on the current model's warmth, below 1 after a pause.
    pub freshness: f64,
    /// Measured warm share of this session on its model, instead of the cache model's.
    pub measured_share: Option<f64>,
}

/// One candidate's expected dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Costs {
    /// Tokens of this turn.
    pub tokens: TokenCost,
    /// What a warm prefix would have saved on this turn.
    pub rebuild: f64,
    /// Shortfall of this turn.
    pub shortfall: f64,
    /// Price of the switch, 0 for the current model.
    pub switch: f64,
    /// Turns to come.
    pub future: f64,
}

impl Costs {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.tokens.total() + self.shortfall + self.switch + self.future
    }
}

/// Expected costs of every candidate, in tier order.
pub type Plan = SmallVec<[Costs; INLINE_MODELS]>;

/// Prices every candidate.
///
/// `models` are in tier order. `current` is the session's model, `None` if every model is cold. Models that are
/// not `usable` are priced for this turn, but no later turn is expected to go to them by choice.
pub fn plan(
    models: &[Pricing],
    terms: &Terms,
    now: &Now,
    outlook: &Outlook,
    current: Option<usize>,
    usable: impl Fn(usize) -> bool,
) -> Plan {
    let future = values(models, terms, outlook, usable);
    let last = models.len().saturating_sub(1);
    models
        .iter()
        .enumerate()
        .map(|(m, prices)| {
            let switched = current != Some(m);
            let formula = |switched| terms.cache.share(now.phase, now.history, m == last, switched);
            let warm = now.measured_share.unwrap_or_else(|| formula(false));
            let share = if switched { formula(true) } else { warm * now.freshness };
            let tokens = token_cost(prices, now.prompt, share, now.completion);
            let warm_cost = token_cost(prices, now.prompt, warm.max(share), now.completion);
            Costs {
                tokens,
                rebuild: tokens.total() - warm_cost.total(),
                shortfall: if m < now.tier { terms.shortfall_price } else { 0.0 },
                switch: if switched && current.is_some() { terms.switch_price } else { 0.0 },
                future: future[m],
            }
        })
        .collect()
}

/// The cheapest candidate among the usable; the current one wins ties. `None` if none is usable.
pub fn cheapest(plan: &Plan, current: Option<usize>, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best = current.filter(|m| usable(*m));
    for m in (0..plan.len()).filter(|m| usable(*m)) {
        if best.is_none_or(|b| plan[m].total() < plan[b].total()) {
            best = Some(m);
        }
    }
    best
}

/// Expected cost of the turns to come, by the model that serves this one.
fn values(
    models: &[Pricing],
    terms: &Terms,
    outlook: &Outlook,
    usable: impl Fn(usize) -> bool,
) -> SmallVec<[f64; INLINE_MODELS]> {
    let n = models.len();
    let any = (0..n).any(&usable);
    let open: SmallVec<[bool; INLINE_MODELS]> = (0..n).map(|m| usable(m) || !any).collect();
    let last = n.saturating_sub(1);
    let mut value: SmallVec<[f64; INLINE_MODELS]> = SmallVec::from_elem(0.0, n);
    let mut next = value.clone();
    let (mut warm, mut cold) = (value.clone(), value.clone());
    let (mut locked_cost, mut at_least) = (value.clone(), value.clone());
    for step in outlook.steps.iter().rev() {
        for (m, prices) in models.iter().enumerate() {
            let cost = |phase, switched| {
                let share = terms.cache.share(phase, step.history, m == last, switched);
                token_cost(prices, step.prompt, share, step.completion).total()
            };
            warm[m] = cost(SessionPhase::UserTurn, false) + value[m];
            cold[m] = cost(SessionPhase::UserTurn, true) + terms.switch_price + value[m];
            locked_cost[m] = cost(SessionPhase::ToolLoop, false) + value[m];
        }
        for (m, next) in next.iter_mut().enumerate() {
            let below = step.locked_above(m, n);
            let locked = locked_cost[m] + terms.shortfall_price * below;
            let cost = |a: usize| match (open[a], a == m) {
                (false, _) => f64::INFINITY,
                (true, true) => warm[a],
                (true, false) => cold[a],
            };
            // The least over models from a tier up, and below it, for every tier in one pass each way.
            let mut least = f64::INFINITY;
            for a in (0..n).rev() {
                least = least.min(cost(a));
                at_least[a] = least;
            }
            let mut free = 0.0;
            let mut below_tier = f64::INFINITY;
            for tier in 0..n {
                let short = below_tier + terms.shortfall_price;
                free += step.free_tier(tier, n) * at_least[tier].min(short);
                below_tier = below_tier.min(cost(tier));
            }
            *next = step.comes * (step.locked * locked + (1.0 - step.locked) * free);
        }
        std::mem::swap(&mut value, &mut next);
    }
    value
}
