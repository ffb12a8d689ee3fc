//! `global.model_catalog`: embeddings, classifiers, knowledge bases and modules.

use std::collections::BTreeMap;

use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// Embeddings, classifiers, knowledge bases and modules.
    pub struct ModelCatalog {
        /// Embeddings.
        embeddings: Embeddings,
        /// System.
        system: SystemModels,
        /// External.
        external: Vec<ExternalModel>,
        /// Knowledge bases; list replaces the two built-in KBs.
        kbs: Vec<KnowledgeBase> = built_in_knowledge_bases(),
        /// Modules.
        modules: Modules,
    }

    /// Embeddings.
    pub struct Embeddings {
        /// Semantic.
        semantic: EmbeddingModels,
    }

    /// Semantic.
    pub struct EmbeddingModels {
        /// Qwen3 model path.
        qwen3_model_path: String,
        /// Gemma model path.
        gemma_model_path: String,
        /// Mmbert model path; a registry model of purpose "semantic similarity" (classic BERT) here is fatal: use
        /// bert_model_path.
        mmbert_model_path: String = "models/mmbert-embed-32k-2d-matryoshka".into(),
        /// Multimodal model path.
        multimodal_model_path: String,
        /// Bert model path.
        bert_model_path: String,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Embedding config.
        embedding_config: Hnsw,
    }

    /// Embedding config.
    pub struct Hnsw {
        /// Backend; empty counts as `candle` | openvino (env EMBEDDING_BACKEND_OVERRIDE).
        backend: String,
        /// Model type; empty counts as `qwen3` if block replaced; values qwen3, gemma, mmbert, multimodal, bert (env
        /// EMBEDDING_MODEL_OVERRIDE).
        model_type: String = "mmbert".into(),
        /// Preload embeddings.
        preload_embeddings: bool = true,
        /// Target dimension; 0 or less counts as 768.
        target_dimension: i64 = 768,
        /// Target layer; early exit layer.
        target_layer: i64 = 22,
        /// Enable soft matching.
        enable_soft_matching: Option<bool> = Some(true),
        /// Results taken; 0 = all, negative means 1.
        top_k: Option<i64> = Some(1),
        /// Min score threshold; 0 or less counts as 0.5.
        min_score_threshold: f32 = 0.5,
        /// How examples are condensed.
        prototype_scoring: PrototypeScoring,
    }

    /// How examples are condensed.
    pub struct PrototypeScoring {
        /// On.
        enabled: Option<bool>,
        /// Cluster similarity threshold.
        cluster_similarity_threshold: f32,
        /// Max prototypes.
        max_prototypes: i64,
        /// Best weight.
        best_weight: f32,
        /// Top m.
        top_m: i64,
        /// Margin threshold.
        margin_threshold: f32,
    }

    /// System.
    pub struct SystemModels {
        /// Prompt guard.
        prompt_guard: String = "models/mmbert32k-jailbreak-detector-merged".into(),
        /// Domain classifier.
        domain_classifier: String = "models/mmbert32k-intent-classifier-merged".into(),
        /// PII classifier.
        pii_classifier: String = "models/mmbert32k-pii-detector-merged".into(),
        /// Fact check classifier.
        fact_check_classifier: String = "models/mmbert32k-factcheck-classifier-merged".into(),
        /// Hallucination detector.
        hallucination_detector: String = "models/mom-halugate-detector".into(),
        /// Hallucination explainer.
        hallucination_explainer: String = "models/mom-halugate-explainer".into(),
        /// Feedback detector.
        feedback_detector: String = "models/mmbert32k-feedback-detector-merged".into(),
    }

    /// External.
    pub struct ExternalModel {
        /// LLM provider; label.
        llm_provider: String,
        /// Model role; guardrail|classification|scoring|preference|memory_rewrite|memory_extraction; first entry with
        /// the role wins; not validated.
        model_role: String,
        /// LLM endpoint.
        llm_endpoint: ClassifierVllmEndpoint,
        /// LLM model name.
        llm_model_name: String,
        /// LLM timeout seconds.
        llm_timeout_seconds: i64,
        /// Parser type; qwen3guard|json|simple|auto (empty = auto by model name); unknown  means  auto.
        parser_type: String,
        /// Confidence from which the result counts.
        threshold: f32,
        /// Access key.
        access_key: Secret,
        /// Max tokens.
        max_tokens: i64,
        /// Temperature.
        temperature: f64,
    }

    /// LLM endpoint.
    pub struct ClassifierVllmEndpoint {
        /// `host:port`.
        address: String,
        /// TCP port.
        port: i64,
        /// Protocol; empty counts as `http`.
        protocol: String,
        /// Name.
        name: String,
        /// Use chat template.
        use_chat_template: bool,
        /// Prompt template.
        prompt_template: String,
    }

    /// Knowledge bases.
    pub struct KnowledgeBase {
        /// Name; non-empty, unique.
        name: String,
        /// Source.
        source: KnowledgeBaseSource,
        /// Confidence from which the result counts; 0-1.
        threshold: f32,
        /// Label thresholds; label must exist, 0-1.
        label_thresholds: BTreeMap<String, f32>,
        /// Groups; non-empty, labels exist, no repeats.
        groups: BTreeMap<String, Vec<String>>,
        /// Metrics.
        metrics: Vec<KnowledgeBaseMetric>,
        /// How examples are condensed.
        prototype_scoring: PrototypeScoring,
    }

    /// Source.
    pub struct KnowledgeBaseSource {
        /// Path; required; directory.
        path: String,
        /// Manifest; empty counts as `labels.json`.
        manifest: String,
    }

    /// Metrics.
    pub struct KnowledgeBaseMetric {
        /// Name; unique, not best_score/best_matched_score.
        name: String,
        /// Kind; `group_margin` only.
        kind as "type": String,
        /// Positive group; must exist in groups (negative_group likewise).
        positive_group: String,
        /// Negative group.
        negative_group: String,
    }

    /// Modules.
    pub struct Modules {
        /// Prompt compression.
        prompt_compression: PromptCompression,
        /// Prompt guard.
        prompt_guard: PromptGuardModule,
        /// Classifier.
        classifier: ClassifierModule,
        /// Complexity.
        complexity: ComplexityModel,
        /// Hallucination mitigation.
        hallucination_mitigation: HallucinationModule,
        /// Feedback detector.
        feedback_detector: FeedbackDetectorModule,
        /// Modality detector.
        modality_detector: ModalityDetector,
    }

    /// Prompt compression.
    pub struct PromptCompression {
        /// On.
        enabled: bool,
        /// Profile; empty or default|coding|medical|security|multi_turn (case-insensitive, `-`=`_`); other fatal even
        /// when disabled.
        profile: String,
        /// Max tokens.
        max_tokens: i64,
        /// Min length.
        min_length: i64,
        /// Skip signals; empty counts as jailbreak, pii (signals evaluated on the original text).
        skip_signals: Vec<String>,
        /// Textrank weight.
        textrank_weight: f64,
        /// Position weight.
        position_weight: f64,
        /// Tfidf weight.
        tfidf_weight: f64,
        /// Novelty weight.
        novelty_weight: f64,
        /// Position depth.
        position_depth: f64,
        /// Preserve first n.
        preserve_first_n: i64,
        /// Preserve last n.
        preserve_last_n: i64,
    }

    /// Prompt guard.
    pub struct PromptGuardModule {
        /// On.
        enabled: bool = true,
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.7,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Use modernbert.
        use_modernbert: bool,
        /// Use mmbert 32k.
        use_mmbert_32k: bool = true,
        /// Jailbreak mapping path; empty disables the guard.
        jailbreak_mapping_path: String = "models/mmbert32k-jailbreak-detector-merged/jailbreak_type_mapping.json".into(),
        /// Use vLLM; uses external model with role guardrail.
        use_vllm: bool,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "prompt_guard".into(),
    }

    /// Classifier.
    pub struct ClassifierModule {
        /// Domain.
        domain: CategoryModule,
        /// MCP.
        mcp: McpCategoryModel,
        /// PII.
        pii: PiiModule,
        /// Preference.
        preference: PreferenceModel,
    }

    /// Domain.
    pub struct CategoryModule {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.5,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Use modernbert.
        use_modernbert: bool,
        /// Use mmbert 32k.
        use_mmbert_32k: bool = true,
        /// Category mapping path; empty disables the domain classifier.
        category_mapping_path: String = "models/mmbert32k-intent-classifier-merged/category_mapping.json".into(),
        /// Fallback category.
        fallback_category: String,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "domain_classifier".into(),
    }

    /// MCP.
    pub struct McpCategoryModel {
        /// On.
        enabled: bool,
        /// Transport type; stdio|streamable-http (alias http).
        transport_type: String,
        /// Command.
        command: String,
        /// Args.
        args: Vec<String>,
        /// Env.
        env: BTreeMap<String, String>,
        /// URL.
        url: String,
        /// Tool name; empty disables MCP.
        tool_name: String,
        /// Confidence from which the result counts.
        threshold: f32,
        /// Timeout seconds.
        timeout_seconds: i64,
    }

    /// PII.
    pub struct PiiModule {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.9,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Use mmbert 32k.
        use_mmbert_32k: bool = true,
        /// PII mapping path; empty disables PII.
        pii_mapping_path: String = "models/mmbert32k-pii-detector-merged/pii_type_mapping.json".into(),
        /// Key of `global.model_catalog.system`.
        model_ref: String = "pii_classifier".into(),
    }

    /// Preference.
    pub struct PreferenceModel {
        /// Use contrastive; absent counts as true.
        use_contrastive: Option<bool> = Some(true),
        /// Embedding model.
        embedding_model: String,
        /// How examples are condensed.
        prototype_scoring: PrototypeScoring,
    }

    /// Complexity.
    pub struct ComplexityModel {
        /// How examples are condensed.
        prototype_scoring: PrototypeScoring = PrototypeScoring { enabled: Some(true), cluster_similarity_threshold: 0.9, max_prototypes: 8, best_weight: 0.75, top_m: 2, ..PrototypeScoring::default() },
    }

    /// Hallucination mitigation.
    pub struct HallucinationModule {
        /// On; also switched on implicitly by rules/plugins that need it.
        enabled: bool,
        /// On hallucination detected; inert: always `warn`.
        on_hallucination_detected: String,
        /// Fact check.
        fact_check: FactCheckModule,
        /// Detector.
        detector: HallucinationDetector,
        /// Explainer.
        explainer: ExplainerModule,
    }

    /// Fact check.
    pub struct FactCheckModule {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.6,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Use mmbert 32k.
        use_mmbert_32k: bool = true,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "fact_check_classifier".into(),
    }

    /// Detector.
    pub struct HallucinationDetector {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.8,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Min span length.
        min_span_length: i64 = 2,
        /// Min span confidence.
        min_span_confidence: f32 = 0.6,
        /// Context window size.
        context_window_size: i64 = 50,
        /// Enable NLI filtering.
        enable_nli_filtering: bool = true,
        /// NLI entailment threshold.
        nli_entailment_threshold: f32 = 0.75,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "hallucination_detector".into(),
    }

    /// Explainer.
    pub struct ExplainerModule {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.9,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "hallucination_explainer".into(),
    }

    /// Feedback detector.
    pub struct FeedbackDetectorModule {
        /// On.
        enabled: bool = true,
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.7,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Use modernbert.
        use_modernbert: bool,
        /// Use mmbert 32k.
        use_mmbert_32k: bool = true,
        /// Feedback mapping path; unused.
        feedback_mapping_path: String,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "feedback_detector".into(),
    }

    /// Modality detector.
    pub struct ModalityDetector {
        /// On.
        enabled: bool,
        /// Prompt prefixes.
        prompt_prefixes: Vec<String>,
        /// Method; classifier|keyword|hybrid ; required when enabled.
        method: String,
        /// Classifier.
        classifier: Option<ModalityClassifier>,
        /// Keywords; required for keyword.
        keywords: Vec<String>,
        /// Both keywords.
        both_keywords: Vec<String>,
        /// Confidence threshold; 0-1; required for classifier/hybrid.
        confidence_threshold: f32,
        /// Lower threshold ratio; 0-1; required for hybrid.
        lower_threshold_ratio: f32,
    }

    /// Classifier.
    pub struct ModalityClassifier {
        /// Directory of the model; required for classifier.
        model_path: String,
        /// Runs on the CPU.
        use_cpu: bool,
    }
}

/// The knowledge bases that are present unless a file names its own; a list in a file replaces them.
fn built_in_knowledge_bases() -> Vec<KnowledgeBase> {
    let groups = |groups: &[(&str, &[&str])]| {
        groups
            .iter()
            .map(|(name, labels)| {
                ((*name).to_owned(), labels.iter().map(|label| (*label).to_owned()).collect())
            })
            .collect()
    };
    let margin = |name: &str, positive: &str, negative: &str| KnowledgeBaseMetric {
        name: name.into(),
        kind: "group_margin".into(),
        positive_group: positive.into(),
        negative_group: negative.into(),
    };
    let source = |path: &str| KnowledgeBaseSource { path: path.into(), manifest: "labels.json".into() };
    vec![
        KnowledgeBase {
            name: "privacy_kb".into(),
            source: source("knowledge_bases/privacy/"),
            threshold: 0.55,
            label_thresholds: BTreeMap::from([("prompt_injection".to_owned(), 0.7)]),
            groups: groups(&[
                (
                    "frontier_reasoning",
                    &["architecture_analysis", "root_cause_analysis", "multi_step_tradeoffs"],
                ),
                ("local_standard", &["generic_coding", "simple_task", "general_knowledge"]),
                (
                    "privacy_policy",
                    &[
                        "proprietary_code",
                        "internal_document",
                        "pii",
                        "business_strategy",
                        "trade_secret_ip",
                        "operational_infrastructure",
                        "locality_directive",
                        "customer_data",
                    ],
                ),
                (
                    "private",
                    &[
                        "prompt_injection",
                        "credential_exfiltration",
                        "jailbreak_role",
                        "system_prompt_extraction",
                        "proprietary_code",
                        "internal_document",
                        "pii",
                        "business_strategy",
                        "trade_secret_ip",
                        "operational_infrastructure",
                        "locality_directive",
                        "customer_data",
                    ],
                ),
                (
                    "public",
                    &[
                        "architecture_analysis",
                        "root_cause_analysis",
                        "multi_step_tradeoffs",
                        "generic_coding",
                        "simple_task",
                        "general_knowledge",
                    ],
                ),
                (
                    "security_containment",
                    &[
                        "prompt_injection",
                        "credential_exfiltration",
                        "jailbreak_role",
                        "system_prompt_extraction",
                    ],
                ),
            ]),
            metrics: vec![margin("private_vs_public", "private", "public")],
            ..KnowledgeBase::default()
        },
        KnowledgeBase {
            name: "mmlu_kb".into(),
            source: source("knowledge_bases/mmlu/"),
            threshold: 0.25,
            groups: groups(&[
                (
                    "escalate",
                    &[
                        "biology",
                        "business",
                        "computer science",
                        "economics",
                        "history",
                        "math",
                        "other",
                        "philosophy",
                        "psychology",
                    ],
                ),
                ("keep", &["chemistry", "engineering", "health", "law", "physics"]),
            ]),
            metrics: vec![margin("escalate_vs_keep", "escalate", "keep")],
            ..KnowledgeBase::default()
        },
    ]
}
