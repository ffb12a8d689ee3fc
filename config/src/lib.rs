//! What operators write: the canonical v0.3 contract, checked and typed.
//!
//! Bytes go in, a [`Config`] and a [`Report`] come out. Nothing here reads a file, a socket or a clock; the
//! environment is read through a function that the caller passes to [`secrets`].

#![forbid(unsafe_code)]

mod check;
mod codes;
mod contract;
pub mod endpoint;
mod export;
mod findings;
pub mod import;
mod later;
mod legacy;
mod lint;
mod load;
pub mod migrate;
mod node;
mod parse;
mod reference;
mod render;
mod report;
mod schema;
pub mod secrets;
mod shape;
mod tokens;
mod validate;
mod value;
mod workers;
mod write;

pub use codes::{Explanation, explain, explanations};
pub use contract::*;
pub use export::{Keys, REDACTED, export};
pub use lint::is_pseudo_listener;
pub use load::{CheckOptions, Loaded, Profile, check, load};
pub use parse::{MAX_ANCHORS, MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_TEXT};
pub use reference::{findings_reference, reference};
pub use render::{Format, render};
pub use report::{Finding, Report, Severity};
pub use schema::{json_schema, to_json};
pub use tokens::token_count;
pub use value::Value;
pub use workers::Workers;
