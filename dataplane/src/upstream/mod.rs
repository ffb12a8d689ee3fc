//! Backends: where each model is served, whether they are up, and the connections kept to them.

pub mod backend;
pub mod balance;
pub mod pool;

pub use backend::{Backend, BackendSpec, Health, ModelBackends, Upstreams};
pub use balance::Balancer;
pub use pool::Pool;
