//! The head of an answer that is passed on: the backend's own, with what was decided.

use std::io::Write;

use pintle_routing::ids::Target;
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
    let mut told = Told::of(policy, exchange, plan, answered.target, answered.head.status());
    let mut set = told.fields();
    set.extend(Field::new(REPLAY_ID, &id));
    let client = ClientResponse {
        framing,
        version: connection.head.version(),
        keep_alive: *keep,
        set: &set,
        remove: &[],
    };
    write_client_response(out, answered.head.view(&answered.received), &client);
}

/// What was decided, as the client is told it.
pub(crate) struct Told<'a> {
    policy: &'a Policy,
    plan: &'a Plan,
    target: Target,
    matched: Matched,
    confidence: [u8; 6],
    context: itoa::Buffer,
}

impl<'a> Told<'a> {
    /// Of an answer of this status by `target`.
    pub(crate) fn of(
        policy: &'a Policy,
        exchange: &Exchange,
        plan: &'a Plan,
        target: Target,
        status: u16,
    ) -> Self {
        let mut confidence = [0; 6];
        // Six bytes hold any number in [0,1] with four decimals.
        let _ = write!(&mut confidence[..], "{:.4}", plan.route.confidence.clamp(0.0, 1.0));
        let matched = Matched::of(policy, exchange, status);
        Self { policy, plan, target, matched, confidence, context: itoa::Buffer::new() }
    }

    /// The header fields, [`REPLAY_ID`] not among them.
    pub(crate) fn fields(&mut self) -> SmallVec<[Field<'_>; 24]> {
        let Self { policy, plan, target, matched, confidence, context } = self;
        let route = &plan.route;
        let decision = route.decision.map_or("", |id| policy.decision_name(id));
        let category = route.category.map_or("", |id| policy.signal_name(id));
        let injected = route.decision.is_some_and(|id| policy.edits(id).system_prompt.is_some());
        let reasoning: &[u8] = if route.reasoning { b"on" } else { b"off" };
        let decided = |value| if decision.is_empty() { &[][..] } else { value };
        let names: [(&[u8], &[u8]); 8] = [
            (b"x-vsr-selected-model", policy.target_name(*target).as_bytes()),
            (b"x-vsr-selected-decision", decision.as_bytes()),
            (b"x-vsr-selected-category", category.as_bytes()),
            (b"x-vsr-selected-confidence", decided(&confidence[..])),
            (b"x-vsr-selected-reasoning", decided(reasoning)),
            (b"x-vsr-injected-system-prompt", if injected { b"true" } else { b"" }),
            (b"x-vsr-session-phase", route.phase.as_str().as_bytes()),
            (b"x-vsr-context-token-count", context.format(plan.prompt_tokens.get()).as_bytes()),
        ];
        // A name with characters that no header may carry is left out; the flow document has it.
        names
            .into_iter()
            .chain(matched.iter())
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Field::new(name, value).ok())
            .collect()
    }
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
