//! `routing.decisions`: rules that choose candidate models.

use crate::contract::Algorithm;
use crate::shape::contract;
use crate::value::Value;

contract! {
    /// A rule that chooses candidate models.
    pub struct Decision {
        /// Name shown in headers, metrics and flows.
        name: String,
        /// For people.
        description: String,
        /// Higher wins among matched decisions.
        priority: i64,
        /// Lower wins before confidence and priority, once any matched decision has a tier above 0.
        tier: i64,
        /// When the decision applies.
        rules: RuleNode,
        /// Candidate models; empty falls to the default model.
        model_refs as "modelRefs": Vec<ModelRef>,
        /// How one candidate is selected; the first when absent.
        algorithm: Option<Algorithm>,
        /// What else happens to the request and its answer.
        plugins: Vec<Plugin>,
        /// Declarative loops over candidates.
        candidate_iterations as "candidateIterations": Vec<CandidateIteration>,
        /// Directives to the session memory.
        emits: Vec<Emit>,
    }

    /// A leaf when `type` is set, else an operator over conditions.
    pub struct RuleNode {
        /// Condition type; non-empty makes the node a leaf.
        kind as "type": String,
        /// Signal name within the type.
        name: String,
        /// `AND`, `NOT`; everything else is `OR`.
        operator: String,
        /// Children.
        conditions: Vec<RuleNode>,
    }

    /// A candidate model.
    pub struct ModelRef {
        /// Name of a model card.
        model: String,
        /// Adapter of that card.
        lora_name: String,
        /// Share; 0 is unset.
        weight: f64,
        /// Reasoning switch; absent counts as off.
        use_reasoning: Option<bool>,
        /// For people.
        reasoning_description: String,
        /// `low`, `medium`, `high`, or what the model knows.
        reasoning_effort: String,
    }

    /// Something else that happens to the request or its answer.
    pub struct Plugin {
        /// Exact name of the plugin.
        kind as "type": String,
        /// Payload; opaque at load.
        configuration: Option<Value>,
    }

    /// A declarative loop over candidates.
    pub struct CandidateIteration {
        /// Name of the loop variable.
        variable: String,
        /// `decision.candidates` or `models`.
        source: String,
        /// For `models`.
        models: Vec<ModelRef>,
        /// What the loop yields.
        outputs: Vec<IterationOutput>,
    }

    /// What a loop yields.
    pub struct IterationOutput {
        /// `model`.
        kind as "type": String,
        /// The loop variable.
        value: String,
    }

    /// A directive to the session memory.
    pub struct Emit {
        /// `retention`.
        kind: String,
        /// Its payload.
        retention: Option<Retention>,
    }

    /// What happens to remembered state after this decision.
    pub struct Retention {
        /// Forget the session.
        drop: Option<bool>,
        /// Forget it after this many turns.
        ttl_turns: Option<i64>,
        /// Stay on the model.
        keep_current_model: Option<bool>,
        /// Prefer the model that holds the prefix.
        prefer_prefix_retention: Option<bool>,
    }
}
