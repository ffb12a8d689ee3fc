//! What a text means: encoders, their back ends and what is told from their outputs.
//!
//! [`encoder`] is the contract between everything that runs a model (the CPU here, a GPU elsewhere) and everything
//! that asks one.

pub mod cpu;
pub mod embedded;
pub mod encoder;
pub mod external;
pub mod gpu;
pub mod heads;
pub mod load;
pub mod model;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod reader;
pub mod service;
pub mod shelf;
pub mod signals;
pub mod store;
#[cfg(test)]
mod testing;
mod tls;
