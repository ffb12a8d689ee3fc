//! Transformer encoders as launches of Pintle's kernels.
//!
//! An [`EncoderSpec`] borrows a network's `f32` weights. [`pack`] narrows and arranges them in one block of memory that
//! is copied to the device once; what it returns knows where everything lies. For a [`Bucket`] of tokens and texts,
//! [`Packed::plan`] lists the launches of a pass, with their grids and arguments. None of this needs a device: a plan
//! is made of numbers and addresses.
//!
//! # Shapes
//!
//! Kernels know heads of 32 and 64 components. Narrower ones are padded with zeros, which change no score and no
//! output; rotary angles are laid out so that a component still meets its partner.

mod arena;
mod banks;
mod batch;
mod numbers;
mod pack;
mod plan;
mod program;
mod spec;
#[cfg(test)]
mod tests;

pub use banks::{BankSpec, Banks, MAX_BANKS};
pub use numbers::Number;
pub use pack::{Packed, pack, weights_bytes};
pub use plan::{Argument, Bucket, Launch, Regions, Wants};
pub use program::{EncoderJob, EncoderModel, EncoderProgram, EncoderSlot, Encoding, Footprint};
pub use spec::{Activation, BlockSpec, EncoderSpec, HeadSpec, Linear, Norm, Pooling, Unsupported};
