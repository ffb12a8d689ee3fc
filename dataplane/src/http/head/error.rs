//! Why a head is refused, and with which status.

/// Why a request head is refused. The text is safe to show to the client: it never quotes what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No complete request line within the head limit.
    #[error("request target is longer than the {limit} bytes allowed for a head")]
    TargetTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The head does not end within the limit.
    #[error("request head is larger than {limit} bytes")]
    HeadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// More header fields than allowed.
    #[error("more than {limit} header fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// The request line is not `method SP target SP version`.
    #[error("malformed request line")]
    RequestLine,
    /// The target is neither origin-form, nor absolute-form with http or https, nor `*` for OPTIONS.
    #[error("malformed request target")]
    Target,
    /// A version other than 1.0 and 1.1.
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    /// A field name with characters that are no token, or white space before the colon, or a folded line.
    #[error("malformed header field name or folded header line")]
    FieldName,
    /// A field value with control characters.
    #[error("control character in a header field value")]
    FieldValue,
    /// A line that does not end in CR LF.
    #[error("header lines must end in CR LF")]
    LineEnd,
    /// HTTP/1.1 without `Host`.
    #[error("Host header field is missing")]
    HostMissing,
    /// `Connection` names more fields than anyone needs.
    #[error("too many names in Connection")]
    Connection,
    /// `Host` given twice or not a host.
    #[error("Host header field is repeated or malformed")]
    Host,
    /// A length that is no decimal number of at most 64 bits.
    #[error("malformed Content-Length")]
    ContentLength,
    /// Two lengths that differ.
    #[error("Content-Length header fields differ")]
    ContentLengthsDiffer,
    /// The declared body is over the limit.
    #[error("request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// `Transfer-Encoding` other than exactly `chunked`.
    #[error("only the chunked transfer coding is implemented")]
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    AmbiguousLength,
    /// `Transfer-Encoding` in an HTTP/1.0 request.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    TransferEncodingInHttp10,
    /// An expectation other than `100-continue`.
    #[error("only the expectation 100-continue can be met")]
    Expectation,
}

impl RequestError {
    /// The status code that answers this request.
    pub const fn status(self) -> u16 {
        match self {
            RequestError::TargetTooLong { .. } => 414,
            RequestError::HeadTooLarge { .. } | RequestError::TooManyFields { .. } => 431,
            RequestError::Version => 505,
            RequestError::BodyTooLarge { .. } => 413,
            RequestError::TransferEncoding => 501,
            RequestError::Expectation => 417,
            RequestError::RequestLine
            | RequestError::Target
            | RequestError::FieldName
            | RequestError::FieldValue
            | RequestError::LineEnd
            | RequestError::HostMissing
            | RequestError::Connection
            | RequestError::Host
            | RequestError::ContentLength
            | RequestError::ContentLengthsDiffer
            | RequestError::AmbiguousLength
            | RequestError::TransferEncodingInHttp10 => 400,
        }
    }
}

/// Why an upstream's response head cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The head does not end within the limit.
    #[error("upstream response head is larger than {limit} bytes")]
    HeadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// More header fields than allowed.
    #[error("upstream response has more than {limit} header fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// The status line is not `version SP code SP reason`, or the code is under 100 or over 599.
    #[error("upstream sent a malformed status line")]
    StatusLine,
    /// A field name with characters that are no token, or a folded line.
    #[error("upstream sent a malformed header field name or a folded header line")]
    FieldName,
    /// A field value with control characters.
    #[error("upstream sent a control character in a header field value")]
    FieldValue,
    /// A line that does not end in CR LF.
    #[error("upstream sent a header line that does not end in CR LF")]
    LineEnd,
    /// `Connection` names more fields than anyone needs.
    #[error("upstream named too many fields in Connection")]
    Connection,
    /// A malformed length, or two that differ.
    #[error("upstream sent a malformed Content-Length, or several that differ")]
    ContentLength,
    /// A transfer coding other than exactly `chunked`, or any in HTTP/1.0.
    #[error("upstream used a transfer coding other than chunked")]
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("upstream sent Content-Length and Transfer-Encoding together")]
    AmbiguousLength,
    /// `101 Switching Protocols`, which was not asked for.
    #[error("upstream switched protocols unasked")]
    SwitchedProtocols,
}

impl ResponseError {
    /// The status code that tells the client: the upstream is at fault.
    pub const fn status(self) -> u16 {
        502
    }
}

/// Why a header field cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The name is empty or no token (RFC 9110 section 5.1).
    #[error("malformed header field name")]
    Name,
    /// The value has control characters, or white space around it.
    #[error("header field value with control characters or surrounding white space")]
    Value,
    /// The request target has control characters or white space, or is empty.
    #[error("malformed request target")]
    Target,
}
