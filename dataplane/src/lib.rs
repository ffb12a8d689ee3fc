//! How bytes move: workers, HTTP/1.1, API dialects, upstream pools, observers of streamed answers.
//!
//! One worker per core, each with its own listener, runtime, upstream connections and buffers. Workers share
//! only what [`Shared`](shared::Shared) holds: the policy (swapped whole on reload), session memory and
//! counters.
//!
//! A request passes these modules in order: `worker` accepts, `connection` reads it whole, `turn` decides,
//! `attempt` calls a backend, `relay` passes the answer on, `observe` and `commit` remember what it meant, and
//! `flow` carries the record away.

#[forbid(unsafe_code)]
mod answer_head;
mod attempt;
#[forbid(unsafe_code)]
mod bill;
#[forbid(unsafe_code)]
mod charge;
mod commit;
mod connection;
#[forbid(unsafe_code)]
pub mod edit;
#[forbid(unsafe_code)]
pub mod extract;
pub mod failure;
#[forbid(unsafe_code)]
mod fixed;
pub mod floor;
#[forbid(unsafe_code)]
mod framing;
#[forbid(unsafe_code)]
pub mod http;
pub mod io;
pub mod json;
pub mod learned;
pub mod listening;
pub mod local;
mod looper;
#[forbid(unsafe_code)]
pub mod memory;
pub mod meters;
mod observe;
#[forbid(unsafe_code)]
mod outgoing;
mod relay;
mod relevance;
pub mod settings;
pub mod shared;
pub mod toolbox;
mod turn;
pub mod upstream;
pub mod worker;
