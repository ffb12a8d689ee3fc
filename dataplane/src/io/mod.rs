//! The thin layer between this crate and monoio.
//!
//! # Why a layer of our own
//!
//! monoio 0.2.4 loses an accepted socket when an `accept` future is dropped after completion, and loses
//! bytes when a `read` future is dropped. So no I/O future is ever raced against a timer here: every
//! future is awaited to its end, and a deadline ends it from outside, by `shutdown(2)` on its socket (see
//! [`watchdog`]). That works alike for reads, writes and connects, on io_uring and on epoll, costs no
//! timer per operation, and leaves nothing behind in the kernel.

pub mod bell;
pub mod gate;
pub mod gather;
pub mod listener;
pub mod runtime;
pub mod socket;
pub mod stream;
pub mod tls;
pub mod watchdog;

pub use gather::Gather;
pub use stream::{IoError, Stream};
pub use tls::TlsStream;
pub use watchdog::Watchdog;
