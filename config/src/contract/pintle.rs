//! `global.pintle`: what Pintle adds to the contract. Upstream tolerates the key with a warning.

use crate::shape::{choice, contract};
use crate::workers::Workers;

choice! {
    /// Which kernel interface moves bytes.
    pub enum Driver {
        /// io_uring where the kernel allows it, else epoll.
        #[default]
        Auto = "auto",
        /// io_uring, or fail to start.
        IoUring = "io_uring",
        /// epoll.
        Epoll = "epoll",
    }

    /// Whose behaviour is reproduced.
    pub enum ProfileSetting {
        /// Pintle's own: flaws of v0.3.0 are repaired.
        #[default]
        Pintle = "pintle",
        /// v0.3.0, number for number.
        Compat = "compat",
    }

    /// What runs classifier models.
    pub enum ClassifierBackend {
        /// A GPU through HIP where there is one, else the CPU.
        #[default]
        Auto = "auto",
        /// The CPU.
        Cpu = "cpu",
        /// A GPU; the CPU answers while it cannot.
        Hip = "hip",
    }

    /// In which numbers a GPU computes. Sums are 32-bit floats always.
    pub enum HipPrecision {
        /// f16 for BERT; bf16 for ModernBERT, whose activations may be too large for f16.
        #[default]
        Auto = "auto",
        /// IEEE binary16.
        F16 = "f16",
        /// bfloat16.
        Bf16 = "bf16",
    }

    /// In which numbers the CPU computes.
    pub enum Precision {
        /// bf16 where the processor has it, else f32.
        #[default]
        Auto = "auto",
        /// 32-bit floats.
        F32 = "f32",
        /// bfloat16 products, 32-bit sums.
        Bf16 = "bf16",
        /// 8-bit integers: fastest, least exact.
        Int8 = "int8",
    }

    /// How an external model is asked.
    pub enum ExternalProtocol {
        /// `POST /v1/chat/completions`; what it says is judged as `parser_type` tells.
        #[default]
        Chat = "chat",
        /// `POST /classify` with `{"inputs": text}`, answered by a list of labels and scores.
        Classify = "classify",
    }

    /// What a signal counts as while it is unknown.
    pub enum OnError {
        /// Unknown: it satisfies neither a condition nor its negation.
        #[default]
        Unknown = "unknown",
        /// As if it held.
        Match = "match",
        /// As if it did not hold.
        NoMatch = "no_match",
    }

    /// Who chooses the worker of a new connection.
    pub enum Steering {
        /// The kernel by the workers' load where it may, else the workers among themselves.
        #[default]
        Auto = "auto",
        /// The workers among themselves.
        Userspace = "userspace",
        /// The kernel by a hash of the addresses.
        Off = "off",
    }

    /// What the guard's verdicts lead to.
    pub enum GuardMode {
        /// They are counted.
        #[default]
        Count = "count",
        /// What is denied, or above its rate, is dropped.
        Enforce = "enforce",
        /// Nothing is looked at.
        Off = "off",
    }

    /// Who adds up what is known of TCP connections.
    pub enum Telemetry {
        /// The kernel where it may, else Pintle.
        #[default]
        Auto = "auto",
        /// Pintle, by asking for each of its own connections.
        Userspace = "userspace",
        /// Nobody.
        Off = "off",
    }

    /// What a backend's share of its model's requests goes by.
    pub enum Balance {
        /// The configured weights.
        #[default]
        Weights = "weights",
        /// The configured weights, lessened by distance: the round-trip time that the kernel knows.
        Near = "near",
    }

    /// What happens when a locked session's model is gone.
    pub enum MissingModel {
        /// The lock is released and another model chosen.
        #[default]
        Release = "release",
        /// The request is refused.
        Refuse = "refuse",
    }
}

contract! {
    extension;

    /// What Pintle adds to the contract.
    pub struct PintleSettings {
        /// Data-plane threads: a count, a list of cores, or `all`.
        workers: Workers,
        /// Which kernel interface moves bytes.
        driver: Driver,
        /// Directory for session memory and journal.
        state_dir: String = "/var/lib/pintle".into(),
        /// Where operators ask.
        admin: Admin,
        /// Bounds on what one client can make us hold.
        limits: Limits,
        /// Bounds on waiting.
        timeouts: Timeouts,
        /// Idle upstream connections.
        pool: Pool,
        /// What a backend's share of its model's requests goes by.
        balance: Balance,
        /// TLS to backends: whom to trust, and as whom to be known.
        tls: Tls,
        /// Who chooses the worker of a new connection.
        steering: Steering,
        /// SYNs that are turned away before they cost a connection.
        guard: Guard,
        /// Who adds up what is known of TCP connections: round trips, retransmissions, connect times.
        telemetry: Telemetry,
        /// What decisions are, beyond the contract.
        decisions: Vec<DecisionSettings>,
        /// What signals are, beyond the contract.
        signals: Vec<SignalSettings>,
        /// Session memory.
        session: Session,
        /// Flow documents on disk.
        journal: Journal,
        /// What texts mean: models, their threads and limits.
        classifier: Classifier,
        /// Whose behaviour is reproduced.
        profile: ProfileSetting,
        /// `x-authz-user-*` headers from clients are believed.
        trusted_identity: bool,
        /// Price in USD of one unit of missed quality, for switch economics.
        shortfall_price_usd: Option<f64>,
    }

    /// SYNs that are turned away before they cost a connection.
    pub struct Guard {
        /// Names of the network interfaces; without any there is no guard.
        interfaces: Vec<String>,
        /// What verdicts lead to.
        mode: GuardMode,
        /// TCP ports; without any, those of the listeners.
        ports: Vec<u16>,
        /// SYNs per second of one source (an IPv4 address, or an IPv6 network of 64 bits); 0 for no limit. Sources
        /// behind one address share it.
        syns_per_second: u32 = 0 => 0..=1_000_000,
        /// SYNs that a source may send at once.
        burst: u32 = 100 => 1..=1_000_000,
        /// Addresses and networks such as 192.0.2.0/24; the longest that holds decides.
        deny: Vec<String>,
        /// The same, of sources that come in whatever their rate.
        allow: Vec<String>,
    }

    /// What a decision is, beyond the contract.
    pub struct DecisionSettings {
        /// Name of the decision.
        name: String,
        /// It guards: while it cannot be told whether its rules hold, it counts as matching.
        guard: bool,
    }

    /// What a signal is, beyond the contract.
    pub struct SignalSettings {
        /// The signal, as `type:name`.
        signal: String,
        /// What it counts as while it is unknown.
        on_error: OnError,
    }

    /// Where operators ask.
    pub struct Admin {
        /// Loopback address and port; empty turns TCP off.
        listen: String = "127.0.0.1:9190".into(),
        /// Unix socket; empty turns it off.
        socket: String,
    }

    /// Bounds on what one client can make us hold.
    pub struct Limits {
        /// Bytes of a request head.
        head_bytes: u32 = 65_536 => 1024..=1_048_576,
        /// Bytes of a request body.
        body_bytes: u64 = 33_554_432 => 1..=1_073_741_824,
        /// Bytes of all request bodies held at once, over all workers; a request beyond them gets 503.
        buffered_bytes: u64 = 1_073_741_824 => 1_048_576..=1_099_511_627_776,
        /// Client connections, over all workers.
        max_connections: u32 = 65_536 => 1..=16_777_216,
        /// Header fields of a request.
        headers: u16 = 100 => 8..=1024,
    }

    /// Bounds on waiting, in milliseconds.
    pub struct Timeouts {
        /// From the first byte of a request head to its last.
        head_ms: u32 = 10_000 => 1..=86_400_000,
        /// Between two reads of a request body.
        body_idle_ms: u32 = 30_000 => 1..=86_400_000,
        /// For an upstream connection.
        connect_ms: u32 = 2_000 => 1..=86_400_000,
        /// From the request's last byte to the answer's first.
        first_byte_ms: u32 = 120_000 => 1..=86_400_000,
        /// Between two reads of an answer.
        stream_idle_ms: u32 = 120_000 => 1..=86_400_000,
        /// For a client that does not read.
        client_write_ms: u32 = 30_000 => 1..=86_400_000,
        /// For the answer to a client that has ended its own side of the connection.
        half_closed_ms: u32 = 1_000 => 0..=86_400_000,
        /// Between two requests of one client connection.
        keep_alive_ms: u32 = 75_000 => 1..=86_400_000,
        /// For requests in flight at shutdown.
        drain_ms: u32 = 30_000 => 0..=86_400_000,
        /// For requests in flight after another process has taken over in an upgrade.
        upgrade_drain_ms: u32 = 600_000 => 0..=86_400_000,
    }

    /// Idle upstream connections.
    pub struct Pool {
        /// Per backend and worker.
        idle_per_backend: u32 = 64 => 0..=65_536,
        /// Milliseconds after which an idle connection is closed.
        idle_ms: u32 = 60_000 => 1..=86_400_000,
    }

    /// TLS to backends: whom to trust, and as whom to be known.
    pub struct Tls {
        /// The system's certificate authorities are trusted.
        system_roots: bool = true,
        /// PEM file of further certificate authorities.
        ca_file: String,
        /// PEM file of the certificate, and those between it and its authority, that is shown to backends which ask for one.
        certificate_file: String,
        /// PEM file of its private key.
        key_file: String,
    }

    /// Session memory.
    pub struct Session {
        /// Header that carries the session key, before all others; empty for none.
        header: String,
        /// Sessions remembered.
        capacity: u32 = 1_000_000 => 64..=67_108_864,
        /// Seconds of silence after which a session is forgotten.
        ttl_seconds: u32 = 86_400 => 1..=315_360_000,
        /// Seconds for which an open tool loop holds its model.
        tool_loop_ttl_seconds: u32 = 3_600 => 1..=315_360_000,
        /// Seconds for which provider-managed state holds its model.
        provider_state_ttl_seconds: u32 = 2_592_000 => 1..=315_360_000,
        /// What happens when a locked session's model is gone.
        on_missing_model: OnMissingModel,
    }

    /// What happens when a locked session's model is gone, per kind of lock.
    pub struct OnMissingModel {
        /// Inside a tool loop.
        tool_loop: MissingModel = MissingModel::Release,
        /// While state lives at the provider.
        provider_state: MissingModel = MissingModel::Refuse,
    }

    /// Flow documents on disk.
    pub struct Journal {
        /// Bytes kept; the oldest segment goes first.
        max_bytes: u64 = 268_435_456 => 1_048_576..=1_099_511_627_776,
        /// Bytes per segment file.
        segment_bytes: u64 = 16_777_216 => 65_536..=1_073_741_824,
        /// Documents waiting to be written; more are dropped and counted.
        queue: u32 = 8_192 => 16..=1_048_576,
    }

    /// What texts mean: models, their threads and limits.
    pub struct Classifier {
        /// What runs the models.
        backend: ClassifierBackend,
        /// Directory of models; empty for `models` in `state_dir`.
        models_dir: String,
        /// Which model measures what.
        models: ClassifierModels,
        /// In which numbers the CPU computes.
        precision: Precision,
        /// How GPUs are used.
        hip: ClassifierHip,
        /// Threads that read texts.
        threads: u16 = 1 => 1..=256,
        /// Requests that may wait for a thread; more go on without learned evidence.
        queue: u32 = 1_024 => 1..=1_048_576,
        /// Requests whose texts are read in one call.
        batch: u16 = 32 => 1..=1024,
        /// Milliseconds a request waits for evidence; what comes later counts as unknown.
        deadline_ms: u32 = 1_000 => 1..=60_000,
        /// Bytes of answers that are remembered.
        cache_bytes: u64 = 67_108_864 => 0..=1_099_511_627_776,
        /// Tokens of a window over a long text.
        window_tokens: u32 = 256 => 16..=32_768,
        /// Windows that are read of one text; the rest is not looked at.
        max_windows: u16 = 32 => 1..=1024,
        /// Calls to one external model at once.
        external_calls: u16 = 16 => 1..=1024,
        /// What external models are, beyond the contract.
        external: Vec<ExternalSettings>,
    }

    /// What an external model is, beyond the contract.
    pub struct ExternalSettings {
        /// Its `llm_endpoint.name`; where that is empty, its `llm_model_name`.
        name: String,
        /// How it is asked.
        protocol: ExternalProtocol,
    }

    /// Which model measures what: a model's name or directory, `embedded` for the one inside the program, `off` for none,
    /// `external:NAME` for one of `global.model_catalog.external`; empty for the one that `global.model_catalog` names where it is there, else `embedded`.
    pub struct ClassifierModels {
        /// Similarity to examples: embedding, preference, complexity, kb, reask.
        embedding: String,
        /// Subject of the text.
        domain: String,
        /// Whether facts need checking.
        fact_check: String,
        /// What the user says about the answer before.
        user_feedback: String,
        /// Attack or harmless.
        jailbreak: String,
        /// Text, image, or both wanted.
        modality: String,
        /// Personal data.
        pii: String,
    }

    /// How GPUs run classifier models, through AMD's HIP library.
    pub struct ClassifierHip {
        /// Numbers of the GPUs, as HIP counts them; each gets every model. Empty for the first.
        devices: Vec<u32>,
        /// Path of libamdhip64; empty for the system's.
        library: String,
        /// In which numbers they compute.
        precision: HipPrecision,
        /// Tokens of one batch.
        batch_tokens: u32 = 8_192 => 64..=131_072,
        /// Texts of one batch.
        batch_texts: u16 = 256 => 1..=1024,
        /// Batches under way on one GPU. Each takes working memory for the largest batch of every model.
        batches: u16 = 2 => 1..=4,
        /// Calls of reading threads that may wait for one GPU.
        queue: u32 = 256 => 1..=65_536,
        /// Microseconds that a batch with room waits for more texts.
        wait_us: u32 = 0 => 0..=100_000,
        /// Prototypes of all rules from which on a GPU compares texts with them, in the pass that embeds them; with fewer the CPU does. 0: never.
        prototypes: u32 = 64 => 0..=1_048_576,
        /// Bytes of one GPU's memory that may be taken, all models together.
        memory_bytes: u64 = 4_294_967_296 => 1_048_576..=1_099_511_627_776,
        /// Milliseconds of a batch after which the GPU counts as dead.
        watchdog_ms: u32 = 2_000 => 10..=600_000,
        /// Milliseconds that bringing a model onto a GPU may take.
        load_ms: u32 = 60_000 => 100..=600_000,
        /// Milliseconds that a GPU rests after it died; doubles with each death in a row up to a minute.
        retry_ms: u32 = 500 => 10..=60_000,
    }
}
