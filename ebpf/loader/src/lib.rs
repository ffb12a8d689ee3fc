//! What the kernel does for Pintle, where it may: choosing the worker of a new connection
//! ([`steer`]), turning SYNs away before they cost a connection ([`guard`]), and watching TCP from the inside
//! ([`telemetry`]).
//!
//! Each of the three is there or it is not; none is needed to serve, and none makes a start fail. The order of
//! a start is
//!
//! 1. [`start`] on the first thread, before any other thread exists: loads what is asked for, attaches guard and
//!    telemetry, and drops the capabilities that this took. What cannot be had is said in [`Report`].
//! 2. [`steer::Program::attach`] when the listeners are bound. It needs no capability any more.
//! 3. Workers store their load into their [`steer::LoadCell`]: plain memory, no system call.
//!
//! Attachments belong to file descriptors of this process, or to the listening sockets: they end with it,
//! however it ends, unless a process that takes its place has them too ([`Inherited`]). Nothing is pinned.

mod btf;
pub mod caps;
pub mod guard;
pub mod handed;
pub mod loaded;
mod object;
pub mod status;
pub mod steer;
mod sys;
pub mod telemetry;

mod begin;

pub use begin::{Inherited, Options, Started, start};
pub use status::{Mode, Report, Status, Unavailable};
