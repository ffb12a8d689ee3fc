//! From an outcome to a flow document.
//!
//! An outcome keeps indexes and numbers. A [`Legend`] has the names for them, so that recording costs the request path
//! next to nothing and a document is made only when somebody wants it.

use smallvec::SmallVec;

use super::legend::{DecisionLegend, Legend};
use super::session::provider_state;
use super::{Inputs, Policy};
use crate::evidence::{Evidence, Truth};
use crate::experience::Experience;
use crate::flow::recorded::{RecordedFacts, RecordedSession};
use crate::flow::{
    CandidateRecord, DecisionRecord, FactsSummary, FlowDocument, Projections, Recorded, Selection, Session,
    SignalRecord, VerdictRecord,
};
use crate::ids::{DecisionId, Target};
use crate::live::ModelLive;
use crate::outcome::{Outcome, SessionAction, Verdict};
use crate::session::{self, SessionTrace, lock};
use crate::signals::{context_tokens, estimate_tokens};
use crate::trace::{DecisionResult, DecisionTrace, Learnt, ScoreReason, SloBound, Unlearned};
use crate::units::Tokens;

/// What a document says beside the outcome and that only the policy knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Explained {
    pub(crate) projections: Projections,
    /// What feedback had taught, as far as it was read.
    pub(crate) experience: Experience,
}

impl Policy {
    /// Writes what was decided, and from what, into a document: its `policy_digest` and the parts from `facts`
    /// to `verdict`, and `inputs` if `record` says so.
    ///
    /// Texts and identity are not read, unless `record` keeps them: facts that were recorded without them
    /// describe as well as the original.
    pub fn describe(&self, inputs: &Inputs<'_>, outcome: &Outcome, record: Record, doc: &mut FlowDocument) {
        let explained = self.explained(inputs, outcome);
        self.legend.describe(inputs, outcome, explained, record, doc);
    }

    /// The inputs of a decision, owned. Texts and identity only with `keep_private`.
    pub fn recorded(&self, inputs: &Inputs<'_>, outcome: &Outcome, keep_private: bool) -> Recorded {
        self.legend.recorded(inputs, outcome, self.experience_read(inputs, outcome), keep_private)
    }

    /// What each decision's rules came to, in the order of [`DecisionId`]; nothing where none was evaluated.
    pub fn results(&self, outcome: &Outcome) -> Vec<DecisionResult> {
        self.legend.results_on(&outcome.trace, &outcome.trace.table())
    }

    /// Whether [`Policy::explained`] has anything to say that an outcome does not.
    pub(crate) fn explains(&self) -> bool {
        self.projections.explain()
            || self.decisions.iter().any(|decision| decision.selector.reads_experience())
    }

    pub(crate) fn explained(&self, inputs: &Inputs<'_>, outcome: &Outcome) -> Explained {
        let mut projections = Projections::default();
        if self.projections.explain() && !outcome.trace.base.is_empty() {
            let mut table = outcome.trace.base.clone();
            self.derive(&mut table, &outcome.trace.kb_metrics, Some(&mut projections));
        }
        Explained { projections, experience: self.experience_read(inputs, outcome) }
    }
}

impl Legend {
    /// [`Policy::describe`] without the policy.
    pub(crate) fn describe(
        &self,
        inputs: &Inputs<'_>,
        outcome: &Outcome,
        explained: Explained,
        record: Record,
        doc: &mut FlowDocument,
    ) {
        doc.policy_digest.clone_from(&self.digest);
        doc.facts = self.facts_summary(inputs, outcome);
        let table = outcome.trace.table();
        doc.projections = explained.projections;
        let read = self.signals.iter().zip(&table).zip(&outcome.trace.base).enumerate();
        let signals = read.map(|(at, ((key, evidence), base))| SignalRecord {
            signal: key.clone(),
            truth: evidence.truth,
            confidence: evidence.confidence,
            value: evidence.value,
            assumed: match base.truth {
                Truth::Unknown(why) => self.assumed.iter().any(|id| id.index() == at).then_some(why),
                _ => None,
            },
        });
        doc.evidence = signals.collect();
        doc.decisions = self.decision_records(outcome, &table);
        doc.selection = self.selection(outcome);
        doc.session = self.session(inputs, outcome);
        doc.verdict = self.verdict(outcome);
        let recorded = |keep| Some(Box::new(self.recorded(inputs, outcome, explained.experience, keep)));
        doc.inputs = match record {
            Record::Nothing => None,
            Record::Evidence => recorded(false),
            Record::Everything => recorded(true),
        };
    }

    fn facts_summary(&self, inputs: &Inputs<'_>, outcome: &Outcome) -> FactsSummary {
        let facts = inputs.facts;
        FactsSummary {
            messages: facts.messages,
            tools: facts.tools,
            provider_state: facts.provider_state.is_some(),
            has_image: facts.has_image,
            identified: outcome.trace.identified,
            envelope_bytes: facts.envelope_bytes,
            context_tokens: context_tokens(facts, self.profile(), inputs.live.bytes_per_token),
            history_tokens: match facts.history_bytes {
                0 => Tokens(0),
                bytes => estimate_tokens(bytes, inputs.live.bytes_per_token),
            },
            max_completion: facts.max_completion,
        }
    }

    fn results_on(&self, trace: &DecisionTrace, table: &[Evidence]) -> Vec<DecisionResult> {
        let decisions = self.decisions.iter().filter(|_| trace.weighed);
        let result = |decision: &DecisionLegend| {
            let value = decision.rules.value(table, self.profile());
            DecisionResult { truth: value.truth, confidence: value.confidence }
        };
        decisions.map(result).collect()
    }

    fn decision_records(&self, outcome: &Outcome, table: &[Evidence]) -> Vec<DecisionRecord> {
        let results = self.results_on(&outcome.trace, table);
        let mut order: SmallVec<[usize; 16]> = (0..results.len()).collect();
        let matches = |at: usize| self.matches(at, &results[at]);
        let tiered = order.iter().any(|at| matches(*at) && self.decisions[*at].tier > 0);
        let view = |at: usize| self.view(at, &results[at]);
        order.sort_by(|a, b| {
            let matching = matches(*b).cmp(&matches(*a));
            matching.then_with(|| self.order().compare(&view(*a), &view(*b), tiered))
        });
        let record = |at: usize| {
            let decision: &DecisionLegend = &self.decisions[at];
            DecisionRecord {
                name: decision.name.clone(),
                priority: decision.priority,
                tier: decision.tier,
                truth: results[at].truth,
                confidence: results[at].confidence,
                chosen: outcome.trace.chosen == Some(DecisionId(at as u16)),
                guard: decision.guard,
                rules: decision.rules.record(table, &self.signals, self.profile()),
            }
        };
        order.into_iter().map(record).collect()
    }

    fn selection(&self, outcome: &Outcome) -> Selection {
        let trace = &outcome.trace;
        if trace.candidates.is_empty() {
            return Selection::default();
        }
        let chosen = trace.chosen.map(|chosen| &self.decisions[chosen.index()]);
        let decision = chosen.filter(|decision| decision.selects);
        let name = |target: Target| self.target_name(target).to_owned();
        let session = trace.session.as_deref();
        let candidate = |(at, score): (usize, &crate::trace::CandidateScore)| CandidateRecord {
            target: name(score.target),
            eligible: score.reason.eligible(),
            base_score: score.score,
            adjusted_score: session.and_then(|s| s.candidates.get(at)).map(|c| c.adjusted_score),
            reason: sentence(score.reason),
        };
        let route = outcome.verdict.route();
        Selection {
            algorithm: decision.map_or(String::new(), |decision| decision.algorithm.clone()),
            method: decision.map_or("default_model", |decision| &decision.method).to_owned(),
            confidence: trace.selection_confidence,
            note: decision.and_then(|decision| decision.note.clone()),
            candidates: trace.candidates.iter().enumerate().map(candidate).collect(),
            base_choice: trace.base_choice.map(|at| name(trace.candidates[at].target)),
            choice: route.map(|route| name(route.target)),
            switch_gate: trace.gate.as_deref().cloned(),
            alternatives: route.map_or(Vec::new(), |r| r.alternatives.iter().map(|t| name(*t)).collect()),
        }
    }

    fn session(&self, inputs: &Inputs<'_>, outcome: &Outcome) -> Session {
        let route = outcome.verdict.route();
        let mut policy = outcome.trace.session.as_deref().cloned();
        if let Some(policy) = policy.as_mut() {
            policy.sentence = self.session_sentence(inputs, outcome, policy);
        }
        let reason = match (&policy, &outcome.verdict) {
            (Some(policy), Verdict::Route(_)) if !policy.sentence.is_empty() => policy.sentence.clone(),
            (_, Verdict::Route(route)) => route.reason.to_string(),
            (_, Verdict::Answer(_)) => "Answered here; the session is left as it was.".into(),
            (_, Verdict::Refuse(refusal)) => refusal.message.clone(),
        };
        Session {
            before: inputs.session.map(RecordedSession::from),
            phase: Some(Policy::phase(inputs)),
            action: route.map(|route| route.action),
            breach: route.is_some_and(|route| matches!(route.action, SessionAction::Released(_))),
            policy,
            reason,
        }
    }

    fn session_sentence(&self, inputs: &Inputs<'_>, outcome: &Outcome, trace: &SessionTrace) -> String {
        let candidates = outcome.trace.candidates.iter();
        let names: SmallVec<[&str; 8]> = candidates.map(|score| self.target_name(score.target)).collect();
        let state = provider_state(inputs);
        let held = lock::held(inputs.session, &inputs.facts.tools, state.as_ref());
        session::describe(trace, &names, held.map(|(_, model)| model))
    }

    fn verdict(&self, outcome: &Outcome) -> VerdictRecord {
        match &outcome.verdict {
            Verdict::Route(route) => VerdictRecord {
                kind: "route".into(),
                target: Some(self.target_name(route.target).to_owned()),
                decision: route.decision.map(|decision| self.decision_name(decision).to_owned()),
                category: route.category.map(|category| self.signal_name(category).to_owned()),
                confidence: route.confidence,
                reasoning: route.reasoning,
                reason: route.reason.to_string(),
                ..VerdictRecord::default()
            },
            Verdict::Answer(answer) => VerdictRecord {
                kind: "answer".into(),
                decision: Some(self.decision_name(answer.decision).to_owned()),
                reason: "The decision carries a fixed answer.".into(),
                ..VerdictRecord::default()
            },
            Verdict::Refuse(refusal) => VerdictRecord {
                kind: "refuse".into(),
                status: Some(refusal.status),
                code: Some(refusal.code.to_owned()),
                reason: refusal.message.clone(),
                ..VerdictRecord::default()
            },
        }
    }

    fn recorded(
        &self,
        inputs: &Inputs<'_>,
        outcome: &Outcome,
        experience: Experience,
        keep_private: bool,
    ) -> Recorded {
        let trace = &outcome.trace;
        let live = self.targets.iter().zip(&inputs.live.models);
        let live = live.filter(|(_, live)| **live != ModelLive::default());
        let kb_metrics = self.kb_metrics.iter().zip(&trace.kb_metrics);
        Recorded {
            facts: RecordedFacts {
                identified: trace.identified,
                ..RecordedFacts::of(inputs.facts, keep_private)
            },
            evidence: self
                .signals
                .iter()
                .zip(&trace.base)
                .map(|(key, found)| (key.clone(), *found))
                .collect(),
            kb_metrics: kb_metrics
                .filter_map(|((kb, metric), value)| Some((kb.clone(), metric.clone(), (*value)?)))
                .collect(),
            session: inputs.session.map(RecordedSession::from),
            provider_owner: inputs.provider_owner.map(str::to_owned),
            now: inputs.now,
            live: live.map(|(names, live)| (names[0].clone(), *live)).collect(),
            query: trace.query.clone(),
            experience,
            bytes_per_token: inputs.live.bytes_per_token,
            foresight: inputs.foresight.copied(),
        }
    }
}

/// How much of the inputs a document keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Record {
    /// None: the document explains, but cannot be replayed.
    Nothing,
    /// Facts and evidence without texts or identity: replays under the same policy.
    #[default]
    Evidence,
    /// Texts and identity too: replays under any policy.
    Everything,
}

fn sentence(reason: ScoreReason) -> String {
    let part = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.2}"));
    match reason {
        ScoreReason::Unavailable => "no backend is up".into(),
        ScoreReason::ContextWindow { needed, window } => {
            format!("needs {needed} tokens, the context window has {window}")
        }
        ScoreReason::NoVision => "the request has an image, the model declares no vision".into(),
        ScoreReason::NoTools => "the request offers tools, the model declares none".into(),
        ScoreReason::Single => "the only candidate".into(),
        ScoreReason::HeldBySession => "no candidate of this decision, but held by the session's lock".into(),
        ScoreReason::Configured(score) => format!("configured score {score}"),
        ScoreReason::Position(position, count) => format!("configured as {position} of {count}"),
        ScoreReason::Factors { quality, latency, cost, load } => {
            let parts =
                [part("quality", quality), part("latency", latency), part("cost", cost), part("load", load)];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
        ScoreReason::Slo(bound) => format!("{} exceeds the bound", bound_name(bound)),
        ScoreReason::DespiteSlo(bound) => {
            format!("serves although {} exceeds the bound: no candidate meets all bounds", bound_name(bound))
        }
        ScoreReason::RelativeLatency(relative) => format!("{relative:.2} times the lowest latency"),
        ScoreReason::Unmeasured => "no latency measured yet".into(),
        ScoreReason::Rating(rating) => format!("rating {rating:.0}"),
        ScoreReason::Cascade(value) => format!("expected value {value:.3}"),
        ScoreReason::Blend(blend) => format!("blended score {blend:.3}"),
        ScoreReason::Learnt(learnt, value) => match learnt {
            Learnt::Votes => format!("{:.0} % of the votes of the nearest samples", 100.0 * value),
            Learnt::Closeness => format!("closeness {value:.3} of its nearest cluster"),
            Learnt::Margin => format!("decision value {value:.3}"),
            Learnt::Probability => format!("output {value:.3} of the network"),
            Learnt::Similarity => format!("description is {value:.3} similar to the query"),
        },
        ScoreReason::NotTrained => "nothing that was learnt speaks for it".into(),
        ScoreReason::NoDescription => "its model card has no description".into(),
        ScoreReason::Unlearned(why, position, count) => {
            format!("{}: configured as {position} of {count}", lacking(why))
        }
        ScoreReason::Believed { alpha, beta } => {
            format!("succeeds with {:.3}: Beta({alpha:.1}, {beta:.1})", alpha / (alpha + beta))
        }
        ScoreReason::Sampled { value, alpha, beta } => {
            format!("explored: sampled {value:.3} of Beta({alpha:.1}, {beta:.1})")
        }
        ScoreReason::Explored => "explored: chosen for the sake of exploration".into(),
        ScoreReason::Quality(quality) => format!("declared quality {quality:.2}, not rated by this user"),
        ScoreReason::Preferred { preference, quality } => {
            format!("preferred by this user {preference:.3}, declared quality {quality:.2}")
        }
    }
}

fn lacking(why: Unlearned) -> String {
    match why {
        Unlearned::NoEmbedding(why) => format!("no embedding of the query ({})", why.as_str()),
        Unlearned::Dimension => "the query's embedding is not as long as those trained with".into(),
        Unlearned::NoLabel => "the selector's choice is no candidate".into(),
        Unlearned::NoDescription => "no candidate has a description".into(),
        Unlearned::NothingSimilar => "no description is similar enough to the query".into(),
    }
}

const fn bound_name(bound: SloBound) -> &'static str {
    match bound {
        SloBound::Tpot => "time per output token",
        SloBound::Ttft => "time to first token",
        SloBound::Cost => "the prompt price",
        SloBound::InFlight => "the number of requests in flight",
    }
}
