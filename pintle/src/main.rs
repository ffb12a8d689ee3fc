//! The Pintle binary.
fn main() {}
