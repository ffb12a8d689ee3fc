//! `global.stores.vector_store`, and Milvus, which caches use too.

use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// Settings of the `milvus` backend.
    pub struct MilvusStore {
        /// Where Milvus is.
        connection: MilvusStoreConnection,
        /// Collection that holds the entries.
        collection: MilvusStoreCollection,
        /// How entries are searched.
        search: MilvusStoreSearch,
        /// Without effect upstream.
        performance: MilvusStorePerformance,
        /// Without effect upstream.
        data_management: MilvusStoreDataManagement,
        /// Log switches; without effect upstream.
        logging: MilvusStoreLogging,
        /// Switches for development.
        development: MilvusStoreDevelopment,
    }

    /// Where Milvus is.
    pub struct MilvusStoreConnection {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: i64,
        /// Database number or name.
        database: String,
        /// Seconds.
        timeout: i64,
        /// Credentials.
        auth: MilvusStoreConnectionAuth,
        /// TLS to the store.
        tls: MilvusStoreConnectionTls,
    }

    /// Credentials.
    pub struct MilvusStoreConnectionAuth {
        /// Switched on.
        enabled: bool,
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    }

    /// TLS to the store.
    pub struct MilvusStoreConnectionTls {
        /// Switched on.
        enabled: bool,
        /// Client certificate.
        cert_file: String,
        /// Key of the client certificate.
        key_file: String,
        /// Authority of the server certificate.
        ca_file: String,
    }

    /// Collection that holds the entries.
    pub struct MilvusStoreCollection {
        /// Name.
        name: String,
        /// For people.
        description: String,
        /// Field that holds the vector.
        vector_field: MilvusStoreCollectionVectorField,
        /// Vector index of the collection.
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

    /// Vector index of the collection.
    pub struct MilvusStoreCollectionIndex {
        /// Kind.
        kind as "type": String,
        /// Parameters of the HNSW index.
        params: MilvusStoreCollectionIndexParams,
    }

    /// Parameters of the HNSW index.
    pub struct MilvusStoreCollectionIndexParams {
        /// Links per node of the HNSW index.
        m as "M": i64,
        /// Width of the search while the index is built.
        ef_construction as "efConstruction": i64,
    }

    /// How entries are searched.
    pub struct MilvusStoreSearch {
        /// Parameters of a search.
        params: MilvusStoreSearchParams,
        /// Results taken.
        topk: i64,
        /// Consistency level.
        consistency_level: String,
    }

    /// Parameters of a search.
    pub struct MilvusStoreSearchParams {
        /// Width of the search.
        ef: i64,
    }

    /// Without effect upstream.
    pub struct MilvusStorePerformance {
        /// Connections; without effect upstream.
        connection_pool: MilvusStorePerformanceConnectionPool,
        /// Batches; without effect upstream.
        batch: MilvusStorePerformanceBatch,
    }

    /// Connections; without effect upstream.
    pub struct MilvusStorePerformanceConnectionPool {
        /// Connections at most.
        max_connections: i64,
        /// Idle connections at most.
        max_idle_connections: i64,
        /// Seconds to wait for a connection.
        acquire_timeout: i64,
    }

    /// Batches; without effect upstream.
    pub struct MilvusStorePerformanceBatch {
        /// Entries per batch.
        insert_batch_size: i64,
        /// Seconds.
        timeout: i64,
    }

    /// Without effect upstream.
    pub struct MilvusStoreDataManagement {
        /// Expiry of entries; without effect upstream.
        ttl: MilvusStoreDataManagementTtl,
        /// Compaction; without effect upstream.
        compaction: MilvusStoreDataManagementCompaction,
    }

    /// Expiry of entries; without effect upstream.
    pub struct MilvusStoreDataManagementTtl {
        /// Switched on.
        enabled: bool,
        /// Field that holds the time.
        timestamp_field: String,
        /// Seconds between runs.
        cleanup_interval: i64,
    }

    /// Compaction; without effect upstream.
    pub struct MilvusStoreDataManagementCompaction {
        /// Switched on.
        enabled: bool,
        /// Seconds between runs.
        interval: i64,
    }

    /// Log switches; without effect upstream.
    pub struct MilvusStoreLogging {
        /// Log level.
        level: String,
        /// Queries are logged.
        enable_query_log: bool,
        /// Metrics of the store.
        enable_metrics: bool,
    }

    /// Switches for development.
    pub struct MilvusStoreDevelopment {
        /// The collection is dropped at start.
        drop_collection_on_startup: bool,
        /// The collection is made if absent.
        auto_create_collection: bool,
        /// Errors carry details.
        verbose_errors: bool,
    }

    /// Documents for retrieval.
    pub struct VectorStore {
        /// Switched on; block absent by default.
        enabled: bool,
        /// Where it is kept; memory|milvus|llama_stack|valkey|qdrant ; required when enabled, but checked only at
        /// start-up, not at load.
        backend_type: String,
        /// File storage dir; empty counts as `/var/lib/vsr/data`.
        file_storage_dir: String,
        /// Max file size MB; 0 counts as 50.
        max_file_size_mb: i64,
        /// Model that makes the vectors; empty counts as `bert`.
        embedding_model: String,
        /// Embedding dimension; 0 counts as 384 for bert/multimodal else 768.
        embedding_dimension: i64,
        /// Ingestion workers; 0 counts as 2.
        ingestion_workers: i64,
        /// Supported formats; empty counts as .txt .md .json .csv .html.
        supported_formats: Vec<String>,
        /// Settings of the `milvus` backend.
        milvus: Option<MilvusStore>,
        /// Settings of the `memory` backend.
        memory: Option<VectorStoreMemory>,
        /// Settings of the `llama_stack` backend.
        llama_stack: Option<LlamaStackVectorStore>,
        /// Settings of the `valkey` backend.
        valkey: Option<ValkeyVectorStore>,
        /// Settings of the `qdrant` backend.
        qdrant: Option<QdrantVectorStore>,
        /// Metadata store; empty counts as `memory`; `postgres` needs metadata_postgres.
        metadata_store: String,
        /// Database of file and store names.
        metadata_postgres: Option<VectorStoreMetadataPostgres>,
    }

    /// Settings of the `memory` backend.
    pub struct VectorStoreMemory {
        /// Entries per store; 0 counts as 100000.
        max_entries_per_store: i64,
    }

    /// Settings of the `llama_stack` backend.
    pub struct LlamaStackVectorStore {
        /// Address; required.
        endpoint: String,
        /// Token.
        auth_token: Secret,
        /// Model that makes the vectors.
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
        /// Database number or name.
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
        /// Key of the store.
        api_key: Secret,
        /// TLS to the store.
        use_tls: bool,
        /// Seconds to connect; 0 counts as 10.
        connect_timeout: i64,
        /// Collection prefix; empty counts as `vsr_vs_`.
        collection_prefix: String,
    }

    /// Database of file and store names.
    pub struct VectorStoreMetadataPostgres {
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
        /// Table name; empty counts as `vector_store_registry` / file_registry.
        table_name: String,
    }
}
