//! Request and response heads (RFC 9110, RFC 9112).
//!
//! # Why a head is kept as offsets
//!
//! A completion-based runtime takes the read buffer away while it fills it, so nothing may borrow from the
//! buffer across a read. A parsed head therefore holds offsets; [`RequestHead::view`] borrows the buffer
//! again for as long as someone looks at it. The offsets live in a reused vector: after the first request of
//! a connection, parsing allocates nothing.
//!
//! # Why the parser is strict
//!
//! Two parties that disagree about where a message ends can be made to see different requests. Whatever
//! admits two readings is refused here (bare line feeds, folded lines, `Content-Length` next to
//! `Transfer-Encoding`, differing lengths, any coding but `chunked`), and what goes out is written anew with
//! one length, never copied.

mod error;
mod field;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod write;

pub use error::{FieldError, RequestError, ResponseError};
pub use field::{Field, Fields, is_per_connection};
pub use request::{BodyFraming, Method, Request, RequestHead, addressed, parse_request};
pub use response::{Response, ResponseFraming, ResponseHead, parse_response};
pub use write::{
    CONTINUE, ClientResponse, Credentials, UpstreamRequest, reason_phrase, write_client_response,
    write_own_response, write_upstream_request,
};

/// Most header fields that a head may have, whatever the configuration says: the parser's table for them
/// is on the stack.
pub const MAX_FIELDS: usize = 256;

/// Bounds on what a peer may send, from `global.pintle.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest head, in bytes, request line and final empty line included.
    pub head_bytes: usize,
    /// Most header fields; values above [`MAX_FIELDS`] count as that.
    pub headers: usize,
    /// Largest request body that a head may declare, in bytes.
    pub body_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head_bytes: 65_536, headers: 100, body_bytes: 33_554_432 }
    }
}

/// Minor version of HTTP/1 that the peer speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// Remembers how far an incomplete head was looked at.
///
/// A peer that sends its head byte by byte would otherwise have it parsed from the start each time. While a
/// head is incomplete only the new bytes are searched for its end, and it is parsed again early (to refuse
/// nonsense before it is complete) only when it has doubled: the work is linear in the bytes received.
#[derive(Debug, Clone, Copy, Default)]
struct Resume {
    searched: usize,
    parsed: usize,
}

impl Resume {
    /// Whether parsing `buf` now can tell anything new.
    fn worth_parsing(&mut self, buf: &[u8]) -> bool {
        let from = self.searched.saturating_sub(3).min(buf.len());
        let complete = self.parsed > 0 && memchr::memmem::find(&buf[from..], b"\r\n\r\n").is_some();
        self.searched = buf.len();
        if self.parsed == 0 || complete || buf.len() / 2 >= self.parsed {
            self.parsed = buf.len().max(1);
            return true;
        }
        false
    }
}
