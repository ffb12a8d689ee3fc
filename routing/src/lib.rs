//! What to do with a request: facts, signals, decisions, selection, session policy, flow document.
//!
//! Pure: no I/O, no clock, no randomness, no runtime. The caller passes the time in.
#![forbid(unsafe_code)]

pub mod evidence;
pub mod facts;
pub mod flow;
pub mod flow_id;
pub mod ids;
pub mod live;
pub mod outcome;
pub mod session;
pub mod trace;
pub mod units;
