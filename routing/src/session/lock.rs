//! Hard locks: turns on which a session's model must not change.
//!
//! A **tool loop** begins when an answer asks for tools and lasts until a model has answered to their
//! results. A request continues it if
//!
//! - its last message is a tool result, or
//! - its last message is a user turn directly behind a tool result: no model has seen the result yet.
//!
//! Instructions (`system`, `developer`) behind either change nothing, and neither does a prefill: an assistant message
//! at the very end is the beginning of the answer that the client asks for. A loop ends with a request that continues
//! it in neither way: an abandoned call does not hold a session forever. The request alone says this, not the
//! session's record: another conversation of the same session may have a loop of its own open, and an answer
//! may never have reached the client.
//! Neither idle time nor a change of decision ends a loop.
//!
//! **Provider state** holds a turn exactly if the request refers to it (`previous_response_id`,
//! `conversation`): a client that sends its whole history again can be served anywhere. The owner is the target
//! that made the referenced response, which outranks the session's last model: a client may branch off from an
//! earlier response.

use super::{LockKind, ProviderStateRef, SessionPhase};
use crate::facts::{SessionSnapshot, ToolFacts};

/// Whether a request continues a tool loop.
pub const fn continues_tool_loop(tools: &ToolFacts) -> bool {
    tools.last_is_result || tools.last_is_user_after_result
}

/// Phase of a turn, by the request and the session before it.
pub const fn phase(tools: &ToolFacts, provider_state: Option<&ProviderStateRef<'_>>) -> SessionPhase {
    if continues_tool_loop(tools) {
        SessionPhase::ToolLoop
    } else if provider_state.is_some() {
        SessionPhase::ProviderState
    } else {
        SessionPhase::UserTurn
    }
}

/// The lock on a turn and the name of the model that it holds.
///
/// `None` also if a lock would apply but nobody knows the model: neither a pin nor a snapshot names one.
pub fn held<'a>(
    snapshot: Option<&SessionSnapshot<'a>>,
    tools: &ToolFacts,
    provider_state: Option<&ProviderStateRef<'a>>,
) -> Option<(LockKind, &'a str)> {
    let last = snapshot.map(|s| s.model).filter(|model| !model.is_empty());
    let owner = provider_state.and_then(|state| state.owner.or(last));
    if continues_tool_loop(tools) {
        return match (owner, last) {
            (Some(owner), Some(last)) if owner != last => Some((LockKind::ProviderState, owner)),
            (owner, last) => owner.or(last).map(|model| (LockKind::ToolLoop, model)),
        };
    }
    owner.map(|model| (LockKind::ProviderState, model))
}
