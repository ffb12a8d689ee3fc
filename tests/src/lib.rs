//! Pintle: tests.
