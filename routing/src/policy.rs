//! The policy: a configuration compiled into an immutable value that decides.
//!
//! Same policy, same inputs: same outcome, bit for bit. A policy is `Send + Sync` and never changes; a reload
//! compiles another.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_config::{Config, Profile};

use crate::edits::{Reasoning, RequestEdits};
use crate::facts::{Facts, Needs, SessionSnapshot};
use crate::ids::{DecisionId, LoraId, ModelId, SignalId, Target};
use crate::learned::LearnedNeeds;
use crate::live::LiveSignals;
use crate::looper::Plan;
use crate::outcome::Outcome;
use crate::projections::Projections;
use crate::rules::Rule;
use crate::selection::capability::Capabilities;
use crate::selection::pretrained::Pretrained;
use crate::selection::{Candidate, Selector};
use crate::session::economics::Foresight;
use crate::session::{Pricing, SessionParams};
use crate::signals::{CompileError, EvidenceTable, SignalDef, Signals};
use crate::units::{Tokens, UnixMillis};

mod assume;
mod compile;
mod decide;
mod describe;
mod learn;
mod legend;
mod matched;
mod order;
mod replay;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use describe::Explained;
pub use describe::Record;
pub use learn::FeedbackError;
pub use legend::{Legend, Mismatch};
pub use matched::MATCHED_BYTES;

/// A compiled configuration.
#[derive(Debug)]
pub struct Policy {
    profile: Profile,
    digest: u64,
    models: Vec<ModelInfo>,
    /// Canonical names of all targets.
    targets: HashMap<String, Target>,
    /// What a client may write as `model`, automatic names excepted.
    requestable: HashMap<String, Target>,
    auto_names: Vec<String>,
    default: Option<DefaultRoute>,
    signals: Signals,
    defs: Vec<SignalDef>,
    blank: EvidenceTable,
    projections: Projections,
    /// What signals count as while they are unknown.
    assumed: Vec<(SignalId, bool)>,
    decisions: Vec<Decision>,
    order: order::Order,
    /// Texts that stand for models.
    descriptions: Vec<String>,
    /// Effort of a reasoning candidate that names none.
    default_effort: String,
    on_missing: session::OnMissing,
    gate: Option<session::SwitchGate>,
    notes: Vec<CompileError>,
    legend: Arc<Legend>,
}

/// One model, in the order of `routing.modelCards`.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Its adapters, by [`LoraId`](crate::ids::LoraId).
    pub loras: Vec<String>,
    /// What its tokens cost, if that is configured.
    pub pricing: Option<Pricing>,
    /// Prompt and answer together, if that is configured.
    pub context_window: Option<Tokens>,
    /// Declared quality in `(0,1]`.
    pub quality: Option<f64>,
    /// Declared capabilities.
    pub capabilities: Vec<String>,
    /// Canonical names: of the model, then of each adapter on it.
    pub(crate) target_names: Vec<String>,
    pub(crate) can: Capabilities,
    reasoning: Option<ReasoningFamily>,
}

impl ModelInfo {
    /// The canonical name of the model, or of an adapter on it.
    pub(crate) fn target_name(&self, lora: Option<LoraId>) -> &str {
        &self.target_names[lora.map_or(0, |lora| lora.index() + 1)]
    }
}

#[derive(Debug, Clone)]
enum ReasoningFamily {
    /// `chat_template_kwargs`, with the parameter's name.
    TemplateFlag(String),
    /// `reasoning_effort`
    Effort,
}

#[derive(Debug)]
struct DefaultRoute {
    candidates: Vec<Candidate>,
    selector: Selector,
}

#[derive(Debug)]
struct Decision {
    name: String,
    priority: i64,
    tier: i64,
    /// Position among all decisions sorted by name.
    name_rank: u32,
    rules: Rule,
    /// It counts as matching while its rules are unknown.
    guard: bool,
    candidates: Vec<Candidate>,
    selector: Selector,
    algorithm: String,
    looper: Option<Plan>,
    note: Option<String>,
    session: Option<Box<SessionParams>>,
    fast_response: Option<String>,
    edits: RequestEdits,
}

/// Something that has a policy and keeps it for as long as outcomes of it are about.
pub trait HasPolicy: Send + Sync {
    /// The policy.
    fn policy(&self) -> &Policy;
}

impl HasPolicy for Policy {
    fn policy(&self) -> &Policy {
        self
    }
}

/// Everything that a decision depends on besides the policy.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The request.
    pub facts: &'a Facts<'a>,
    /// The session before this turn; `None` without a session or on its first turn.
    pub session: Option<&'a SessionSnapshot<'a>>,
    /// Canonical name of the target that made the response or conversation which the request refers to, if a
    /// pin for it is known.
    pub provider_owner: Option<&'a str>,
    /// The clock.
    pub now: UnixMillis,
    /// What is measured of the models.
    pub live: &'a LiveSignals,
    /// What habits expect after this turn, if [`Policy::learns_habits`].
    pub foresight: Option<&'a Foresight>,
}

impl Policy {
    /// Whether any decision has a use for what is learned over sessions: a session policy that weighs costs, and a
    /// projection that measures demand.
    pub fn learns_habits(&self) -> bool {
        self.profile == Profile::Pintle
            && self.projections.measures_demand()
            && self.decisions.iter().any(|decision| decision.session.is_some())
    }

    /// Compiles a configuration, or says everything that keeps it from being one.
    pub fn compile(config: &Config, profile: Profile) -> Result<Self, Vec<CompileError>> {
        Self::compile_with(config, profile, &Pretrained::default())
    }

    /// As [`Policy::compile`], with the files of selectors that were trained elsewhere.
    pub fn compile_with(
        config: &Config,
        profile: Profile,
        pretrained: &Pretrained,
    ) -> Result<Self, Vec<CompileError>> {
        compile::compile(config, profile, pretrained)
    }

    /// Texts that stand for models; a classifier compares a query to each, in this order.
    pub fn descriptions(&self) -> &[String] {
        &self.descriptions
    }

    /// Decides one turn. Nothing is stored; the same arguments give the same outcome.
    pub fn decide(
        &self,
        facts: &Facts<'_>,
        session: Option<&SessionSnapshot<'_>>,
        now: UnixMillis,
        live: &LiveSignals,
    ) -> Outcome {
        self.decide_with(&Inputs { facts, session, provider_owner: None, now, live, foresight: None })
    }

    /// Identifies what this policy decides by: equal digests decide equally.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// [`Policy::digest`] as 16 hexadecimal digits.
    pub fn digest_hex(&self) -> String {
        format!("{:016x}", self.digest)
    }

    /// What the numbers of its outcomes stand for.
    pub const fn legend(&self) -> &Arc<Legend> {
        &self.legend
    }

    /// Whose behaviour is followed.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The texts that this policy reads.
    pub fn needs(&self) -> Needs {
        let needs = self.signals.needs();
        let embedded = self.learned_needs();
        let embedded = embedded.query_embedding || embedded.model_similarity;
        Needs { current_user: needs.current_user || embedded, ..needs }
    }

    /// What this policy asks of classifiers.
    pub fn learned_needs(&self) -> LearnedNeeds {
        let selectors = || self.decisions.iter().map(|decision| &decision.selector);
        let mut needs = self.signals.learned_needs();
        needs.query_embedding = selectors().any(Selector::reads_embedding);
        needs.model_similarity = selectors().any(Selector::reads_similarity);
        needs
    }

    /// All models, indexed by [`ModelId`].
    pub fn models(&self) -> &[ModelInfo] {
        &self.models
    }

    /// The model of this name; adapters and external ids are not models.
    pub fn model_id(&self, name: &str) -> Option<ModelId> {
        self.targets.get(name).filter(|target| target.lora.is_none()).map(|target| target.model)
    }

    /// The canonical name of a target: the model's, or `model#adapter`. Session memory keeps this one.
    pub fn target_name(&self, target: Target) -> &str {
        self.models[target.model.index()].target_name(target.lora)
    }

    /// The target of a canonical name.
    pub fn target(&self, canonical: &str) -> Option<Target> {
        self.targets.get(canonical).copied()
    }

    /// The adapter's own name, if the target has one: the upstream is asked for it by that.
    pub fn lora_name(&self, target: Target) -> Option<&str> {
        target.lora.map(|lora| self.models[target.model.index()].loras[lora.index()].as_str())
    }

    /// A decision's name.
    pub fn decision_name(&self, decision: DecisionId) -> &str {
        &self.decisions[decision.index()].name
    }

    /// All decisions' names, in the order of [`DecisionId`].
    pub fn decision_names(&self) -> impl Iterator<Item = &str> {
        self.decisions.iter().map(|decision| decision.name.as_str())
    }

    /// The text of a decision's `fast_response`.
    pub fn fast_response(&self, decision: DecisionId) -> Option<&str> {
        self.decisions[decision.index()].fast_response.as_deref()
    }

    /// How several models are asked for one answer, if the decision's algorithm says so. The request is routed to
    /// one candidate all the same, which serves where the plan is not carried out.
    pub fn looper(&self, decision: DecisionId) -> Option<&Plan> {
        self.decisions[decision.index()].looper.as_ref()
    }

    /// All plans.
    pub fn loopers(&self) -> impl Iterator<Item = &Plan> {
        self.decisions.iter().filter_map(|decision| decision.looper.as_ref())
    }

    /// What a decision changes in the request.
    pub fn edits(&self, decision: DecisionId) -> &RequestEdits {
        &self.decisions[decision.index()].edits
    }

    /// Whether any decision chooses tools by what they say, among those that a request offers or out of a database.
    pub fn selects_tools(&self) -> bool {
        let selects = |edits: &RequestEdits| edits.tool_selection.is_some() || edits.tool_addition.is_some();
        self.decisions.iter().any(|decision| selects(&decision.edits))
    }

    /// The databases out of which decisions add tools, as they are configured; some may come more than once.
    pub fn tool_databases(&self) -> impl Iterator<Item = &str> {
        self.decisions.iter().filter_map(|decision| Some(&*decision.edits.tool_addition.as_ref()?.database))
    }

    /// How the request is told to reason or not: by the model's reasoning family, as the decision's reference
    /// to the target asks. `None` for a model without a family, and for a target that no decision chose.
    pub fn reasoning(&self, decision: Option<DecisionId>, target: Target) -> Option<Reasoning<'_>> {
        let candidates = &self.decisions[decision?.index()].candidates;
        let candidate = candidates.iter().find(|candidate| candidate.target == target)?;
        match self.models[target.model.index()].reasoning.as_ref()? {
            ReasoningFamily::TemplateFlag(parameter) => {
                Some(Reasoning::TemplateFlag { parameter, on: candidate.reasoning })
            }
            ReasoningFamily::Effort => {
                let effort = candidate.effort.as_deref().unwrap_or(&self.default_effort);
                Some(Reasoning::Effort { effort: candidate.reasoning.then_some(effort) })
            }
        }
    }

    /// A signal's name within its family; for [`Route::category`](crate::outcome::Route::category), the domain.
    pub fn signal_name(&self, signal: SignalId) -> &str {
        &self.defs[signal.index()].name
    }

    /// All signals, indexed by [`SignalId`].
    pub fn signals(&self) -> &[SignalDef] {
        &self.defs
    }

    /// Model names that ask for routing.
    pub fn auto_names(&self) -> &[String] {
        &self.auto_names
    }

    /// What an operator should know about this policy although it works: references to nothing, algorithms
    /// that this version replaces.
    pub fn notes(&self) -> &[CompileError] {
        &self.notes
    }
}
