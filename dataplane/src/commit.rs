//! What a turn leaves in session memory, and when.
//!
//! # When
//!
//! After the backend has answered with success and before the client has seen the end of that answer: a client
//! that acts on the answer at once, on another connection and another worker, meets the new record. In a
//! stream the finish reason is that moment; usage often follows it and is added to the same turn.
//!
//! # What holds a tool call to its model
//!
//! Each tool call of an answer is pinned by its id. The session's record alone would not do: a side request
//! of the same session (a title, a summary) can end between a tool call and its result and leave another
//! model behind.

use pintle_routing::facts::SessionIdentity;
use pintle_routing::ids::Target;
use pintle_sessions::{NameId, Pin, Record, Store};

use crate::observe::Seen;
use crate::shared::{Generation, now};
use crate::turn::Plan;

/// The turn's trace in session memory.
pub(crate) struct Commit<'a> {
    pub(crate) store: &'a Store,
    pub(crate) generation: &'a Generation,
    pub(crate) plan: &'a Plan,
    pub(crate) target: Target,
    /// Position among the model's backends.
    pub(crate) backend: usize,
}

/// A committed turn, to be amended when its usage comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committed {
    sequence: u32,
    base: Record,
}

/// The address of the pin of one tool call.
pub(crate) fn tool_call_key(store: &Store, session: SessionIdentity, call_id: &[u8]) -> u128 {
    // Ids are only unique within a conversation for some backends, so the session is part of the address.
    store.response_key(&session.key.to_le_bytes(), call_id)
}

impl Commit<'_> {
    /// Stores the turn. `None` if there is no session, or no room for it.
    pub(crate) fn store(&self, seen: &Seen) -> Option<Committed> {
        let session = self.plan.session?;
        let names = self.names();
        let now = now().get();
        let mut committed = None;
        let outcome = self.store.commit(
            session.key,
            |stored| {
                let base = stored.copied().unwrap_or_default();
                let sequence = base.turn_sequence.wrapping_add(1);
                committed = Some(Committed { sequence, base });
                Some(self.record(&base, names, seen, now, sequence))
            },
            now,
        );
        self.pin(session, names, seen, now);
        if !outcome.is_remembered() {
            self.generation.meters.not_stored.increment(1);
            return None;
        }
        committed
    }

    /// Pins what a later request may refer to: tool calls, and the response where responses are state.
    fn pin(&self, session: SessionIdentity, names: (NameId, NameId, NameId), seen: &Seen, now: u64) {
        let until = |ttl_ms: u64| Pin {
            session: session.key.into(),
            created_ms: now,
            expires_ms: now + ttl_ms,
            model: names.0,
            backend: names.2,
        };
        let ttl = &self.generation.settings.session;
        if let Some(tenant) = &self.plan.tenant
            && !seen.id().is_empty()
        {
            let key = self.store.response_key(tenant, seen.id().as_bytes());
            self.store.pin_response(key, &until(ttl.provider_state_ttl_ms), now);
        }
        for call in seen.tool_call_ids() {
            let pin = until(ttl.tool_loop_ttl_ms);
            self.store.pin_response(tool_call_key(self.store, session, call.as_bytes()), &pin, now);
        }
    }

    /// Adds what came after [`Commit::store`], unless another turn has been stored since.
    pub(crate) fn amend(&self, committed: Committed, seen: &Seen) {
        let Some(session) = self.plan.session else { return };
        let names = self.names();
        let now = now().get();
        self.pin(session, names, seen, now);
        self.store.commit(
            session.key,
            |stored| match stored {
                Some(stored) if stored.turn_sequence != committed.sequence => None,
                _ => Some(self.record(&committed.base, names, seen, now, committed.sequence)),
            },
            now,
        );
    }

    fn names(&self) -> (NameId, NameId, NameId) {
        let names = &self.generation.names;
        let decision = self.plan.route.session_commit.decision;
        (
            names.target(self.target),
            decision.map_or(NameId::NONE, |decision| names.decision(decision)),
            names.backend(self.target.model, self.backend),
        )
    }

    fn record(
        &self,
        base: &Record,
        (model, decision, backend): (NameId, NameId, NameId),
        seen: &Seen,
        now: u64,
        sequence: u32,
    ) -> Record {
        let session = &self.generation.settings.session;
        let known = base.turns > 0;
        let moved = known && base.model != model;
        let prompt = seen.prompt_tokens().unwrap_or(self.plan.prompt_tokens.get());
        let completion = seen.completion_tokens();
        let mut flags = 0;
        if seen.tool_calls() {
            flags |= Record::OPEN_TOOL_LOOP;
        }
        if self.plan.tenant.is_some() || base.has_provider_state(now) {
            flags |= Record::PROVIDER_STATE;
        }
        let provider_state_until_ms = if self.plan.tenant.is_some() {
            now + session.provider_state_ttl_ms
        } else {
            base.provider_state_until_ms
        };
        Record {
            last_seen_ms: now,
            tool_loop_until_ms: if seen.tool_calls() { now + session.tool_loop_ttl_ms } else { 0 },
            provider_state_until_ms,
            prompt_tokens: base.prompt_tokens + prompt,
            cached_tokens: base.cached_tokens + seen.cached_tokens().unwrap_or(0),
            completion_tokens: base.completion_tokens + completion,
            model,
            decision,
            backend,
            turns: base.turns.saturating_add(1),
            switches: base.switches.saturating_add(moved.into()),
            turns_on_model: if moved { 1 } else { base.turns_on_model.saturating_add(1) },
            last_prompt_tokens: saturate(prompt),
            last_cached_tokens: seen.cached_tokens().map_or(Record::UNREPORTED, saturate),
            last_completion_tokens: saturate(completion),
            turn_sequence: sequence,
            flags,
            demand: self.plan.route.session_commit.demand,
            policy: base.policy,
        }
    }
}

/// Never [`Record::UNREPORTED`], which has a meaning of its own.
fn saturate(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX).min(Record::UNREPORTED - 1)
}
