//! Pintle: config.
