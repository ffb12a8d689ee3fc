//! What to do with a request: facts, signals, decisions, selection, session policy, flow document.
//!
//! Pure: no I/O, no clock, no randomness, no runtime. The caller passes the time in.
#![forbid(unsafe_code)]

pub mod edits;
pub mod evidence;
pub mod experience;
pub mod facts;
pub mod flow;
pub mod flow_id;
pub mod ids;
mod interval;
pub mod learned;
pub mod limits;
pub mod live;
pub mod looper;
pub mod outcome;
pub mod policy;
mod projections;
pub mod prototype;
mod rules;
pub mod selection;
pub mod session;
pub mod signals;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod units;
