//! Heads that go out: requests to upstreams, responses to clients.
//!
//! A head is written anew from what was parsed. Fields that belong to one connection stay behind; framing
//! is stated once, by the writer. Names and values that come from elsewhere enter only as [`Field`], which
//! cannot hold a line end.

use super::field::{Known, write_line};
use super::{Field, FieldError, Request, Response, ResponseFraming, Version};

/// Sent to a client that waits for permission to send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What happens to the credentials that the client sent: `Authorization`, `x-api-key`, `api-key` and
/// v0.3's `x-user-<provider>-key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// They go to the upstream as they are.
    Forward,
    /// They stay here; the router's own are in [`UpstreamRequest::set`].
    Remove,
}

/// What differs between the client's request head and the one the upstream gets.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// Path and query.
    pub target: &'a [u8],
    /// Value of `Host`.
    pub host: &'a [u8],
    /// Length of the body; `None` if there is none.
    pub content_length: Option<u64>,
    /// The client's credentials.
    pub credentials: Credentials,
    /// Fields to write in place of any by the same name.
    pub set: &'a [Field<'a>],
    /// Fields to write beside any by the same name.
    pub add: &'a [Field<'a>],
    /// Names of further fields to leave out, in any letter case.
    pub remove: &'a [&'a [u8]],
}

/// Appends the head of the upstream request to `out`.
///
/// # Errors
/// [`FieldError`] if `target` or `host` cannot be written; `out` is then as before.
pub fn write_upstream_request(
    out: &mut Vec<u8>,
    request: Request<'_>,
    upstream: &UpstreamRequest<'_>,
) -> Result<(), FieldError> {
    if upstream.target.is_empty() || !upstream.target.iter().all(|byte| matches!(byte, b'!'..=b'~')) {
        return Err(FieldError::Target);
    }
    let host = Field::new(b"Host", upstream.host)?;
    out.extend_from_slice(request.method_text());
    out.push(b' ');
    out.extend_from_slice(upstream.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    host.write(out);

    let fields = request.fields();
    for entry in fields.entries {
        let name = entry.name.in_buf(fields.buf);
        let passes = match entry.known {
            Known::Other | Known::ContentType | Known::ContentEncoding => true,
            Known::Credential => upstream.credentials == Credentials::Forward,
            // The body is sent whole, with its length, and without trailers; nothing is waited for.
            Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Connection
            | Known::HopByHop
            | Known::Trailer
            | Known::Expect => false,
        };
        if passes && !entry.nominated && !named(name, upstream.set, upstream.remove) {
            write_line(out, name, entry.value.in_buf(fields.buf));
        }
    }
    for field in upstream.set.iter().chain(upstream.add) {
        field.write(out);
    }
    if let Some(length) = upstream.content_length {
        write_length(out, length);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// What differs between the upstream's response head and the one the client gets.
#[derive(Debug, Clone, Copy)]
pub struct ClientResponse<'a> {
    /// How the body will be sent to the client. With [`ResponseFraming::Empty`] the upstream's
    /// `Content-Length` is repeated where it describes what was left out (HEAD, 304).
    pub framing: ResponseFraming,
    /// The client's HTTP version, from its request.
    pub version: Version,
    /// Whether the connection stays open. Ignored, as false, with [`ResponseFraming::Close`].
    pub keep_alive: bool,
    /// Fields to write in place of any by the same name.
    pub set: &'a [Field<'a>],
    /// Names of further fields to leave out, in any letter case.
    pub remove: &'a [&'a [u8]],
}

/// Appends the head of the client's response to `out`.
pub fn write_client_response(out: &mut Vec<u8>, response: Response<'_>, client: &ClientResponse<'_>) {
    let status = response.head().status();
    write_status_line(out, status, response.reason());
    let fields = response.fields();
    for entry in fields.entries {
        let name = entry.name.in_buf(fields.buf);
        let passes = match entry.known {
            Known::Other | Known::ContentType | Known::ContentEncoding | Known::Credential => true,
            Known::Trailer => client.framing == ResponseFraming::Chunked,
            Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Connection
            | Known::HopByHop
            | Known::Expect => false,
        };
        if passes && !entry.nominated && !named(name, client.set, client.remove) {
            write_line(out, name, entry.value.in_buf(fields.buf));
        }
    }
    for field in client.set {
        field.write(out);
    }
    match client.framing {
        ResponseFraming::Empty if status < 200 || status == 204 => {}
        ResponseFraming::Empty => {
            if let Some(length) = response.head().content_length() {
                write_length(out, length);
            }
        }
        ResponseFraming::Length(length) => write_length(out, length),
        ResponseFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        ResponseFraming::Close => {}
    }
    write_connection(out, client.keep_alive && client.framing != ResponseFraming::Close, client.version);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an answer that Pintle gives itself: an error, a list of models, a health report.
pub fn write_own_response(
    out: &mut Vec<u8>,
    status: u16,
    fields: &[Field<'_>],
    content_length: u64,
    version: Version,
    keep_alive: bool,
) {
    write_status_line(out, status, b"");
    for field in fields {
        field.write(out);
    }
    write_length(out, content_length);
    write_connection(out, keep_alive, version);
    out.extend_from_slice(b"\r\n");
}

fn named(name: &[u8], set: &[Field<'_>], remove: &[&[u8]]) -> bool {
    set.iter().any(|field| field.name().eq_ignore_ascii_case(name))
        || remove.iter().any(|other| other.eq_ignore_ascii_case(name))
}

fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(if reason.is_empty() { reason_phrase(status).as_bytes() } else { reason });
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    write_line(out, b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
}

/// Says only what is not the default of the client's version.
fn write_connection(out: &mut Vec<u8>, keep_alive: bool, version: Version) {
    match (keep_alive, version) {
        (true, Version::Http11) => {}
        (true, Version::Http10) => write_line(out, b"Connection", b"keep-alive"),
        (false, _) => write_line(out, b"Connection", b"close"),
    }
}

/// The standard reason phrase of a status code (RFC 9110 section 15); empty for one without.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        529 => "Overloaded",
        _ => "",
    }
}
