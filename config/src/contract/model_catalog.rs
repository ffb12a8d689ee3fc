//! `global.model_catalog`: embeddings, classifiers, knowledge bases and modules.

use std::collections::BTreeMap;

use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// Embeddings, classifiers, knowledge bases and modules.
    pub struct ModelCatalog {
        /// Models that turn text into vectors.
        embeddings: Embeddings,
        /// Model behind each built-in classifier.
        system: SystemModels,
        /// Language model that judges in place of a classifier.
        external: Vec<ExternalModel>,
        /// Labelled examples that text is compared with; list replaces the two built-in KBs.
        kbs: Vec<KnowledgeBase> = built_in_knowledge_bases(),
        /// Settings of each classifier.
        modules: Modules,
    }

    /// Models that turn text into vectors.
    pub struct Embeddings {
        /// Models that turn text into vectors.
        semantic: EmbeddingModels,
    }

    /// Models that turn text into vectors.
    pub struct EmbeddingModels {
        /// Directory of the Qwen3 model.
        qwen3_model_path: String,
        /// Directory of the Gemma model.
        gemma_model_path: String,
        /// Mmbert model path; a registry model of purpose "semantic similarity" (classic BERT) here is fatal: use
        /// bert_model_path.
        mmbert_model_path: String = "models/mmbert-embed-32k-2d-matryoshka".into(),
        /// Directory of the multimodal model.
        multimodal_model_path: String,
        /// Directory of the BERT model.
        bert_model_path: String,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// How embeddings are made and compared.
        embedding_config: Hnsw,
    }

    /// How embeddings are made and compared.
    pub struct Hnsw {
        /// Backend; empty counts as `candle` | openvino (env EMBEDDING_BACKEND_OVERRIDE).
        backend: String,
        /// Model type; empty counts as `qwen3` if block replaced; values qwen3, gemma, mmbert, multimodal, bert (env
        /// EMBEDDING_MODEL_OVERRIDE).
        model_type: String = "mmbert".into(),
        /// Examples are embedded at start.
        preload_embeddings: bool = true,
        /// Target dimension; 0 or less counts as 768.
        target_dimension: i64 = 768,
        /// Target layer; early exit layer.
        target_layer: i64 = 22,
        /// Near misses count with their score.
        enable_soft_matching: Option<bool> = Some(true),
        /// Results taken; 0 = all, negative means 1.
        top_k: Option<i64> = Some(1),
        /// Min score threshold; 0 or less counts as 0.5.
        min_score_threshold: f32 = 0.5,
        /// How example texts are condensed into prototypes.
        prototype_scoring: PrototypeScoring,
    }

    /// How example texts are condensed into prototypes.
    pub struct PrototypeScoring {
        /// Switched on.
        enabled: Option<bool>,
        /// Similarity from which examples are merged; 0 or less counts as 0.9.
        cluster_similarity_threshold: f32,
        /// Prototypes kept; 0 or less counts as 8.
        max_prototypes: i64,
        /// Weight of the best prototype; 0 or less counts as 0.75.
        best_weight: f32,
        /// Prototypes whose mean counts; 0 or less counts as 2.
        top_m: i64,
        /// Least lead over the next best; less than 0 counts as 0.
        margin_threshold: f32,
    }

    /// Model behind each built-in classifier.
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

    /// Language model that judges in place of a classifier.
    pub struct ExternalModel {
        /// LLM provider; label.
        llm_provider: String,
        /// Model role; guardrail|classification|scoring|preference|memory_rewrite|memory_extraction; first entry with
        /// the role wins; not validated.
        model_role: String,
        /// Where an external model is served.
        llm_endpoint: ClassifierVllmEndpoint,
        /// Name of the model.
        llm_model_name: String,
        /// Seconds to wait.
        llm_timeout_seconds: i64,
        /// Parser type; qwen3guard|json|simple|auto (empty = auto by model name); unknown  means  auto.
        parser_type: String,
        /// Confidence from which the result counts.
        threshold: f32,
        /// Key of the endpoint.
        access_key: Secret,
        /// Bound in tokens; 0 is none.
        max_tokens: i64,
        /// Sampling temperature.
        temperature: f64,
    }

    /// Where an external model is served.
    pub struct ClassifierVllmEndpoint {
        /// `host:port`.
        address: String,
        /// TCP port.
        port: i64,
        /// Protocol; empty counts as `http`.
        protocol: String,
        /// Name.
        name: String,
        /// The prompt is wrapped in the chat template.
        use_chat_template: bool,
        /// Prompt put to the model.
        prompt_template: String,
    }

    /// Labelled examples that text is compared with.
    pub struct KnowledgeBase {
        /// Name; non-empty, unique.
        name: String,
        /// Where labels and examples are read.
        source: KnowledgeBaseSource,
        /// Confidence from which the result counts; 0-1.
        threshold: f32,
        /// Label thresholds; label must exist, 0-1.
        label_thresholds: BTreeMap<String, f32>,
        /// Groups; non-empty, labels exist, no repeats.
        groups: BTreeMap<String, Vec<String>>,
        /// Metric over groups of labels.
        metrics: Vec<KnowledgeBaseMetric>,
        /// How example texts are condensed into prototypes.
        prototype_scoring: PrototypeScoring,
    }

    /// Where labels and examples are read.
    pub struct KnowledgeBaseSource {
        /// Path; required; directory.
        path: String,
        /// Manifest; empty counts as `labels.json`.
        manifest: String,
    }

    /// Metric over groups of labels.
    pub struct KnowledgeBaseMetric {
        /// Name; unique, not best_score/best_matched_score.
        name: String,
        /// Kind; `group_margin` only.
        kind as "type": String,
        /// Positive group; must exist in groups (negative_group likewise).
        positive_group: String,
        /// Group that counts against.
        negative_group: String,
    }

    /// Settings of each classifier.
    pub struct Modules {
        /// Shortening of text before it is classified.
        prompt_compression: PromptCompression,
        /// Classifier of jailbreak attempts.
        prompt_guard: PromptGuardModule,
        /// Classifiers of text.
        classifier: ClassifierModule,
        /// Complexity.
        complexity: ComplexityModel,
        /// Detection of claims that the context does not support.
        hallucination_mitigation: HallucinationModule,
        /// Classifier of user feedback.
        feedback_detector: FeedbackDetectorModule,
        /// Detection of requests for images.
        modality_detector: ModalityDetector,
    }

    /// Shortening of text before it is classified.
    pub struct PromptCompression {
        /// Switched on.
        enabled: bool,
        /// Profile; empty or default|coding|medical|security|multi_turn (case-insensitive, `-`=`_`); other fatal even
        /// when disabled.
        profile: String,
        /// Bound in tokens; 0 is none.
        max_tokens: i64,
        /// Characters below which text is left alone.
        min_length: i64,
        /// Skip signals; empty counts as jailbreak, pii (signals evaluated on the original text).
        skip_signals: Vec<String>,
        /// Weight of central sentences.
        textrank_weight: f64,
        /// Weight of position.
        position_weight: f64,
        /// Weight of rare words.
        tfidf_weight: f64,
        /// Weight of new content.
        novelty_weight: f64,
        /// How strongly position counts.
        position_depth: f64,
        /// Sentences kept at the start.
        preserve_first_n: i64,
        /// Sentences kept at the end.
        preserve_last_n: i64,
    }

    /// Classifier of jailbreak attempts.
    pub struct PromptGuardModule {
        /// Switched on.
        enabled: bool = true,
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.7,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// The model is a ModernBERT.
        use_modernbert: bool,
        /// The model is an mmBERT with a 32k window.
        use_mmbert_32k: bool = true,
        /// Jailbreak mapping path; empty disables the guard.
        jailbreak_mapping_path: String = "models/mmbert32k-jailbreak-detector-merged/jailbreak_type_mapping.json".into(),
        /// Use vLLM; uses external model with role guardrail.
        use_vllm: bool,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "prompt_guard".into(),
    }

    /// Classifiers of text.
    pub struct ClassifierModule {
        /// Classifier of subject areas.
        domain: CategoryModule,
        /// Domain classifier behind an MCP tool.
        mcp: McpCategoryModel,
        /// Classifier of personal data.
        pii: PiiModule,
        /// Classifier of user preferences.
        preference: PreferenceModel,
    }

    /// Classifier of subject areas.
    pub struct CategoryModule {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.5,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// The model is a ModernBERT.
        use_modernbert: bool,
        /// The model is an mmBERT with a 32k window.
        use_mmbert_32k: bool = true,
        /// Category mapping path; empty disables the domain classifier.
        category_mapping_path: String = "models/mmbert32k-intent-classifier-merged/category_mapping.json".into(),
        /// Domain when none is confident.
        fallback_category: String,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "domain_classifier".into(),
    }

    /// Domain classifier behind an MCP tool.
    pub struct McpCategoryModel {
        /// Switched on.
        enabled: bool,
        /// Transport type; stdio|streamable-http (alias http).
        transport_type: String,
        /// Program that is started.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment.
        env: BTreeMap<String, String>,
        /// Address of the server.
        url: String,
        /// Tool name; empty disables MCP.
        tool_name: String,
        /// Confidence from which the result counts.
        threshold: f32,
        /// Seconds to wait.
        timeout_seconds: i64,
    }

    /// Classifier of personal data.
    pub struct PiiModule {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.9,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// The model is an mmBERT with a 32k window.
        use_mmbert_32k: bool = true,
        /// PII mapping path; empty disables PII.
        pii_mapping_path: String = "models/mmbert32k-pii-detector-merged/pii_type_mapping.json".into(),
        /// Key of `global.model_catalog.system`.
        model_ref: String = "pii_classifier".into(),
    }

    /// Classifier of user preferences.
    pub struct PreferenceModel {
        /// Use contrastive; absent counts as true.
        use_contrastive: Option<bool> = Some(true),
        /// Model that makes the vectors.
        embedding_model: String,
        /// How example texts are condensed into prototypes.
        prototype_scoring: PrototypeScoring,
    }

    /// Complexity.
    pub struct ComplexityModel {
        /// How example texts are condensed into prototypes.
        prototype_scoring: PrototypeScoring = PrototypeScoring { enabled: Some(true), cluster_similarity_threshold: 0.9, max_prototypes: 8, best_weight: 0.75, top_m: 2, ..PrototypeScoring::default() },
    }

    /// Detection of claims that the context does not support.
    pub struct HallucinationModule {
        /// Switched on; also switched on implicitly by rules/plugins that need it.
        enabled: bool,
        /// On hallucination detected; inert: always `warn`.
        on_hallucination_detected: String,
        /// Classifier of requests that need facts.
        fact_check: FactCheckModule,
        /// Detector of unsupported spans.
        detector: HallucinationDetector,
        /// Explanation of a detected span.
        explainer: ExplainerModule,
    }

    /// Classifier of requests that need facts.
    pub struct FactCheckModule {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.6,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// The model is an mmBERT with a 32k window.
        use_mmbert_32k: bool = true,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "fact_check_classifier".into(),
    }

    /// Detector of unsupported spans.
    pub struct HallucinationDetector {
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.8,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// Tokens of a span at least.
        min_span_length: i64 = 2,
        /// Confidence of a span at least.
        min_span_confidence: f32 = 0.6,
        /// Characters of context around a span.
        context_window_size: i64 = 50,
        /// Spans are checked by inference.
        enable_nli_filtering: bool = true,
        /// Confidence from which a span counts as supported.
        nli_entailment_threshold: f32 = 0.75,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "hallucination_detector".into(),
    }

    /// Explanation of a detected span.
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

    /// Classifier of user feedback.
    pub struct FeedbackDetectorModule {
        /// Switched on.
        enabled: bool = true,
        /// Model; wins over `model_ref`.
        model_id: String,
        /// Confidence from which the result counts.
        threshold: f32 = 0.7,
        /// Runs on the CPU.
        use_cpu: bool = true,
        /// The model is a ModernBERT.
        use_modernbert: bool,
        /// The model is an mmBERT with a 32k window.
        use_mmbert_32k: bool = true,
        /// Feedback mapping path; unused.
        feedback_mapping_path: String,
        /// Key of `global.model_catalog.system`.
        model_ref: String = "feedback_detector".into(),
    }

    /// Detection of requests for images.
    pub struct ModalityDetector {
        /// Switched on.
        enabled: bool,
        /// Words that announce an image request.
        prompt_prefixes: Vec<String>,
        /// Method; classifier|keyword|hybrid ; required when enabled.
        method: String,
        /// Model that tells text from image requests.
        classifier: Option<ModalityClassifier>,
        /// Words that ask for an image; required for keyword.
        keywords: Vec<String>,
        /// Words that ask for text and an image.
        both_keywords: Vec<String>,
        /// Confidence threshold; 0-1; required for classifier/hybrid.
        confidence_threshold: f32,
        /// Lower threshold ratio; 0-1; required for hybrid.
        lower_threshold_ratio: f32,
    }

    /// Model that tells text from image requests.
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
