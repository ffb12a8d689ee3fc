//! Benchmarks of Pintle beside what a user would pick instead.
#![forbid(unsafe_code)]

pub mod saar;
