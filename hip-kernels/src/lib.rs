//! Pintle on AMD GPUs.
//!
//! [`Hip`] is the HIP library, if this machine has one. A [`Device`] is what one thread does with a GPU: memory, the
//! kernels ([`Module`]), and [`Lane`]s, on which batches go through it. A [`Program`] is a model on such a device, and
//! an [`Engine`](engine::Engine) the thread that runs programs: it gathers what many ask into batches, keeps several
//! under way, and survives a device that dies.
//!
//! # Unsafe code
//!
//! Only where a library is called: `entry`, `rtc`, `hip`, `device`, `module`, `lane`; the marker traits of `abi`; and where
//! an encoder's launches promise what [`Lane::launch`] asks.
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(unsafe_code)]

pub mod abi;
mod device;
pub mod encoder;
pub mod engine;
mod entry;
mod error;
mod hip;
mod images;
mod kernels;
mod lane;
mod module;
mod program;
mod rtc;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use device::{Device, DeviceBuffer};
pub use error::{Class, Error, HipError, Unavailable};
pub use hip::{DeviceInfo, Hip, Source};
pub use kernels::Kernels;
pub use lane::{Graph, Grid, Lane, Staging};
pub use module::{Function, Module};
pub use program::{Program, Size};
