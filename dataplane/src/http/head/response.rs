//! Response heads, as upstreams send them.

use std::mem::MaybeUninit;

use super::field::{At, Coding, Entry, Fields, Known, Lengths};
use super::{Limits, MAX_FIELDS, Method, ResponseError, Resume, Version, field};

/// Where the body of a response ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is no body, whatever the fields say: 1xx, 204, 304, or an answer to HEAD.
    #[default]
    Empty,
    /// This many bytes follow the head; may be zero.
    Length(u64),
    /// Chunks follow the head; see [`crate::http::chunked::Tracker`].
    Chunked,
    /// The body ends when the connection does.
    Close,
}

/// A parsed response head, as offsets into the buffer it was parsed from. Reused from response to response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    status: u16,
    version: Version,
    reason: At,
    pub(super) entries: Vec<Entry>,
    framing: ResponseFraming,
    content_length: Option<u64>,
    keep_alive: bool,
    resume: Resume,
}

impl ResponseHead {
    /// An empty head, to be filled by [`parse_response`].
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    /// Forgets the response, keeps the memory. Call it when the buffer starts with a new response.
    pub fn clear(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        *self = ResponseHead { entries, ..ResponseHead::default() };
    }

    /// The head with its text, borrowed from `buf`, which must begin with the bytes that were parsed.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Response<'a> {
        Response { head: self, buf }
    }

    /// Status code, 100 to 599.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whether this is a 1xx head, after which the final one follows.
    pub const fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The upstream's HTTP version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Where the body ends.
    pub const fn framing(&self) -> ResponseFraming {
        self.framing
    }

    /// `Content-Length` as stated, also where no body follows (HEAD, 304).
    pub const fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the connection can serve another request once the body is read.
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }
}

/// A parsed response head together with its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    pub(super) head: &'a ResponseHead,
    pub(super) buf: &'a [u8],
}

impl<'a> Response<'a> {
    /// The parsed facts.
    pub const fn head(&self) -> &'a ResponseHead {
        self.head
    }

    /// The reason phrase, possibly empty.
    pub fn reason(&self) -> &'a [u8] {
        self.head.reason.in_buf(self.buf)
    }

    /// The header fields.
    pub fn fields(&self) -> Fields<'a> {
        Fields { buf: self.buf, entries: &self.head.entries }
    }

    /// Value of the first field called `name`, in any letter case.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields().get(name)
    }

    /// Media type of the body without its parameters; empty if not stated.
    pub fn media_type(&self) -> &'a [u8] {
        let value = self.fields().first(Known::ContentType).unwrap_or_default();
        value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii()
    }

    /// Whether the body is a stream of server-sent events.
    pub fn is_event_stream(&self) -> bool {
        self.media_type().eq_ignore_ascii_case(b"text/event-stream")
    }

    /// The content coding; `None` if the body is sent as it is.
    pub fn content_encoding(&self) -> Option<&'a [u8]> {
        self.fields().first(Known::ContentEncoding).filter(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    }
}

/// Parses the response head at the start of `buf` into `head`; `method` is the request's.
///
/// Returns the length of the head, or `None` while it is incomplete: call again with the same `head` and
/// the same bytes followed by more. After a 1xx head, [`clear`](ResponseHead::clear) and parse what follows.
///
/// # Errors
/// [`ResponseError`]; the upstream connection cannot be used any further.
pub fn parse_response(
    buf: &[u8],
    method: Method,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ResponseError> {
    let visible = &buf[..buf.len().min(limits.head_bytes)];
    if head.resume.worth_parsing(visible) {
        let max_fields = limits.headers.min(MAX_FIELDS);
        let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let status = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, visible, &mut table[..max_fields])
            .map_err(|error| match error {
                httparse::Error::HeaderName => ResponseError::FieldName,
                httparse::Error::HeaderValue => ResponseError::FieldValue,
                httparse::Error::NewLine => ResponseError::LineEnd,
                httparse::Error::TooManyHeaders => ResponseError::TooManyFields { limit: max_fields },
                _ => ResponseError::StatusLine,
            })?;
        if let httparse::Status::Complete(len) = status {
            fill(&visible[..len], &parsed, method, head)?;
            return Ok(Some(len));
        }
    }
    if buf.len() >= limits.head_bytes {
        return Err(ResponseError::HeadTooLarge { limit: limits.head_bytes });
    }
    Ok(None)
}

fn fill(
    buf: &[u8],
    parsed: &httparse::Response<'_, '_>,
    method: Method,
    head: &mut ResponseHead,
) -> Result<(), ResponseError> {
    if !field::lines_end_in_crlf(buf) {
        return Err(ResponseError::LineEnd);
    }
    head.status = parsed.code.filter(|code| (100..600).contains(code)).ok_or(ResponseError::StatusLine)?;
    if head.status == 101 {
        return Err(ResponseError::SwitchedProtocols);
    }
    head.version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    // The parser hands out a static empty string where the phrase is missing or not ASCII.
    head.reason = match parsed.reason {
        Some(reason) if !reason.is_empty() => At::of(buf, reason.as_bytes()),
        _ => At::default(),
    };
    head.entries.clear();
    head.entries.extend(parsed.headers.iter().map(|header| Entry {
        name: At::of(buf, header.name.as_bytes()),
        value: At::of(buf, header.value),
        known: Known::of(header.name.as_bytes()),
        nominated: false,
    }));
    let connection = field::connection_options(buf, &mut head.entries);
    if connection.too_many {
        return Err(ResponseError::Connection);
    }
    head.framing = framing(buf, method, head)?;
    head.keep_alive = !connection.close
        && (head.version == Version::Http11 || connection.keep_alive)
        && head.framing != ResponseFraming::Close;
    Ok(())
}

/// RFC 9112 section 6.3, with everything ambiguous refused.
fn framing(buf: &[u8], method: Method, head: &mut ResponseHead) -> Result<ResponseFraming, ResponseError> {
    head.content_length = match field::content_length(buf, &head.entries) {
        Lengths::None => None,
        Lengths::One(length) => Some(length),
        Lengths::Malformed | Lengths::Differ => return Err(ResponseError::ContentLength),
    };
    if method == Method::Head || head.status < 200 || matches!(head.status, 204 | 304) {
        return Ok(ResponseFraming::Empty);
    }
    match (field::transfer_coding(buf, &head.entries), head.content_length) {
        (Coding::None, Some(length)) => Ok(ResponseFraming::Length(length)),
        (Coding::None, None) => Ok(ResponseFraming::Close),
        (Coding::Chunked, None) if head.version == Version::Http11 => Ok(ResponseFraming::Chunked),
        (Coding::Chunked, Some(_)) => Err(ResponseError::AmbiguousLength),
        (Coding::Chunked | Coding::Unsupported, _) => Err(ResponseError::TransferEncoding),
    }
}
