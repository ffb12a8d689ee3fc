//! `global.stores.vector_store`, and Milvus, which caches use too.

use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// Settings of the `milvus` backend.
    pub struct MilvusStore {
        /// Where it is.
        connection: MilvusStoreConnection,
        /// Collection.
        collection: MilvusStoreCollection,
        /// How it is searched.
        search: MilvusStoreSearch,
        /// Without effect upstream.
        performance: MilvusStorePerformance,
        /// Without effect upstream.
        data_management: MilvusStoreDataManagement,
        /// Log switches; without effect upstream.
        logging: MilvusStoreLogging,
        /// For development.
        development: MilvusStoreDevelopment,
    }

    /// Where it is.
    pub struct MilvusStoreConnection {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: i64,
        /// Database.
        database: String,
        /// Seconds.
        timeout: i64,
        /// Auth.
        auth: MilvusStoreConnectionAuth,
        /// TLS to the store.
        tls: MilvusStoreConnectionTls,
    }

    /// Auth.
    pub struct MilvusStoreConnectionAuth {
        /// On.
        enabled: bool,
        /// Username.
        username: String,
        /// Password.
        password: Secret,
    }

    /// TLS to the store.
    pub struct MilvusStoreConnectionTls {
        /// On.
        enabled: bool,
        /// Client certificate.
        cert_file: String,
        /// Key of the client certificate.
        key_file: String,
        /// Authority of the server certificate.
        ca_file: String,
    }

    /// Collection.
    pub struct MilvusStoreCollection {
        /// Name.
        name: String,
        /// For people.
        description: String,
        /// Field that holds the vector.
        vector_field: MilvusStoreCollectionVectorField,
        /// Vector index.
        index: MilvusStoreCollectionIndex,
    }

    /// Field that holds the vector.
    pub struct MilvusStoreCollectionVectorField {
        /// Name.
        name: String,
        /// Length of vectors.
        dimension: i64,
        /// Distance: COSINE, L2 or IP.
        metric_type: String,
    }

    /// Vector index.
    pub struct MilvusStoreCollectionIndex {
        /// Kind.
        kind as "type": String,
        /// Parameters.
        params: MilvusStoreCollectionIndexParams,
    }

    /// Parameters.
    pub struct MilvusStoreCollectionIndexParams {
        /// Links per node of the HNSW index.
        m as "M": i64,
        /// Width of the search while the index is built.
        ef_construction as "efConstruction": i64,
    }

    /// How it is searched.
    pub struct MilvusStoreSearch {
        /// Parameters.
        params: MilvusStoreSearchParams,
        /// Results taken.
        topk: i64,
        /// Consistency level.
        consistency_level: String,
    }

    /// Parameters.
    pub struct MilvusStoreSearchParams {
        /// Width of the search.
        ef: i64,
    }

    /// Without effect upstream.
    pub struct MilvusStorePerformance {
        /// Connection pool.
        connection_pool: MilvusStorePerformanceConnectionPool,
        /// Batch.
        batch: MilvusStorePerformanceBatch,
    }

    /// Connection pool.
    pub struct MilvusStorePerformanceConnectionPool {
        /// Max connections.
        max_connections: i64,
        /// Max idle connections.
        max_idle_connections: i64,
        /// Acquire timeout.
        acquire_timeout: i64,
    }

    /// Batch.
    pub struct MilvusStorePerformanceBatch {
        /// Insert batch size.
        insert_batch_size: i64,
        /// Seconds.
        timeout: i64,
    }

    /// Without effect upstream.
    pub struct MilvusStoreDataManagement {
        /// TTL.
        ttl: MilvusStoreDataManagementTtl,
        /// Compaction.
        compaction: MilvusStoreDataManagementCompaction,
    }

    /// TTL.
    pub struct MilvusStoreDataManagementTtl {
        /// On.
        enabled: bool,
        /// Timestamp field.
        timestamp_field: String,
        /// Cleanup interval.
        cleanup_interval: i64,
    }

    /// Compaction.
    pub struct MilvusStoreDataManagementCompaction {
        /// On.
        enabled: bool,
        /// Interval.
        interval: i64,
    }

    /// Log switches; without effect upstream.
    pub struct MilvusStoreLogging {
        /// Log level.
        level: String,
        /// Enable query log.
        enable_query_log: bool,
        /// Enable metrics.
        enable_metrics: bool,
    }

    /// For development.
    pub struct MilvusStoreDevelopment {
        /// Drop collection on startup.
        drop_collection_on_startup: bool,
        /// Auto create collection.
        auto_create_collection: bool,
        /// Verbose errors.
        verbose_errors: bool,
    }

    /// Vector store.
    pub struct VectorStore {
        /// On; block absent by default.
        enabled: bool,
        /// Where it is kept; memory|milvus|llama_stack|valkey|qdrant ; required when enabled, but checked only at
        /// start-up, not at load.
        backend_type: String,
        /// File storage dir; empty counts as `/var/lib/vsr/data`.
        file_storage_dir: String,
        /// Max file size MB; 0 counts as 50.
        max_file_size_mb: i64,
        /// Embedding model; empty counts as `bert`.
        embedding_model: String,
        /// Embedding dimension; 0 counts as 384 for bert/multimodal else 768.
        embedding_dimension: i64,
        /// Ingestion workers; 0 counts as 2.
        ingestion_workers: i64,
        /// Supported formats; empty counts as .txt .md .json .csv .html.
        supported_formats: Vec<String>,
        /// Settings of the `milvus` backend.
        milvus: Option<MilvusStore>,
        /// Memory.
        memory: Option<VectorStoreMemory>,
        /// Llama stack.
        llama_stack: Option<LlamaStackVectorStore>,
        /// Settings of the `valkey` backend.
        valkey: Option<ValkeyVectorStore>,
        /// Settings of the `qdrant` backend.
        qdrant: Option<QdrantVectorStore>,
        /// Metadata store; empty counts as `memory`; `postgres` needs metadata_postgres.
        metadata_store: String,
        /// Metadata postgres.
        metadata_postgres: Option<VectorStoreMetadataPostgres>,
    }

    /// Memory.
    pub struct VectorStoreMemory {
        /// Max entries per store; 0 counts as 100000.
        max_entries_per_store: i64,
    }

    /// Llama stack.
    pub struct LlamaStackVectorStore {
        /// Address; required.
        endpoint: String,
        /// Auth token.
        auth_token: Secret,
        /// Embedding model.
        embedding_model: String,
        /// Request timeout seconds; 0 counts as 30.
        request_timeout_seconds: i64,
        /// Search type; empty or vector|hybrid.
        search_type: String,
    }

    /// Settings of the `valkey` backend.
    pub struct ValkeyVectorStore {
        /// Host name or address; required when backend valkey.
        host: String,
        /// TCP port; 0 counts as 6379.
        port: i64,
        /// Database.
        database: i64,
        /// Password.
        password: Secret,
        /// Seconds to connect; 0 counts as 10.
        connect_timeout: i64,
        /// Collection prefix; empty counts as `vsr_vs_`.
        collection_prefix: String,
        /// Distance: COSINE, L2 or IP; empty counts as `COSINE`.
        metric_type: String,
        /// Index m; 0 counts as 16.
        index_m: i64,
        /// Index ef construction; 0 counts as 200.
        index_ef_construction: i64,
    }

    /// Settings of the `qdrant` backend.
    pub struct QdrantVectorStore {
        /// Host name or address; required when backend qdrant.
        host: String,
        /// TCP port; 0 counts as 6334.
        port: i64,
        /// API key.
        api_key: Secret,
        /// TLS to the store.
        use_tls: bool,
        /// Seconds to connect; 0 counts as 10.
        connect_timeout: i64,
        /// Collection prefix; empty counts as `vsr_vs_`.
        collection_prefix: String,
    }

    /// Metadata postgres.
    pub struct VectorStoreMetadataPostgres {
        /// Host name or address; empty counts as `localhost`.
        host: String,
        /// TCP port; 0 counts as 5432.
        port: i64,
        /// Database; required.
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
        /// Table name; empty counts as `vector_store_registry` / file_registry.
        table_name: String,
    }
}
