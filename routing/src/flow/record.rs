//! A request that has ended, in numbers: what is kept of it until somebody wants its document.
//!
//! A record and the [`Legend`] of the policy that decided make a [`FlowDocument`]. Fields may be added to anything in
//! a record, with a default: a reader passes over those that it does not know, and readers of older records find the
//! default.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::recorded::{RecordedFacts, RecordedSession};
use super::{Attempt, Ending, Fault, FlowDocument, Looped, Projections, Request, Timings, Usage};
use crate::experience::Experience;
use crate::facts::Dialect;
use crate::flow_id::FlowId;
use crate::live::LiveExcerpt;
use crate::outcome::Outcome;
use crate::policy::{Explained, Inputs, Legend, Mismatch, Policy, Record};
use crate::session::economics::Foresight;
use crate::units::{UnixMillis, Usd};

/// What was decided, and from what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The facts, without the texts unless the operator keeps them.
    pub facts: RecordedFacts,
    /// The session as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<RecordedSession>,
    /// The target that made the state which the request refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_owner: Option<String>,
    /// The clock that `decide` was given.
    pub now: UnixMillis,
    /// Live state that `decide` was given.
    pub live: LiveExcerpt,
    /// What habits expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foresight: Option<Foresight>,
    /// The conclusion.
    pub outcome: Outcome,
    /// Everything that feedback had taught by then; never written.
    #[serde(skip)]
    pub taught: Arc<Experience>,
    /// Of that, what was read. Empty until [`FlowRecord::complete`].
    #[serde(default, skip_serializing_if = "Experience::is_empty")]
    pub experience: Experience,
    /// What projections made of the signals. Empty until [`FlowRecord::complete`].
    #[serde(default, skip_serializing_if = "Projections::is_empty")]
    pub projections: Projections,
}

/// A request that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Its name. Stands beside the record where that is written.
    #[serde(skip)]
    pub id: FlowId,
    /// When its head had been read.
    pub at: UnixMillis,
    /// The worker that served it.
    pub worker: u16,
    /// As it came.
    pub request: Request,
    /// What was decided; `None` for requests that are not routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// Calls to backends.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub attempts: SmallVec<[Attempt; 1]>,
    /// How several models were asked, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looper: Option<Box<Looped>>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
    /// How long it took.
    pub timings: Timings,
    /// How it ended.
    pub ending: Ending,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Decided {
    /// What `inputs` led to. Texts and identity are kept with `keep_private` only.
    pub fn of(inputs: &Inputs<'_>, outcome: Outcome, keep_private: bool) -> Self {
        Self {
            facts: RecordedFacts::of(inputs.facts, keep_private),
            session: inputs.session.map(RecordedSession::from),
            provider_owner: inputs.provider_owner.map(str::to_owned),
            now: inputs.now,
            live: LiveExcerpt::from(inputs.live),
            foresight: inputs.foresight.copied(),
            outcome,
            taught: Arc::clone(&inputs.live.experience),
            experience: Experience::default(),
            projections: Projections::default(),
        }
    }

    fn with_inputs<T>(&self, work: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let facts = self.facts.facts();
        let session = self.session.as_ref().map(RecordedSession::snapshot);
        let live = self.live.signals(&self.taught);
        work(&Inputs {
            facts: &facts,
            session: session.as_ref(),
            provider_owner: self.provider_owner.as_deref(),
            now: self.now,
            live: &live,
            foresight: self.foresight.as_ref(),
        })
    }
}

impl FlowRecord {
    /// A flow that has just begun.
    pub fn begin(id: FlowId, at: UnixMillis, worker: u16) -> Box<Self> {
        Box::new(Self {
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

    /// Adds what only the policy knows that decided: projections, and what was read of experience. Not for the data
    /// path.
    pub fn complete(&mut self, policy: &Policy) {
        let Some(decided) = &mut self.decided else { return };
        if policy.explains() {
            let found = decided.with_inputs(|inputs| policy.explained(inputs, &decided.outcome));
            (decided.projections, decided.experience) = (found.projections, found.experience);
        }
    }

    /// Writes the whole document.
    ///
    /// # Errors
    /// If `legend` is not that of the policy that decided.
    pub fn document(self, legend: &Legend) -> Result<FlowDocument, Mismatch> {
        legend.fits(&self)?;
        let mut document =
            FlowDocument { policy_digest: legend.digest().to_owned(), ..FlowDocument::default() };
        if let Some(mut decided) = self.decided {
            let explained = Explained {
                projections: std::mem::take(&mut decided.projections),
                experience: std::mem::take(&mut decided.experience),
            };
            let record = if decided.facts.private.is_some() { Record::Everything } else { Record::Evidence };
            decided.with_inputs(|inputs| {
                legend.describe(inputs, &decided.outcome, explained, record, &mut document);
            });
        }
        document.id = self.id.to_string();
        document.at = self.at;
        document.worker = self.worker;
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
        Ok(document)
    }
}
