//! The numbers behind one decision, in indexes, cheap enough to keep for every request.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::evidence::{Evidence, Truth, Unknown};
use crate::ids::{DecisionId, SignalId, Target};
use crate::learned::QueryReading;
use crate::session::SessionTrace;
use crate::session::compat::gate::GateDecision;

/// Signals that a trace keeps without allocating.
pub const INLINE_SIGNALS: usize = 32;
/// Changed signals that a trace keeps without allocating.
pub const INLINE_DERIVED: usize = 2;
/// Candidates that a trace keeps without allocating.
pub const INLINE_CANDIDATES: usize = 8;

/// What `decide` saw and concluded on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionTrace {
    /// A trusted identity was given.
    pub identified: bool,
    /// Base signals as they were read, before projections, indexed by
    /// [`SignalId`](crate::ids::SignalId). Empty when the client named its model.
    pub base: SmallVec<[Evidence; INLINE_SIGNALS]>,
    /// Signals that assumptions, partitions, composers and projections have changed, as the rules then read them.
    pub derived: SmallVec<[(SignalId, Evidence); INLINE_DERIVED]>,
    /// Knowledge base metrics that projections read, in their order; `None` was not measured.
    pub kb_metrics: SmallVec<[Option<f64>; 2]>,
    /// The decisions' rules were evaluated. What they came to follows from the evidence, and is not kept:
    /// [`Policy::results`](crate::policy::Policy::results).
    pub weighed: bool,
    /// The decision that was chosen.
    pub chosen: Option<DecisionId>,
    /// The matched decision's candidates, in configured order.
    pub candidates: SmallVec<[CandidateScore; INLINE_CANDIDATES]>,
    /// The base selector's choice among `candidates`.
    pub base_choice: Option<usize>,
    /// How sure the base selector is, in `[0,1]`.
    pub selection_confidence: f64,
    /// What session policy weighed.
    pub session: Option<Box<SessionTrace>>,
    /// What v0.3.0's gate on model changes said.
    pub gate: Option<Box<GateDecision>>,
    /// What a learnt selector was given beside the evidence.
    pub query: Option<Box<QueryReading>>,
}

/// Whether one decision's rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecisionResult {
    /// Whether they hold.
    pub truth: Truth,
    /// Confidence of the match in `[0,1]`; 0 if they do not hold.
    pub confidence: f64,
}

/// One candidate's base score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CandidateScore {
    /// The candidate.
    pub target: Target,
    /// In `[0,1]`, higher is better; 0 for a candidate that is not eligible.
    pub score: f64,
    /// Why it has this score, or none.
    pub reason: ScoreReason,
}

/// Why a candidate has its base score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum ScoreReason {
    /// No backend of it is up.
    Unavailable,
    /// Prompt and answer together exceed its context window.
    ContextWindow {
        /// Estimated prompt plus bounded answer, in tokens.
        needed: u64,
        /// The window, in tokens.
        window: u64,
    },
    /// The request carries an image and the model declares capabilities without vision.
    NoVision,
    /// The request offers tools and the model declares that it has none.
    NoTools,
    /// It is the only candidate.
    Single,
    /// It is no candidate of the decision, but a lock of the session holds it.
    HeldBySession,
    /// Configured score (`model_scores`), or 1.
    Configured(f64),
    /// Position in the decision, from 1, and the number of candidates: an operator's order is a preference.
    Position(u16, u16),
    /// Weighted factors, each normalised to `[0,1]`; `None` where nobody has the measure.
    Factors {
        /// Declared quality.
        quality: Option<f64>,
        /// Measured latency.
        latency: Option<f64>,
        /// Price.
        cost: Option<f64>,
        /// Requests in flight.
        load: Option<f64>,
    },
    /// A service level bound excludes it.
    Slo(SloBound),
    /// A service level bound excludes it, but as it excludes every candidate, this one serves nevertheless.
    DespiteSlo(SloBound),
    /// Latency relative to the fastest candidate (1 is the fastest).
    RelativeLatency(f64),
    /// No latency was measured yet; an optimistic value lets it be tried.
    Unmeasured,
    /// Expected win rate from its rating.
    Rating(f64),
    /// Expected value of a cascade: quality minus price, weighted by verification.
    Cascade(f64),
    /// A blend of other selectors.
    Blend(f64),
    /// What a learnt selector found for it.
    Learnt(Learnt, f64),
    /// The selector was not trained for it, or found nothing that speaks for it.
    NotTrained,
    /// The model card has no description.
    NoDescription,
    /// What a learnt selector needs is missing, so its position decides: from 1, of so many.
    Unlearned(Unlearned, u16, u16),
    /// What feedback says of its success: a Beta distribution.
    Believed {
        /// Weight of successes.
        alpha: f64,
        /// Weight of failures.
        beta: f64,
    },
    /// A sample of that distribution.
    Sampled {
        /// The sample.
        value: f64,
        /// Weight of successes.
        alpha: f64,
        /// Weight of failures.
        beta: f64,
    },
    /// It is tried for the sake of exploration.
    Explored,
    /// Declared quality; the user has not rated it, or too little in all.
    Quality(f64),
    /// What the user preferred before.
    Preferred {
        /// Of the user, in `[0,1]`.
        preference: f64,
        /// Declared.
        quality: f64,
    },
}

/// What a learnt selector measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Learnt {
    /// Share of the neighbours' votes.
    Votes,
    /// Closeness of the nearest cluster, `1/(1+d)`.
    Closeness,
    /// Decision value of a support vector machine.
    Margin,
    /// Output of a perceptron.
    Probability,
    /// Cosine of query and description.
    Similarity,
}

/// What a learnt selector lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unlearned {
    /// The query's embedding, and why.
    NoEmbedding(Unknown),
    /// An embedding of the length that the selector was trained with.
    Dimension,
    /// A label that is a candidate.
    NoLabel,
    /// A description of any candidate.
    NoDescription,
    /// A description that is similar enough.
    NothingSimilar,
}

/// Which service level bound excluded a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SloBound {
    /// `max_tpot_ms`
    Tpot,
    /// `max_ttft_ms`
    Ttft,
    /// `max_cost_per_1m`
    Cost,
    /// `max_inflight`
    InFlight,
}

impl DecisionTrace {
    /// What the rules read: base signals with what was derived from them.
    pub fn table(&self) -> SmallVec<[Evidence; INLINE_SIGNALS]> {
        let mut table = self.base.clone();
        for (signal, evidence) in &self.derived {
            if let Some(slot) = table.get_mut(signal.index()) {
                *slot = *evidence;
            }
        }
        table
    }

    /// Keeps of `table` what differs from the base signals.
    pub(crate) fn keep_derived(&mut self, table: &[Evidence]) {
        let changed = self.base.iter().zip(table).enumerate().filter(|(_, (base, found))| base != found);
        self.derived = changed.map(|(at, (_, found))| (SignalId(at as u16), *found)).collect();
    }
}

impl ScoreReason {
    /// The candidate may serve this request.
    pub const fn eligible(self) -> bool {
        !matches!(
            self,
            Self::Unavailable | Self::ContextWindow { .. } | Self::NoVision | Self::NoTools | Self::Slo(_)
        )
    }
}
