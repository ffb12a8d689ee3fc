//! TLS as hosted models speak it: an authority that a test makes for itself, and servers with its certificates.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Backend, Model};

/// A certificate authority of one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        // Authorities of one name would pass for each other's, with bad signatures.
        let own: String = key.public_key_raw()[1..9].iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("authority {own}"));
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// Writes its certificate to a file.
    pub fn write(&self, file: &Path) {
        std::fs::write(file, self.issuer.pem()).expect("the file can be written");
    }

    /// Issues a certificate for these names and addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(params(names))
    }

    /// Issues one that was good until the end of 2020.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let mut params = params(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 12, 31);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("a key");
        Issued { certificate: params.signed_by(&key, &self.issuer).expect("a certificate"), key }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names")
}

impl Issued {
    /// Writes certificate and key to two files.
    pub fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, self.certificate.pem()).expect("the file can be written");
        std::fs::write(key, self.key.serialize_pem()).expect("the file can be written");
    }

    fn der(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key in PKCS #8");
        (self.certificate.der().clone(), key)
    }
}

/// What answers behind the TLS.
#[derive(Debug, Clone)]
pub enum Behind {
    /// A server in plain HTTP, a stand-in for example.
    Server(SocketAddr),
    /// These bytes, to each request; then the connection ends.
    Bytes(Vec<u8>),
}

/// How a server speaks TLS.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Protocol versions.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// It says so when it ends a connection.
    pub close_notify: bool,
    /// Clients need a certificate of the server's own authority.
    pub clients_certified: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS.to_vec(), close_notify: true, clients_certified: false }
    }
}

/// One handshake, as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The application protocol agreed on (ALPN).
    pub protocol: Option<String>,
    /// It resumed an earlier session.
    pub resumed: bool,
    /// TLS 1.3, not 1.2.
    pub tls13: bool,
}

/// A server that speaks TLS, in a thread of this process until it is dropped.
#[derive(Debug)]
pub struct TlsServer {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Result<Handshake, String>>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TlsServer {
    /// A well-behaved one on a free port, with a certificate for 127.0.0.1 and localhost.
    pub fn before(server: SocketAddr, authority: &Authority) -> Self {
        let certificate = authority.issue(&["127.0.0.1", "localhost"]);
        Self::spawn(Behind::Server(server), authority, &certificate, Manners::default())
    }

    /// Any, on a free port.
    pub fn spawn(behind: Behind, authority: &Authority, certificate: &Issued, manners: Manners) -> Self {
        Self::spawn_at(SocketAddr::from(([127, 0, 0, 1], 0)), behind, authority, certificate, manners)
    }

    /// Any, at an address.
    pub fn spawn_at(
        address: SocketAddr,
        behind: Behind,
        authority: &Authority,
        certificate: &Issued,
        manners: Manners,
    ) -> Self {
        let listener = StdListener::bind(address).expect("an address");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("a listener");
        let acceptor = TlsAcceptor::from(Arc::new(config(authority, certificate, &manners)));
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let log = handshakes.clone();
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (client, _) = listener.accept().await?;
                // A client that has already left cannot take the option; its handshake fails by itself.
                let _ = client.set_nodelay(true);
                let (acceptor, log, behind) = (acceptor.clone(), log.clone(), behind.clone());
                let close_notify = manners.close_notify;
                tokio::spawn(async move {
                    let accepted = acceptor.accept(client).await;
                    let seen = accepted.as_ref().map(handshake).map_err(ToString::to_string);
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
                    if let Ok(client) = accepted {
                        // Ends in an error whenever a peer leaves.
                        let _ = talk(client, behind, close_notify).await;
                    }
                });
            }
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    ended = serve => { let _: io::Result<()> = ended; }
                    _ = stopped => {}
                }
            });
        });
        Self { address, handshakes, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every handshake that ended, or why it failed.
    pub fn handshakes(&self) -> Vec<Result<Handshake, String>> {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A backend at its address.
    pub fn backend(&self) -> Backend {
        self.backend_as(&format!("endpoint: https://{}", self.address))
    }

    /// A backend of this YAML, in which `PORT` stands for its port.
    pub fn backend_as(&self, place: &str) -> Backend {
        let place = place.replace("PORT", &self.address.port().to_string());
        Backend { place: Some(place), ..Backend::at(self.address) }
    }

    /// A model of this name behind it.
    pub fn model(&self, name: &str) -> Model {
        Model {
            name: name.to_owned(),
            price: 0.1,
            quality: 0.5,
            api_key: None,
            backends: vec![self.backend()],
            provider: String::new(),
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed, and must not hide the test's own outcome.
            let _ = thread.join();
        }
    }
}

fn config(authority: &Authority, certificate: &Issued, manners: &Manners) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&manners.versions)
        .expect("versions");
    let builder = if manners.clients_certified {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).expect("a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.expect("a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    let (certificate, key) = certificate.der();
    let mut config = builder.with_single_cert(vec![certificate], key).expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn handshake(stream: &TlsStream<TcpStream>) -> Handshake {
    let session = stream.get_ref().1;
    Handshake {
        server_name: session.server_name().map(str::to_owned),
        protocol: session.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        tls13: session.protocol_version() == Some(ProtocolVersion::TLSv1_3),
    }
}

async fn talk(mut client: TlsStream<TcpStream>, behind: Behind, close_notify: bool) -> io::Result<()> {
    match behind {
        Behind::Server(address) => {
            let (mut said, mut heard) = tokio::io::split(&mut client);
            let (mut answer, mut request) = TcpStream::connect(address).await?.into_split();
            tokio::select! {
                ended = copy(&mut said, &mut request) => ended?,
                ended = copy(&mut answer, &mut heard) => ended?,
            };
        }
        Behind::Bytes(bytes) => {
            read_request(&mut client).await?;
            client.write_all(&bytes).await?;
            client.flush().await?;
        }
    }
    if close_notify {
        client.shutdown().await?;
    }
    Ok(())
}

/// Reads a request of a declared length to its end.
async fn read_request(client: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut text = Vec::new();
    loop {
        if client.read_buf(&mut text).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let seen = String::from_utf8_lossy(&text).to_ascii_lowercase();
        if let Some((head, body)) = seen.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Ok(());
            }
        }
    }
}
