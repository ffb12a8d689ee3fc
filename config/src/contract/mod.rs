//! The typed contract: what an operator may write, as plain structs.
//!
//! Each struct is declared once, in [`contract!`]. From that declaration come the Rust type, its
//! defaults, its decoding from a positioned node, its export, and its entry in the schema from which
//! unknown keys, wrong types, the JSON Schema and the documentation are derived.
//!
//! Field names are the YAML keys in snake case. Two keys are Rust keywords: `type` is `kind`, `match` is
//! `r#match`.

mod algorithm;
mod decisions;
mod global;
mod integrations;
mod model_catalog;
mod pintle;
mod projections;
mod providers;
mod services;
mod signals;
mod stores;
mod vector_stores;

pub use algorithm::*;
pub use decisions::*;
pub use global::*;
pub use integrations::*;
pub use model_catalog::*;
pub use pintle::*;
pub use projections::*;
pub use providers::*;
pub use services::*;
pub use signals::*;
pub use stores::*;
pub use vector_stores::*;

use crate::secrets::Secret;
use crate::shape::contract;

contract! {
    /// One configuration document.
    pub struct Config {
        /// Contract version; never inspected, exported as `v0.3`.
        version: String,
        /// Addresses on which clients are served.
        listeners: Vec<Listener>,
        /// Models, where they are served and what they cost.
        providers: Providers,
        /// What models can do, what is looked at in a request, and what is decided from it.
        routing: Routing,
        /// Everything that is not specific to a model or a route, merged over the documented defaults.
        global: Global,
    }

    /// One address on which clients are served.
    pub struct Listener {
        /// Name for logs and metrics.
        name: String,
        /// Address to bind, without port.
        address: String,
        /// TCP port. `50051` and names `grpc-*` document upstream's ext_proc port and are not bound.
        port: i64,
        /// Route deadline as a duration text such as `300s`.
        timeout: String,
        /// Bearer keys of which a client must present one; empty admits everyone.
        api_keys: Vec<Secret>,
    }

    /// Models that can be chosen, signals, projections and decisions.
    pub struct Routing {
        /// What is known about each model.
        model_cards as "modelCards": Vec<ModelCard>,
        /// What is looked at in a request.
        signals: Signals,
        /// Values derived from signals.
        projections: Projections,
        /// Rules that choose candidate models.
        decisions: Vec<Decision>,
    }
}

#[cfg(test)]
mod tests;
