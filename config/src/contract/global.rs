//! `global`: what is not specific to a model or a route.

use std::collections::BTreeMap;

use crate::contract::{
    ApiService, AutomixSelection, EloSelection, HybridSelection, Integrations, ModelCatalog, Observability,
    PintleSettings, ResponseApi, RouterDcSelection, RouterReplay, SessionAwareSelection, StartupStatus,
    Stores,
};
use crate::shape::contract;

contract! {
    /// What is not specific to a model or a route. Merged over the defaults: objects field by field, lists
    /// as a whole; an explicit null resets a section to zeros.
    pub struct Global {
        /// The routing engine.
        router: Router,
        /// Services around routing.
        services: Services,
        /// Semantic cache, memory and vector stores.
        stores: Stores,
        /// Tools and looper.
        integrations: Integrations,
        /// Embeddings, classifiers, knowledge bases and modules.
        model_catalog: ModelCatalog,
        /// What Pintle adds to the contract.
        pintle: PintleSettings,
    }

    /// The routing engine.
    pub struct Router {
        /// `file`; `kubernetes` switches upstream's validation off.
        config_source: String = "file".into(),
        /// `confidence`, else by priority.
        strategy: String,
        /// Model name that asks for routing, besides the literal `auto`.
        auto_model_name: String = "MoM".into(),
        /// `GET /v1/models` lists the configured models besides the automatic one.
        include_config_models_in_list: bool,
        /// Envoy re-matches its route; without meaning here.
        clear_route_cache: bool = true,
        /// Streamed ext_proc bodies; without meaning here.
        streamed_body: StreamedBody,
        /// Clients may ask for no processing.
        skip_processing: SkipProcessing,
        /// Settings of selectors that decisions share.
        model_selection: ModelSelection,
    }

    /// Streamed ext_proc bodies.
    pub struct StreamedBody {
        /// On.
        enabled: bool,
        /// Bytes; 0 is no bound.
        max_bytes: i64,
        /// Seconds; 0 is none.
        timeout_sec: i64,
    }

    /// Request header `x-vsr-skip-processing: true`.
    pub struct SkipProcessing {
        /// The header is honoured.
        enabled: bool,
    }

    /// Settings of selectors that decisions share.
    pub struct ModelSelection {
        /// Fallback selector.
        method: String = "knn".into(),
        /// Almost without effect upstream.
        enabled: bool = true,
        /// Shared settings of `elo`.
        elo: EloSelection,
        /// Shared settings of `router_dc`.
        router_dc: RouterDcSelection,
        /// The only settings of `automix`.
        automix: AutomixSelection,
        /// The only settings of `hybrid`.
        hybrid: HybridSelection,
        /// Trained selectors.
        ml: MlSelection,
        /// Settings of `session_aware` where a decision has none.
        session_aware: SessionAwareSelection,
        /// Unused upstream.
        momentum: Momentum,
        /// Gate on model changes.
        model_switch_gate: ModelSwitchGate,
        /// Known gaps, penalties and priors.
        lookup_tables: LookupTables,
    }

    /// Trained selectors.
    pub struct MlSelection {
        /// Directory.
        models_path: String,
        /// 0 counts as 1024.
        embedding_dim: i64,
        /// Nearest neighbours.
        knn: MlKnn,
        /// Clusters.
        kmeans: MlKmeans,
        /// Support vectors.
        svm: MlSvm,
        /// Perceptron.
        mlp: MlMlp,
    }

    /// Nearest neighbours.
    pub struct MlKnn {
        /// 0 counts as 5.
        k: i64,
        /// File.
        pretrained_path: String,
    }

    /// Clusters.
    pub struct MlKmeans {
        /// 0 counts as 8.
        num_clusters: i64,
        /// Weight of cost.
        efficiency_weight: f64,
        /// File.
        pretrained_path: String,
    }

    /// Support vectors.
    pub struct MlSvm {
        /// Empty counts as `rbf`.
        kernel: String,
        /// 0 counts as 1.0.
        gamma: f64,
        /// File.
        pretrained_path: String,
    }

    /// Perceptron.
    pub struct MlMlp {
        /// `cpu` or `cuda`.
        device: String,
        /// File.
        pretrained_path: String,
    }

    /// Unused upstream.
    pub struct Momentum {
        /// On.
        enabled: bool,
        /// Rise per turn.
        attack: f64,
        /// Fall per turn.
        release: f64,
        /// Level that counts.
        threshold: f64,
    }

    /// Gate on model changes within a session.
    pub struct ModelSwitchGate {
        /// On.
        enabled: bool,
        /// `shadow` (default) or `enforce`.
        mode: String,
        /// At least 0.
        min_switch_advantage: f64,
        /// At least 0.
        default_handoff_penalty: f64,
        /// At least 0.
        cache_warmth_weight: f64,
    }

    /// Known gaps, penalties and priors.
    pub struct LookupTables {
        /// On.
        enabled: bool,
        /// JSON file; empty keeps them in memory.
        storage_path: String,
        /// Duration text.
        auto_save_interval: String,
        /// Learn from recorded requests.
        populate_from_replay: bool,
        /// Duration text.
        populate_interval: String,
        /// Quality lost by a change.
        quality_gaps: Vec<QualityGap>,
        /// Cost of a change.
        handoff_penalties: Vec<HandoffPenalty>,
        /// Expected turns left.
        remaining_turn_priors: Vec<RemainingTurnPrior>,
    }

    /// Quality lost by a change, for one family of tasks.
    pub struct QualityGap {
        /// Family of tasks.
        task_family: String,
        /// From.
        current_model: String,
        /// To.
        candidate_model: String,
        /// Gap.
        value: f64,
    }

    /// Cost of a change between two models.
    pub struct HandoffPenalty {
        /// From.
        from_model: String,
        /// To.
        to_model: String,
        /// Penalty.
        value: f64,
    }

    /// Expected turns left, for one intent or domain.
    pub struct RemainingTurnPrior {
        /// Intent or domain.
        intent_or_domain: String,
        /// Turns.
        value: f64,
    }

    /// Services around routing.
    pub struct Services {
        /// Classification API.
        api: ApiService,
        /// Store behind the Responses API.
        response_api: ResponseApi,
        /// Traces and metrics.
        observability: Observability,
        /// Who asks, and with which keys.
        authz: Authz,
        /// How often they may ask.
        ratelimit: RateLimit,
        /// Record of decisions.
        router_replay: RouterReplay,
        /// Record of start-up.
        startup_status: StartupStatus,
    }

    /// Who asks, and with which keys.
    pub struct Authz {
        /// A request without credentials goes through.
        fail_open: bool,
        /// Where the identity is read.
        identity: Identity,
        /// Where keys come from, in order.
        providers: Vec<AuthzProvider>,
    }

    /// Where the identity is read.
    pub struct Identity {
        /// Empty counts as `x-authz-user-id`.
        user_id_header: String,
        /// Empty counts as `x-authz-user-groups`; comma-separated.
        user_groups_header: String,
    }

    /// Where keys come from.
    pub struct AuthzProvider {
        /// `header-injection` or `static-config`.
        kind as "type": String,
        /// Header that carries a key, per provider.
        headers: BTreeMap<String, String>,
    }

    /// How often clients may ask.
    pub struct RateLimit {
        /// A failing limiter lets requests through.
        fail_open: bool,
        /// Limiters, in order.
        providers: Vec<RateLimitProvider>,
    }

    /// One limiter.
    pub struct RateLimitProvider {
        /// `local-limiter` or `envoy-ratelimit`.
        kind as "type": String,
        /// Of `envoy-ratelimit`.
        address: String,
        /// Empty counts as `semantic-router`.
        domain: String,
        /// Of `local-limiter`.
        rules: Vec<RateLimitRule>,
    }

    /// One limit.
    pub struct RateLimitRule {
        /// Name.
        name: String,
        /// Whom it concerns.
        r#match as "match": RateLimitMatch,
        /// Requests per unit; 0 is no bound.
        requests_per_unit: i64,
        /// Tokens per unit; 0 is no bound.
        tokens_per_unit: i64,
        /// `second`, `minute` (default), `hour` or `day`.
        unit: String,
    }

    /// Whom a limit concerns; `*` or empty is anyone.
    pub struct RateLimitMatch {
        /// User id.
        user: String,
        /// Group.
        group: String,
        /// Model.
        model: String,
    }
}
