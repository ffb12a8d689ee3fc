//! `algorithm` of a decision: how one candidate is selected. Defaults named here are the effective ones
//! that a selector puts in place of an unset (zero or absent) value.

use crate::shape::contract;

contract! {
    /// How one candidate is selected: a type and at most one block of settings.
    pub struct Algorithm {
        /// Name of the selector; an unknown one without a block acts as the default selector.
        kind as "type": String,
        /// Settings of `confidence`.
        confidence: Option<ConfidenceAlgorithm>,
        /// Settings of `ratings`.
        ratings: Option<RatingsAlgorithm>,
        /// Settings of `remom`.
        remom: Option<RemomAlgorithm>,
        /// Settings of `elo`.
        elo: Option<EloSelection>,
        /// Settings of `router_dc`.
        router_dc: Option<RouterDcSelection>,
        /// Settings of `automix`.
        automix: Option<AutomixSelection>,
        /// Settings of `hybrid`.
        hybrid: Option<HybridSelection>,
        /// Settings of `rl_driven`.
        rl_driven: Option<RlDrivenSelection>,
        /// Settings of `gmtrouter`.
        gmtrouter: Option<GmtRouterSelection>,
        /// Settings of `latency_aware`.
        latency_aware: Option<LatencyAwareAlgorithm>,
        /// Settings of `multi_factor`.
        multi_factor: Option<MultiFactorSelection>,
        /// Settings of `session_aware`.
        session_aware: Option<SessionAwareSelection>,
        /// `skip` or `fail`.
        on_error: String,
    }

    /// Asks small models first and escalates while the answer is not confident.
    pub struct ConfidenceAlgorithm {
        /// avg_logprob, margin, hybrid, self_verify or automix_entailment.
        confidence_method: String,
        /// 0 counts as -1.0, 0.5, 0.5, 0.7, 0.7 by method.
        threshold: f64,
        /// For `hybrid`.
        hybrid_weights: Option<HybridWeights>,
        /// `skip` (default) or `fail`.
        on_error: String,
        /// `size` (default).
        escalation_order: String,
        /// Default 0.3.
        cost_quality_tradeoff: f64,
        /// Which tokens count.
        token_filter: String,
        /// For `automix_entailment`.
        verifier_server_url: String,
        /// Seconds; default 60.
        verifier_timeout_seconds: i64,
    }

    /// Weights of the two confidence measures.
    pub struct HybridWeights {
        /// Default 0.5.
        logprob_weight: f64,
        /// Default 0.5.
        margin_weight: f64,
    }

    /// Asks several models and lets them be rated.
    pub struct RatingsAlgorithm {
        /// Calls in flight.
        max_concurrent: i64,
        /// `skip` (default) or `fail`.
        on_error: String,
    }

    /// Rounds of parallel answers, compacted and synthesised.
    pub struct RemomAlgorithm {
        /// Answers per round; default [4].
        breadth_schedule: Vec<i64>,
        /// `weighted` (default), `equal` or `first_only`.
        model_distribution: String,
        /// Default 1.0.
        temperature: f64,
        /// Keep reasoning in what the next round sees.
        include_reasoning: bool,
        /// `full` (default) or `last_n_tokens`.
        compaction_strategy: String,
        /// Default 1000.
        compaction_tokens: i64,
        /// Prompt of the last round.
        synthesis_template: String,
        /// Calls in flight.
        max_concurrent: i64,
        /// `skip` (default) or `fail`.
        on_error: String,
        /// Default 42.
        shuffle_seed: i64,
        /// Answers of earlier rounds are returned too.
        include_intermediate_responses: bool,
        /// 0 is no bound.
        max_responses_per_round: i64,
    }

    /// Ratings learned from comparisons.
    pub struct EloSelection {
        /// Default 1500.
        initial_rating: f64,
        /// Default 32.
        k_factor: f64,
        /// Ratings per category.
        category_weighted: bool,
        /// Pull towards the initial rating.
        decay_factor: f64,
        /// Default 5.
        min_comparisons: i64,
        /// Weight of cost.
        cost_scaling_factor: f64,
        /// File that keeps the ratings.
        storage_path: String,
        /// Duration text.
        auto_save_interval: String,
    }

    /// Similarity of query and model embeddings.
    pub struct RouterDcSelection {
        /// Default 0.07.
        temperature: f64,
        /// Default 768.
        dimension_size: i64,
        /// Default 0.3.
        min_similarity: f64,
        /// Contrast between queries.
        use_query_contrastive: bool,
        /// Contrast between models.
        use_model_contrastive: bool,
        /// Model cards need a description.
        require_descriptions: bool,
        /// Capabilities are part of the description.
        use_capabilities: bool,
    }

    /// Cascade that verifies a small model's answer.
    pub struct AutomixSelection {
        /// Default 0.7.
        verification_threshold: f64,
        /// Default 2.
        max_escalations: i64,
        /// Cost is part of the choice.
        cost_aware_routing: bool,
        /// Default 0.3.
        cost_quality_tradeoff: f64,
        /// Default 0.95.
        discount_factor: f64,
        /// Verify by log probabilities.
        use_logprob_verification: bool,
    }

    /// Weighted mix of selectors; an unset global block means zeros, not these defaults.
    pub struct HybridSelection {
        /// Default 0.3.
        elo_weight: f64,
        /// Default 0.3.
        router_dc_weight: f64,
        /// Default 0.2.
        automix_weight: f64,
        /// Default 0.2.
        cost_weight: f64,
        /// Default 0.1.
        quality_gap_threshold: f64,
        /// Scores are scaled to [0,1] first.
        normalize_scores: bool,
    }

    /// Bandit over models.
    pub struct RlDrivenSelection {
        /// Default 0.3.
        exploration_rate: f64,
        /// Default 0.99.
        exploration_decay: f64,
        /// Default 0.05.
        min_exploration: f64,
        /// Thompson sampling instead of epsilon-greedy.
        use_thompson_sampling: bool,
        /// Per-user state.
        enable_personalization: bool,
        /// Default 0.7.
        personalization_blend: f64,
        /// Default 0.3.
        session_context_weight: f64,
        /// Default 0.5.
        implicit_feedback_weight: f64,
        /// Cost is part of the reward.
        cost_awareness: bool,
        /// Default 0.2.
        cost_weight: f64,
        /// File that keeps the state.
        storage_path: String,
        /// Duration text; default 30s.
        auto_save_interval: String,
        /// Router-R1 rewards.
        use_router_r1_rewards: bool,
        /// Default 0.3.
        cost_reward_alpha: f64,
        /// Default -1.
        format_reward_penalty: f64,
        /// A language model routes.
        enable_llm_routing: bool,
        /// Its address.
        router_r1_server_url: String,
        /// Default `thompson`.
        llm_routing_fallback: String,
        /// Several rounds are merged.
        enable_multi_round_aggregation: bool,
        /// Bound on rounds.
        max_aggregation_rounds: i64,
    }

    /// Graph over users, models and tasks.
    pub struct GmtRouterSelection {
        /// Per-user state.
        enable_personalization: bool,
        /// Default 5.
        history_sample_size: i64,
        /// Default 768.
        embedding_dimension: i64,
        /// Default 2.
        num_gnn_layers: i64,
        /// Default 8.
        attention_heads: i64,
        /// Default 3.
        min_interactions_for_personalization: i64,
        /// Default 100.
        max_interactions_per_user: i64,
        /// Kinds of feedback that count.
        feedback_types: Vec<String>,
        /// Trained model.
        model_path: String,
        /// File that keeps the state.
        storage_path: String,
    }

    /// Fastest by observed percentiles.
    pub struct LatencyAwareAlgorithm {
        /// Percentile of time per output token, 1-100; 0 is unused.
        tpot_percentile: i64,
        /// Percentile of time to first token, 1-100; 0 is unused.
        ttft_percentile: i64,
        /// For people.
        description: String,
    }

    /// Weighted quality, latency, cost and load under service-level bounds.
    pub struct MultiFactorSelection {
        /// Normalised to sum 1; default 0.25 each.
        weights: Option<MultiFactorWeights>,
        /// Candidates outside are dropped.
        slo: Option<MultiFactorSlo>,
        /// Percentile of observed latencies; default 95.
        latency_percentile: i64,
        /// `cheapest` (default), `first` or `fail`.
        on_no_candidates: String,
    }

    /// Weights of the four factors.
    pub struct MultiFactorWeights {
        /// Of the card's `quality_score`.
        quality: f64,
        /// Of observed latency.
        latency: f64,
        /// Of price.
        cost: f64,
        /// Of requests in flight.
        load: f64,
    }

    /// Bounds; 0 is none.
    pub struct MultiFactorSlo {
        /// Milliseconds per output token.
        max_tpot_ms: f64,
        /// Milliseconds to the first token.
        max_ttft_ms: f64,
        /// Price per million tokens.
        max_cost_per_1m: f64,
        /// Requests in flight.
        max_inflight: i64,
    }

    /// Stays on a session's model unless a change pays. Every scalar is optional, so that an explicit 0 or
    /// false is honoured.
    pub struct SessionAwareSelection {
        /// Selector whose scores are adjusted; default `hybrid`.
        base_method: String,
        /// Seconds after which a session starts anew; default 300.
        idle_timeout_seconds: Option<i64>,
        /// Default 1.
        min_turns_before_switch: Option<i64>,
        /// Score by which another model must lead; default 0.05.
        switch_margin: Option<f64>,
        /// Score added to the current model; default 0.10.
        stay_bias: Option<f64>,
        /// Never change inside a tool loop; default true.
        tool_loop_hard_lock: Option<bool>,
        /// Never change while state lives at the provider; default true.
        context_portability_hard_lock: Option<bool>,
        /// A change of decision starts the session anew; default true.
        decision_drift_reset: Option<bool>,
        /// Score added inside a tool loop that is not locked; default 0.35.
        tool_loop_stay_bias: Option<f64>,
        /// Default 0.20.
        prefix_cache_weight: Option<f64>,
        /// Default 1.
        handoff_penalty_weight: Option<f64>,
        /// Default 0.05.
        default_handoff_penalty: Option<f64>,
        /// Default 1.
        quality_gap_multiplier: Option<f64>,
        /// At least 1; default 2.5.
        max_cache_cost_multiplier: Option<f64>,
        /// Default 0.04.
        switch_history_weight: Option<f64>,
        /// Default 1.
        remaining_turn_prior_weight: Option<f64>,
        /// Above 0; default 8.
        remaining_turn_prior_horizon: Option<i64>,
        /// Default 3.
        min_remaining_turn_prior_samples: Option<i64>,
    }
}
