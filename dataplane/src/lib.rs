//! How bytes move: workers, HTTP/1.1, API dialects, upstream pools, observers of streamed answers.
//!
//! One worker per core, each with its own listener, runtime, upstream connections and buffers. Workers share
//! only what [`Shared`](worker::Shared) holds: the policy (swapped whole on reload), session memory and
//! counters.

#[forbid(unsafe_code)]
pub mod extract;
pub mod failure;
#[forbid(unsafe_code)]
pub mod http;
pub mod io;
pub mod json;
pub mod settings;
pub mod upstream;
