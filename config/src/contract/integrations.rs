//! `global.integrations`: tools and looper.

use std::collections::BTreeMap;

use crate::shape::contract;

contract! {
    /// Tools and looper.
    pub struct Integrations {
        /// Choice of tools by similarity to the request.
        tools: ToolsIntegration,
        /// How algorithms that call several models reach them.
        looper: Looper,
    }

    /// Choice of tools by similarity to the request.
    pub struct ToolsIntegration {
        /// Switched on.
        enabled: bool,
        /// Results taken.
        top_k: i64 = 3,
        /// Similarity from which an entry matches; absent counts as embedding min_score_threshold.
        similarity_threshold: Option<f32>,
        /// Tools Database path; relative to cwd/config dir.
        tools_db_path: String = "config/tools_db.json".into(),
        /// No match means no tools, not all.
        fallback_to_empty: bool = true,
        /// Filters and weights for the choice of tools.
        advanced_filtering: Option<AdvancedToolFiltering>,
    }

    /// Filters and weights for the choice of tools.
    pub struct AdvancedToolFiltering {
        /// Switched on; nothing below is checked unless true.
        enabled: bool,
        /// Retrieval strategy; empty or `weighted` | `hybrid_history` (case-insensitive).
        retrieval_strategy: String,
        /// Candidate pool size; at least 0; unset  means  max(5·top_k, 20).
        candidate_pool_size: Option<i64>,
        /// Min lexical overlap; at least 0.
        min_lexical_overlap: Option<i64>,
        /// Min combined score; 0-1.
        min_combined_score: Option<f32>,
        /// Weights of the parts of a tool's score.
        weights: ToolFilteringWeights,
        /// Only tools of the request's category.
        use_category_filter: Option<bool>,
        /// Category confidence threshold; 0-1.
        category_confidence_threshold: Option<f32>,
        /// Tools that may be chosen.
        allow_tools: Vec<String>,
        /// Tools that may not.
        block_tools: Vec<String>,
        /// Weights of earlier tool use.
        hybrid_history: Option<HybridHistoryToolRetrieval>,
    }

    /// Weights of the parts of a tool's score.
    pub struct ToolFilteringWeights {
        /// Embed; 0-1.
        embed: Option<f32>,
        /// Lexical; 0-1.
        lexical: Option<f32>,
        /// Tag; 0-1.
        tag: Option<f32>,
        /// Name; 0-1.
        name: Option<f32>,
        /// Category; 0-1.
        category: Option<f32>,
    }

    /// Weights of earlier tool use.
    pub struct HybridHistoryToolRetrieval {
        /// History horizon; at least 0; 0 counts as 8.
        history_horizon: Option<i64>,
        /// Min history steps; at least 0.
        min_history_steps: Option<i64>,
        /// History confidence threshold; 0-1.
        history_confidence_threshold: Option<f32>,
        /// Weight semantic; 0-1.
        weight_semantic: Option<f32>,
        /// Weight history transition; 0-1.
        weight_history_transition: Option<f32>,
        /// Weight decision prior; 0-1.
        weight_decision_prior: Option<f32>,
        /// Repetition penalty strength; 0-1.
        repetition_penalty_strength: Option<f32>,
    }

    /// How algorithms that call several models reach them.
    pub struct Looper {
        /// Address; internal loop-back chat URL; empty disables loopers.
        endpoint: String = "http://localhost:8899/v1/chat/completions".into(),
        /// Address per model; unused later.
        model_endpoints: BTreeMap<String, String>,
        /// GRPC max msg size MB; 0 or less counts as 4.
        grpc_max_msg_size_mb: i64,
        /// Seconds to wait; 0 or less counts as 30.
        timeout_seconds: i64 = 1200,
        /// Retry count; unused.
        retry_count: i64,
        /// Headers added to each call.
        headers: BTreeMap<String, String>,
    }
}
