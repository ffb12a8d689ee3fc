//! Pintle: dataplane.
