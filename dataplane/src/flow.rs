//! One request's flow, gathered on the worker and written out elsewhere.
//!
//! A worker keeps indexes and numbers and hands them over when the request ends. The names, sentences and
//! trees of the flow document are made from them on the control thread ([`FinishedFlow::into_document`]), so that
//! explaining a request costs the data path next to nothing.

use std::sync::Arc;

use pintle_routing::facts::Dialect;
use pintle_routing::flow::recorded::{RecordedFacts, RecordedSession};
use pintle_routing::flow::{Attempt, Ending, Fault, FlowDocument, Looped, Request, Timings, Usage};
use pintle_routing::flow_id::FlowId;
use pintle_routing::live::LiveSignals;
use pintle_routing::outcome::Outcome;
use pintle_routing::policy::{Inputs, Record};
use pintle_routing::session::economics::Foresight;
use pintle_routing::units::{UnixMillis, Usd};
use smallvec::SmallVec;

use crate::shared::Generation;

/// What was decided, and from what.
pub struct Decided {
    /// The facts, without the texts unless the operator keeps them.
    pub facts: RecordedFacts,
    /// The session as it was.
    pub session: Option<RecordedSession>,
    /// The target that made the state which the request refers to.
    pub provider_owner: Option<String>,
    /// The clock that `decide` was given.
    pub now: UnixMillis,
    /// Live state that `decide` was given.
    pub live: LiveSignals,
    /// What habits expected.
    pub foresight: Option<Foresight>,
    /// The conclusion.
    pub outcome: Outcome,
}

/// A request that has ended.
pub struct FinishedFlow {
    /// The configuration under which it was served.
    pub generation: Arc<Generation>,
    /// Its name.
    pub id: FlowId,
    /// When its head had been read.
    pub at: UnixMillis,
    /// The worker that served it.
    pub worker: u16,
    /// As it came.
    pub request: Request,
    /// What was decided; `None` for requests that are not routed.
    pub decided: Option<Decided>,
    /// Calls to backends.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// How several models were asked, if they were.
    pub looper: Option<Box<Looped>>,
    /// Tokens.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: Option<Usd>,
    /// How long it took.
    pub timings: Timings,
    /// How it ended.
    pub ending: Ending,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl FinishedFlow {
    /// A flow that has just begun.
    pub fn begin(generation: Arc<Generation>, id: FlowId, at: UnixMillis, worker: u16) -> Box<Self> {
        Box::new(Self {
            generation,
            id,
            at,
            worker,
            request: Request::default(),
            decided: None,
            attempts: SmallVec::new(),
            looper: None,
            usage: None,
            cost: None,
            timings: Timings::default(),
            // What is true if the worker loses the request without a word.
            ending: Ending { status: 0, fault: Fault::Pintle, ..Ending::default() },
            failure: None,
        })
    }

    /// The client's dialect, as far as it is known.
    pub fn dialect(&self) -> Dialect {
        self.request.dialect.unwrap_or(Dialect::OpenAiChat)
    }

    /// Writes the whole document.
    pub fn into_document(self) -> FlowDocument {
        let policy = &self.generation.policy;
        let mut document = FlowDocument::default();
        if let Some(decided) = &self.decided {
            let facts = decided.facts.facts();
            let session = decided.session.as_ref().map(RecordedSession::snapshot);
            let inputs = Inputs {
                facts: &facts,
                session: session.as_ref(),
                provider_owner: decided.provider_owner.as_deref(),
                now: decided.now,
                live: &decided.live,
                foresight: decided.foresight.as_ref(),
            };
            let record = if decided.facts.private.is_some() { Record::Everything } else { Record::Evidence };
            policy.describe(&inputs, &decided.outcome, record, &mut document);
        }
        document.id = self.id.to_string();
        document.at = self.at;
        document.worker = self.worker;
        document.policy_digest = policy.digest_hex();
        document.request = self.request;
        document.upstream = self.attempts.into_vec();
        document.looper = self.looper;
        document.usage = self.usage;
        document.cost_usd = self.cost;
        document.timings = self.timings;
        document.outcome = self.ending;
        document.outcome.error.clone_from(&self.failure);
        if let Some(failure) = self.failure
            && document.verdict.reason.is_empty()
        {
            document.verdict.reason = failure;
        }
        document
    }
}
