//! Pintle: standin.
