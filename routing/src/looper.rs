//! Decisions that ask several models for one answer: `confidence`, `ratings` and `remom`, as state machines.
//!
//! A [`Plan`] follows from the policy; a [`Run`] of it says which calls to make ([`Run::next_call`]), is told what came
//! of each ([`Run::answered`], [`Run::failed`]), and ends in a [`Conclusion`]. It makes no call itself and knows
//! no clock: the caller bounds the time ([`DEFAULT_TIMEOUT_SECONDS`], or `looper.timeout_seconds`) by giving up.
//!
//! | algorithm | calls | answer |
//! |---|---|---|
//! | confidence | one at a time, least model first, until one is confident enough | the last one given |
//! | ratings | all candidates, `max_concurrent` at once | every one, as a choice each |
//! | remom | rounds of `breadth_schedule`, then one more; each round after the first sees the answers of the one before | the last round's |
//!
//! Differences from v0.3.0, which its compat profile keeps: an answer without log probabilities has no confidence
//! and is not accepted (there it has 0, which a threshold of −1 accepts), and `avg_logprob` without a threshold
//! has [`DEFAULT_LOGPROB_THRESHOLD`] (there −1, which accepts everything).

use pintle_config::Profile;
use smallvec::SmallVec;

use crate::ids::Target;

mod compile;
mod confidence;
mod remom;
#[cfg(test)]
mod tests;

pub(crate) use compile::compile;
pub use confidence::{Confidence, Judgement, Logprobs, Method, TokenFilter, verification_prompt};
pub use remom::{Compaction, Remom};

/// Seconds that all calls of one request may take, if the configuration does not say.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 1200;
/// Calls of one request, however many are configured.
pub const MAX_CALLS: usize = 64;
/// Threshold on the scaled mean log probability (a mean of −0.75) where none is configured.
pub const DEFAULT_LOGPROB_THRESHOLD: f64 = 0.75;

/// What v0.3.0 takes for the margin of a token without a second likeliest one.
const COMPAT_LONE_MARGIN: f64 = 2.0;

/// What a decision asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(crate) profile: Profile,
    /// In the order in which they are asked.
    pub(crate) targets: Vec<Target>,
    pub(crate) kind: Kind,
    /// A call that fails ends the run; else it is passed over.
    pub(crate) fail_on_error: bool,
    /// Calls in flight at once.
    pub(crate) concurrency: usize,
    /// Who is asked by [`Ask::Entailment`].
    pub(crate) verifier: Option<Verifier>,
}

/// A server that says how surely an answer follows from its question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Its address; questions go to `/verify` below it.
    pub url: String,
    /// Seconds that one question may take.
    pub timeout_seconds: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Confidence(Confidence),
    Ratings,
    Remom(Remom),
}

/// One call to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// By which its answer is told.
    pub id: usize,
    /// Whom to ask.
    pub target: Target,
    /// What to ask.
    pub ask: Ask,
}

/// What to ask a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// The client's request. Streaming is off: the whole answer is needed.
    Original {
        /// `top_logprobs` to ask for; `None` asks for no log probabilities at all.
        top_logprobs: Option<u8>,
        /// Replaces the client's.
        temperature: Option<f64>,
    },
    /// The client's request with its last message replaced by a user message of this text.
    Synthesis {
        /// The text.
        prompt: String,
        /// Replaces the client's.
        temperature: Option<f64>,
    },
    /// A request of its own with one user message: the model judges an answer. At most 256 tokens, temperature 0.1.
    Verification {
        /// The text.
        prompt: String,
    },
    /// A question to the verifier at `verifier_server_url`, not to a model; the answer's content is the number that
    /// it states as its confidence.
    Entailment {
        /// The question.
        question: String,
        /// The answer that is judged.
        answer: String,
        /// Least confidence of an answer that is accepted.
        threshold: f64,
    },
}

impl Ask {
    /// Its name in flow documents.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Original { .. } => "original",
            Self::Synthesis { .. } => "synthesis",
            Self::Verification { .. } => "verification",
            Self::Entailment { .. } => "entailment",
        }
    }
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answered {
    /// Text.
    pub content: String,
    /// Reasoning beside it, if the model gives any.
    pub reasoning: String,
    /// Of the answer's tokens, if they were given.
    pub logprobs: Option<Logprobs>,
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Conclusion {
    /// These calls' answers are the client's answer, one choice each, in this order.
    Answer {
        /// Ids of the calls.
        choices: SmallVec<[usize; 4]>,
        /// One sentence for a person.
        reason: String,
    },
    /// There is none.
    Failed {
        /// One sentence for a person.
        reason: String,
    },
}

/// A run of a plan for one request.
#[derive(Debug)]
pub struct Run<'a> {
    plan: &'a Plan,
    question: String,
    calls: Vec<Made>,
    /// Calls that were planned, from the first that was not handed out.
    waiting: std::collections::VecDeque<Call>,
    in_flight: usize,
    /// Of `confidence`, how many targets were asked; of `remom`, how many rounds were begun.
    step: usize,
    /// Ids of the rounds' first calls; of `confidence`, of each target's.
    rounds: Vec<usize>,
    conclusion: Option<Conclusion>,
}

/// A call that was handed out, and what came of it.
#[derive(Debug)]
struct Made {
    target: Target,
    outcome: Option<Result<Answered, String>>,
    /// How sure the answer is, once that is known.
    confidence: Option<f64>,
    /// The call whose answer this one judges.
    judges: Option<usize>,
}

impl Plan {
    /// Begins a run. `question` is the last user text, which answers are judged and synthesised by.
    pub fn begin(&self, question: &str) -> Run<'_> {
        let mut run = Run {
            plan: self,
            question: question.to_owned(),
            calls: Vec::new(),
            waiting: std::collections::VecDeque::new(),
            in_flight: 0,
            step: 0,
            rounds: Vec::new(),
            conclusion: None,
        };
        run.advance();
        run
    }

    /// The algorithm's name, for `x-vsr-looper-algorithm`.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Confidence(_) => "confidence",
            Kind::Ratings => "ratings",
            Kind::Remom(_) => "remom",
        }
    }

    /// Whom it may ask, in the order in which it does.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Who is asked by [`Ask::Entailment`], if anybody is.
    pub const fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// The tokens of tool calls' arguments are looked at by themselves.
    pub const fn reads_arguments(&self) -> bool {
        matches!(&self.kind, Kind::Confidence(Confidence { tokens: TokenFilter::ToolCallArguments, .. }))
    }

    /// Answers are judged by the log probabilities of their tokens, and one without them is not accepted.
    pub const fn needs_logprobs(&self) -> bool {
        let by_tokens = match &self.kind {
            Kind::Confidence(confidence) => confidence.method.top_logprobs().is_some(),
            Kind::Ratings | Kind::Remom(_) => false,
        };
        by_tokens && matches!(self.profile, Profile::Pintle)
    }

    /// Every answer is given to the client.
    pub const fn gives_all(&self) -> bool {
        matches!(self.kind, Kind::Ratings)
    }

    /// The margin of a token that came without another to compare it with; `None` leaves it out of the mean.
    pub const fn lone_margin(&self) -> Option<f64> {
        match self.profile {
            Profile::Compat => Some(COMPAT_LONE_MARGIN),
            Profile::Pintle => None,
        }
    }

    /// Answers of earlier rounds are part of the answer to the client.
    pub const fn shows_rounds(&self) -> bool {
        matches!(&self.kind, Kind::Remom(remom) if remom.intermediate)
    }
}

impl Run<'_> {
    /// A call to make now; `None` while others have to end first, and after the end.
    pub fn next_call(&mut self) -> Option<Call> {
        if self.conclusion.is_some() || self.in_flight >= self.plan.concurrency {
            return None;
        }
        let call = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(call)
    }

    /// Tells what a call was answered. One that was already told of is ignored.
    pub fn answered(&mut self, id: usize, answer: Answered) {
        self.told(id, Ok(answer));
    }

    /// Tells that a call failed, and why.
    pub fn failed(&mut self, id: usize, why: &str) {
        self.told(id, Err(why.to_owned()));
    }

    /// How the run ended; `None` while it has not.
    pub const fn conclusion(&self) -> Option<&Conclusion> {
        self.conclusion.as_ref()
    }

    /// What a call was answered.
    pub fn answer(&self, id: usize) -> Option<(Target, &Answered)> {
        let made = self.calls.get(id)?;
        Some((made.target, made.outcome.as_ref()?.as_ref().ok()?))
    }

    /// How sure an answer is, where that was asked, in `[0,1]`.
    pub fn confidence(&self, id: usize) -> Option<f64> {
        self.calls.get(id)?.confidence
    }

    /// Calls that were planned so far, for `x-vsr-looper-iterations`.
    pub const fn iterations(&self) -> usize {
        self.calls.len()
    }

    /// The ids of each round's calls.
    pub fn rounds(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let ends = self.rounds.iter().skip(1).copied().chain([self.calls.len()]);
        self.rounds.iter().copied().zip(ends).map(|(from, to)| from..to)
    }

    fn begin_round(&mut self) {
        self.step += 1;
        self.rounds.push(self.calls.len());
    }

    fn round_from(&self) -> usize {
        self.rounds.last().copied().unwrap_or(0)
    }

    /// Ends the run now, with whatever is there: the caller's time is over.
    pub fn give_up(&mut self, why: &str) {
        if self.conclusion.is_none() {
            self.waiting.clear();
            self.conclude_with_what_is_there(why);
        }
    }

    fn told(&mut self, id: usize, outcome: Result<Answered, String>) {
        let Some(made) = self.calls.get_mut(id).filter(|made| made.outcome.is_none()) else { return };
        let failure = outcome.as_ref().err().map(|why| format!("Call {} failed: {why}.", id + 1));
        made.outcome = Some(outcome);
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.conclusion.is_some() {
            return;
        }
        // A judge that does not judge leaves the answer unjudged, and so not accepted.
        let judge = self.calls[id].judges.is_some();
        match failure {
            Some(reason) if self.plan.fail_on_error && !(judge && self.self_verifies()) => {
                self.waiting.clear();
                self.conclusion = Some(Conclusion::Failed { reason });
            }
            _ => {
                self.judge(id);
                if self.in_flight == 0 && self.waiting.is_empty() {
                    self.advance();
                }
            }
        }
    }

    /// Plans what comes next, or concludes.
    fn advance(&mut self) {
        if self.conclusion.is_some() {
            return;
        }
        match &self.plan.kind {
            Kind::Confidence(confidence) => self.escalate(confidence),
            Kind::Ratings if self.step == 0 => {
                self.begin_round();
                for target in self.plan.targets.iter().take(MAX_CALLS) {
                    self.plan_call(*target, Ask::Original { top_logprobs: None, temperature: None }, None);
                }
                if self.waiting.is_empty() {
                    self.conclude_with_what_is_there("There is nobody to ask.");
                }
            }
            Kind::Ratings => self.conclude_with_what_is_there("All were asked."),
            Kind::Remom(remom) => self.next_round(remom),
        }
    }

    fn plan_call(&mut self, target: Target, ask: Ask, judges: Option<usize>) {
        let id = self.calls.len();
        self.calls.push(Made { target, outcome: None, confidence: None, judges });
        self.waiting.push_back(Call { id, target, ask });
    }

    /// Ids of answered calls from `from` that are answers to the client's request.
    fn answers(&self, from: usize) -> SmallVec<[usize; 4]> {
        let answered = |id: &usize| {
            let made = &self.calls[*id];
            made.judges.is_none() && matches!(made.outcome, Some(Ok(_)))
        };
        (from..self.calls.len()).filter(answered).collect()
    }

    fn conclude_with_what_is_there(&mut self, why: &str) {
        let choices = match self.plan.kind {
            Kind::Ratings => self.answers(0),
            // The last is by the largest model or of the latest round.
            Kind::Confidence(_) | Kind::Remom(_) => self.answers(0).last().copied().into_iter().collect(),
        };
        self.conclusion = Some(if choices.is_empty() {
            Conclusion::Failed { reason: format!("No model answered. {why}") }
        } else {
            Conclusion::Answer { choices, reason: why.to_owned() }
        });
    }
}
