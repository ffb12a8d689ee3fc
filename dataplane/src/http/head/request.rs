//! Request heads.

use std::mem::MaybeUninit;

use super::field::{At, Coding, Entry, Fields, Known, Lengths};
use super::{Limits, MAX_FIELDS, RequestError, Resume, Version, field};

/// Request method; those that no API here uses are one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Other,
}

impl Method {
    fn of(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"PATCH" => Method::Patch,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }
}

/// Where the body of a request ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    #[default]
    None,
    /// This many bytes follow the head; never zero.
    Length(u64),
    /// Chunks follow the head; see [`crate::http::chunked::Decoder`].
    Chunked,
}

/// A parsed request head, as offsets into the buffer it was parsed from. Reused from request to request.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    method: Method,
    version: Version,
    method_text: At,
    path: At,
    query: At,
    origin: At,
    entries: Vec<Entry>,
    framing: BodyFraming,
    keep_alive: bool,
    expect_continue: bool,
    resume: Resume,
}

impl RequestHead {
    /// An empty head, to be filled by [`parse_request`].
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// Forgets the request, keeps the memory. Call it when the buffer starts with a new request.
    pub fn clear(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        *self = RequestHead { entries, ..RequestHead::default() };
    }

    /// The head with its text, borrowed from `buf`, which must begin with the bytes that were parsed.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        Request { head: self, buf }
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The client's HTTP version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Where the body ends.
    pub const fn framing(&self) -> BodyFraming {
        self.framing
    }

    /// Whether the client lets the connection stay open after this request.
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends its body.
    pub const fn expects_continue(&self) -> bool {
        self.expect_continue
    }
}

/// A parsed request head together with its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub(super) head: &'a RequestHead,
    buf: &'a [u8],
}

impl<'a> Request<'a> {
    /// The parsed facts.
    pub const fn head(&self) -> &'a RequestHead {
        self.head
    }

    /// The method as sent.
    pub fn method_text(&self) -> &'a [u8] {
        self.head.method_text.in_buf(self.buf)
    }

    /// The path, without query; `/` if the target is absolute and has none, `*` for `OPTIONS *`.
    pub fn path(&self) -> &'a [u8] {
        match self.head.path.in_buf(self.buf) {
            b"" => b"/",
            path => path,
        }
    }

    /// The query, without its question mark; empty if there is none.
    pub fn query(&self) -> &'a [u8] {
        self.head.query.in_buf(self.buf)
    }

    /// Path and query as sent, in origin-form.
    pub fn path_and_query(&self) -> &'a [u8] {
        match self.head.origin.in_buf(self.buf) {
            b"" => b"/",
            origin => origin,
        }
    }

    /// The header fields.
    pub fn fields(&self) -> Fields<'a> {
        Fields { buf: self.buf, entries: &self.head.entries }
    }

    /// Value of the first field called `name`, in any letter case.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields().get(name)
    }
}

/// Parses the request head at the start of `buf` into `head`.
///
/// Returns the length of the head, or `None` while it is incomplete: call again with the same `head` and
/// the same bytes followed by more. Empty lines before the request line are part of the head.
///
/// # Errors
/// [`RequestError`], also for a head that is incomplete but already wrong or too large. The connection
/// cannot be used any further: where the next request would begin is unknown.
pub fn parse_request(
    buf: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let visible = &buf[..buf.len().min(limits.head_bytes)];
    if head.resume.worth_parsing(visible) {
        let max_fields = limits.headers.min(MAX_FIELDS);
        let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let status = httparse::ParserConfig::default()
            .parse_request_with_uninit_headers(&mut parsed, visible, &mut table[..max_fields])
            .map_err(|error| refuse(error, visible, max_fields))?;
        if let httparse::Status::Complete(len) = status {
            fill(&visible[..len], &parsed, limits, head)?;
            return Ok(Some(len));
        }
    }
    if buf.len() >= limits.head_bytes {
        let limit = limits.head_bytes;
        return Err(match memchr::memchr(b'\n', visible) {
            Some(_) => RequestError::HeadTooLarge { limit },
            None => RequestError::TargetTooLong { limit },
        });
    }
    Ok(None)
}

fn refuse(error: httparse::Error, buf: &[u8], max_fields: usize) -> RequestError {
    match error {
        httparse::Error::HeaderName => RequestError::FieldName,
        httparse::Error::HeaderValue => RequestError::FieldValue,
        httparse::Error::TooManyHeaders => RequestError::TooManyFields { limit: max_fields },
        // An HTTP/2 preface and `HTTP/3.0` alike; but a target with a space in it also ends up here.
        httparse::Error::Version if has_http_version(buf) => RequestError::Version,
        httparse::Error::NewLine => RequestError::LineEnd,
        _ => RequestError::RequestLine,
    }
}

/// Whether the request line's third word is some `HTTP/` version.
fn has_http_version(buf: &[u8]) -> bool {
    let line = buf.trim_ascii_start().split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.split(|&byte| byte == b' ').nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

fn fill(
    buf: &[u8],
    parsed: &httparse::Request<'_, '_>,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<(), RequestError> {
    if !field::lines_end_in_crlf(buf) {
        return Err(RequestError::LineEnd);
    }
    let method = parsed.method.unwrap_or_default().as_bytes();
    head.method = Method::of(method);
    head.method_text = At::of(buf, method);
    head.version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    fill_target(buf, parsed.path.unwrap_or_default().as_bytes(), head)?;

    head.entries.clear();
    head.entries.extend(parsed.headers.iter().map(|header| Entry {
        name: At::of(buf, header.name.as_bytes()),
        value: At::of(buf, header.value),
        known: Known::of(header.name.as_bytes()),
        nominated: false,
    }));
    let connection = field::connection_options(buf, &mut head.entries);
    if connection.too_many {
        return Err(RequestError::Connection);
    }
    head.keep_alive = !connection.close && (head.version == Version::Http11 || connection.keep_alive);
    check_host(buf, head)?;
    head.framing = framing(buf, limits, head)?;
    head.expect_continue = expectation(buf, head)?;
    Ok(())
}

/// Method and path of a request whose head is refused or not whole, as far as its first line tells them.
pub fn addressed(buf: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = buf.trim_ascii_start();
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    let (method, target) = (words.next()?, words.next()?);
    // Whatever ends the target has come.
    words.next()?;
    let origin = if target.starts_with(b"/") { target } else { absolute_form(target)? };
    let path = origin.split(|byte| *byte == b'?').next()?;
    let is_text = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic());
    (is_text(method) && is_text(path)).then_some((method, path))
}

/// Splits the target (RFC 9112 section 3.2). Authority-form belongs to CONNECT, which no API here uses.
fn fill_target(buf: &[u8], target: &[u8], head: &mut RequestHead) -> Result<(), RequestError> {
    if !target.iter().all(|byte| matches!(byte, b'!'..=b'~')) || target.contains(&b'#') {
        return Err(RequestError::Target);
    }
    let origin = match target {
        [b'/', ..] => target,
        b"*" if head.method == Method::Options => target,
        _ => absolute_form(target).ok_or(RequestError::Target)?,
    };
    let (path, query) = match memchr::memchr(b'?', origin) {
        Some(at) => (&origin[..at], &origin[at + 1..]),
        None => (origin, &origin[origin.len()..]),
    };
    head.origin = At::of(buf, origin);
    head.path = At::of(buf, path);
    head.query = At::of(buf, query);
    Ok(())
}

/// The origin-form of an absolute http or https target. An empty path with a query has no origin-form that
/// is a slice of it, and nobody sends it; it is refused.
fn absolute_form(target: &[u8]) -> Option<&[u8]> {
    let scheme_end = memchr::memmem::find(target, b"://")?;
    let scheme = &target[..scheme_end];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = &target[scheme_end + 3..];
    let authority_len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(authority_len);
    (is_host(authority) && !authority.is_empty() && !origin.starts_with(b"?")).then_some(origin)
}

fn check_host(buf: &[u8], head: &RequestHead) -> Result<(), RequestError> {
    let mut hosts = head.entries.iter().filter(|entry| entry.known == Known::Host);
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::Http10 => Ok(()),
        (None, _) => Err(RequestError::HostMissing),
        (Some(host), None) if is_host(host.value.in_buf(buf)) => Ok(()),
        (Some(_), _) => Err(RequestError::Host),
    }
}

/// `uri-host [ ":" port ]` by its characters; user information has no place in it.
fn is_host(host: &[u8]) -> bool {
    host.iter().all(|&byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b':'
                    | b'['
                    | b']'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            )
    })
}

fn framing(buf: &[u8], limits: &Limits, head: &RequestHead) -> Result<BodyFraming, RequestError> {
    let length = field::content_length(buf, &head.entries);
    match field::transfer_coding(buf, &head.entries) {
        Coding::None => match length {
            Lengths::None | Lengths::One(0) => Ok(BodyFraming::None),
            Lengths::One(length) if length > limits.body_bytes => {
                Err(RequestError::BodyTooLarge { limit: limits.body_bytes })
            }
            Lengths::One(length) => Ok(BodyFraming::Length(length)),
            Lengths::Malformed => Err(RequestError::ContentLength),
            Lengths::Differ => Err(RequestError::ContentLengthsDiffer),
        },
        _ if head.version == Version::Http10 => Err(RequestError::TransferEncodingInHttp10),
        _ if !matches!(length, Lengths::None) => Err(RequestError::AmbiguousLength),
        Coding::Chunked => Ok(BodyFraming::Chunked),
        Coding::Unsupported => Err(RequestError::TransferEncoding),
    }
}

/// RFC 9110 section 10.1.1: an HTTP/1.0 client's expectation is ignored; without a body nothing is waited for.
fn expectation(buf: &[u8], head: &RequestHead) -> Result<bool, RequestError> {
    if head.version == Version::Http10 {
        return Ok(false);
    }
    let mut expects = false;
    for entry in head.entries.iter().filter(|entry| entry.known == Known::Expect) {
        for element in field::list(entry.value.in_buf(buf)) {
            if !element.eq_ignore_ascii_case(b"100-continue") {
                return Err(RequestError::Expectation);
            }
            expects = true;
        }
    }
    Ok(expects && head.framing != BodyFraming::None)
}
