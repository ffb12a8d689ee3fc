//! What the router has been told, kept a second time and in the simplest way, and what follows from it.

use std::collections::HashMap;

use super::client::Request;
use super::setup::MODELS;

pub(super) const SESSION_TTL_MS: u64 = 86_400_000;
pub(super) const TOOL_LOOP_TTL_MS: u64 = 3_600_000;
pub(super) const PROVIDER_STATE_TTL_MS: u64 = 2_592_000_000;

/// A session after its last remembered turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) model: usize,
    pub(super) turns: u32,
    /// Which turn this is, to tell whether an amendment still belongs to it.
    pub(super) turn: u64,
    seen: u64,
    tool_loop_until: u64,
    provider_state_until: u64,
}

impl Known {
    pub(super) const fn is_locked(&self, now: u64) -> bool {
        now < self.tool_loop_until || now < self.provider_state_until
    }
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    model: usize,
    until: u64,
}

/// The model that a request must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) model: usize,
    pub(super) tool_loop: bool,
    pub(super) provider_state: bool,
}

/// A turn that was served.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) key: u128,
    pub(super) number: u64,
    pub(super) model: usize,
    pub(super) stateful: bool,
    pub(super) answer: String,
    pub(super) calls: Vec<String>,
}

/// Everything that the router was told.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    sessions: HashMap<u128, Known>,
    calls: HashMap<(u128, String), Owner>,
    responses: HashMap<String, Owner>,
}

/// What is still in the router's bounded memory of what it was told.
pub(super) struct Presence<'a> {
    pub(super) session: bool,
    pub(super) call: &'a dyn Fn(&str) -> bool,
    pub(super) response: &'a dyn Fn(&str) -> bool,
}

impl Oracle {
    /// The session, if its time is not over.
    pub(super) fn session(&self, key: u128, now: u64) -> Option<Known> {
        let known = self.sessions.get(&key)?;
        let over = now.saturating_sub(known.seen) > SESSION_TTL_MS && !known.is_locked(now);
        (!over).then_some(*known)
    }

    pub(super) fn forget(&mut self, key: u128) {
        self.sessions.remove(&key);
    }

    /// A turn went into memory, on top of `before`.
    pub(super) fn remember(&mut self, turn: &Turn, before: Option<Known>, now: u64) {
        let provider_state_until = match before {
            _ if turn.stateful => now + PROVIDER_STATE_TTL_MS,
            Some(before) if now < before.provider_state_until => before.provider_state_until,
            _ => 0,
        };
        let known = Known {
            model: turn.model,
            turns: before.map_or(0, |before| before.turns) + 1,
            turn: turn.number,
            seen: now,
            tool_loop_until: if turn.calls.is_empty() { 0 } else { now + TOOL_LOOP_TTL_MS },
            provider_state_until,
        };
        self.sessions.insert(turn.key, known);
    }

    /// Usage of a turn came late.
    pub(super) fn amend(&mut self, turn: &Turn, before: Option<Known>, now: u64) {
        if self.session(turn.key, now).is_none_or(|known| known.turn == turn.number) {
            self.remember(turn, before, now);
        }
    }

    /// A turn's calls and its answer can be referred to.
    pub(super) fn pin(&mut self, turn: &Turn, now: u64) {
        for call in &turn.calls {
            let owner = Owner { model: turn.model, until: now + TOOL_LOOP_TTL_MS };
            self.calls.insert((turn.key, call.clone()), owner);
        }
        if turn.stateful {
            let owner = Owner { model: turn.model, until: now + PROVIDER_STATE_TTL_MS };
            self.responses.insert(turn.answer.clone(), owner);
        }
    }

    /// The model that must serve a request; `None` if any may, or the router cannot know.
    pub(super) fn due(&self, request: &Request, key: u128, presence: &Presence<'_>, now: u64) -> Option<Due> {
        let alive = |owner: &&Owner| now < owner.until;
        let result = request.unread_result();
        let call = result.filter(|id| (presence.call)(id));
        let asker = call.and_then(|id| self.calls.get(&(key, id.to_owned()))).filter(alive);
        let previous = request.previous.as_deref();
        let response = previous.filter(|id| (presence.response)(id));
        let maker = response.and_then(|id| self.responses.get(id)).filter(alive);
        let session = self.session(key, now).filter(|_| presence.session).map(|known| known.model);
        let (asker, maker) = (asker.map(|owner| owner.model), maker.map(|owner| owner.model));
        let model = match (asker, maker) {
            // Nobody can serve both.
            (Some(asker), Some(maker)) if asker != maker => return None,
            (Some(model), _) | (None, Some(model)) => model,
            (None, None) if result.is_some() || previous.is_some() => session?,
            (None, None) => return None,
        };
        Some(Due { model, tool_loop: result.is_some(), provider_state: previous.is_some() })
    }
}

/// The number of a model by its name.
pub(super) fn model(name: &str) -> usize {
    MODELS.iter().position(|model| *model == name).expect("a model of the simulation")
}
