//! Session policy over a base selection: locks always, economics where the decision asks for them.

use pintle_config::{Config, MissingModel, Profile, SessionAwareSelection};
use smallvec::SmallVec;

use super::{Inputs, Policy};
use crate::ids::Target;
use crate::outcome::{Hold, SessionAction, Switch};
use crate::selection::{Choice as BaseChoice, Scores};
use crate::session::compat::gate::{self, GateConfig, GateDecision, GateInput, GateMode};
use crate::session::compat::lookup::{Entry, EntrySource, LookupKey};
use crate::session::compat::warmth;
use crate::session::economics::Seen;
use crate::session::{
    self, Candidate as SessionCandidate, Choice, LockKind, LookupTable, MissingCause, OnMissingModel,
    ProviderStateRef, ResetKind, SaarConfig, SessionInput, SessionParams, SessionPhase, SessionProfile,
    SessionTrace, lock,
};
use crate::signals::estimate_tokens;
use crate::trace::{CandidateScore, ScoreReason};
use crate::units::{Tokens, Usd};

/// Completion tokens expected of a session's first turn when the request does not bound it.
const FIRST_COMPLETION: u64 = 512;

/// What a lock does whose model is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnMissing {
    pub(super) tool_loop: OnMissingModel,
    pub(super) provider_state: OnMissingModel,
}

impl OnMissing {
    pub(super) fn of(config: &Config) -> Self {
        let setting = |setting| match setting {
            MissingModel::Release => OnMissingModel::Release,
            MissingModel::Refuse => OnMissingModel::Refuse,
        };
        let configured = &config.global.pintle.session.on_missing_model;
        Self { tool_loop: setting(configured.tool_loop), provider_state: setting(configured.provider_state) }
    }

    const fn for_lock(self, lock: LockKind) -> OnMissingModel {
        match lock {
            LockKind::ProviderState => self.provider_state,
            LockKind::ToolLoop | LockKind::MinTurns => self.tool_loop,
        }
    }
}

/// Parameters of a decision's session policy: its own block over the global one over the defaults.
pub(super) fn params(
    own: Option<&SessionAwareSelection>,
    config: &Config,
    on_missing: OnMissing,
    profile: Profile,
) -> SessionParams {
    let selection = &config.global.router.model_selection;
    let mut saar = SaarConfig::default();
    overlay(&mut saar, &selection.session_aware);
    if let Some(own) = own {
        overlay(&mut saar, own);
    }
    SessionParams {
        profile: match profile {
            Profile::Pintle => SessionProfile::Pintle,
            Profile::Compat => SessionProfile::Compat,
        },
        saar: saar.normalised(),
        on_missing_tool_loop: on_missing.tool_loop,
        on_missing_provider_state: on_missing.provider_state,
        shortfall_price: config.global.pintle.shortfall_price_usd.map(Usd),
        expected_turns: None,
        tier_thresholds: Vec::new(),
        lookup: lookup(config),
    }
}

/// v0.3.0's gate on model changes, where a configuration enables it.
#[derive(Debug)]
pub(super) struct SwitchGate {
    config: GateConfig,
    lookup: LookupTable,
}

impl SwitchGate {
    /// Only the compat profile has a gate: Pintle's own policy weighs changes itself.
    pub(super) fn of(config: &Config, profile: Profile) -> Option<Self> {
        let block = &config.global.router.model_selection.model_switch_gate;
        (profile == Profile::Compat && block.enabled).then(|| Self {
            config: GateConfig {
                enabled: true,
                mode: if block.mode == "enforce" { GateMode::Enforce } else { GateMode::Shadow },
                min_switch_advantage: block.min_switch_advantage,
                default_handoff_penalty: block.default_handoff_penalty,
                cache_warmth_weight: block.cache_warmth_weight,
            },
            lookup: lookup(config),
        })
    }
}

fn overlay(saar: &mut SaarConfig, block: &SessionAwareSelection) {
    if !block.base_method.trim().is_empty() {
        saar.base_method = block.base_method.trim().to_owned();
    }
    macro_rules! set {
        ($($field:ident),*) => { $(if let Some(value) = block.$field { saar.$field = value; })* };
    }
    set!(
        idle_timeout_seconds,
        min_turns_before_switch,
        switch_margin,
        stay_bias,
        tool_loop_hard_lock,
        context_portability_hard_lock,
        decision_drift_reset,
        tool_loop_stay_bias,
        prefix_cache_weight,
        handoff_penalty_weight,
        default_handoff_penalty,
        quality_gap_multiplier,
        max_cache_cost_multiplier,
        switch_history_weight,
        remaining_turn_prior_weight,
        remaining_turn_prior_horizon,
        min_remaining_turn_prior_samples
    );
}

fn lookup(config: &Config) -> LookupTable {
    let tables = &config.global.router.model_selection.lookup_tables;
    let mut table = LookupTable::default();
    let mut put = |key: LookupKey, value: f64| {
        let entry = Entry { value, source: EntrySource::ConfigOverride, sample_count: 0 };
        table.0.insert(key.to_string(), entry);
    };
    for gap in &tables.quality_gaps {
        let key = LookupKey::QualityGap {
            family: gap.task_family.clone(),
            current: gap.current_model.clone(),
            candidate: gap.candidate_model.clone(),
        };
        put(key, gap.value);
    }
    for penalty in &tables.handoff_penalties {
        let key =
            LookupKey::HandoffPenalty { from: penalty.from_model.clone(), to: penalty.to_model.clone() };
        put(key, penalty.value);
    }
    for prior in &tables.remaining_turn_priors {
        put(LookupKey::RemainingTurnPrior { family: prior.intent_or_domain.clone() }, prior.value);
    }
    table
}

/// What became of a base selection.
pub(super) struct Settled {
    pub(super) target: Target,
    pub(super) action: SessionAction,
    pub(super) demand: f32,
    pub(super) seen: Option<Seen>,
    pub(super) trace: Option<Box<SessionTrace>>,
    /// What v0.3.0's gate on model changes said.
    pub(super) gate: Option<Box<GateDecision>>,
}

/// Why there is no target.
pub(super) enum Unsettled {
    /// The model that must serve the turn cannot.
    LockedModelMissing { lock: LockKind, model: String, cause: MissingCause },
    /// No candidate can serve.
    NoCandidate,
}

/// A base selection to be settled.
pub(super) struct Proposal<'a> {
    pub(super) scores: &'a mut Scores,
    pub(super) choice: BaseChoice,
    pub(super) params: Option<&'a SessionParams>,
    pub(super) decision: &'a str,
    pub(super) category: &'a str,
    pub(super) demand: Option<f64>,
    pub(super) tokens: Tokens,
}

impl Policy {
    /// Where the turn stands.
    pub(super) fn phase(inputs: &Inputs<'_>) -> SessionPhase {
        lock::phase(&inputs.facts.tools, provider_state(inputs).as_ref())
    }

    /// The base selection after locks and session policy.
    pub(super) fn settle(&self, inputs: &Inputs<'_>, proposal: Proposal<'_>) -> Result<Settled, Unsettled> {
        let held = match self.profile {
            Profile::Pintle => {
                lock::held(inputs.session, &inputs.facts.tools, provider_state(inputs).as_ref())
            }
            Profile::Compat => None,
        };
        // A lock holds across decisions: its model need not be a candidate of the one that matched.
        if let Some(target) = held.and_then(|(_, model)| self.target(model))
            && !proposal.scores.iter().any(|score| score.target == target)
        {
            let reason = ScoreReason::HeldBySession;
            proposal.scores.push(CandidateScore { target, score: 0.0, reason });
        }
        match proposal.params {
            Some(params) => self.settle_by_policy(inputs, &proposal, params, held),
            None => {
                let mut settled = self.settle_by_lock(inputs, &proposal, held)?;
                self.apply_gate(inputs, &proposal, &mut settled);
                Ok(settled)
            }
        }
    }

    /// v0.3.0's gate stands behind every selector but `session_aware`, where one chose.
    fn apply_gate(&self, inputs: &Inputs<'_>, proposal: &Proposal<'_>, settled: &mut Settled) {
        let Some(gate) = self.gate.as_ref().filter(|_| proposal.scores.len() > 1) else { return };
        let names: SmallVec<[&str; 8]> =
            proposal.scores.iter().map(|score| self.target_name(score.target)).collect();
        let score = |name: &str| {
            let score = proposal.scores.iter().find(|score| self.target_name(score.target) == name);
            score.map(|score| score.score)
        };
        let current = inputs.session.map_or("", |session| session.model);
        let candidate = self.target_name(settled.target);
        let verdict = gate::evaluate(&GateInput {
            config: gate.config,
            has_selection_context: true,
            // The name does not matter, only that there is one.
            session_id: if inputs.facts.session.is_some() { "known" } else { "" },
            decision: proposal.decision,
            category: proposal.category,
            candidates: &names,
            current_model: current,
            candidate_model: candidate,
            current_score: score(current),
            candidate_score: score(candidate),
            // v0.3.0 takes the age of the model's last first token for whomever; this session's own last turn
            // is the one that could have warmed this prefix.
            cache_warmth: inputs
                .session
                .map(|session| warmth::freshness(inputs.now.since(session.last_seen) as f64 / 1000.0)),
            lookup: &gate.lookup,
        });
        if verdict.enforced_stay
            && let Some(target) = self.target(current)
            && inputs.live.available(target.model)
        {
            settled.target = target;
            settled.action = SessionAction::Held(Hold::Economics);
        }
        settled.gate = Some(Box::new(verdict));
    }

    fn settle_by_lock(
        &self,
        inputs: &Inputs<'_>,
        proposal: &Proposal<'_>,
        held: Option<(LockKind, &str)>,
    ) -> Result<Settled, Unsettled> {
        let demand = inputs.session.map_or(-1.0, |session| session.demand);
        let settled =
            |target, action| Settled { target, action, demand, seen: None, trace: None, gate: None };
        let last = inputs.session.map(|session| session.model).filter(|model| !model.is_empty());
        let base = proposal.choice.index.map(|at| proposal.scores[at].target);
        let Some((lock, model)) = held else {
            let target = base.ok_or(Unsettled::NoCandidate)?;
            let action = match last {
                None => SessionAction::New,
                Some(last) if last == self.target_name(target) => SessionAction::Stayed,
                Some(last) => SessionAction::Switched(self.why_left(inputs, proposal, last)),
            };
            return Ok(settled(target, action));
        };
        let cause = match self.target(model) {
            Some(target) if inputs.live.available(target.model) => {
                return Ok(settled(target, SessionAction::Held(lock.into())));
            }
            Some(_) => MissingCause::Unavailable,
            None => MissingCause::NotACandidate,
        };
        match (self.on_missing.for_lock(lock), base) {
            (OnMissingModel::Release, Some(target)) => {
                Ok(settled(target, SessionAction::Released(lock.into())))
            }
            _ => Err(Unsettled::LockedModelMissing { lock, model: model.to_owned(), cause }),
        }
    }

    fn why_left(&self, inputs: &Inputs<'_>, proposal: &Proposal<'_>, last: &str) -> Switch {
        let among = |target| proposal.scores.iter().find(|score| score.target == target);
        match self.target(last) {
            Some(target) if !inputs.live.available(target.model) => Switch::Unavailable,
            Some(target) => match among(target) {
                None => Switch::NotACandidate,
                Some(score) if !score.reason.eligible() => Switch::Unavailable,
                Some(_) => Switch::NoPolicy,
            },
            None => Switch::NotACandidate,
        }
    }

    fn settle_by_policy(
        &self,
        inputs: &Inputs<'_>,
        proposal: &Proposal<'_>,
        params: &SessionParams,
        held: Option<(LockKind, &str)>,
    ) -> Result<Settled, Unsettled> {
        let candidates = self.session_candidates(inputs, proposal, held.map(|(_, model)| model));
        let input = self.session_input(inputs, proposal, &candidates);
        let verdict = session::decide(params, &input);
        let target = |at: usize| proposal.scores[at].target;
        let (chosen, action) = match verdict.choice {
            Choice::NoCandidate => return Err(Unsettled::NoCandidate),
            Choice::Model(at) => {
                let action = match verdict.action {
                    session::SessionAction::Held => {
                        SessionAction::Held(verdict.hard_lock.map_or(Hold::Economics, Hold::from))
                    }
                    session::SessionAction::Stayed if Some(at) == proposal.choice.index => {
                        SessionAction::Stayed
                    }
                    session::SessionAction::Stayed => SessionAction::Held(Hold::Economics),
                    session::SessionAction::Switched => SessionAction::Switched(match verdict.reset {
                        _ if !current_usable(&verdict.trace, &candidates) => Switch::Unavailable,
                        Some(ResetKind::Idle) => Switch::Idle,
                        Some(ResetKind::Drift) => Switch::Drift,
                        None => Switch::Advantage,
                    }),
                    session::SessionAction::New | session::SessionAction::Breached => {
                        match inputs.session.map(|session| session.model).filter(|last| !last.is_empty()) {
                            None => SessionAction::New,
                            Some(last) if last == candidates[at].name => SessionAction::Stayed,
                            Some(last) => SessionAction::Switched(self.why_left(inputs, proposal, last)),
                        }
                    }
                };
                (at, action)
            }
            Choice::LockedModelMissing { lock, cause, on_missing, release_to } => {
                match (on_missing, release_to) {
                    (OnMissingModel::Release, Some(at)) => (at, SessionAction::Released(lock.into())),
                    _ => {
                        let model = held.map_or("", |(_, model)| model).to_owned();
                        return Err(Unsettled::LockedModelMissing { lock, model, cause });
                    }
                }
            }
        };
        let (demand, seen) = (verdict.demand, Some(verdict.seen));
        let trace = Some(Box::new(verdict.trace));
        Ok(Settled { target: target(chosen), action, demand, seen, trace, gate: None })
    }

    pub(super) fn session_candidates<'a>(
        &'a self,
        inputs: &Inputs<'_>,
        proposal: &Proposal<'_>,
        locked: Option<&str>,
    ) -> SmallVec<[SessionCandidate<'a>; 8]> {
        let candidate = |score: &CandidateScore| {
            let model = &self.models[score.target.model.index()];
            let name = self.target_name(score.target);
            let available = if locked == Some(name) {
                inputs.live.available(score.target.model)
            } else {
                score.reason.eligible() && score.reason != ScoreReason::HeldBySession
            };
            SessionCandidate {
                name,
                base_score: score.score,
                quality: model.quality,
                pricing: model.pricing,
                context_window: model.context_window,
                available,
            }
        };
        proposal.scores.iter().map(candidate).collect()
    }

    pub(super) fn session_input<'a>(
        &self,
        inputs: &Inputs<'a>,
        proposal: &Proposal<'a>,
        candidates: &'a [SessionCandidate<'a>],
    ) -> SessionInput<'a> {
        let facts = inputs.facts;
        let bytes_per_token = inputs.live.bytes_per_token;
        let history_tokens = match facts.history_bytes {
            0 => Tokens(0),
            bytes => Tokens(estimate_tokens(bytes, bytes_per_token).get().min(proposal.tokens.get())),
        };
        let usual = inputs
            .session
            .filter(|s| s.turns > 0)
            .map_or(FIRST_COMPLETION, |s| s.completion_tokens.get() / u64::from(s.turns));
        let bound = facts.max_completion.map_or(u64::MAX, |tokens| tokens.get());
        SessionInput {
            snapshot: inputs.session.copied(),
            tools: facts.tools,
            provider_state: provider_state(inputs),
            decision: proposal.decision,
            category: proposal.category,
            candidates,
            base_choice: proposal.choice.index.unwrap_or(0),
            demand: proposal.demand,
            prompt_tokens: proposal.tokens,
            history_tokens,
            expected_completion: Tokens(usual.min(bound)),
            foresight: inputs.foresight,
            now: inputs.now,
        }
    }
}

pub(super) fn provider_state<'a>(inputs: &Inputs<'a>) -> Option<ProviderStateRef<'a>> {
    inputs.facts.provider_state.as_ref().map(|_| ProviderStateRef { owner: inputs.provider_owner })
}

fn current_usable(trace: &SessionTrace, candidates: &[SessionCandidate<'_>]) -> bool {
    trace.current.is_none_or(|at| candidates[at].available)
}
