//! The reason of a verdict in one sentence.

use super::{LockKind, ResetKind, SessionAction, SessionTrace};

/// One sentence that an operator can read, for [`SessionTrace::sentence`]. `candidates` are their names, `held` is
/// the model that a [lock](super::lock::held) names.
pub fn describe(trace: &SessionTrace, candidates: &[&str], held: Option<&str>) -> String {
    let name = |index: Option<usize>| index.and_then(|i| candidates.get(i)).map_or("no model", |name| *name);
    let chosen = name(trace.chosen);
    let lock = match trace.lock {
        Some(LockKind::ToolLoop) => "its tool loop is open",
        Some(LockKind::ProviderState) => "the conversation's state lives with it",
        Some(LockKind::MinTurns) => "the session is shorter than its minimum number of turns",
        None => "nothing else was allowed",
    };
    let boundary = match trace.reset {
        Some(ResetKind::Idle) => " after an idle period",
        Some(ResetKind::Drift) => " after a change of decision",
        None => "",
    };
    match trace.action {
        SessionAction::Held => format!("{chosen} keeps the turn: {lock}."),
        SessionAction::Breached => {
            let owner = held.unwrap_or("the locked model");
            format!("{owner} should serve because {lock}, but cannot ({}); {chosen} could.", trace.reason)
        }
        SessionAction::New => {
            format!("{chosen} begins{boundary}: the session has no model among the candidates.")
        }
        SessionAction::Stayed | SessionAction::Switched => {
            let verb = if trace.action == SessionAction::Stayed { "stays" } else { "takes over" };
            let total = |index: Option<usize>| {
                index.and_then(|i| trace.candidates.get(i)).map_or(0.0, |candidate| candidate.total.get())
            };
            let other = if trace.action == SessionAction::Stayed { runner_up(trace) } else { trace.current };
            match other {
                Some(_) if trace.saar.is_none() => format!(
                    "{chosen} {verb}{boundary}: going on with it is expected to cost ${:.6}, with {} ${:.6}.",
                    total(trace.chosen),
                    name(other),
                    total(other)
                ),
                _ => format!("{chosen} {verb}{boundary}: {}.", trace.reason),
            }
        }
    }
}

fn runner_up(trace: &SessionTrace) -> Option<usize> {
    (0..trace.candidates.len())
        .filter(|i| Some(*i) != trace.chosen && trace.candidates[*i].usable)
        .min_by(|a, b| trace.candidates[*a].total.get().total_cmp(&trace.candidates[*b].total.get()))
}
