//! The reason of a verdict in one sentence.

use super::{LockKind, ResetKind, SessionAction, SessionInput, SessionTrace};

/// One sentence that an operator can read, for [`SessionTrace::sentence`].
pub fn describe(trace: &SessionTrace, input: &SessionInput<'_>) -> String {
    let name = |index: Option<usize>| {
        index.and_then(|i| input.candidates.get(i)).map_or("no model", |candidate| candidate.name)
    };
    let chosen = name(trace.chosen);
    let last = input.snapshot.map_or("no model", |s| s.model);
    let lock = match trace.lock {
        Some(LockKind::ToolLoop) => "a tool loop",
        Some(LockKind::ProviderState) => "state held by the provider",
        Some(LockKind::MinTurns) => "the minimum number of turns",
        None => "no lock",
    };
    let boundary = match trace.reset {
        Some(ResetKind::Idle) => " after an idle period",
        Some(ResetKind::Drift) => " after a change of decision",
        None => "",
    };
    match trace.action {
        SessionAction::Held => format!("{chosen} keeps the turn because of {lock}."),
        SessionAction::Breached => {
            format!(
                "{lock} asks for {last}, which cannot serve ({}); {chosen} is the alternative.",
                trace.reason
            )
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
