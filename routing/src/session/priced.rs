//! The candidates of one turn, priced.

use smallvec::SmallVec;

use super::economics::outlook::{Growth, Outlook, UNKNOWN_GROWTH, remaining_turns};
use super::economics::{self, INLINE_MODELS, Now, Plan, Terms, habits::EXPECTED_TURNS};
use super::market::Market;
use super::policy::Situation;
use super::{SessionInput, SessionParams, SessionPhase, SessionVerdict};
use crate::units::Usd;

/// Weight of a new turn in the session's level of demand.
const DEMAND_SMOOTHING: f64 = 0.35;

pub(super) struct Priced {
    market: Market,
    plan: Plan,
    usable: SmallVec<[bool; INLINE_MODELS]>,
    turn_demand: f64,
    session_demand: f64,
    warmth: f64,
    remaining: f64,
    terms: Terms,
    /// Index of the cheapest usable candidate.
    pub(super) chosen: Option<usize>,
}

impl Priced {
    pub(super) fn of(params: &SessionParams, input: &SessionInput<'_>, situation: &Situation) -> Self {
        let candidates = input.candidates;
        let market = Market::of(candidates, &params.tier_thresholds);
        let price = params
            .shortfall_price
            .map_or_else(|| economics::default_shortfall_price(&market.prices), |price| price.get().max(0.0));
        let terms = Terms::at(price);
        let usable = usable(input);
        let turn_demand = match input.demand.filter(|d| d.is_finite()) {
            Some(demand) => demand.clamp(0.0, 1.0),
            None if candidates.is_empty() => 0.0,
            None => market.demand(candidates, input.base_choice.min(candidates.len() - 1)),
        };
        let before = input.snapshot.map(|s| f64::from(s.demand)).filter(|d| *d >= 0.0);
        let session_demand = before.map_or(turn_demand, |d| d + DEMAND_SMOOTHING * (turn_demand - d));

        let prompt = input.prompt_tokens.get() as f64;
        let history = input.history_tokens.get() as f64;
        let completion = input.expected_completion.get() as f64;
        let turns = input.snapshot.map_or(0.0, |s| f64::from(s.turns));
        let remaining = remaining_turns(params.expected_turns.unwrap_or(EXPECTED_TURNS), turns);
        let per_turn = match input.snapshot {
            Some(s) if s.last_prompt_tokens.get() > 0 => {
                (prompt - s.last_prompt_tokens.get() as f64).max(0.0)
            }
            _ => prompt * UNKNOWN_GROWTH,
        };
        let growth = Growth { prompt, history, per_turn, completion };
        let locked = situation.phase != SessionPhase::UserTurn;
        let outlook = match (input.demand, input.foresight) {
            (Some(_), Some(foresight)) => {
                let coming = foresight.after(turn_demand, situation.drift);
                Outlook::new(coming, &market.thresholds, &growth, remaining)
            }
            (Some(_), None) => {
                Outlook::steady(session_demand, locked, &market.thresholds, &growth, remaining)
            }
            (None, _) => Outlook::as_chosen(session_demand, locked, &market.thresholds, &growth, remaining),
        };
        let current = situation.current.and_then(|i| market.tier_of(i));
        let now = Now {
            prompt,
            history,
            completion,
            tier: market.tier(turn_demand),
            phase: situation.phase,
            freshness: freshness(params, situation),
            measured_share: measured_share(input),
        };
        let open = |tier: usize| usable[market.order[tier]];
        let plan = economics::plan(&market.prices, &terms, &now, &outlook, current, open);
        let chosen = economics::cheapest(&plan, current, open).map(|tier| market.order[tier]);
        let formula = terms.cache.share(now.phase, history, false, false);
        let warmth =
            if current.is_some() { now.measured_share.unwrap_or(formula) * now.freshness } else { 0.0 };
        Self { market, plan, usable, turn_demand, session_demand, warmth, remaining, terms, chosen }
    }

    pub(super) fn usable(&self, candidate: usize) -> bool {
        self.usable.get(candidate).copied().unwrap_or(false)
    }

    /// Writes the prices into a verdict.
    pub(super) fn explain(&self, input: &SessionInput<'_>, verdict: &mut SessionVerdict) {
        let total = |i: usize| self.market.tier_of(i).map_or(f64::INFINITY, |tier| self.plan[tier].total());
        let least = self.chosen.map_or(0.0, total);
        for (i, trace) in verdict.trace.candidates.iter_mut().enumerate() {
            let Some(tier) = self.market.tier_of(i) else { continue };
            let costs = &self.plan[tier];
            trace.usable = self.usable[i];
            trace.tier = u16::try_from(tier).unwrap_or(u16::MAX);
            trace.prompt = Usd(costs.tokens.prompt);
            trace.cached = Usd(costs.tokens.cached);
            trace.completion = Usd(costs.tokens.completion);
            trace.rebuild = Usd(costs.rebuild);
            trace.shortfall = Usd(costs.shortfall);
            trace.switch = Usd(costs.switch);
            trace.future = Usd(costs.future);
            trace.total = Usd(costs.total());
            trace.adjusted_score = match costs.total() {
                _ if !trace.usable => 0.0,
                total if total > 0.0 => (least / total).clamp(0.0, 1.0),
                _ => 1.0,
            };
        }
        let runner_up = (0..input.candidates.len())
            .filter(|i| Some(*i) != self.chosen && self.usable[*i])
            .map(total)
            .fold(f64::INFINITY, f64::min);
        let lead = if runner_up.is_finite() && runner_up > 0.0 { 1.0 - least / runner_up } else { 1.0 };
        if verdict.hard_lock.is_none() {
            verdict.confidence = 0.5 + 0.5 * lead.clamp(0.0, 1.0);
        }
        verdict.demand = self.session_demand as f32;
        verdict.trace.turn_demand = self.turn_demand;
        verdict.trace.session_demand = self.session_demand;
        verdict.trace.warmth = self.warmth;
        verdict.trace.remaining_turns = self.remaining;
        verdict.trace.shortfall_price = Usd(self.terms.shortfall_price);
    }
}

/// Available candidates into whose window the turn fits; all available ones if it fits into none.
fn usable(input: &SessionInput<'_>) -> SmallVec<[bool; INLINE_MODELS]> {
    let needed = input.prompt_tokens.get().saturating_add(input.expected_completion.get());
    let fits: SmallVec<[bool; INLINE_MODELS]> = input
        .candidates
        .iter()
        .map(|c| c.available && c.context_window.is_none_or(|window| needed <= window.get()))
        .collect();
    if fits.contains(&true) { fits } else { input.candidates.iter().map(|c| c.available).collect() }
}

/// What is left of a backend's cache after a pause: half after each idle timeout.
fn freshness(params: &SessionParams, situation: &Situation) -> f64 {
    let half_life_ms = params.saar.idle_timeout_seconds.max(0) as f64 * 1000.0;
    match situation.idle_ms {
        Some(idle) if half_life_ms > 0.0 => (-(idle as f64) / half_life_ms).exp2(),
        _ => 1.0,
    }
}

/// Share of the prompt that the backend reported as cached, once the session has stayed on its model.
fn measured_share(input: &SessionInput<'_>) -> Option<f64> {
    let snapshot = input.snapshot.filter(|s| s.turns_on_model >= 2)?;
    let cached = snapshot.last_cached_tokens?.get() as f64;
    let prompt = snapshot.last_prompt_tokens.get() as f64;
    (prompt > 0.0).then(|| (cached / prompt).clamp(0.0, 1.0))
}
