//! What the data plane is told by whoever starts it: bounds, deadlines, addresses.
//!
//! These are plain values, made from the configuration by the binary. Nothing here is read from a file.

use std::net::SocketAddr;
use std::time::Duration;

use crate::io::runtime::DriverChoice;

/// Everything that a running data plane needs to know and that a reload may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds on what one client can make us hold.
    pub limits: Limits,
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// Idle upstream connections.
    pub pool: PoolSettings,
    /// How sessions are recognised and kept.
    pub session: SessionSettings,
    /// How several models are asked for one answer.
    pub looper: LooperSettings,
    /// Among a model's backends, a near one gets a larger share than a far one of the same weight.
    pub prefers_near: bool,
    /// What connections to backends tell is among the metrics.
    pub tells_of_backends: bool,
    /// What `GET /v1/models` lists.
    pub listed_models: Vec<String>,
    /// Keep the texts that decided in the flow document, so that the decision can be recomputed.
    pub record_inputs: bool,
    /// Headers in which a client names its user and groups are believed.
    pub trusted_identity: bool,
}

/// What is fixed for the life of the process.
#[derive(Debug, Clone)]
pub struct Startup {
    /// Addresses to listen on; every worker binds each of them.
    pub listeners: Vec<ListenerSettings>,
    /// Cores to pin workers to, one worker each; `None` leaves a worker where the kernel puts it.
    pub workers: Vec<Option<usize>>,
    /// Which kernel interface moves bytes.
    pub driver: DriverChoice,
    /// Length of each listener's accept queue.
    pub backlog: i32,
    /// Drawn once per process; part of every flow id.
    pub process_random: u64,
}

/// One address on which clients are served.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Name for logs.
    pub name: String,
    /// Where to listen.
    pub address: SocketAddr,
    /// Bearer keys of which a client must present one; empty admits everyone.
    pub api_keys: Vec<String>,
}

/// Bounds on what one client can make us hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a request or response head.
    pub head_bytes: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Bytes of all request bodies held at once, over all workers.
    pub buffered_bytes: usize,
    /// Client connections over all workers.
    pub max_connections: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// Bytes of an unstreamed answer, or of one event, that are read for usage and tool calls; a larger
    /// one passes through unread.
    pub observed_bytes: usize,
}

/// Bounds on waiting.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// Between two reads of a request body.
    pub body_idle: Duration,
    /// For an upstream connection.
    pub connect: Duration,
    /// From the request's last byte to the answer's first.
    pub first_byte: Duration,
    /// Between two reads of an answer.
    pub stream_idle: Duration,
    /// For a client that does not read.
    pub client_write: Duration,
    /// For the answer to a client that has ended its own side of the connection.
    pub half_closed: Duration,
    /// Between two requests of one client connection.
    pub keep_alive: Duration,
    /// For requests in flight at shutdown.
    pub drain: Duration,
    /// For requests in flight after another process has taken over.
    pub retire: Duration,
}

/// Idle upstream connections.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// Per backend and worker.
    pub idle_per_backend: usize,
    /// After which an idle connection is closed.
    pub idle: Duration,
}

/// How sessions are recognised and kept.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// Header that carries the session key before all others, in lower case; empty for none.
    pub header: String,
    /// For how long an open tool loop holds its model, in milliseconds.
    pub tool_loop_ttl_ms: u64,
    /// For how long state at a provider holds its model, in milliseconds.
    pub provider_state_ttl_ms: u64,
}

/// How several models are asked for one answer.
#[derive(Debug, Clone)]
pub struct LooperSettings {
    /// For all calls of one request together.
    pub timeout: Duration,
    /// Header fields that each call gets.
    pub headers: Vec<(String, String)>,
}
