//! Where and why a body is not what it should be.

use std::fmt;

/// What is wrong with a body. The texts are safe to show to the client: they never quote what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanErrorKind {
    /// The body ends too early.
    #[error("the JSON document ends where {expected} was expected")]
    UnexpectedEnd {
        /// What the grammar wants here.
        expected: &'static str,
    },
    /// A byte that the grammar does not allow here.
    #[error("invalid JSON: expected {expected}")]
    Unexpected {
        /// What the grammar wants here.
        expected: &'static str,
    },
    /// A control character inside a string.
    #[error("invalid JSON: unescaped control character in a string")]
    ControlCharacter,
    /// An escape that JSON does not have.
    #[error("invalid JSON: unknown escape sequence in a string")]
    Escape,
    /// `\u` without four hexadecimal digits.
    #[error("invalid JSON: \\u must be followed by four hexadecimal digits")]
    UnicodeEscape,
    /// The body is not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// Something follows the document.
    #[error("invalid JSON: characters after the end of the document")]
    Trailing,
    /// Objects and arrays are nested too deep.
    #[error("JSON is nested deeper than {limit} levels")]
    Depth {
        /// The limit.
        limit: u32,
    },
    /// The document is no object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A member that decides about routing is given twice.
    #[error("'{key}' is given twice")]
    Duplicate {
        /// The member.
        key: &'static str,
    },
    /// A required member is missing.
    #[error("'{key}' is missing")]
    Missing {
        /// The member.
        key: &'static str,
    },
    /// A member has the wrong type.
    #[error("'{key}' must be {expected}")]
    Type {
        /// The member.
        key: &'static str,
        /// What it should be, with its article.
        expected: &'static str,
    },
    /// More messages, or parts of messages, than the limit.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The body is over 4 GiB.
    #[error("the body is too large to be scanned")]
    TooLarge,
}

/// Why a body is refused, and where. It is always the client's fault: status 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanError {
    /// What is wrong.
    pub kind: ScanErrorKind,
    /// Bytes before the place.
    pub offset: usize,
    /// Line of the place, from 1.
    pub line: usize,
    /// Column of the place in characters, from 1.
    pub column: usize,
}

impl ScanError {
    /// The status code that answers the request.
    pub const fn status(&self) -> u16 {
        400
    }

    #[cold]
    pub(super) fn locate(fault: Fault, body: &[u8]) -> ScanError {
        let offset = fault.offset.min(body.len());
        let before = &body[..offset];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let column = before[line_start..].iter().filter(|&&byte| byte & 0xc0 != 0x80).count() + 1;
        ScanError { kind: fault.kind, offset, line, column }
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {}, byte {})", self.kind, self.line, self.column, self.offset)
    }
}

impl std::error::Error for ScanError {}

/// An error while scanning, before anyone asked for the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) kind: ScanErrorKind,
    pub(super) offset: usize,
}
