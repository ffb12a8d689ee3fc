//! Pintle: control.
