//! May this turn change model, and is it worth it?
//!
//! Called after the base selector has scored the candidates. Two questions are answered in this order:
//!
//! 1. **Must the model stay?** A running tool loop and state held by a provider are invariants, decided in
//!    [`lock`] before any price is looked at. Neither idleness nor a new topic opens them.
//! 2. **Should the model stay?** [`economics`] compares, in dollars, the best continuation on every
//!    candidate: what the tokens cost, what a cold prefix cache costs, and what it costs the operator to serve
//!    a turn below the tier that it asks for. [`compat`] answers the same question the way
//!    vLLM Semantic Router v0.3.0 does, number for number.
//!
//! Pure: the snapshot is read before and the caller commits [`SessionVerdict::demand`] after the upstream
//! has answered.

pub mod compat;
mod describe;
pub mod economics;
pub mod lock;
pub mod market;
mod policy;
mod priced;
#[cfg(test)]
mod tests;

pub use compat::lookup::LookupTable;
pub use compat::saar::{SaarConfig, SaarTrace};
pub use describe::describe;
pub use policy::decide;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::facts::{SessionSnapshot, ToolFacts};
use crate::units::{Tokens, UnixMillis, Usd, UsdPerMillion};

/// Which rules decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionProfile {
    /// Hard locks as invariants, then expected cost in dollars.
    #[default]
    Pintle,
    /// `session_aware` of v0.3.0, number for number.
    Compat,
}

/// What a lock does when the model it holds cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissingModel {
    /// Choose another model and record the breach.
    Release,
    /// Answer the client with an error that says why.
    Refuse,
}

/// Parameters of one decision's session policy, defaults resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionParams {
    /// Which rules decide.
    pub profile: SessionProfile,
    /// The `session_aware` block; the Pintle profile reads its lock switches, `idle_timeout_seconds`,
    /// `min_turns_before_switch` and `decision_drift_reset`, the compat profile all of it.
    pub saar: SaarConfig,
    /// A tool loop whose model is gone or down.
    pub on_missing_tool_loop: OnMissingModel,
    /// Provider state whose model is gone or down.
    pub on_missing_provider_state: OnMissingModel,
    /// What it is worth not to serve one turn below its tier; `None` derives it from the candidates' prices.
    pub shortfall_price: Option<Usd>,
    /// Turns that sessions of this decision are expected to have in all; `None` uses the built-in prior.
    pub expected_turns: Option<f64>,
    /// Demand thresholds between tiers, ascending, one fewer than the candidates; empty divides [0,1] evenly.
    pub tier_thresholds: Vec<f64>,
    /// Measured pairs and priors of v0.3.0; read by the compat profile only.
    pub lookup: LookupTable,
}

impl Default for SessionParams {
    fn default() -> Self {
        Self {
            profile: SessionProfile::default(),
            saar: SaarConfig::default(),
            on_missing_tool_loop: OnMissingModel::Release,
            on_missing_provider_state: OnMissingModel::Refuse,
            shortfall_price: None,
            expected_turns: None,
            tier_thresholds: Vec::new(),
            lookup: LookupTable::default(),
        }
    }
}

/// A model's prices. Zero is a price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pricing {
    /// Prompt tokens that the backend had to compute.
    pub prompt: UsdPerMillion,
    /// Prompt tokens served from the backend's prefix cache.
    pub cached: UsdPerMillion,
    /// Generated tokens.
    pub completion: UsdPerMillion,
}

/// One candidate of the matched decision.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Canonical target name (model, or model and adapter), comparable with [`SessionSnapshot::model`].
    pub name: &'a str,
    /// Base selector's score in [0,1], higher is better.
    pub base_score: f64,
    /// Declared quality in [0,1], if any.
    pub quality: Option<f64>,
    /// Prices, if declared.
    pub pricing: Option<Pricing>,
    /// Largest prompt and completion together, if declared.
    pub context_window: Option<Tokens>,
    /// False while no backend of this model can serve.
    pub available: bool,
}

/// A reference from the request to state that lives at a provider.
#[derive(Debug, Clone, Copy)]
pub struct ProviderStateRef<'a> {
    /// The target that made the referenced response, if a pin for it is known. The session's last model
    /// stands in when it is not.
    pub owner: Option<&'a str>,
}

/// What the session policy may know about a turn.
#[derive(Debug, Clone, Copy)]
pub struct SessionInput<'a> {
    /// The session as it was before this turn; `None` on its first turn and for requests without a session.
    pub snapshot: Option<SessionSnapshot<'a>>,
    /// Tool facts of the request.
    pub tools: ToolFacts,
    /// Provider state that the request refers to.
    pub provider_state: Option<ProviderStateRef<'a>>,
    /// Name of the matched decision; empty for none.
    pub decision: &'a str,
    /// Category of the matched decision, for v0.3.0's lookup tables; empty for none.
    pub category: &'a str,
    /// Candidates in configured order.
    pub candidates: &'a [Candidate<'a>],
    /// Index of the base selector's choice.
    pub base_choice: usize,
    /// Demand in [0,1] if a signal or projection measures it; otherwise [`market::Market::demand`] derives it
    /// from the base scores.
    pub demand: Option<f64>,
    /// The whole prompt, measured or estimated.
    pub prompt_tokens: Tokens,
    /// The part of the prompt that earlier turns already sent.
    pub history_tokens: Tokens,
    /// Expected completion of this turn.
    pub expected_completion: Tokens,
    /// What habits expect after this turn, if any were learned.
    pub foresight: Option<&'a economics::Foresight>,
    /// The caller's clock.
    pub now: UnixMillis,
}

/// Where a turn stands in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPhase {
    /// An ordinary turn.
    UserTurn,
    /// Results of tool calls are being handed back.
    ToolLoop,
    /// The request refers to state at a provider.
    ProviderState,
}

/// Why a session's model may not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// Tool results must go to the model that asked for them.
    ToolLoop,
    /// State at a provider can only be continued where it lives.
    ProviderState,
    /// Fewer turns than `min_turns_before_switch`; not an invariant, a reset opens it.
    MinTurns,
}

/// A boundary after which continuity is worth little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetKind {
    /// No turn for at least the idle timeout.
    Idle,
    /// Another decision matched than on the turn before.
    Drift,
}

/// What became of the session's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionAction {
    /// The session had no model, or one that is no longer a candidate.
    New,
    /// Same model, by choice.
    Stayed,
    /// Another model, by choice.
    Switched,
    /// Same model, by a lock.
    Held,
    /// A lock could not be kept: its model is missing.
    Breached,
}

/// Why the locked model cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingCause {
    /// It is not among the candidates of the matched decision.
    NotACandidate,
    /// It is a candidate, but no backend of it can serve.
    Unavailable,
}

/// The answer of the session policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Index into [`SessionInput::candidates`].
    Model(usize),
    /// The lock's model cannot serve. The caller follows `on_missing`.
    LockedModelMissing {
        /// The lock that would be broken.
        lock: LockKind,
        /// Why the model cannot serve.
        cause: MissingCause,
        /// What the parameters ask for.
        on_missing: OnMissingModel,
        /// The candidate to use if the lock is released, as if the session had no lock; `None` when
        /// no candidate is available.
        release_to: Option<usize>,
    },
    /// There is no candidate at all, or none is available.
    NoCandidate,
}

/// The verdict on one turn.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionVerdict {
    /// Which candidate serves.
    pub choice: Choice,
    /// Where the turn stands.
    pub phase: SessionPhase,
    /// What became of the session's model.
    pub action: SessionAction,
    /// The lock that held, or that is broken by [`Choice::LockedModelMissing`].
    pub hard_lock: Option<LockKind>,
    /// The boundary seen, whether or not it opened anything.
    pub reset: Option<ResetKind>,
    /// In [0,1].
    pub confidence: f64,
    /// Store as [`SessionSnapshot::demand`] when the turn is committed.
    pub demand: f32,
    /// What habits learn from this turn when it is committed.
    pub seen: economics::Seen,
    /// Everything above and the numbers behind it; `trace.candidates[i].adjusted_score` has the scores.
    pub trace: SessionTrace,
}

impl SessionVerdict {
    /// The candidate that serves if a broken lock is released; `None` if no candidate can serve.
    pub fn index(&self) -> Option<usize> {
        match self.choice {
            Choice::Model(index) => Some(index),
            Choice::LockedModelMissing { release_to, .. } => release_to,
            Choice::NoCandidate => None,
        }
    }
}

/// What a candidate would cost from this turn on, in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CandidateTrace {
    /// Base selector's score.
    pub base_score: f64,
    /// Score after the session policy, higher is better: compat's final score, or in the Pintle profile
    /// the cheapest usable candidate's total divided by this one's, in [0,1].
    pub adjusted_score: f64,
    /// False if the candidate was ruled out (unavailable, or the prompt does not fit).
    pub usable: bool,
    /// Position among the candidates in tier order, cheapest first.
    pub tier: u16,
    /// This turn's prompt tokens at the full price.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub prompt: Usd,
    /// This turn's prompt tokens read from the prefix cache.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub cached: Usd,
    /// This turn's completion.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub completion: Usd,
    /// What a cold prefix adds on this turn against this model being warm; contained in `prompt` and `cached`.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub rebuild: Usd,
    /// Price of serving this turn below its tier.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub shortfall: Usd,
    /// Price of the change of model itself.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub switch: Usd,
    /// Expected cost of the turns to come if this candidate serves this one.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub future: Usd,
    /// `prompt + cached + completion + shortfall + switch + future`
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub total: Usd,
}

/// Why the session policy decided as it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionTrace {
    /// Rules that decided.
    pub profile: SessionProfile,
    /// Where the turn stands.
    pub phase: SessionPhase,
    /// What became of the session's model.
    pub action: SessionAction,
    /// The lock that held or was broken.
    pub lock: Option<LockKind>,
    /// The boundary seen.
    pub reset: Option<ResetKind>,
    /// Stable word for the reason, as in compat's `decision_reason`.
    pub reason: std::borrow::Cow<'static, str>,
    /// The session's model among the candidates.
    pub current: Option<usize>,
    /// The chosen candidate.
    pub chosen: Option<usize>,
    /// Milliseconds since the last turn.
    pub idle_ms: Option<u64>,
    /// Demand of this turn in [0,1], measured or derived from the base scores.
    pub turn_demand: f64,
    /// Smoothed demand of the session in [0,1].
    pub session_demand: f64,
    /// Share of the prompt that this session's prefix on its current model is expected to have cached.
    pub warmth: f64,
    /// Turns that the session is expected to go on for.
    pub remaining_turns: f64,
    /// Price of one turn below its tier.
    pub shortfall_price: Usd,
    /// One entry per candidate, in input order.
    pub candidates: SmallVec<[CandidateTrace; 8]>,
    /// Compat profile: v0.3.0's own trace.
    pub saar: Option<Box<SaarTrace>>,
    /// The reason in one sentence; empty until the flow document is built ([`describe`]).
    pub sentence: String,
}
