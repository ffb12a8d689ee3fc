//! Header fields: where they lie, which of them matter, and which may be written.

use super::FieldError;

/// Bytes `start..end` of the buffer that a head was parsed from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct At {
    start: u32,
    end: u32,
}

impl At {
    /// Where `part`, a slice of `whole`, lies in it. Buffers of heads are far smaller than 4 GiB.
    pub(super) fn of(whole: &[u8], part: &[u8]) -> At {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        debug_assert!(start <= whole.len() && part.len() <= whole.len() - start);
        At { start: start as u32, end: start.wrapping_add(part.len()) as u32 }
    }

    /// The bytes; empty if the buffer is not the one that was parsed.
    pub(super) fn in_buf(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Fields that Pintle itself acts on; all others pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    /// Belongs to one connection (RFC 9110 section 7.6.1) and needs no more attention than that.
    HopByHop,
    Trailer,
    Expect,
    /// A credential of the client: for Pintle, or for one provider.
    Credential,
    ContentType,
    ContentEncoding,
}

impl Known {
    pub(super) fn of(name: &[u8]) -> Known {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            2 if is("te") => Known::HopByHop,
            4 if is("host") => Known::Host,
            6 if is("expect") => Known::Expect,
            7 if is("trailer") => Known::Trailer,
            7 if is("upgrade") => Known::HopByHop,
            7 if is("api-key") => Known::Credential,
            9 if is("x-api-key") => Known::Credential,
            10 if is("connection") => Known::Connection,
            10 if is("keep-alive") => Known::HopByHop,
            12 if is("content-type") => Known::ContentType,
            13 if is("authorization") => Known::Credential,
            14 if is("content-length") => Known::ContentLength,
            14 if is("x-goog-api-key") => Known::Credential,
            16 if is("content-encoding") => Known::ContentEncoding,
            16 if is("proxy-connection") => Known::HopByHop,
            17 if is("transfer-encoding") => Known::TransferEncoding,
            18 if is("proxy-authenticate") => Known::HopByHop,
            19 if is("proxy-authorization") => Known::HopByHop,
            _ if is_user_provider_key(name) => Known::Credential,
            _ => Known::Other,
        }
    }
}

/// Whether a field belongs to one connection or to the framing on it, which the writer of a head states itself.
pub fn is_per_connection(name: &[u8]) -> bool {
    match Known::of(name) {
        Known::Host
        | Known::ContentLength
        | Known::TransferEncoding
        | Known::Connection
        | Known::HopByHop
        | Known::Trailer
        | Known::Expect => true,
        Known::Other | Known::Credential | Known::ContentType | Known::ContentEncoding => false,
    }
}

/// `x-user-<provider>-key`: v0.3's per-user upstream credentials.
fn is_user_provider_key(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-user-";
    const SUFFIX: &[u8] = b"-key";
    name.len() > PREFIX.len() + SUFFIX.len()
        && name[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
        && name[name.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
}

/// One header field of a parsed head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: At,
    pub(super) value: At,
    pub(super) known: Known,
    /// Named by a `Connection` field: belongs to this connection only.
    pub(super) nominated: bool,
}

/// What the `Connection` fields of a head say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// More names than [`MAX_NOMINATED`]: each is compared with every field, so there is a limit.
    pub(super) too_many: bool,
}

/// Most fields that a head may name in `Connection`, beyond the standard ones.
const MAX_NOMINATED: usize = 32;

/// Reads all `Connection` fields and marks the fields they name.
pub(super) fn connection_options(buf: &[u8], entries: &mut [Entry]) -> ConnectionOptions {
    let mut options = ConnectionOptions::default();
    let mut nominated = 0;
    for at in 0..entries.len() {
        if entries[at].known != Known::Connection {
            continue;
        }
        for token in list(entries[at].value.in_buf(buf)) {
            if token.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if Known::of(token) != Known::HopByHop {
                nominated += 1;
                if nominated > MAX_NOMINATED {
                    options.too_many = true;
                    return options;
                }
                for entry in entries.iter_mut() {
                    entry.nominated |= entry.name.in_buf(buf).eq_ignore_ascii_case(token);
                }
            }
        }
    }
    options
}

/// Elements of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// All lengths that the `Content-Length` fields state.
pub(super) enum Lengths {
    None,
    One(u64),
    Malformed,
    Differ,
}

/// Reads every `Content-Length`; a list of equal lengths counts as one (RFC 9112 section 6.3).
pub(super) fn content_length(buf: &[u8], entries: &[Entry]) -> Lengths {
    let mut found = None;
    for entry in entries.iter().filter(|entry| entry.known == Known::ContentLength) {
        for element in entry.value.in_buf(buf).split(|&byte| byte == b',') {
            let Some(length) = decimal(element.trim_ascii()) else { return Lengths::Malformed };
            if found.is_some_and(|earlier| earlier != length) {
                return Lengths::Differ;
            }
            found = Some(length);
        }
    }
    found.map_or(Lengths::None, Lengths::One)
}

/// `1*DIGIT` that fits 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// What the `Transfer-Encoding` fields of a head amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    None,
    Chunked,
    Unsupported,
}

/// Reads every `Transfer-Encoding`. Exactly one field with exactly `chunked` is understood.
pub(super) fn transfer_coding(buf: &[u8], entries: &[Entry]) -> Coding {
    let mut coding = Coding::None;
    for entry in entries.iter().filter(|entry| entry.known == Known::TransferEncoding) {
        let chunked = entry.value.in_buf(buf).eq_ignore_ascii_case(b"chunked");
        coding = if coding == Coding::None && chunked { Coding::Chunked } else { Coding::Unsupported };
    }
    coding
}

/// Whether each line of a head ends in CR LF. The parser accepts a bare LF; a peer further along might not.
pub(super) fn lines_end_in_crlf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

/// The header fields of a head, in the order received.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    pub(super) buf: &'a [u8],
    pub(super) entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    /// Every field as (name, value), white space around the value removed.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let buf = self.buf;
        self.entries.iter().map(move |entry| (entry.name.in_buf(buf), entry.value.in_buf(buf)))
    }

    /// Value of the first field called `name`, in any letter case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn first(&self, known: Known) -> Option<&'a [u8]> {
        self.entries.iter().find(|entry| entry.known == known).map(|entry| entry.value.in_buf(self.buf))
    }
}

/// A header field that may be written: its name is a token, its value has no control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Checks name and value.
    ///
    /// # Errors
    /// [`FieldError`] if either could end the line or be read as something else.
    pub fn new(name: &'a [u8], value: &'a [u8]) -> Result<Field<'a>, FieldError> {
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(FieldError::Name);
        }
        if value.trim_ascii().len() != value.len() || !value.iter().all(|&byte| is_field_text(byte)) {
            return Err(FieldError::Value);
        }
        Ok(Field { name, value })
    }

    /// The name, as it will be written.
    pub const fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The value.
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Appends `name: value CR LF`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_line(out, self.name, self.value);
    }
}

pub(super) fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Characters of a token (RFC 9110 section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Characters of a field value: visible ones, space, tab and obs-text.
const fn is_field_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
