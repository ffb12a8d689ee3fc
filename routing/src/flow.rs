//! The flow document: everything that one request saw and caused, as one typed, versioned record.
//!
//! `decide` concludes the parts `facts` to `session`; the data plane fills the others as the request goes
//! on. Every part has a default, so a document can be built in steps and an older reader can skip what it
//! does not know. Durations are microseconds, money is US dollars.

use serde::{Deserialize, Serialize};

use crate::evidence::{Truth, Unknown};
use crate::facts::{Dialect, MessageCounts, SessionSource, ToolFacts};
use crate::outcome::SessionAction;
use crate::session::compat::gate::GateDecision;
use crate::session::{SessionPhase, SessionTrace};
use crate::units::{Micros, Tokens, UnixMillis, Usd};

pub mod record;
pub mod recorded;

pub use record::{Decided, FlowRecord};
pub use recorded::Recorded;

/// The version that this build writes.
pub const VERSION: u32 = 1;

/// One request's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowDocument {
    /// Format of the document.
    pub version: u32,
    /// The flow id, as in `x-vsr-replay-id`.
    pub id: String,
    /// When the request's head had been read.
    pub at: UnixMillis,
    /// The worker that served it.
    pub worker: u16,
    /// Digest of the policy that decided (16 hexadecimal digits).
    pub policy_digest: String,
    /// The request as it came.
    pub request: Request,
    /// What was read from it.
    pub facts: FactsSummary,
    /// Every signal of the policy.
    pub evidence: Vec<SignalRecord>,
    /// Partitions, scores and mappings.
    pub projections: Projections,
    /// Every decision, in the order in which the policy prefers them.
    pub decisions: Vec<DecisionRecord>,
    /// The choice among the matched decision's candidates.
    pub selection: Selection,
    /// The session, and what its policy said.
    pub session: Session,
    /// What was concluded.
    pub verdict: VerdictRecord,
    /// Calls to backends, in order.
    pub upstream: Vec<Attempt>,
    /// How several models were asked, if they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looper: Option<Box<Looped>>,
    /// Tokens, if the backend or an estimate told.
    pub usage: Option<Usage>,
    /// What the turn cost.
    pub cost_usd: Option<Usd>,
    /// How long it took.
    pub timings: Timings,
    /// How it ended.
    pub outcome: Ending,
    /// What [`Policy::replay`](crate::policy::Policy::replay) needs to decide again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Box<Recorded>>,
}

impl Default for FlowDocument {
    fn default() -> Self {
        Self {
            version: VERSION,
            id: String::new(),
            at: UnixMillis(0),
            worker: 0,
            policy_digest: String::new(),
            request: Request::default(),
            facts: FactsSummary::default(),
            evidence: Vec::new(),
            projections: Projections::default(),
            decisions: Vec::new(),
            selection: Selection::default(),
            session: Session::default(),
            verdict: VerdictRecord::default(),
            upstream: Vec::new(),
            looper: None,
            usage: None,
            cost_usd: None,
            timings: Timings::default(),
            outcome: Ending::default(),
            inputs: None,
        }
    }
}

/// The request as it came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// The client's API; `None` for requests that name none.
    pub dialect: Option<Dialect>,
    /// The `model` value that the client sent.
    pub model: String,
    /// The client asked for a streamed answer.
    pub stream: bool,
    /// Bytes of the body.
    pub bytes: u64,
    /// Where the session key was found.
    pub session_source: Option<SessionSource>,
    /// The first 16 hexadecimal digits of the session key.
    pub session_key: String,
    /// `x-request-id`, given or made.
    pub request_id: String,
}

/// The numbers among the facts; texts are not kept here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FactsSummary {
    /// Message counts.
    pub messages: MessageCounts,
    /// Tool counts.
    pub tools: ToolFacts,
    /// The request refers to state at a provider.
    pub provider_state: bool,
    /// The request carries an image.
    pub has_image: bool,
    /// A trusted identity was given.
    pub identified: bool,
    /// Bytes of the whole envelope.
    pub envelope_bytes: u64,
    /// Estimated tokens of the whole prompt.
    pub context_tokens: Tokens,
    /// Estimated tokens that earlier turns already sent.
    pub history_tokens: Tokens,
    /// The client's bound on the answer.
    pub max_completion: Option<Tokens>,
}

/// What one signal said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalRecord {
    /// `type:name`
    pub signal: String,
    /// Whether it holds.
    #[serde(flatten)]
    pub truth: Truth,
    /// In `[0,1]`, if the family measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The measured quantity, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Why it is unknown, where the configuration says what it counts as then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed: Option<Unknown>,
}

/// What projections made of the signals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Projections {
    /// Partitions, in the order in which they were applied.
    pub partitions: Vec<PartitionRecord>,
    /// Scores, dependencies first.
    pub scores: Vec<ScoreRecord>,
    /// Mappings.
    pub mappings: Vec<MappingRecord>,
}

impl Projections {
    /// The policy has none.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty() && self.scores.is_empty() && self.mappings.is_empty()
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// Its name.
    pub name: String,
    /// `exclusive` or `softmax_exclusive`.
    pub semantics: String,
    /// Signals that competed, with raw scores.
    pub contenders: Vec<(String, f64)>,
    /// The one that was kept.
    pub winner: Option<String>,
    /// The winner's confidence afterwards.
    pub winner_score: Option<f64>,
    /// The winner's raw score minus the runner-up's.
    pub margin: Option<f64>,
    /// Nothing matched, so the default was taken.
    pub default_used: bool,
}

/// One projection score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// Its name.
    pub name: String,
    /// Sum of the contributions; `None` if an input was unknown.
    pub total: Option<f64>,
    /// The inputs.
    pub inputs: Vec<ScoreInputRecord>,
}

/// One input of a projection score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreInputRecord {
    /// `type:name`
    pub input: String,
    /// Its weight.
    pub weight: f64,
    /// The value it had; `None` if unknown.
    pub value: Option<f64>,
    /// `weight · value`
    pub contribution: f64,
}

/// One mapping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MappingRecord {
    /// Its name.
    pub name: String,
    /// The score it reads.
    pub source: String,
    /// That score.
    pub value: Option<f64>,
    /// Every output: name, whether it was emitted, distance to its nearest bound (`None` if unbounded),
    /// confidence.
    pub outputs: Vec<MappingOutputRecord>,
}

/// One output of a mapping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MappingOutputRecord {
    /// Its name; decisions see `projection:<name>`.
    pub name: String,
    /// Whether it was emitted.
    #[serde(flatten)]
    pub truth: Truth,
    /// Distance from the score to the output's nearest bound.
    pub boundary_distance: Option<f64>,
    /// Calibrated confidence, if emitted.
    pub confidence: Option<f64>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: i64,
    /// Its tier.
    pub tier: i64,
    /// Whether its rules hold.
    #[serde(flatten)]
    pub truth: Truth,
    /// Confidence of the match in `[0,1]`.
    pub confidence: f64,
    /// It was chosen.
    pub chosen: bool,
    /// It guards, and so counts as matching while that is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard: bool,
    /// Its rules, every node with its value.
    pub rules: RuleRecord,
}

/// One node of a rule tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// `and`, `or`, `not`, or a leaf's `type:name`.
    pub node: String,
    /// Its value.
    #[serde(flatten)]
    pub truth: Truth,
    /// Its confidence; left out where it is 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub confidence: f64,
    /// Below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<RuleRecord>,
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// How the matched decision's candidates were scored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// The decision's algorithm as configured; empty when nothing was selected.
    pub algorithm: String,
    /// The selector that ran.
    pub method: String,
    /// How sure it is, in `[0,1]`.
    pub confidence: f64,
    /// Something an operator should know, such as an algorithm that this build treats as `static`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The candidates, in configured order.
    pub candidates: Vec<CandidateRecord>,
    /// The base selector's choice.
    pub base_choice: Option<String>,
    /// The choice after session policy.
    pub choice: Option<String>,
    /// What v0.3.0's gate on model changes said, where the compat profile has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch_gate: Option<GateDecision>,
    /// Fallbacks, best first.
    pub alternatives: Vec<String>,
}

/// One candidate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CandidateRecord {
    /// Canonical target name.
    pub target: String,
    /// It may serve this request.
    pub eligible: bool,
    /// Base score in `[0,1]`, higher is better.
    pub base_score: f64,
    /// Score after session policy, if one ran.
    pub adjusted_score: Option<f64>,
    /// One line: why this score, or why not eligible.
    pub reason: String,
}

/// The session before the turn, and what its policy said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// What was remembered.
    pub before: Option<recorded::RecordedSession>,
    /// Where the turn stands.
    pub phase: Option<SessionPhase>,
    /// What was done.
    pub action: Option<SessionAction>,
    /// The policy's own trace: lock, reset, each price component per candidate.
    pub policy: Option<SessionTrace>,
    /// A hard lock could not be kept.
    pub breach: bool,
    /// One sentence for a person.
    pub reason: String,
}

/// What was concluded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerdictRecord {
    /// `route`, `answer` or `refuse`.
    pub kind: String,
    /// The target of a route.
    pub target: Option<String>,
    /// The decision.
    pub decision: Option<String>,
    /// Its category.
    pub category: Option<String>,
    /// In `[0,1]`.
    pub confidence: f64,
    /// Reasoning was asked for.
    pub reasoning: bool,
    /// Status of a refusal.
    pub status: Option<u16>,
    /// Code of a refusal.
    pub code: Option<String>,
    /// One sentence.
    pub reason: String,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nobody's: it went well.
    #[default]
    None,
    /// The client's.
    Client,
    /// The backend's.
    Upstream,
    /// Ours.
    Pintle,
}

/// One call to a backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// Canonical target name.
    pub model: String,
    /// The backend's name.
    pub backend: String,
    /// Its address.
    pub address: String,
    /// What the decision changed in the request beyond the model's name, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<String>,
    /// Time to connect; zero for a pooled connection.
    pub connect_us: Micros,
    /// Status of the answer, if one came.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// Who is at fault.
    pub fault: Fault,
    /// What the kernel knew of the connection when the answer ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelView>,
    /// What it was one of several calls for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_call: Option<Box<SubCall>>,
}

/// One of several calls that led to one answer. Usage and cost are there if it was answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubCall {
    /// Its number, from 0. An attempt after a failed one has the same.
    pub id: u32,
    /// What was asked: `original`, `synthesis`, `verification` or `entailment`.
    pub ask: String,
    /// How sure its answer was, in `[0,1]`, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<Usd>,
}

/// How several models were asked for one answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Looped {
    /// `confidence`, `ratings` or `remom`.
    pub algorithm: String,
    /// Calls that were planned.
    pub calls: u32,
    /// The calls whose answers are the client's, a choice each; none if it failed.
    pub choices: Vec<u32>,
    /// One sentence for a person.
    pub reason: String,
}

/// A connection as the kernel sees it (`TCP_INFO`), over all requests that it has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelView {
    /// Smoothed round-trip time.
    pub srtt_us: Micros,
    /// Smallest round-trip time; zero where the kernel does not tell.
    pub min_rtt_us: Micros,
    /// Segments sent again.
    pub retransmits: u32,
    /// Bytes that arrived.
    pub bytes_received: u64,
}

/// Where a token count comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The backend reported it.
    Backend,
    /// Estimated from bytes.
    #[default]
    Estimate,
}

/// Tokens of the turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub prompt: Tokens,
    /// Of those, served from the prefix cache; `None` when not reported.
    pub cached: Option<Tokens>,
    /// Generated tokens, those of reasoning included.
    pub completion: Tokens,
    /// Of those, spent on reasoning; `None` when not reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Tokens>,
    /// Where the numbers come from.
    pub source: UsageSource,
}

/// How long the parts took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// Facts, signals and decision.
    pub routing_us: Micros,
    /// Wait for evidence that takes a classifier, if the policy asks for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier_us: Option<Micros>,
    /// From the request's end to the first byte of the backend's answer.
    pub first_byte_us: Option<Micros>,
    /// From the request's first byte to the answer's last.
    pub total_us: Micros,
}

/// How the request ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ending {
    /// Status that the client got; 499 when it left first.
    pub status: u16,
    /// Whose fault it was, if it failed.
    pub fault: Fault,
    /// The turn was stored in session memory.
    pub committed: bool,
    /// The backend's finish reason.
    pub finish_reason: Option<String>,
    /// What the client was told if it failed, or would have been, had it waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
