//! Pintle: benches.
