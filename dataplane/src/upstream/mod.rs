//! Backends: where each model is served, whether they are up, and the connections kept to them.

pub mod backend;
pub mod balance;
pub mod link;
pub mod pool;
pub(crate) mod reach;
pub mod trust;
pub mod wire;

pub use backend::{Backend, BackendSpec, Health, ModelBackends, Upstreams};
pub use balance::Balancer;
pub use link::{ConnectError, Link};
pub use pool::Pool;
pub use trust::{TlsClient, Trust};
pub use wire::Wire;
