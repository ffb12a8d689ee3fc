//! One turn: evidence, decision, selection, session.

use std::borrow::Cow;

use pintle_config::Profile;
use smallvec::SmallVec;

use super::order::Match;
use super::session::{Proposal, Settled, Unsettled};
use super::{Decision, Inputs, Policy};
use crate::evidence::Unknown;
use crate::experience::user_hash;
use crate::facts::Facts;
use crate::flow;
use crate::ids::{DecisionId, SignalId, Target};
use crate::learned::{Learned, QueryReading, Reading};
use crate::outcome::{
    Answer, Hold, INLINE_ALTERNATIVES, Outcome, Refusal, Route, SessionAction, SessionCommit, Switch, Verdict,
};
use crate::selection::{self, Candidate, Query, Scores, Selector};
use crate::session::{LockKind, MissingCause, SessionTrace};
use crate::signals::{EvidenceTable, context_tokens};
use crate::trace::{DecisionResult, DecisionTrace, ScoreReason};

/// The decision that is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    pub(super) decision: DecisionId,
    pub(super) confidence: f64,
    pub(super) category: Option<SignalId>,
}

enum Requested {
    Automatic,
    Named(Target),
    Unknown,
}

impl Policy {
    /// As [`Policy::decide`], with everything that may be known but what takes a classifier.
    pub fn decide_with(&self, inputs: &Inputs<'_>) -> Outcome {
        self.decide_measured(inputs, Learned::none())
    }

    /// As [`Policy::decide_with`], with what classifiers measured of the request.
    pub fn decide_measured(&self, inputs: &Inputs<'_>, learned: &Learned) -> Outcome {
        let identified = !inputs.facts.identity.user.is_empty();
        let given = inputs.facts.identity.user;
        let query = Query {
            embedding: learned.query_embedding.given().map(Vec::as_slice),
            similarities: learned.model_similarity.given().map(Vec::as_slice),
            user: (!given.is_empty()).then(|| user_hash(given)),
        };
        self.decide_on(inputs, identified, query, |table, kb_metrics| {
            self.signals.evaluate(inputs.facts, learned, inputs.live.bytes_per_token, table);
            let metrics = self.projections.kb_metrics().iter();
            kb_metrics.extend(metrics.map(|(kb, name)| self.signals.kb_metric(kb, name, learned)));
        })
    }

    /// Decides on evidence that `evaluate` puts into a table in which everything is unknown.
    pub(super) fn decide_on(
        &self,
        inputs: &Inputs<'_>,
        identified: bool,
        query: Query<'_>,
        evaluate: impl FnOnce(&mut EvidenceTable, &mut SmallVec<[Option<f64>; 2]>),
    ) -> Outcome {
        let mut trace = DecisionTrace { identified, ..DecisionTrace::default() };
        let requested = self.requested(inputs.facts);
        let refusal = if matches!(requested, Requested::Unknown) {
            no_such_model(&inputs.facts.requested_model)
        } else if self.signals.needs_identity() && !identified {
            no_identity()
        } else {
            let mut table = self.blank.clone();
            evaluate(&mut table, &mut trace.kb_metrics);
            return self.conclude(inputs, requested, query, table, trace);
        };
        Outcome { verdict: Verdict::Refuse(refusal), trace }
    }

    fn requested(&self, facts: &Facts<'_>) -> Requested {
        let name = facts.requested_model.as_ref();
        if self.auto_names.iter().any(|auto| auto == name) {
            return Requested::Automatic;
        }
        self.requestable.get(name).map_or(Requested::Unknown, |target| Requested::Named(*target))
    }

    fn conclude(
        &self,
        inputs: &Inputs<'_>,
        requested: Requested,
        query: Query<'_>,
        mut table: EvidenceTable,
        mut trace: DecisionTrace,
    ) -> Outcome {
        trace.base.clone_from(&table);
        let demand = self.derive(&mut table, &trace.kb_metrics, None);
        trace.keep_derived(&table);
        let chosen = if self.skips_decisions(inputs.facts) { None } else { self.choose(&table, &mut trace) };
        trace.chosen = chosen.map(|chosen| chosen.decision);
        if let Some(chosen) = chosen.filter(|chosen| self.fast_response(chosen.decision).is_some()) {
            let verdict = Verdict::Answer(Answer { decision: chosen.decision });
            return Outcome { verdict, trace };
        }
        let verdict = match requested {
            Requested::Named(target) => Verdict::Route(self.explicit(inputs, target, chosen)),
            _ => match self.automatic(inputs, chosen, query, demand, &mut trace) {
                Ok(route) => Verdict::Route(route),
                Err(refusal) => Verdict::Refuse(refusal),
            },
        };
        Outcome { verdict, trace }
    }

    /// Everything that follows from base evidence alone, in place. Returns the turn's demand, if measured.
    pub(super) fn derive(
        &self,
        table: &mut EvidenceTable,
        kb_metrics: &[Option<f64>],
        mut record: Option<&mut flow::Projections>,
    ) -> Option<f64> {
        self.assume(table);
        self.projections.partition(table, &self.defs, record.as_deref_mut());
        self.signals.finish(table);
        self.projections.score(table, kb_metrics, record)
    }

    /// v0.3.0 decides nothing about a request without text.
    fn skips_decisions(&self, facts: &Facts<'_>) -> bool {
        self.profile == Profile::Compat && facts.compat_context_bytes == 0
    }

    fn choose(&self, table: &EvidenceTable, trace: &mut DecisionTrace) -> Option<Chosen> {
        trace.weighed = true;
        // Whether tiers count is known only when all have been looked at: the best is kept for either case.
        let mut best: [Option<Chosen>; 2] = [None; 2];
        let mut tiered = false;
        for (at, decision) in self.decisions.iter().enumerate() {
            let value = decision.rules.value(table, self.profile);
            if !self.matches(at, value.truth) {
                continue;
            }
            tiered |= decision.tier > 0;
            let result = DecisionResult { truth: value.truth, confidence: value.confidence };
            let found = self.view(at, &result);
            for (tiered, best) in [false, true].into_iter().zip(&mut best) {
                let before = best.map(|best| {
                    let Decision { priority, tier, name_rank, .. } = self.decisions[best.decision.index()];
                    Match { priority, tier, name_rank, confidence: best.confidence }
                });
                if before.is_none_or(|before| self.order.compare(&found, &before, tiered).is_lt()) {
                    *best = Some(Chosen {
                        decision: DecisionId(at as u16),
                        confidence: found.confidence,
                        category: value.category,
                    });
                }
            }
        }
        best[usize::from(tiered)]
    }

    fn explicit(&self, inputs: &Inputs<'_>, target: Target, chosen: Option<Chosen>) -> Route {
        Route {
            target,
            alternatives: SmallVec::new(),
            decision: chosen.map(|chosen| chosen.decision),
            category: chosen.and_then(|chosen| chosen.category),
            confidence: chosen.map_or(0.0, |chosen| chosen.confidence),
            reasoning: false,
            phase: Self::phase(inputs),
            action: SessionAction::Explicit,
            switched: self.switches(inputs, target),
            session_commit: SessionCommit {
                decision: chosen.map(|chosen| chosen.decision),
                demand: inputs.session.map_or(-1.0, |session| session.demand),
                seen: None,
            },
            reason: Cow::Borrowed("The client named the model."),
        }
    }

    fn switches(&self, inputs: &Inputs<'_>, target: Target) -> bool {
        let last = inputs.session.map_or("", |session| session.model);
        !last.is_empty() && last != self.target_name(target)
    }

    fn automatic(
        &self,
        inputs: &Inputs<'_>,
        chosen: Option<Chosen>,
        query: Query<'_>,
        demand: Option<f64>,
        trace: &mut DecisionTrace,
    ) -> Result<Route, Refusal> {
        let decision = chosen.map(|chosen| &self.decisions[chosen.decision.index()]);
        let own = decision.filter(|decision| !decision.candidates.is_empty());
        let (candidates, selector): (&[Candidate], &Selector) = match (own, &self.default) {
            (Some(own), _) => (&own.candidates, &own.selector),
            (None, Some(default)) => (&default.candidates, &default.selector),
            // A lock may still hold a model.
            (None, None) => (&[], &Selector::Static(None)),
        };
        let tokens = context_tokens(inputs.facts, self.profile, inputs.live.bytes_per_token);
        let category = chosen.and_then(|chosen| chosen.category);
        let context = selection::Context {
            candidates,
            models: &self.models,
            facts: inputs.facts,
            tokens,
            live: inputs.live,
            profile: self.profile,
            query,
            decision: decision.map_or("", |decision| &decision.name),
            category: category.map_or("", |category| self.signal_name(category)),
            now: inputs.now,
        };
        let (mut scores, choice) = selection::select(selector, &context);
        trace.query = reading(selector, &query);
        let settled = self.settle(
            inputs,
            Proposal {
                scores: &mut scores,
                choice,
                // Without a session there are no turns to come that could be worth anything.
                params: own.filter(|_| has_session(inputs)).and_then(|own| own.session.as_deref()),
                decision: decision.map_or("", |decision| &decision.name),
                category: category.map_or("", |category| self.signal_name(category)),
                demand,
                tokens,
            },
        );
        trace.candidates.clone_from(&scores);
        trace.base_choice = choice.index;
        trace.selection_confidence = choice.confidence;
        let settled = match settled {
            Ok(settled) => settled,
            Err(Unsettled::NoCandidate) if candidates.is_empty() => return Err(no_route()),
            Err(Unsettled::NoCandidate) => return Err(no_candidate(&scores)),
            Err(Unsettled::LockedModelMissing { lock, model, cause }) => {
                return Err(locked_model_missing(lock, &model, cause));
            }
        };
        Ok(self.route(inputs, chosen, candidates, &scores, settled, trace))
    }

    fn route(
        &self,
        inputs: &Inputs<'_>,
        chosen: Option<Chosen>,
        candidates: &[Candidate],
        scores: &Scores,
        settled: Settled,
        trace: &mut DecisionTrace,
    ) -> Route {
        let alternatives = if settled.action.is_hard_locked() {
            SmallVec::new()
        } else {
            alternatives(scores, settled.target, settled.trace.as_deref())
        };
        trace.session = settled.trace;
        trace.gate = settled.gate;
        Route {
            target: settled.target,
            alternatives,
            decision: chosen.map(|chosen| chosen.decision),
            category: chosen.and_then(|chosen| chosen.category),
            confidence: chosen.map_or(0.0, |chosen| chosen.confidence),
            reasoning: candidates.iter().any(|c| c.target == settled.target && c.reasoning),
            phase: Self::phase(inputs),
            action: settled.action,
            switched: self.switches(inputs, settled.target),
            session_commit: SessionCommit {
                decision: chosen.map(|chosen| chosen.decision),
                demand: settled.demand,
                seen: settled.seen,
            },
            reason: Cow::Borrowed(phrase(settled.action)),
        }
    }
}

/// What the selector read of the query, to be recorded. Most read nothing, and nothing is kept.
fn reading(selector: &Selector, query: &Query<'_>) -> Option<Box<QueryReading>> {
    fn owned<T: Clone>(read: Result<&[T], Unknown>) -> Reading<Vec<T>> {
        read.map_or_else(Reading::Missing, |values| Reading::Given(values.to_vec()))
    }
    let reading = QueryReading {
        embedding: selector.reads_embedding().then(|| owned(query.embedding)),
        similarity: selector.reads_similarity().then(|| owned(query.similarities)),
        user: query.user.filter(|_| selector.reads_experience()),
    };
    (reading != QueryReading::default()).then(|| Box::new(reading))
}

const fn has_session(inputs: &Inputs<'_>) -> bool {
    inputs.facts.session.is_some() || inputs.session.is_some()
}

/// Other candidates that may serve, best first: by the session policy's score where one ran, else by the base
/// score; equal ones as configured.
fn alternatives(
    scores: &Scores,
    target: Target,
    session: Option<&SessionTrace>,
) -> SmallVec<[Target; INLINE_ALTERNATIVES]> {
    let score = |at: usize| {
        let adjusted = session.and_then(|trace| trace.candidates.get(at)).map(|c| c.adjusted_score);
        adjusted.unwrap_or(scores[at].score)
    };
    let mut order: SmallVec<[usize; INLINE_ALTERNATIVES]> = (0..scores.len())
        .filter(|at| scores[*at].target != target && scores[*at].reason.eligible())
        // No candidate of the decision, and after a release not even up.
        .filter(|at| scores[*at].reason != ScoreReason::HeldBySession)
        .filter(|at| session.and_then(|trace| trace.candidates.get(*at)).is_none_or(|c| c.usable))
        .collect();
    order.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
    order.into_iter().map(|at| scores[at].target).collect()
}

const fn phrase(action: SessionAction) -> &'static str {
    match action {
        SessionAction::Explicit => "The client named the model.",
        SessionAction::New => "First turn of the session that is known here: the best candidate begins.",
        SessionAction::Stayed => "The session's model is also the best candidate.",
        SessionAction::Held(Hold::ToolLoop) => {
            "A tool loop is open: the model that asked for the tool gets its result."
        }
        SessionAction::Held(Hold::ProviderState) => {
            "The turn refers to state at the provider, which only the model that made it can continue."
        }
        SessionAction::Held(Hold::MinTurns) => "The session has had too few turns to change its model.",
        SessionAction::Held(Hold::Economics) => "Changing the model costs more than it gains.",
        SessionAction::Switched(Switch::Advantage) => "Another model gains more than the change costs.",
        SessionAction::Switched(Switch::Idle) => "The session was idle, so the best candidate begins anew.",
        SessionAction::Switched(Switch::Drift) => {
            "Another decision matched than on the last turn, so the best candidate begins anew."
        }
        SessionAction::Switched(Switch::NotACandidate) => {
            "The session's model is no candidate of the decision that matched."
        }
        SessionAction::Switched(Switch::Unavailable) => "The session's model cannot serve this turn.",
        SessionAction::Switched(Switch::NoPolicy) => {
            "Another candidate is best, and the decision does not weigh what a change costs."
        }
        SessionAction::Released(_) => {
            "A lock holds a model that cannot serve; the configuration releases it, so another model serves."
        }
    }
}

fn no_such_model(name: &str) -> Refusal {
    Refusal {
        status: 404,
        code: "model_not_found",
        kind: "invalid_request_error",
        message: format!("The model `{}` does not exist or you do not have access to it.", shortened(name)),
    }
}

/// Characters of a client's text that an error message repeats.
const ECHOED_CHARS: usize = 200;

fn shortened(name: &str) -> &str {
    name.char_indices().nth(ECHOED_CHARS).map_or(name, |(end, _)| &name[..end])
}

fn no_identity() -> Refusal {
    Refusal {
        status: 403,
        code: "identity_required",
        kind: "permission_error",
        message: "This gateway routes by role, and the request carries no trusted user identity.".into(),
    }
}

fn no_route() -> Refusal {
    Refusal {
        status: 503,
        code: "no_route",
        kind: "server_error",
        message: "No decision chose a model for this request, and no default model is configured.".into(),
    }
}

fn no_candidate(scores: &Scores) -> Refusal {
    let bounded = scores.iter().any(|s| matches!(s.reason, ScoreReason::Slo(_)));
    let message = if bounded {
        "No model meets the configured service level bounds at the moment."
    } else {
        "None of the models that could serve this request is available at the moment."
    };
    Refusal { status: 503, code: "no_model_available", kind: "server_error", message: message.into() }
}

fn locked_model_missing(lock: LockKind, model: &str, cause: MissingCause) -> Refusal {
    let holds = match lock {
        LockKind::ToolLoop => "continues a tool loop",
        LockKind::ProviderState => "refers to provider-managed state",
        LockKind::MinTurns => "belongs to a session",
    };
    let missing = match cause {
        MissingCause::NotACandidate => "is no longer configured",
        MissingCause::Unavailable => "is not available at the moment",
    };
    Refusal {
        status: 409,
        code: "session_model_unavailable",
        kind: "conflict_error",
        message: format!("This turn {holds} of the model `{model}`, which {missing}."),
    }
}
