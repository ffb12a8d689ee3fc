//! `global.stores`: semantic cache and memory.

use crate::contract::{MilvusStore, VectorStore};
use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// Semantic cache, memory and vector stores.
    pub struct Stores {
        /// Answers kept for similar requests.
        semantic_cache: SemanticCache,
        /// Facts remembered about users across sessions.
        memory: MemoryStore,
        /// Documents for retrieval.
        vector_store: Option<VectorStore>,
    }

    /// Answers kept for similar requests.
    pub struct SemanticCache {
        /// Where it is kept; `memory`(or empty) | `redis` | `valkey` | `milvus` | `qdrant` | `hybrid`; other fails
        /// when built. (CLI helper assumes milvus when absent and starts one).
        backend_type: String = "memory".into(),
        /// Switched on; creates the store; a decision still needs its plugin.
        enabled: bool = true,
        /// Similarity from which an entry matches; absent counts as embedding_config.min_score_threshold (0.5). Range
        /// unchecked in v0.3.0.
        similarity_threshold: Option<f32>,
        /// Entries kept.
        max_entries: i64 = 1000,
        /// Seconds until an entry is dropped; 0 = never cached at write.
        ttl_seconds: i64 = 3600,
        /// Eviction policy; fifo|lru|lfu.
        eviction_policy: String = "fifo".into(),
        /// Settings of the `redis` backend.
        redis: Option<RedisIndex>,
        /// Settings of the `valkey` backend.
        valkey: Option<RedisIndex>,
        /// Settings of the `milvus` backend.
        milvus: Option<MilvusStore>,
        /// Settings of the `qdrant` backend.
        qdrant: Option<QdrantCache>,
        /// Model that makes the vectors; empty counts as the first configured path of mmbert, multimodal, qwen3,
        /// gemma, else bert.
        embedding_model: String,
    }

    /// Settings of the `redis` backend.
    pub struct RedisIndex {
        /// Where the store is.
        connection: RedisIndexConnection,
        /// Vector index over cached entries.
        index: RedisIndexIndex,
        /// How entries are searched.
        search: RedisIndexSearch,
        /// Switches for development.
        development: RedisIndexDevelopment,
        /// Log switches; without effect upstream.
        logging: RedisIndexLogging,
    }

    /// Where the store is.
    pub struct RedisIndexConnection {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: i64,
        /// Database number or name.
        database: i64,
        /// Password.
        password: Secret,
        /// Seconds.
        timeout: i64,
        /// TLS to the store.
        tls: RedisIndexConnectionTls,
    }

    /// TLS to the store.
    pub struct RedisIndexConnectionTls {
        /// Switched on.
        enabled: bool,
        /// Client certificate.
        cert_file: String,
        /// Key of the client certificate.
        key_file: String,
        /// Authority of the server certificate.
        ca_file: String,
    }

    /// Vector index over cached entries.
    pub struct RedisIndexIndex {
        /// Name.
        name: String,
        /// Text before each key; empty counts as `doc:`.
        prefix: String,
        /// Field that holds the vector.
        vector_field: RedisIndexIndexVectorField,
        /// Kind of index; empty counts as `HNSW`.
        index_type: String,
        /// Parameters of the HNSW index.
        params: RedisIndexIndexParams,
    }

    /// Field that holds the vector.
    pub struct RedisIndexIndexVectorField {
        /// Name.
        name: String,
        /// Length of vectors.
        dimension: i64,
        /// Distance: COSINE, L2 or IP.
        metric_type: String,
    }

    /// Parameters of the HNSW index.
    pub struct RedisIndexIndexParams {
        /// Links per node of the HNSW index.
        m as "M": i64,
        /// Width of the search while the index is built.
        ef_construction as "efConstruction": i64,
    }

    /// How entries are searched.
    pub struct RedisIndexSearch {
        /// Results taken.
        topk: i64,
    }

    /// Switches for development.
    pub struct RedisIndexDevelopment {
        /// The index is dropped at start.
        drop_index_on_startup: bool,
        /// The index is made if absent.
        auto_create_index: bool,
        /// Errors carry details.
        verbose_errors: bool,
    }

    /// Log switches; without effect upstream.
    pub struct RedisIndexLogging {
        /// Log level.
        level: String,
        /// Queries are logged.
        enable_query_log: bool,
        /// Metrics of the store.
        enable_metrics: bool,
    }

    /// Settings of the `qdrant` backend.
    pub struct QdrantCache {
        /// Host name or address.
        host: String,
        /// TCP port; 0 counts as 6334.
        port: i64,
        /// Key of the store.
        api_key: Secret,
        /// TLS to the store.
        use_tls: bool,
        /// Seconds to connect.
        connect_timeout: i64,
        /// Name of the collection; empty counts as `semantic_cache`.
        collection_name: String,
    }

    /// Facts remembered about users across sessions.
    pub struct MemoryStore {
        /// Switched on.
        enabled: bool,
        /// Backend; empty counts as `milvus` | `valkey` | `qdrant`.
        backend: String,
        /// Auto store; extract and store from conversations.
        auto_store: bool,
        /// Decisions without memory.
        disabled_routes: Vec<String>,
        /// Models without memory.
        disabled_models: Vec<String>,
        /// Settings of the `milvus` backend.
        milvus: MemoryMilvus,
        /// Settings of the `valkey` backend.
        valkey: Option<MemoryValkey>,
        /// Settings of the `qdrant` backend.
        qdrant: Option<MemoryQdrant>,
        /// Cache in front of the memory.
        redis_cache: Option<MemoryRedisCache>,
        /// Model that makes the vectors; empty counts as the first configured path of bert, mmbert, multimodal,
        /// qwen3, gemma.
        embedding_model: String,
        /// Extraction batch size; unused.
        extraction_batch_size: i64 = 10,
        /// Entries put into a request.
        default_retrieval_limit: i64 = 5,
        /// Similarity from which an entry counts.
        default_similarity_threshold: f32 = 0.7,
        /// Words count besides vectors.
        hybrid_search: bool,
        /// Hybrid mode; empty or weighted|rrf.
        hybrid_mode: String,
        /// The similarity bound follows the results.
        adaptive_threshold: bool,
        /// Forgetting by age and use; without effect upstream.
        quality_scoring: MemoryQualityScoring,
        /// What remembered text is put into a request.
        reflection: MemoryReflection,
    }

    /// Settings of the `milvus` backend.
    pub struct MemoryMilvus {
        /// `host:port`.
        address: String,
        /// Collection.
        collection: String = "agentic_memory".into(),
        /// Length of vectors.
        dimension: i64 = 384,
        /// Partitions of the collection.
        num_partitions: i64,
    }

    /// Settings of the `valkey` backend.
    pub struct MemoryValkey {
        /// Host name or address; localhost.
        host: String,
        /// TCP port; 6379.
        port: i64,
        /// Database number or name.
        database: i64,
        /// Password.
        password: Secret,
        /// Seconds; s, 0 counts as 10.
        timeout: i64,
        /// Collection prefix; empty counts as `mem:`.
        collection_prefix: String,
        /// Index name; empty counts as `mem_idx`.
        index_name: String,
        /// Length of vectors; 0 counts as 384.
        dimension: i64,
        /// Distance: COSINE, L2 or IP; empty counts as `COSINE` (L2, IP).
        metric_type: String,
        /// Index m; 0 counts as 16.
        index_m: i64,
        /// Index ef construction; 0 counts as 256.
        index_ef_construction: i64,
        /// TLS to the store.
        tls_enabled: bool,
        /// TLS ca path.
        tls_ca_path: String,
        /// TLS insecure skip verify.
        tls_insecure_skip_verify: bool,
    }

    /// Settings of the `qdrant` backend.
    pub struct MemoryQdrant {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: i64,
        /// Key of the store.
        api_key: Secret,
        /// TLS to the store.
        use_tls: bool,
        /// Seconds to connect.
        connect_timeout: i64,
        /// Collection; empty counts as `agentic_memory`.
        collection: String,
        /// Length of vectors; 0 counts as 384.
        dimension: i64,
    }

    /// Cache in front of the memory.
    pub struct MemoryRedisCache {
        /// Switched on.
        enabled: bool,
        /// `host:port`.
        address: String,
        /// Seconds until an entry is dropped; 0 counts as 300.
        ttl_seconds: i64,
        /// Database number.
        db: i64,
        /// Text before each key; empty counts as `memory_cache:`.
        key_prefix: String,
        /// Password.
        password: Secret,
    }

    /// Forgetting by age and use; without effect upstream.
    pub struct MemoryQualityScoring {
        /// Days that a new entry lasts; whole block unused.
        initial_strength_days: i64,
        /// Strength below which an entry is forgotten.
        prune_threshold: f64,
        /// Entries per user.
        max_memories_per_user: i64,
    }

    /// What remembered text is put into a request.
    pub struct MemoryReflection {
        /// Switched on; absent counts as true.
        enabled: Option<bool>,
        /// Algorithm; empty counts as `heuristic`.
        algorithm: String,
        /// Max inject tokens; 0 counts as 2048.
        max_inject_tokens: i64,
        /// Recency decay days; 0 counts as 30.
        recency_decay_days: i64,
        /// Dedup threshold; 0 counts as 0.90.
        dedup_threshold: f32,
        /// Expressions; matching text is not put into a request.
        block_patterns: Vec<String>,
    }
}
