//! HTTP/1.1 as bytes: heads, chunked framing and server-sent events.
//!
//! Nothing here reads a socket. Every function takes what has arrived so far and says what it means, what
//! is missing, or why it is refused; every one is total, so a hostile peer can end its own connection and
//! nothing else.

pub mod chunked;
pub mod head;
pub mod sse;
