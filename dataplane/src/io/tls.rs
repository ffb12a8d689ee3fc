//! TLS as a client, over a [`Stream`].
//!
//! rustls keeps the protocol, and no buffers: records are opened where the kernel put them and sealed where it
//! takes them from. What goes through the socket goes through [`Stream`], so every wait has its deadline there.
//!
//! # The end of what a peer says
//!
//! A peer that has said all says so (`close_notify`); only then is the end [`IoError::Closed`]. An end without it
//! is [`IoError::Truncated`]: anyone on the way can cut a TCP connection, and half an answer that is delimited by
//! the connection's end must not pass for a whole one.

use std::mem;
use std::time::{Duration, Instant};

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{HandshakeKind, ProtocolVersion};

use super::gather::Gather;
use super::socket;
use super::stream::{IoError, Stream, Wait};

/// Bytes of plain text in a record, at most (RFC 8446, 5.1).
const RECORD: usize = 1 << 14;
/// Bytes by which a sealed record is longer than its text: header, nonce, tag, content type.
const SEAL: usize = 64;
/// Sealed bytes that are written at once.
const BATCH: usize = 4 * (RECORD + SEAL);
/// Bytes of records that are read at once: two of the largest that TLS 1.2 knows (RFC 5246, 6.2.3).
const INCOMING: usize = 2 * (RECORD + 2048 + 5);
/// Bytes of records that may wait for a handshake message to be whole. rustls takes 64 KiB for one.
const INCOMING_MOST: usize = 4 * INCOMING;
/// What is wrong with data that came before a request.
const EARLY: &str = "the peer spoke before it was asked";
/// Room for an alert.
const ALERT: usize = 64;

/// A connection that speaks TLS.
pub struct TlsStream {
    stream: Stream,
    session: UnbufferedClientConnection,
    /// Records that came, from the first that has not been opened.
    incoming: Vec<u8>,
    /// The first `sealed` bytes are records to be written.
    outgoing: Vec<u8>,
    sealed: usize,
    /// The small slices of a request on their way into one record.
    scratch: Vec<u8>,
    /// The session keeps an opened record that its reader had no room for.
    waiting: bool,
    /// A write began and has not ended.
    writing: bool,
    end: Option<End>,
}

/// Why nothing more comes.
enum End {
    /// The peer said so.
    Closed,
    Failed(Box<rustls::Error>),
}

impl End {
    fn error(&self) -> IoError {
        match self {
            Self::Closed => IoError::Closed,
            Self::Failed(error) => IoError::Tls(error.clone()),
        }
    }
}

/// What the session needs next.
#[derive(PartialEq, Eq)]
enum Need {
    /// The peer's next words of the handshake.
    Handshake,
    /// Nothing: it takes and brings data.
    Nothing,
}

impl TlsStream {
    /// Shakes hands, until `until`.
    ///
    /// The handshake's last words wait for the first write and share its segment.
    ///
    /// # Errors
    /// [`IoError::Tls`] if the two cannot agree or the peer is not who it should be, [`IoError::TimedOut`], or
    /// how the connection ended.
    pub async fn shake_hands(
        stream: Stream,
        session: UnbufferedClientConnection,
        until: Instant,
    ) -> Result<Self, IoError> {
        let mut tls = Self {
            stream,
            session,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sealed: 0,
            scratch: Vec::new(),
            waiting: false,
            writing: false,
            end: None,
        };
        let mut early = Vec::new();
        loop {
            let need = tls.advance(&mut early);
            if let Some(end) = &tls.end {
                return Err(end.error());
            }
            if !early.is_empty() {
                return Err(failed(EARLY));
            }
            if need == Need::Nothing {
                return Ok(tls);
            }
            tls.flush(left(until)?).await.map_err(|(error, _)| error)?;
            tls.fill(left(until)?).await?;
        }
    }

    /// The connection below.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Protocol version and kind of the handshake.
    pub fn agreed(&self) -> (Option<ProtocolVersion>, Option<HandshakeKind>) {
        (self.session.protocol_version(), self.session.handshake_kind())
    }

    /// Whether a connection from the pool is still open and silent.
    pub fn is_quiet(&self) -> bool {
        self.end.is_none() && !self.waiting && self.incoming.is_empty() && self.stream.is_quiet()
    }

    /// Gives its buffers back while nothing is to be done.
    pub fn rest(&mut self) {
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        if self.sealed == 0 {
            self.outgoing = Vec::new();
        }
        self.scratch = Vec::new();
    }

    /// Appends what arrives to `buffer`. It grows, by a record at most, if it has less room than that.
    ///
    /// Returns the number of bytes, never zero.
    ///
    /// # Errors
    /// [`IoError::Closed`] when the peer has said all, [`IoError::Truncated`] when it went without saying so,
    /// [`IoError::Tls`] if a record is not the peer's, [`IoError::TimedOut`] if no record is whole within `deadline`.
    pub async fn read(
        &mut self,
        mut buffer: Vec<u8>,
        deadline: Duration,
    ) -> (Result<usize, IoError>, Vec<u8>) {
        let start = buffer.len();
        let until = Instant::now() + deadline;
        loop {
            if self.waiting || !self.incoming.is_empty() {
                self.advance(&mut buffer);
            }
            if buffer.len() > start {
                return (Ok(buffer.len() - start), buffer);
            }
            if let Some(end) = &self.end {
                return (Err(end.error()), buffer);
            }
            let filled = match left(until) {
                Ok(left) => match self.flush(left).await {
                    Ok(_) => self.fill(left).await,
                    Err((error, _)) => Err(error),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = filled {
                return (Err(error), buffer);
            }
        }
    }

    /// Seals and writes all of `gather`, as [`Stream::write_gather`] does; what is counted are bytes of records.
    ///
    /// # Errors
    /// As there, and [`IoError::Tls`].
    pub async fn write_gather(
        &mut self,
        mut gather: Gather,
        deadline: Duration,
    ) -> (Result<(), (IoError, usize)>, Gather) {
        let mut written = 0;
        while gather.remaining() > 0 {
            if let Err(error) = self.seal(&mut gather) {
                return (Err((error, written)), gather);
            }
            match self.flush(deadline).await {
                Ok(count) => written += count,
                Err((error, count)) => return (Err((error, written + count)), gather),
            }
        }
        (Ok(()), gather)
    }

    /// Lets the session look at what has come. Opened records are appended to `into`, as far as there is room,
    /// and what it has to say itself to `outgoing`.
    fn advance(&mut self, into: &mut Vec<u8>) -> Need {
        let start = into.len();
        let mut at = 0;
        self.waiting = false;
        let need = loop {
            let UnbufferedStatus { mut discard, state } =
                self.session.process_tls_records(&mut self.incoming[at..]);
            let need = match state {
                Ok(ConnectionState::ReadTraffic(mut records)) => {
                    while let Some(length) = records.peek_len() {
                        // The first is taken in any case.
                        if into.len() > start && into.capacity() - into.len() < length.get() {
                            self.waiting = true;
                            break;
                        }
                        match records.next_record() {
                            Some(Ok(record)) => {
                                into.extend_from_slice(record.payload);
                                discard += record.discard;
                            }
                            Some(Err(error)) => self.end = Some(End::Failed(Box::new(error))),
                            None => break,
                        }
                    }
                    (self.waiting || self.end.is_some()).then_some(Need::Nothing)
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(&mut message, &mut self.outgoing, &mut self.sealed);
                    None
                }
                // It goes out before anything is waited for.
                Ok(ConnectionState::TransmitTlsData(sent)) => {
                    sent.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.end = Some(End::Closed);
                    Some(Need::Nothing)
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Need::Handshake),
                Ok(_) => Some(Need::Nothing),
                Err(error) => {
                    self.end = Some(End::Failed(Box::new(error)));
                    Some(Need::Nothing)
                }
            };
            at += discard;
            if let Some(need) = need {
                break need;
            }
        };
        self.incoming.drain(..at);
        if let Some(End::Failed(_)) = self.end {
            self.complain();
        }
        need
    }

    /// Tells the peer by an alert what was wrong with its words, if it can be told at once.
    fn complain(&mut self) {
        // No further: it would meet the same words again.
        while self.session.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut message)) =
                self.session.process_tls_records(&mut self.incoming).state
        {
            append(&mut message, &mut self.outgoing, &mut self.sealed);
        }
        if !self.writing {
            socket::send_now(self.stream.fd(), &self.outgoing[..self.sealed]);
            self.sealed = 0;
        }
    }

    /// Seals the next part of `gather` behind what waits in `outgoing` already.
    fn seal(&mut self, gather: &mut Gather) -> Result<(), IoError> {
        if let Some(end) = &self.end {
            return Err(end.error());
        }
        loop {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(&mut self.incoming);
            let done = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let sealed = seal_some(
                        &mut traffic,
                        gather,
                        &mut self.outgoing,
                        &mut self.sealed,
                        &mut self.scratch,
                    );
                    Some(sealed)
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(&mut message, &mut self.outgoing, &mut self.sealed);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => {
                    sent.done();
                    None
                }
                Ok(_) => Some(Err(rustls::Error::General(EARLY.to_owned()))),
                Err(error) => Some(Err(error)),
            };
            self.incoming.drain(..discard);
            match done {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => {
                    let end = self.end.insert(End::Failed(Box::new(error)));
                    return Err(end.error());
                }
                None => {}
            }
        }
    }

    /// Writes what is sealed. Returns its length.
    async fn flush(&mut self, deadline: Duration) -> Result<usize, (IoError, usize)> {
        let length = self.sealed;
        if length == 0 {
            return Ok(0);
        }
        self.writing = true;
        let (result, outgoing) =
            self.stream.write_front(mem::take(&mut self.outgoing), length, deadline).await;
        self.outgoing = outgoing;
        self.sealed = 0;
        result?;
        self.writing = false;
        Ok(length)
    }

    /// Reads more records.
    async fn fill(&mut self, deadline: Duration) -> Result<(), IoError> {
        let room = self.incoming.capacity();
        if room == 0 {
            self.incoming.reserve_exact(INCOMING);
        } else if self.incoming.len() == room {
            if room >= INCOMING_MOST {
                return Err(failed("a handshake message is too long"));
            }
            self.incoming.reserve_exact(room);
        }
        let (result, incoming) = self.stream.read(mem::take(&mut self.incoming), deadline, Wait::More).await;
        self.incoming = incoming;
        match result {
            Ok(_) => Ok(()),
            Err(IoError::Closed) => Err(IoError::Truncated),
            Err(error) => Err(error),
        }
    }
}

impl Drop for TlsStream {
    /// Says that nothing more comes, if that can be said at once.
    fn drop(&mut self) {
        if self.writing || self.sealed > 0 || matches!(self.end, Some(End::Failed(_))) {
            return;
        }
        let mut alert = [0; ALERT];
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.session.process_tls_records(&mut self.incoming).state
            && let Ok(count) = traffic.queue_close_notify(&mut alert)
        {
            socket::send_now(self.stream.fd(), &alert[..count]);
        }
    }
}

/// Seals the front of `gather`, a batch at most.
fn seal_some<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    gather: &mut Gather,
    outgoing: &mut Vec<u8>,
    sealed: &mut usize,
    scratch: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    while *sealed + RECORD + SEAL <= BATCH && gather.remaining() > 0 {
        let front = gather.front();
        let text = if front.len() >= RECORD || front.len() == gather.remaining() {
            &front[..front.len().min(RECORD)]
        } else {
            scratch.clear();
            gather.copy_front(RECORD, scratch);
            &scratch[..]
        };
        make_room(outgoing, *sealed + text.len() + SEAL);
        let count = match traffic.encrypt(text, &mut outgoing[*sealed..]) {
            // A change of keys goes before it.
            Err(EncryptError::InsufficientSize(size)) => {
                make_room(outgoing, *sealed + size.required_size);
                traffic.encrypt(text, &mut outgoing[*sealed..])
            }
            sealed => sealed,
        };
        *sealed += count.map_err(|_| rustls::Error::EncryptError)?;
        let length = text.len();
        gather.advance(length);
    }
    Ok(())
}

/// Appends what the session itself has to say.
fn append<Data>(message: &mut EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>, sealed: &mut usize) {
    if let Err(EncodeError::InsufficientSize(size)) = message.encode(&mut []) {
        make_room(outgoing, *sealed + size.required_size);
        if let Ok(count) = message.encode(&mut outgoing[*sealed..]) {
            *sealed += count;
        }
    }
}

fn make_room(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
}

fn left(until: Instant) -> Result<Duration, IoError> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(IoError::TimedOut) } else { Ok(left) }
}

fn failed(why: &str) -> IoError {
    IoError::Tls(Box::new(rustls::Error::General(why.to_owned())))
}
