//! The head of an answer that is passed on: the backend's own, with what was decided.

use std::io::Write;

use pintle_routing::policy::Policy;
use smallvec::SmallVec;

use crate::attempt::Answered;
use crate::connection::{Connection, Exchange, REPLAY_ID};
use crate::http::head::{ClientResponse, Field, ResponseFraming, write_client_response};
use crate::turn::Plan;

/// Appends the head to `out`. `keep` becomes false if the answer ends with the connection.
pub(crate) fn write(
    out: &mut Vec<u8>,
    connection: &Connection,
    exchange: &Exchange,
    plan: &Plan,
    answered: &Answered,
    unchunk: bool,
    keep: &mut bool,
) {
    let policy = &exchange.generation.policy;
    let id = exchange.id.encode();
    let framing = if unchunk { ResponseFraming::Close } else { answered.head.framing() };
    *keep &= framing != ResponseFraming::Close;
    let mut confidence = [0; 6];
    // Six bytes hold any number in [0,1] with four decimals.
    let _ = write!(&mut confidence[..], "{:.4}", plan.route.confidence.clamp(0.0, 1.0));
    let mut context = itoa::Buffer::new();
    let target = policy.target_name(answered.target);
    let decision = plan.route.decision.map_or("", |id| policy.decision_name(id));
    let category = plan.route.category.map_or("", |id| policy.signal_name(id));
    let injected = plan.route.decision.is_some_and(|id| policy.edits(id).system_prompt.is_some());
    let reasoning: &[u8] = if plan.route.reasoning { b"on" } else { b"off" };
    let decided = |value| if decision.is_empty() { &[][..] } else { value };
    let names: [(&[u8], &[u8]); 9] = [
        (REPLAY_ID, &id),
        (b"x-vsr-selected-model", target.as_bytes()),
        (b"x-vsr-selected-decision", decision.as_bytes()),
        (b"x-vsr-selected-category", category.as_bytes()),
        (b"x-vsr-selected-confidence", decided(&confidence[..])),
        (b"x-vsr-selected-reasoning", decided(reasoning)),
        (b"x-vsr-injected-system-prompt", if injected { b"true" } else { b"" }),
        (b"x-vsr-session-phase", plan.route.phase.as_str().as_bytes()),
        (b"x-vsr-context-token-count", context.format(plan.prompt_tokens.get()).as_bytes()),
    ];
    let matched = Matched::of(policy, exchange, answered.head.status());
    // A name with characters that no header may carry is left out; the flow document has it.
    let set: SmallVec<[Field<'_>; 24]> = names
        .into_iter()
        .chain(matched.iter())
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Field::new(name, value).ok())
        .collect();
    let client = ClientResponse {
        framing,
        version: connection.head.version(),
        keep_alive: *keep,
        set: &set,
        remove: &[],
    };
    write_client_response(out, answered.head.view(&answered.received), &client);
}

/// The signals that held, by family.
struct Matched {
    names: SmallVec<[(&'static str, usize); 4]>,
    values: String,
}

impl Matched {
    fn of(policy: &Policy, exchange: &Exchange, status: u16) -> Self {
        let mut matched = Self { names: SmallVec::new(), values: String::new() };
        if let (200..300, Some(decided)) = (status, &exchange.flow.decided) {
            policy.matched_headers(&decided.outcome, |name, value| {
                matched.values.push_str(value);
                matched.names.push((name, matched.values.len()));
            });
        }
        matched
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = 0;
        self.names.iter().map(move |(name, end)| {
            let value = &self.values[std::mem::replace(&mut from, *end)..*end];
            (name.as_bytes(), value.as_bytes())
        })
    }
}
