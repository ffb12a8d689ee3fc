//! What runs beside the data path, on one thread: the flow journal, the admin API, metrics exposition,
//! signals, the service manager. And `explain`, which turns a flow document into prose.
//!
//! [`ControlThread::spawn`] starts all of it; [`ControlHooks`] is how it reaches the rest of the process,
//! of which it knows nothing else. Workers only ever call [`JournalHandle::offer`], which never waits.
#![forbid(unsafe_code)]

pub mod admin;
pub mod book;
mod clock;
pub mod explain;
pub mod exposition;
pub mod hooks;
pub mod journal;
mod lifecycle;
mod notify;
pub mod passing;
mod reload;
mod signals;
#[cfg(test)]
mod testing;
pub mod thread;

pub use admin::{AdminOptions, FeedbackDesk, FeedbackRefusal, Opinion, RatingView};
pub use book::{SessionBook, SessionView};
pub use hooks::{ControlHooks, Drained, ReloadReport, ReloadResult};
pub use journal::{Full, JournalHandle, JournalOptions};
pub use thread::{
    ControlError, ControlHandle, ControlOptions, ControlRemote, ControlThread, Driver, Exit, Inherited,
};
