//! `routing.signals`: what is looked at in a request. Eighteen families of v0.3, and `metadata` of a later version.

use crate::contract::RuleNode;
use crate::shape::contract;

contract! {
    /// The signal families, by YAML key.
    pub struct Signals {
        /// Condition type `keyword`.
        keywords: Vec<KeywordRule>,
        /// Condition type `embedding`.
        embeddings: Vec<EmbeddingRule>,
        /// Condition type `domain`.
        domains: Vec<Domain>,
        /// Condition type `fact_check`.
        fact_check: Vec<NamedRule>,
        /// Condition type `user_feedback`.
        user_feedbacks: Vec<NamedRule>,
        /// Condition type `reask`.
        reasks: Vec<ReaskRule>,
        /// Condition type `preference`.
        preferences: Vec<PreferenceRule>,
        /// Condition type `language`.
        language: Vec<LanguageRule>,
        /// Condition type `context`.
        context: Vec<ContextRule>,
        /// Condition type `structure`.
        structure: Vec<StructureRule>,
        /// Condition type `complexity`; conditions name `<rule>:hard`, `:medium` or `:easy`.
        complexity: Vec<ComplexityRule>,
        /// Condition type `modality`; names are `AR`, `DIFFUSION`, `BOTH`.
        modality: Vec<NamedRule>,
        /// Condition type `authz`; conditions name the role, not the binding.
        role_bindings: Vec<RoleBinding>,
        /// Condition type `jailbreak`.
        jailbreak: Vec<JailbreakRule>,
        /// Condition type `pii`.
        pii: Vec<PiiRule>,
        /// Condition type `kb`.
        kb: Vec<KbRule>,
        /// Condition type `conversation`.
        conversation: Vec<ConversationRule>,
        /// Condition type `event`.
        events: Vec<EventRule>,
        /// Condition type `metadata`. Of a later version: the compat profile does not act on it.
        metadata: Vec<MetadataRule>,
    }

    /// A signal that has no parameter of its own.
    pub struct NamedRule {
        /// Name used by conditions.
        name: String,
        /// For people.
        description: String,
    }

    /// Words or patterns in the user's text.
    pub struct KeywordRule {
        /// Name used by conditions.
        name: String,
        /// `AND`, `OR` or `NOR` over the keywords.
        operator: String,
        /// Words, or regular expressions when `method` is written as `regex`.
        keywords: Vec<String>,
        /// Letters are compared exactly.
        case_sensitive: bool,
        /// `regex` (default), `bm25` or `ngram`.
        method: String,
        /// Words within `fuzzy_threshold` edits match too.
        fuzzy_match: bool,
        /// Edit distance; 0 counts as 2.
        fuzzy_threshold: i64,
        /// Score for `bm25`; 0 counts as 0.1.
        bm25_threshold: f32,
        /// Similarity for `ngram`; 0 counts as 0.4.
        ngram_threshold: f32,
        /// Letters per n-gram; 0 counts as 3.
        ngram_arity: i64,
    }

    /// Similarity to example texts.
    pub struct EmbeddingRule {
        /// Name used by conditions.
        name: String,
        /// Similarity from which the rule matches.
        threshold: f32,
        /// Example texts.
        candidates: Vec<String>,
        /// `mean` averages; every other value blends best and mean of the top.
        aggregation_method: String,
        /// `text` (default) or `image`.
        query_modality: String,
    }

    /// A subject area.
    pub struct Domain {
        /// Name used by conditions.
        name: String,
        /// For people.
        description: String,
        /// MMLU categories that count as this domain.
        mmlu_categories: Vec<String>,
        /// Legacy scores, carried.
        model_scores: Vec<ModelScore>,
    }

    /// Legacy score of a model in a domain.
    pub struct ModelScore {
        /// Model name.
        model: String,
        /// Score.
        score: f64,
        /// Reasoning switch.
        use_reasoning: Option<bool>,
    }

    /// The user asks the same again.
    pub struct ReaskRule {
        /// Name used by conditions.
        name: String,
        /// For people.
        description: String,
        /// Similarity in [0,1]; 0 counts as 0.8.
        threshold: f32,
        /// Earlier user turns that are compared; 0 counts as 1.
        lookback_turns: i64,
    }

    /// What the user prefers.
    pub struct PreferenceRule {
        /// Name used by conditions.
        name: String,
        /// For people and for a language model that judges.
        description: String,
        /// Example texts.
        examples: Vec<String>,
        /// Similarity from which the rule matches.
        threshold: f32,
    }

    /// Language of the text.
    pub struct LanguageRule {
        /// Language code such as `en`.
        name: String,
        /// For people.
        description: String,
        /// Confidence; 0 counts as 0.3.
        threshold: f32,
    }

    /// Size of the request in tokens, both bounds inclusive.
    pub struct ContextRule {
        /// Name used by conditions.
        name: String,
        /// Number with optional K or M suffix, such as `1.5K`.
        min_tokens: String,
        /// As `min_tokens`; empty counts as 0, so that the rule never matches.
        max_tokens: String,
        /// For people.
        description: String,
    }

    /// A pattern in the text, counted.
    pub struct StructureRule {
        /// Name used by conditions; unique.
        name: String,
        /// For people.
        description: String,
        /// What is measured.
        feature: StructureFeature,
        /// When the measure counts; above 0 when absent.
        predicate: Option<NumericPredicate>,
    }

    /// What a structure rule measures.
    pub struct StructureFeature {
        /// `exists`, `count`, `density` or `sequence`.
        kind as "type": String,
        /// What is looked for.
        source: StructureSource,
    }

    /// What a structure rule looks for.
    pub struct StructureSource {
        /// `regex`, `keyword_set` or `sequence`.
        kind as "type": String,
        /// For `regex`.
        pattern: String,
        /// For `keyword_set`.
        keywords: Vec<String>,
        /// Letters are compared exactly.
        case_sensitive: bool,
        /// For `sequence`: markers that follow each other.
        sequences: Vec<Vec<String>>,
    }

    /// Bounds on a number; at most one lower and one upper.
    pub struct NumericPredicate {
        /// Greater than.
        gt: Option<f64>,
        /// Greater than or equal.
        gte: Option<f64>,
        /// Less than.
        lt: Option<f64>,
        /// Less than or equal.
        lte: Option<f64>,
    }

    /// Similarity to hard rather than easy examples.
    pub struct ComplexityRule {
        /// Name before `:hard`, `:medium`, `:easy` in conditions.
        name: String,
        /// Margin between the two similarities.
        threshold: f32,
        /// Examples of hard requests.
        hard: ComplexityCandidates,
        /// Examples of easy requests.
        easy: ComplexityCandidates,
        /// For people.
        description: String,
        /// Evaluated only when this rule holds.
        composer: Option<RuleNode>,
    }

    /// Examples of one difficulty.
    pub struct ComplexityCandidates {
        /// Texts.
        candidates: Vec<String>,
        /// Images.
        image_candidates: Vec<String>,
    }

    /// Who holds a role.
    pub struct RoleBinding {
        /// Name of the binding.
        name: String,
        /// For people.
        description: String,
        /// Who holds the role.
        subjects: Vec<Subject>,
        /// Role: the name used by `authz` conditions.
        role: String,
    }

    /// A user or group.
    pub struct Subject {
        /// `User` or `Group`.
        kind: String,
        /// Its name.
        name: String,
    }

    /// Attempts to break the model's instructions.
    pub struct JailbreakRule {
        /// Name used by conditions.
        name: String,
        /// `classifier` (default) or `contrastive`.
        method: String,
        /// Confidence, or margin for `contrastive` (0 counts as 0.10).
        threshold: f32,
        /// Earlier messages are looked at too.
        include_history: bool,
        /// For people.
        description: String,
        /// Examples of attacks, for `contrastive`.
        jailbreak_patterns: Vec<String>,
        /// Examples of harmless requests, for `contrastive`.
        benign_patterns: Vec<String>,
    }

    /// Personal data of a type that is not allowed.
    pub struct PiiRule {
        /// Name used by conditions.
        name: String,
        /// Confidence from which a type counts.
        threshold: f32,
        /// Types that do not count.
        pii_types_allowed: Vec<String>,
        /// Earlier messages are looked at too.
        include_history: bool,
        /// For people.
        description: String,
    }

    /// A label or group of a knowledge base.
    pub struct KbRule {
        /// Name used by conditions; unique.
        name: String,
        /// Name in `global.model_catalog.kbs`.
        kb: String,
        /// What must match.
        target: KbTarget,
        /// `best` or `threshold` (default).
        r#match as "match": String,
    }

    /// What of a knowledge base must match.
    pub struct KbTarget {
        /// `label` or `group`.
        kind: String,
        /// Its name.
        value: String,
    }

    /// The shape of the conversation.
    pub struct ConversationRule {
        /// Name used by conditions; unique.
        name: String,
        /// For people.
        description: String,
        /// What is measured.
        feature: ConversationFeature,
        /// When the measure counts; `count` without one always matches.
        predicate: Option<NumericPredicate>,
    }

    /// What a conversation rule measures.
    pub struct ConversationFeature {
        /// `count` or `exists`.
        kind as "type": String,
        /// What is counted.
        source: ConversationSource,
    }

    /// What a conversation rule counts.
    pub struct ConversationSource {
        /// `message`, `tool_definition`, `assistant_tool_call`, `assistant_tool_cycle`; HEAD adds `active_tool_loop` and `image_content`.
        kind as "type": String,
        /// With `message`: user, assistant, system, developer, tool or non_user.
        role: String,
    }

    /// An event that the request reports.
    pub struct EventRule {
        /// Name used by conditions.
        name: String,
        /// For people.
        description: String,
        /// Types of event.
        event_types: Vec<String>,
        /// `critical`, `high`, `medium`, `low`.
        severities: Vec<String>,
        /// Codes of action.
        action_codes: Vec<String>,
        /// The event has a time.
        temporal: bool,
    }

    /// What the client says in its request's `metadata`. Anybody can write anything there: no ground to trust anyone.
    pub struct MetadataRule {
        /// Name used by conditions.
        name: String,
        /// For people.
        description: String,
        /// Member of `metadata`.
        key: String,
        /// What it must be; exactly one comparison.
        predicate: MetadataPredicate,
    }

    /// A comparison with a member of `metadata`.
    pub struct MetadataPredicate {
        /// It is this text.
        equals: Option<String>,
        /// It is one of these.
        any_of as "in": Vec<String>,
        /// It is there, or it is not.
        exists: Option<bool>,
    }
}
