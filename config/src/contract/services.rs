//! `global.services`: classification API, Responses API, observability, replay and start-up status.

use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// Classification API.
    pub struct ApiService {
        /// Classification of several texts in one request.
        batch_classification: BatchClassification,
    }

    /// Classification of several texts in one request.
    pub struct BatchClassification {
        /// Max batch size; unused.
        max_batch_size: i64,
        /// Concurrency threshold; 0 or beyond `max_concurrency` counts as that.
        concurrency_threshold: i64,
        /// Max concurrency; gates signal evaluation of every request, not just the batch API; ≤0 = no gate.
        max_concurrency: i64,
        /// Metrics of the batch API.
        metrics: BatchClassificationMetrics,
    }

    /// Metrics of the batch API.
    pub struct BatchClassificationMetrics {
        /// Share of batches that is measured.
        sample_rate: f64,
        /// Range of batch sizes that is counted together.
        batch_size_ranges: Vec<BatchSizeRange>,
        /// Histogram bounds for durations, in seconds.
        duration_buckets: Vec<f64>,
        /// Histogram bounds for batch sizes.
        size_buckets: Vec<f64>,
        /// Switched on.
        enabled: bool,
        /// Detailed goroutine tracking.
        detailed_goroutine_tracking: bool,
        /// High resolution timing.
        high_resolution_timing: bool,
    }

    /// Range of batch sizes that is counted together.
    pub struct BatchSizeRange {
        /// Least size.
        min: i64,
        /// Greatest size.
        max: i64,
        /// Name of the range.
        label: String,
    }

    /// Store behind the Responses API.
    pub struct ResponseApi {
        /// Switched on.
        enabled: bool = true,
        /// Where it is kept; `redis` | `memory` (empty=memory); unknown means API disabled, warning.
        store_backend: String = "redis".into(),
        /// Seconds until an entry is dropped; 0 counts as 30 days.
        ttl_seconds: i64 = 86400,
        /// Max responses; memory backend; 0 counts as 10000.
        max_responses: i64 = 1000,
        /// Settings of the `redis` backend.
        redis: ResponseApiRedis,
    }

    /// Settings of the `redis` backend.
    pub struct ResponseApiRedis {
        /// `host:port`; required when standalone: missing means Response API silently disabled with a warning (so the
        /// pure default config has no Response API).
        address: String,
        /// Password.
        password: Secret,
        /// Database number; 0-15.
        db: i64,
        /// Text before each key; empty counts as `sr:`.
        key_prefix: String,
        /// Cluster mode.
        cluster_mode: bool,
        /// Cluster addresses; required with cluster_mode (db must be 0).
        cluster_addresses: Vec<String>,
        /// Connections kept; 0 counts as 10.
        pool_size: i64,
        /// Idle connections kept at least; 0 counts as 2.
        min_idle_conns: i64,
        /// Attempts after a failure; 0 counts as 3.
        max_retries: i64,
        /// Dial timeout; s, 0 counts as 5.
        dial_timeout: i64,
        /// Read timeout; s, 0 counts as 3.
        read_timeout: i64,
        /// Write timeout; s, 0 counts as 3.
        write_timeout: i64,
        /// TLS to the store.
        tls_enabled: bool,
        /// TLS cert path.
        tls_cert_path: String,
        /// TLS key path.
        tls_key_path: String,
        /// TLS ca path.
        tls_ca_path: String,
        /// Config path; side file () loaded instead of inline values.
        config_path: String,
    }

    /// Traces and metrics.
    pub struct Observability {
        /// OpenTelemetry traces.
        tracing: Tracing,
        /// Prometheus metrics.
        metrics: Metrics,
    }

    /// OpenTelemetry traces.
    pub struct Tracing {
        /// Switched on.
        enabled: bool = true,
        /// Provider; label only.
        provider: String = "opentelemetry".into(),
        /// Where traces are sent.
        exporter: TracingExporter,
        /// Which requests are traced.
        sampling: TracingSampling,
        /// How the service names itself in traces.
        resource: TracingResource,
    }

    /// Where traces are sent.
    pub struct TracingExporter {
        /// Kind; `otlp` | `stdout`; other fails tracing init.
        kind as "type": String = "otlp".into(),
        /// Address.
        endpoint: String = "vllm-sr-jaeger:4317".into(),
        /// No TLS to the collector.
        insecure: bool = true,
    }

    /// Which requests are traced.
    pub struct TracingSampling {
        /// Kind; `always_on` | `always_off` | `probabilistic`; unknown  means  always.
        kind as "type": String = "always_on".into(),
        /// Share of requests, for `probabilistic`.
        rate: f64 = 1.0,
    }

    /// How the service names itself in traces.
    pub struct TracingResource {
        /// Name shown in traces.
        service_name: String = "vllm-sr".into(),
        /// Version shown in traces.
        service_version: String = "v0.3.0".into(),
        /// Environment shown in traces.
        deployment_environment: String = "development".into(),
    }

    /// Prometheus metrics.
    pub struct Metrics {
        /// Switched on; absent counts as true.
        enabled: Option<bool> = Some(true),
        /// Load and latency over sliding windows.
        windowed_metrics: WindowedMetrics,
    }

    /// Load and latency over sliding windows.
    pub struct WindowedMetrics {
        /// Switched on.
        enabled: bool,
        /// Time windows; Go durations.
        time_windows: Vec<String>,
        /// Go duration between updates.
        update_interval: String,
        /// Model metrics; unused.
        model_metrics: bool,
        /// Queue depth estimation.
        queue_depth_estimation: bool,
        /// Models measured.
        max_models: i64,
    }

    /// Record of decisions.
    pub struct RouterReplay {
        /// Switched on.
        enabled: bool = true,
        /// Where it is kept; `postgres` | `redis` | `memory` | `milvus` | `qdrant`; empty  means  first configured
        /// block, else memory. Missing backend block (the default!) means replay off, error logged.
        store_backend: String = "postgres".into(),
        /// Seconds until an entry is dropped; 0 = keep.
        ttl_seconds: i64 = 2592000,
        /// Async writes.
        async_writes: bool,
        /// Settings of the `redis` backend.
        redis: Option<RouterReplayRedis>,
        /// Settings of the `postgres` backend.
        postgres: Option<RouterReplayPostgres>,
        /// Settings of the `milvus` backend.
        milvus: Option<RouterReplayMilvus>,
        /// Settings of the `qdrant` backend.
        qdrant: Option<RouterReplayQdrant>,
    }

    /// Settings of the `redis` backend.
    pub struct RouterReplayRedis {
        /// `host:port`; empty counts as `localhost:6379`.
        address: String,
        /// Database number.
        db: i64,
        /// Password.
        password: Secret,
        /// TLS to the store.
        use_tls: bool,
        /// TLS skip verify.
        tls_skip_verify: bool,
        /// Attempts after a failure; 0 counts as 3.
        max_retries: i64,
        /// Connections kept; 0 counts as 10.
        pool_size: i64,
        /// Text before each key; empty counts as `router_replay:`.
        key_prefix: String,
    }

    /// Settings of the `postgres` backend.
    pub struct RouterReplayPostgres {
        /// Host name or address; empty counts as `localhost`.
        host: String,
        /// TCP port; 0 counts as 5432.
        port: i64,
        /// Database number or name; required.
        database: String,
        /// User; required.
        user: String,
        /// Password.
        password: Secret,
        /// Ssl mode; empty counts as `disable`.
        ssl_mode: String,
        /// Max open conns; 0 counts as 25.
        max_open_conns: i64,
        /// Max idle conns; 0 counts as 5.
        max_idle_conns: i64,
        /// Conn max lifetime; s, 0 counts as 300.
        conn_max_lifetime: i64,
        /// Table name; empty counts as `router_replay_records`.
        table_name: String,
    }

    /// Settings of the `milvus` backend.
    pub struct RouterReplayMilvus {
        /// `host:port`; empty counts as `localhost:19530`.
        address: String,
        /// User name.
        username: String,
        /// Password.
        password: Secret,
        /// Name of the collection; empty counts as `router_replay_records`.
        collection_name: String,
        /// Consistency level; empty counts as `Session`.
        consistency_level: String,
        /// Shard num; 0 counts as 2.
        shard_num: i64,
    }

    /// Settings of the `qdrant` backend.
    pub struct RouterReplayQdrant {
        /// Host name or address.
        host: String,
        /// TCP port; 0 counts as 6334.
        port: i64,
        /// Key of the store.
        api_key: Secret,
        /// TLS to the store.
        use_tls: bool,
        /// Name of the collection; empty counts as `router_replay_records`.
        collection_name: String,
    }

    /// Record of start-up.
    pub struct StartupStatus {
        /// Where it is kept; `file` | `redis`.
        store_backend: String = "file".into(),
        /// Settings of the `redis` backend.
        redis: Option<StartupStatusRedis>,
    }

    /// Settings of the `redis` backend.
    pub struct StartupStatusRedis {
        /// `host:port`.
        address: String,
        /// Password.
        password: Secret,
        /// Database number.
        db: i64,
    }
}
