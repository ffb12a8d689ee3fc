//! What to do with a request: facts, signals, decisions, selection, session policy, flow document.
//!
//! Pure: no I/O, no clock, no randomness, no runtime. The caller passes the time in.
#![forbid(unsafe_code)]

pub mod facts;
pub mod units;
