//! An HTTP/1.1 client that hides nothing: requests are bytes, and framing is read by the letter.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A read that brings nothing for this long fails the test.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response, or the part of it that has been read.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names (lower case) and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this (lower-case) name, or an empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    /// The flow id that every response must carry.
    #[track_caller]
    pub fn flow(&self) -> String {
        let id = self.header("x-vsr-replay-id");
        assert!(!id.is_empty(), "status {} carries no flow id: {:?}", self.status, self.headers);
        id.to_owned()
    }

    /// The model that was chosen.
    pub fn model(&self) -> &str {
        self.header("x-vsr-selected-model")
    }

    /// `data:` lines of a streamed body as JSON, without the final `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|l| l.strip_prefix("data: ")).filter(|d| *d != "[DONE]");
        data.map(|d| serde_json::from_str(d).expect("an event in JSON")).collect()
    }

    /// Asserts an error in OpenAI's form with a flow id, and returns its message.
    #[track_caller]
    pub fn assert_openai_error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert!(self.header("content-type").starts_with("application/json"), "{:?}", self.headers);
        let json = self.json();
        let error = &json["error"];
        assert!(error["type"].is_string(), "{json}");
        assert!(error.get("code").is_some(), "{json}");
        self.flow();
        error["message"].as_str().unwrap_or_else(|| panic!("no message: {json}")).to_owned()
    }
}

impl Connection {
    /// Connects.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("the gateway accepts a connection")
    }

    /// Connects, if the server accepts.
    ///
    /// # Errors
    /// It does not.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Over a stream that is connected already.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(READ_TIMEOUT)).expect("not zero");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the gateway takes the bytes");
    }

    /// Sends bytes that the server may refuse to read to their end.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends the sending side only.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Sends a request with this head (without its final blank line) and a sized body.
    #[track_caller]
    pub fn request(&mut self, head: &str, body: &[u8]) {
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let mut bytes = format!("{head}\r\n{length}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
    }

    /// Sends a chat request and reads its response.
    #[track_caller]
    pub fn chat(&mut self, session: &str, body: &Value) -> Response {
        self.chat_bytes(session, body.to_string().as_bytes())
    }

    /// Sends a chat request with this body and reads its response.
    #[track_caller]
    pub fn chat_bytes(&mut self, session: &str, body: &[u8]) -> Response {
        self.request(&chat_head(session), body);
        self.response()
    }

    /// Sends a `GET` and reads its response.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.request(&format!("GET {path} HTTP/1.1\r\nhost: test"), b"");
        self.response()
    }

    /// Reads a whole response.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().expect("a whole response")
    }

    /// Reads a whole response.
    ///
    /// # Errors
    /// The connection ends or stalls first, or what comes is not HTTP.
    pub fn try_response(&mut self) -> io::Result<Response> {
        let (mut response, mut framing) = self.try_head()?;
        while let Some(piece) = self.try_piece(&mut framing)? {
            response.body.extend_from_slice(&piece);
        }
        Ok(response)
    }

    /// Reads a response's head; [`Connection::try_piece`] then reads its body.
    ///
    /// # Errors
    /// As for [`Connection::try_response`].
    pub fn try_head(&mut self) -> io::Result<(Response, Framing)> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if self.fill()? == 0 {
                let why = format!("the connection ended in a head of {} bytes", self.buffer.len());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let status =
            lines.next().and_then(|l| l.strip_prefix("HTTP/1.1 ")).and_then(|l| l.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {head}")))?;
        let headers = lines.filter_map(|l| l.split_once(':'));
        let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
        let response = Response { status, headers, body: Vec::new() };
        let framing = match (response.header("transfer-encoding"), response.header("content-length")) {
            _ if status < 200 || status == 204 || status == 304 => Framing::Sized(0),
            ("chunked", _) => Framing::Chunked,
            ("", "") => Framing::UntilClose,
            ("", length) => Framing::Sized(length.parse().map_err(io::Error::other)?),
            (other, _) => return Err(io::Error::other(format!("transfer-encoding {other}"))),
        };
        Ok((response, framing))
    }

    /// The next piece of a body (one chunk, if it is chunked), or `None` at its end.
    ///
    /// # Errors
    /// As for [`Connection::try_response`].
    pub fn try_piece(&mut self, framing: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        match framing {
            Framing::Sized(0) => Ok(None),
            Framing::Sized(left) => {
                self.need(1)?;
                let piece: Vec<u8> = self.buffer.drain(..self.buffer.len().min(*left)).collect();
                *left -= piece.len();
                Ok(Some(piece))
            }
            Framing::UntilClose => {
                if self.buffer.is_empty() && self.fill()? == 0 {
                    return Ok(None);
                }
                Ok(Some(std::mem::take(&mut self.buffer)))
            }
            Framing::Chunked => {
                let end = loop {
                    match find(&self.buffer, b"\r\n") {
                        Some(end) => break end,
                        None => self.need(self.buffer.len() + 1)?,
                    }
                };
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
                self.need(end + 2 + size + 2)?;
                let chunk: Vec<u8> = self.buffer.drain(..end + 2 + size + 2).collect();
                if !chunk.ends_with(b"\r\n") {
                    return Err(io::Error::other("a chunk does not end where its size says"));
                }
                Ok((size > 0).then(|| chunk[end + 2..end + 2 + size].to_vec()))
            }
        }
    }

    /// Whether the server ends the connection, orderly or not, with nothing more to read.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        match self.fill() {
            Ok(0) => assert!(self.buffer.is_empty(), "{}", String::from_utf8_lossy(&self.buffer)),
            Ok(_) => panic!("more came: {}", String::from_utf8_lossy(&self.buffer)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    fn need(&mut self, bytes: usize) -> io::Result<()> {
        while self.buffer.len() < bytes {
            if self.fill()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended in a body"));
            }
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 64 << 10];
        // A ring that this process has just given back may still interrupt its threads.
        let count = loop {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes are left.
    Sized(usize),
    /// Chunks.
    Chunked,
    /// The connection's end.
    UntilClose,
}

/// The head of a chat request in a session, without `content-length` and blank line.
pub fn chat_head(session: &str) -> String {
    let session = if session.is_empty() { String::new() } else { format!("\r\nx-session-id: {session}") };
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json{session}")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}
