//! The order of questions: lock, boundary, price.

use smallvec::SmallVec;

use super::compat::saar::{self, ModelParams, SaarCandidate, SaarInput, SaarSession};
use super::economics::{Kind, Seen};
use super::priced::Priced;
use super::{
    Candidate, CandidateTrace, Choice, LockKind, MissingCause, OnMissingModel, ResetKind, SessionAction,
    SessionInput, SessionParams, SessionPhase, SessionProfile, SessionTrace, SessionVerdict, lock,
};

/// Decides one turn.
///
/// Deterministic: equal arguments give equal verdicts, bit for bit. Nothing is stored.
pub fn decide(params: &SessionParams, input: &SessionInput<'_>) -> SessionVerdict {
    match params.profile {
        SessionProfile::Pintle => pintle(params, input),
        SessionProfile::Compat => compat(params, input),
    }
}

/// [`crate::facts::SessionSnapshot::demand`] of a session whose demand is unknown.
const UNKNOWN_DEMAND: f32 = -1.0;

/// Where the turn stands, before anything is weighed.
pub(super) struct Situation {
    pub(super) phase: SessionPhase,
    pub(super) reset: Option<ResetKind>,
    pub(super) idle_ms: Option<u64>,
    pub(super) current: Option<usize>,
    pub(super) drift: bool,
}

impl Situation {
    fn of(params: &SessionParams, input: &SessionInput<'_>) -> Self {
        let snapshot = input.snapshot.as_ref();
        let idle_ms = snapshot.map(|s| input.now.since(s.last_seen));
        let timeout_ms = u64::try_from(params.saar.idle_timeout_seconds).unwrap_or(0).saturating_mul(1000);
        let idle = timeout_ms > 0 && idle_ms.is_some_and(|idle| idle >= timeout_ms);
        let drift = params.saar.decision_drift_reset
            && snapshot.is_some_and(|s| {
                !s.decision.is_empty() && !input.decision.is_empty() && s.decision != input.decision
            });
        Self {
            phase: lock::phase(&input.tools, input.provider_state.as_ref()),
            reset: if idle { Some(ResetKind::Idle) } else { drift.then_some(ResetKind::Drift) },
            idle_ms,
            current: snapshot.and_then(|s| position(input.candidates, s.model)),
            drift,
        }
    }
}

fn position(candidates: &[Candidate<'_>], name: &str) -> Option<usize> {
    candidates.iter().position(|c| c.name == name)
}

/// The lock on this turn, if the parameters keep it.
fn lock_of<'a>(params: &SessionParams, input: &SessionInput<'a>) -> Option<(LockKind, &'a str)> {
    let held = lock::held(input.snapshot.as_ref(), &input.tools, input.provider_state.as_ref())?;
    let kept = match held.0 {
        LockKind::ToolLoop => params.saar.tool_loop_hard_lock,
        LockKind::ProviderState => params.saar.context_portability_hard_lock,
        LockKind::MinTurns => true,
    };
    kept.then_some(held)
}

fn pintle(params: &SessionParams, input: &SessionInput<'_>) -> SessionVerdict {
    let situation = Situation::of(params, input);
    let priced = Priced::of(params, input, &situation);
    let mut free = priced.chosen;
    let mut held = None;
    if let Some(current) = situation.current.filter(|i| priced.usable(*i))
        && situation.reset.is_none()
        && input.snapshot.is_some_and(|s| i64::from(s.turns) < params.saar.min_turns_before_switch)
    {
        free = Some(current);
        held = Some(LockKind::MinTurns);
    }
    let action = match (situation.current, free) {
        _ if held.is_some() => SessionAction::Held,
        (Some(current), Some(chosen)) if current == chosen => SessionAction::Stayed,
        (Some(_), Some(_)) => SessionAction::Switched,
        _ => SessionAction::New,
    };
    let mut verdict =
        verdict(params, input, &situation, free.map_or(Choice::NoCandidate, Choice::Model), action);
    if held.is_some() {
        verdict.hard_lock = held;
        verdict.trace.lock = held;
        verdict.trace.reason = "hard_lock=min_turns".into();
    }
    priced.explain(input, &mut verdict);
    apply_lock(params, input, verdict)
}

/// Puts a lock over a verdict that was reached without it.
fn apply_lock(
    params: &SessionParams,
    input: &SessionInput<'_>,
    mut verdict: SessionVerdict,
) -> SessionVerdict {
    let Some((kind, model)) = lock_of(params, input) else { return verdict };
    verdict.hard_lock = Some(kind);
    verdict.confidence = 1.0;
    let missing = match position(input.candidates, model) {
        Some(index) if input.candidates[index].available => {
            verdict.choice = Choice::Model(index);
            verdict.action = SessionAction::Held;
            None
        }
        Some(_) => Some(MissingCause::Unavailable),
        None => Some(MissingCause::NotACandidate),
    };
    if let Some(cause) = missing {
        let release_to = verdict.index();
        let on_missing = on_missing(params, kind);
        verdict.action = SessionAction::Breached;
        verdict.choice = Choice::LockedModelMissing { lock: kind, cause, on_missing, release_to };
    }
    verdict.trace.lock = Some(kind);
    verdict.trace.action = verdict.action;
    verdict.trace.chosen = verdict.index();
    verdict.trace.reason = match (kind, missing) {
        (LockKind::ToolLoop, None) => "hard_lock=tool_loop",
        (LockKind::ProviderState, None) => "hard_lock=provider_state",
        (LockKind::MinTurns, None) => "hard_lock=min_turns",
        (_, Some(MissingCause::NotACandidate)) => "locked_model_not_a_candidate",
        (_, Some(MissingCause::Unavailable)) => "locked_model_unavailable",
    }
    .into();
    verdict
}

fn on_missing(params: &SessionParams, kind: LockKind) -> OnMissingModel {
    match kind {
        LockKind::ProviderState => params.on_missing_provider_state,
        LockKind::ToolLoop | LockKind::MinTurns => params.on_missing_tool_loop,
    }
}

fn verdict(
    params: &SessionParams,
    input: &SessionInput<'_>,
    situation: &Situation,
    choice: Choice,
    action: SessionAction,
) -> SessionVerdict {
    let chosen = match choice {
        Choice::Model(index) => Some(index),
        _ => None,
    };
    let reason = match action {
        SessionAction::New if situation.current.is_none() && input.snapshot.is_some() => {
            "previous_model_not_in_candidates"
        }
        SessionAction::New => "missing_previous_model",
        SessionAction::Stayed => "stay_is_cheaper",
        SessionAction::Switched => "switch_is_cheaper",
        SessionAction::Held | SessionAction::Breached => "hard_lock",
    };
    let candidates: SmallVec<[CandidateTrace; 8]> = input
        .candidates
        .iter()
        .map(|c| CandidateTrace {
            base_score: c.base_score,
            adjusted_score: c.base_score,
            usable: c.available,
            ..CandidateTrace::default()
        })
        .collect();
    let demand = input.snapshot.map_or(UNKNOWN_DEMAND, |s| s.demand);
    SessionVerdict {
        choice,
        phase: situation.phase,
        action,
        hard_lock: None,
        reset: situation.reset,
        confidence: 1.0,
        demand,
        seen: Seen {
            kind: Kind::of(situation.phase, situation.drift),
            demand: input.demand.filter(|d| d.is_finite()).map(|d| d.clamp(0.0, 1.0) as f32),
        },
        trace: SessionTrace {
            profile: params.profile,
            phase: situation.phase,
            action,
            lock: None,
            reset: situation.reset,
            reason: reason.into(),
            current: situation.current,
            chosen,
            idle_ms: situation.idle_ms,
            turn_demand: input.demand.unwrap_or(0.0),
            session_demand: f64::from(demand),
            warmth: 0.0,
            remaining_turns: 0.0,
            shortfall_price: params.shortfall_price.unwrap_or_default(),
            candidates,
            saar: None,
            sentence: String::new(),
        },
    }
}

fn compat(params: &SessionParams, input: &SessionInput<'_>) -> SessionVerdict {
    let situation = Situation::of(params, input);
    if input.candidates.is_empty() {
        return verdict(params, input, &situation, Choice::NoCandidate, SessionAction::New);
    }
    let candidates: SmallVec<[SaarCandidate<'_>; 8]> = input
        .candidates
        .iter()
        .map(|c| SaarCandidate {
            name: c.name,
            base_score: Some(c.base_score),
            params: ModelParams {
                prompt_per_1m: c.pricing.map_or(0.0, |p| p.prompt.get()),
                cached_input_per_1m: c.pricing.map_or(0.0, |p| p.cached.get()),
                quality_score: c.quality.unwrap_or(0.0),
            },
        })
        .collect();
    let base_choice = input.base_choice.min(candidates.len() - 1);
    let selection = saar::select(&SaarInput {
        config: &params.saar,
        candidates: &candidates,
        max_prefix_cost: saar::max_prefix_cost(candidates.iter().map(|c| &c.params)),
        base_choice,
        base_score: input.candidates[base_choice].base_score,
        session: input.snapshot.map(|s| saar_session(input, &s, &situation)),
        decision: input.decision,
        category: input.category,
        lookup: &params.lookup,
    });
    let locked = match (selection.trace.hard_locked, situation.phase) {
        (false, _) => None,
        (true, SessionPhase::ToolLoop) if params.saar.tool_loop_hard_lock => Some(LockKind::ToolLoop),
        (true, _) if input.provider_state.is_some() && params.saar.context_portability_hard_lock => {
            Some(LockKind::ProviderState)
        }
        (true, _) => Some(LockKind::MinTurns),
    };
    let action = match situation.current {
        None => SessionAction::New,
        Some(_) if locked.is_some() => SessionAction::Held,
        Some(current) if current == selection.chosen => SessionAction::Stayed,
        Some(_) => SessionAction::Switched,
    };
    let mut verdict = verdict(params, input, &situation, Choice::Model(selection.chosen), action);
    verdict.hard_lock = locked;
    verdict.confidence = selection.confidence.unwrap_or(1.0);
    verdict.trace.lock = locked;
    verdict.trace.reason = selection.trace.decision_reason.clone().into();
    for (trace, score) in verdict.trace.candidates.iter_mut().zip(&selection.final_scores) {
        trace.adjusted_score = *score;
    }
    verdict.trace.saar = Some(Box::new(selection.trace));
    verdict
}

fn saar_session<'a>(
    input: &SessionInput<'a>,
    snapshot: &crate::facts::SessionSnapshot<'a>,
    situation: &Situation,
) -> SaarSession<'a> {
    let prompt = snapshot.prompt_tokens.get();
    SaarSession {
        turn_index: i64::from(snapshot.turns),
        memory_turn_count: i64::from(snapshot.turns),
        memory_switch_count: i64::from(snapshot.switches),
        previous_model: snapshot.model,
        previous_response_id: if input.provider_state.is_some() { "referenced" } else { "" },
        history_tokens: i64::try_from(input.history_tokens.get()).unwrap_or(i64::MAX),
        context_tokens: i64::try_from(input.prompt_tokens.get()).unwrap_or(i64::MAX),
        cache_warmth: (prompt > 0).then(|| snapshot.cached_tokens.get() as f64 / prompt as f64),
        idle_seconds: situation.idle_ms.map(|ms| ms as f64 / 1000.0),
        last_decision_name: snapshot.decision,
        active_tool_loop: situation.phase == SessionPhase::ToolLoop,
        has_non_portable_context: input.provider_state.is_some(),
        non_portable_context_reason: if input.provider_state.is_some() { "previous_response_id" } else { "" },
    }
}
