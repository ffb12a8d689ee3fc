//! What a decision concluded, in the form that the data plane acts on.
//!
//! An outcome holds indexes and numbers, no text: building one costs no allocation in the common case.
//! Names come from the policy that produced it ([`Policy::describe`](crate::policy::Policy::describe)
//! writes the whole flow document).

use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use smallvec::SmallVec;

use crate::ids::{DecisionId, SignalId, Target};
use crate::session::LockKind;
pub use crate::session::SessionPhase;
use crate::session::economics::Seen;
use crate::trace::DecisionTrace;

/// The result of [`Policy::decide`](crate::policy::Policy::decide).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What to do with the request.
    pub verdict: Verdict,
    /// Everything that led there.
    pub trace: DecisionTrace,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    /// Forward it.
    Route(Route),
    /// Answer 200 from here with fixed text; nothing is sent upstream and the session is left as it was.
    Answer(Answer),
    /// Answer with an error; the session is left as it was.
    Refuse(Refusal),
}

impl Verdict {
    /// The route, if the request is to be forwarded.
    pub const fn route(&self) -> Option<&Route> {
        match self {
            Self::Route(route) => Some(route),
            _ => None,
        }
    }
}

/// How many alternatives an outcome keeps without allocating.
pub const INLINE_ALTERNATIVES: usize = 6;

/// Where a request goes and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Who serves the turn.
    pub target: Target,
    /// Other acceptable targets, best first, for use when every backend of `target` fails before the
    /// first byte. Empty when the turn is held by a hard lock or the client named its model.
    pub alternatives: SmallVec<[Target; INLINE_ALTERNATIVES]>,
    /// The decision that matched; `None` when none did or the client named its model.
    pub decision: Option<DecisionId>,
    /// The first domain signal that made the decision match.
    pub category: Option<SignalId>,
    /// How sure the routing is, in `[0,1]`; 0 when no decision matched.
    pub confidence: f64,
    /// The chosen model reference asks for reasoning.
    pub reasoning: bool,
    /// Where the session stands.
    pub phase: SessionPhase,
    /// What session policy did.
    pub action: SessionAction,
    /// The target differs from the one that served the session's last turn.
    pub switched: bool,
    /// What to store if the upstream answers.
    pub session_commit: SessionCommit,
    /// One sentence for a person.
    pub reason: Cow<'static, str>,
}

/// A fixed answer (`fast_response`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The decision that carries it; its text is `policy.fast_response(decision)`.
    pub decision: DecisionId,
}

/// An error answer, to be dressed in the client's dialect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// OpenAI's `error.code`.
    pub code: &'static str,
    /// OpenAI's `error.type`.
    pub kind: &'static str,
    /// OpenAI's `error.message`: one sentence or two for the client.
    pub message: String,
}

/// Every `code` and `kind` of a [`Refusal`]: what is read back from a record is one of them.
const REFUSAL_WORDS: [&str; 11] = [
    "model_not_found",
    "invalid_request_error",
    "identity_required",
    "permission_error",
    "no_route",
    "no_model_available",
    "server_error",
    "session_model_unavailable",
    "conflict_error",
    "rate_limit_exceeded",
    "rate_limit_error",
];

impl<'de> Deserialize<'de> for Refusal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Read {
            status: u16,
            code: String,
            kind: String,
            message: String,
        }
        let word = |found: String| {
            let known = REFUSAL_WORDS.into_iter().find(|known| *known == found);
            known.ok_or_else(|| D::Error::custom(format_args!("no refusal says {found:?}")))
        };
        let Read { status, code, kind, message } = Read::deserialize(from)?;
        Ok(Self { status, code: word(code)?, kind: word(kind)?, message })
    }
}

impl SessionPhase {
    /// The value of `x-vsr-session-phase`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserTurn => "user_turn",
            Self::ToolLoop => "tool_loop",
            Self::ProviderState => "provider_state",
        }
    }
}

/// What session policy did with the base selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "why", rename_all = "snake_case")]
pub enum SessionAction {
    /// The client named a model; nothing was selected.
    Explicit,
    /// No earlier turn of this session is known (or the request carries no session).
    New,
    /// The model of the last turn was also the best choice.
    Stayed,
    /// Another model scored better, but the session keeps its own.
    Held(Hold),
    /// The session moves to another model.
    Switched(Switch),
    /// The session had to leave its model although a lock held it: a breach, by configuration.
    Released(Hold),
}

impl SessionAction {
    /// Short name for metrics labels and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::New => "new",
            Self::Stayed => "stayed",
            Self::Held(hold) => hold.as_str(),
            Self::Switched(switch) => switch.as_str(),
            Self::Released(_) => "released",
        }
    }

    /// The turn may not be served by any other model, whatever fails.
    pub const fn is_hard_locked(self) -> bool {
        matches!(self, Self::Held(Hold::ToolLoop | Hold::ProviderState))
    }
}

/// Why a session keeps its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Hard lock: inside a tool loop.
    ToolLoop,
    /// Hard lock: state at the provider.
    ProviderState,
    /// Fewer turns than `min_turns_before_switch`.
    MinTurns,
    /// Moving costs more than it gains.
    Economics,
}

impl From<LockKind> for Hold {
    fn from(lock: LockKind) -> Self {
        match lock {
            LockKind::ToolLoop => Self::ToolLoop,
            LockKind::ProviderState => Self::ProviderState,
            LockKind::MinTurns => Self::MinTurns,
        }
    }
}

impl Hold {
    /// Short name for metrics labels and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToolLoop => "held_tool_loop",
            Self::ProviderState => "held_provider_state",
            Self::MinTurns => "held_min_turns",
            Self::Economics => "held_economics",
        }
    }
}

/// Why a session moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// The gain exceeds the cost of moving.
    Advantage,
    /// The session was idle long enough that nothing is lost by moving.
    Idle,
    /// Another decision matched than last time.
    Drift,
    /// The last model is not among this decision's candidates.
    NotACandidate,
    /// The last model cannot serve this request (capabilities, context window) or has no backend up.
    Unavailable,
    /// No session policy is configured for this decision; base selection chose another model.
    NoPolicy,
}

impl Switch {
    /// Short name for metrics labels and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advantage => "switched_advantage",
            Self::Idle => "switched_idle",
            Self::Drift => "switched_drift",
            Self::NotACandidate => "switched_not_a_candidate",
            Self::Unavailable => "switched_unavailable",
            Self::NoPolicy => "switched_no_policy",
        }
    }
}

/// What a committed turn leaves in session memory, beside usage and the response's own state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SessionCommit {
    /// The decision to remember; `None` stores an empty name.
    pub decision: Option<DecisionId>,
    /// Smoothed demand estimate in `[0,1]`, negative when unknown.
    pub demand: f32,
    /// What habits learn from the turn; `None` where no session policy ran.
    pub seen: Option<Seen>,
}

impl Default for SessionCommit {
    fn default() -> Self {
        Self { decision: None, demand: -1.0, seen: None }
    }
}
