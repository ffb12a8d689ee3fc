//! An HTTP endpoint that answers as a closure says: for whatever is asked of others besides models.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is answered to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Status and body.
    Says(u16, String),
    /// The connection stays open without a word, until the client gives it up.
    Silence,
}

impl Reply {
    /// A chat completion that says this.
    pub fn chat(text: &str) -> Self {
        let choice = serde_json::json!({ "message": { "role": "assistant", "content": text } });
        Self::Says(200, serde_json::json!({ "choices": [choice] }).to_string())
    }
}

type Behaviour = dyn Fn(&str) -> Reply + Send + Sync;

/// A request that came: its head with the empty line, and its body.
pub type Received = (String, String);

/// A running endpoint on the loopback interface; its threads end with the process.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Received>>>,
}

impl Endpoint {
    /// Starts one on a free port; `behaviour` gets each request's body.
    ///
    /// # Errors
    /// No port can be bound.
    pub fn start(behaviour: impl Fn(&str) -> Reply + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Received>>>::default());
        let endpoint = Self {
            address: listener.local_addr()?,
            connections: connections.clone(),
            requests: requests.clone(),
        };
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, behaviour) = (requests.clone(), behaviour.clone());
                std::thread::spawn(move || while one(&stream, &requests, &*behaviour).is_ok() {});
            }
        });
        Ok(endpoint)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections taken so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that have come so far.
    pub fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves one request. An error ends the connection.
fn one(stream: &TcpStream, requests: &Mutex<Vec<Received>>, behaviour: &Behaviour) -> io::Result<()> {
    // Nobody sends a request before the one ahead is answered, so nothing is lost with the buffer.
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).map_err(io::Error::other)?;
    requests.lock().unwrap_or_else(PoisonError::into_inner).push((head, body.clone()));
    match behaviour(&body) {
        Reply::Says(status, text) => {
            write!(&mut &*stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len())
        }
        Reply::Silence => {
            let _ = reader.read(&mut [0])?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}
