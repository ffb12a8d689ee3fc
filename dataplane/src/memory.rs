//! What session memory says about a turn before it is decided, and what the turn leaves there.
//!
//! Everything between the store and a decision, without sockets and without a clock, so that a simulator can
//! drive it step by step.
//!
//! # What holds a tool call to its model
//!
//! Each tool call of an answer is pinned by its id. The session's record alone would not do: a side request
//! of the same session (a title, a summary) can end between a tool call and its result and leave another
//! model behind.

use std::borrow::Cow;

use pintle_routing::facts::{Facts, ProviderState, SessionIdentity, SessionSnapshot, SessionSource};
use pintle_routing::session::economics::{Foresight, Habits, Kind, Seen, Track};
use pintle_routing::session::{ProviderStateRef, SessionPhase, lock};
use pintle_routing::units::{Tokens, UnixMillis};
use pintle_sessions::{NameId, Pin, Record, Store};

use crate::extract::without_prefill;
use crate::json::{PartKind, Role, Spans};

/// What is known of a turn's session.
#[derive(Debug, Clone, Copy)]
pub struct Recalled<'a> {
    /// The session's record.
    pub before: Option<Record>,
    /// The session as routing reads it; a pinned tool call outranks the record's model.
    pub snapshot: Option<SessionSnapshot<'a>>,
    /// The target that made the response which the request refers to.
    pub provider_owner: Option<&'a str>,
    /// The backend that keeps that response.
    pub provider_backend: Option<NameId>,
}

/// Reads what memory knows of a turn. A response id that is on record leads to the session and the model that
/// it belongs to, so this may replace the session in `facts`.
pub fn recall<'a>(
    store: &'a Store,
    facts: &mut Facts<'_>,
    tenant: &[u8],
    body: &str,
    spans: &Spans,
    now: UnixMillis,
) -> Recalled<'a> {
    let response = match &facts.provider_state {
        Some(ProviderState::PreviousResponse(id)) => {
            store.pinned(store.response_key(tenant, id.as_bytes()), now.get())
        }
        _ => None,
    };
    if let (Some(pin), Some(session)) = (response, &mut facts.session)
        && session.source == SessionSource::PreviousResponseId
    {
        session.key = pin.session.into();
    }
    let before = facts.session.and_then(|session| store.get(session.key, now.get()));
    let mut snapshot = before.as_ref().map(|record| snapshot(store, record, now));
    if let Some(session) = facts.session
        && let Some(owner) = tool_call_owner(store, session, body, spans, now)
    {
        let known = snapshot.unwrap_or_else(|| unknown_session(now));
        snapshot = Some(SessionSnapshot { model: owner, open_tool_loop: true, ..known });
    }
    let provider_owner = response.and_then(|pin| name(store, pin.model));
    let provider_backend = response.map(|pin| pin.backend).filter(|backend| *backend != NameId::NONE);
    Recalled { before, snapshot, provider_owner, provider_backend }
}

fn name(store: &Store, id: NameId) -> Option<&str> {
    store.name(id).filter(|name| !name.is_empty())
}

/// A record as routing reads it.
fn snapshot<'a>(store: &'a Store, record: &Record, now: UnixMillis) -> SessionSnapshot<'a> {
    SessionSnapshot {
        model: store.name(record.model).unwrap_or_default(),
        decision: store.name(record.decision).unwrap_or_default(),
        turns: record.turns,
        switches: record.switches,
        turns_on_model: record.turns_on_model,
        last_seen: UnixMillis(record.last_seen_ms),
        open_tool_loop: record.is_in_tool_loop(now.get()),
        provider_state: record.has_provider_state(now.get()),
        last_prompt_tokens: Tokens(record.last_prompt_tokens.into()),
        last_cached_tokens: record.last_cached().map(|tokens| Tokens(tokens.into())),
        last_completion_tokens: Tokens(record.last_completion_tokens.into()),
        prompt_tokens: Tokens(record.prompt_tokens),
        cached_tokens: Tokens(record.cached_tokens),
        completion_tokens: Tokens(record.completion_tokens),
        demand: record.demand,
    }
}

/// A session of which nothing is left but a pinned tool call.
fn unknown_session(now: UnixMillis) -> SessionSnapshot<'static> {
    SessionSnapshot {
        model: "",
        decision: "",
        turns: 1,
        switches: 0,
        turns_on_model: 1,
        last_seen: now,
        open_tool_loop: true,
        provider_state: false,
        last_prompt_tokens: Tokens(0),
        last_cached_tokens: None,
        last_completion_tokens: Tokens(0),
        prompt_tokens: Tokens(0),
        cached_tokens: Tokens(0),
        completion_tokens: Tokens(0),
        demand: -1.0,
    }
}

/// The target that made the call which the request's newest unread tool result answers.
fn tool_call_owner<'a>(
    store: &'a Store,
    session: SessionIdentity,
    body: &str,
    spans: &Spans,
    now: UnixMillis,
) -> Option<&'a str> {
    let call = newest_unread_result(body, spans)?;
    let pin = store.pinned(tool_call_key(store, session, call.as_bytes()), now.get())?;
    name(store, pin.model)
}

/// The call of the last tool result behind the last assistant message, a prefill aside: no model has answered to it
/// yet, whoever else has spoken since.
fn newest_unread_result<'a>(body: &'a str, spans: &Spans) -> Option<Cow<'a, str>> {
    let unread = without_prefill(spans).iter().rev().take_while(|message| message.role != Role::Assistant);
    let mut parts = unread.flat_map(|message| spans.parts_of(message.parts).iter().rev());
    Some(parts.find(|part| part.kind == PartKind::ToolResult)?.string?.decode(body))
}

/// The address of the pin of one tool call.
fn tool_call_key(store: &Store, session: SessionIdentity, call_id: &[u8]) -> u128 {
    // Ids are only unique within a conversation for some backends, so the session is part of the address.
    store.response_key(&session.key.to_le_bytes(), call_id)
}

/// What habits expect after a turn that is about to be decided; `None` without a session.
pub fn foresee(habits: &Habits, facts: &Facts<'_>, before: Option<&Record>) -> Option<Foresight> {
    facts.session?;
    let state = facts.provider_state.as_ref().map(|_| ProviderStateRef { owner: None });
    let phase = lock::phase(&facts.tools, state.as_ref());
    let lock = (phase != SessionPhase::UserTurn).then(|| Kind::of(phase, false));
    let before = before.copied().unwrap_or_default();
    Some(habits.foresee(before.policy.into(), before.turns, lock, before.decision != NameId::NONE))
}

/// What an answer says that memory keeps.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// The answer's id; empty if the backend gave none.
    pub id: &'a str,
    /// It asks the client to run tools.
    pub tool_calls: bool,
    /// Ids of those calls.
    pub tool_call_ids: &'a [String],
    /// As the backend reported them.
    pub prompt_tokens: Option<u64>,
    /// As the backend reported them.
    pub cached_tokens: Option<u64>,
    /// Reported or estimated.
    pub completion_tokens: u64,
}

/// One served turn, as it goes into memory.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// The session after [`recall`].
    pub session: SessionIdentity,
    /// The tenant, if the request refers to state at a provider.
    pub stateful_tenant: Option<&'a [u8]>,
    /// The tenant, if the provider keeps the answer, so that a later request may refer to it.
    pub kept_tenant: Option<&'a [u8]>,
    /// Who served it.
    pub model: NameId,
    /// Which decision chose it.
    pub decision: NameId,
    /// Where it was served.
    pub backend: NameId,
    /// For where the backend does not report the prompt.
    pub estimated_prompt: Tokens,
    /// Smoothed demand, from the decision.
    pub demand: f32,
    /// What the turn was, from the decision; adds to the session's track.
    pub seen: Option<Seen>,
    /// For how long an open tool loop holds its model, in milliseconds.
    pub tool_loop_ttl_ms: u64,
    /// For how long state at a provider holds its model, in milliseconds.
    pub provider_state_ttl_ms: u64,
}

/// A turn in memory, to be amended when its usage comes.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    sequence: u32,
    /// A session that was forgotten and begun again counts from one again; the time tells them apart.
    at_ms: u64,
    base: Record,
}

impl Served<'_> {
    /// Replaces the session's record. `None` if there is no room for it.
    pub fn commit(&self, store: &Store, heard: &Heard<'_>, now: UnixMillis) -> Option<Committed> {
        let mut committed = None;
        let outcome = store.commit(
            self.session.key,
            |stored| {
                let base = stored.copied().unwrap_or_default();
                let sequence = base.turn_sequence.wrapping_add(1);
                committed = Some(Committed { sequence, at_ms: now.get(), base });
                Some(self.record(&base, heard, now.get(), sequence))
            },
            now.get(),
        );
        committed.filter(|_| outcome.is_remembered())
    }

    /// Pins what a later request may refer to: tool calls, and the response where responses are state.
    pub fn pin(&self, store: &Store, heard: &Heard<'_>, now: UnixMillis) {
        let now = now.get();
        let until = |ttl_ms: u64| Pin {
            session: self.session.key.into(),
            created_ms: now,
            expires_ms: now + ttl_ms,
            model: self.model,
            backend: self.backend,
        };
        if let Some(tenant) = self.kept_tenant
            && !heard.id.is_empty()
        {
            let key = store.response_key(tenant, heard.id.as_bytes());
            store.pin_response(key, &until(self.provider_state_ttl_ms), now);
        }
        for call in heard.tool_call_ids {
            let pin = until(self.tool_loop_ttl_ms);
            store.pin_response(tool_call_key(store, self.session, call.as_bytes()), &pin, now);
        }
    }

    /// Adds to the record what came after [`Served::commit`], unless another turn has been stored since.
    pub fn amend(&self, store: &Store, committed: Committed, heard: &Heard<'_>, now: UnixMillis) {
        store.commit(
            self.session.key,
            |stored| match stored {
                Some(stored)
                    if (stored.turn_sequence, stored.last_seen_ms)
                        != (committed.sequence, committed.at_ms) =>
                {
                    None
                }
                _ => Some(self.record(&committed.base, heard, now.get(), committed.sequence)),
            },
            now.get(),
        );
    }

    fn record(&self, base: &Record, heard: &Heard<'_>, now: u64, sequence: u32) -> Record {
        let known = base.turns > 0;
        let moved = known && base.model != self.model;
        let prompt = heard.prompt_tokens.unwrap_or(self.estimated_prompt.get());
        let stateful = self.stateful_tenant.is_some();
        let mut flags = 0;
        if heard.tool_calls {
            flags |= Record::OPEN_TOOL_LOOP;
        }
        if stateful || base.has_provider_state(now) {
            flags |= Record::PROVIDER_STATE;
        }
        let provider_state_until_ms =
            if stateful { now + self.provider_state_ttl_ms } else { base.provider_state_until_ms };
        Record {
            last_seen_ms: now,
            tool_loop_until_ms: if heard.tool_calls { now + self.tool_loop_ttl_ms } else { 0 },
            provider_state_until_ms,
            prompt_tokens: base.prompt_tokens + prompt,
            cached_tokens: base.cached_tokens + heard.cached_tokens.unwrap_or(0),
            completion_tokens: base.completion_tokens + heard.completion_tokens,
            model: self.model,
            decision: self.decision,
            backend: self.backend,
            turns: base.turns.saturating_add(1),
            switches: base.switches.saturating_add(moved.into()),
            turns_on_model: if moved { 1 } else { base.turns_on_model.saturating_add(1) },
            last_prompt_tokens: saturate(prompt),
            last_cached_tokens: heard.cached_tokens.map_or(Record::UNREPORTED, saturate),
            last_completion_tokens: saturate(heard.completion_tokens),
            turn_sequence: sequence,
            flags,
            demand: self.demand,
            policy: self.seen.map_or(base.policy, |seen| Track::from(base.policy).push(seen).into()),
        }
    }
}

/// Never [`Record::UNREPORTED`], which has a meaning of its own.
fn saturate(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX).min(Record::UNREPORTED - 1)
}
