//! What a turn leaves in session memory, and when.
//!
//! # When
//!
//! After the backend has answered with success and before the client has seen the end of that answer: a client
//! that acts on the answer at once, on another connection and another worker, meets the new record. In a
//! stream the finish reason is that moment; usage often follows it and is added to the same turn.

use std::cell::RefCell;

use pintle_routing::ids::Target;
use pintle_routing::session::economics::Habits;
use pintle_sessions::{NameId, Store};

pub(crate) use crate::memory::Committed;
use crate::memory::Served;
use crate::observe::Seen;
use crate::shared::{Generation, now};
use crate::turn::Plan;
use crate::worker::Worker;

/// The turn's trace in session memory.
pub(crate) struct Commit<'a> {
    store: &'a Store,
    habits: &'a RefCell<Habits>,
    generation: &'a Generation,
    plan: &'a Plan,
    target: Target,
    /// Position among the model's backends.
    backend: usize,
}

impl<'a> Commit<'a> {
    /// Of a turn that the backend at this position among the target's has answered.
    pub(crate) fn of(
        worker: &'a Worker,
        generation: &'a Generation,
        plan: &'a Plan,
        (target, backend): (Target, usize),
    ) -> Self {
        Self { store: &worker.shared.store, habits: &worker.habits, generation, plan, target, backend }
    }

    /// Stores the turn. `None` if there is no session, or no room for it.
    pub(crate) fn store(&self, seen: &Seen) -> Option<Committed> {
        let (served, heard, now) = (self.served()?, seen.heard(), now());
        let committed = served.commit(self.store, &heard, now);
        served.pin(self.store, &heard, now);
        self.learn();
        if committed.is_none() {
            self.generation.meters.not_stored.increment(1);
        }
        committed
    }

    /// Pins the tool calls of an answer that is part of the turn without being the one that is remembered.
    pub(crate) fn pin(&self, seen: &Seen) {
        if let Some(served) = self.served() {
            served.pin(self.store, &seen.heard(), now());
        }
    }

    /// Adds what came after [`Commit::store`], unless another turn has been stored since.
    pub(crate) fn amend(&self, committed: Committed, seen: &Seen) {
        let Some(served) = self.served() else { return };
        let (heard, now) = (seen.heard(), now());
        served.pin(self.store, &heard, now);
        served.amend(self.store, committed, &heard, now);
    }

    /// What arrived before this turn and what it was: who served it plays no part.
    fn learn(&self) {
        let Some(seen) = self.plan.route.session_commit.seen else { return };
        if self.generation.policy.learns_habits() {
            let before = self.plan.before.unwrap_or_default();
            self.habits.borrow_mut().learn(before.policy.into(), before.turns, seen);
        }
    }

    fn served(&self) -> Option<Served<'_>> {
        let Generation { names, settings, .. } = self.generation;
        let remembered = self.plan.route.session_commit;
        Some(Served {
            session: self.plan.session?,
            stateful_tenant: self.plan.tenant.as_deref().filter(|_| self.plan.stateful),
            kept_tenant: self.plan.tenant.as_deref(),
            model: names.target(self.target),
            decision: remembered.decision.map_or(NameId::NONE, |decision| names.decision(decision)),
            backend: names.backend(self.target.model, self.backend),
            estimated_prompt: self.plan.prompt_tokens,
            demand: remembered.demand,
            seen: remembered.seen,
            tool_loop_ttl_ms: settings.session.tool_loop_ttl_ms,
            provider_state_ttl_ms: settings.session.provider_state_ttl_ms,
        })
    }
}
