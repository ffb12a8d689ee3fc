//! Which backends are believed to be who they are, and the sessions kept with each.

use std::fmt;
use std::sync::Arc;

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// Application protocols offered: backends are spoken to in HTTP/1.1 only.
const ALPN: &[u8] = b"http/1.1";
/// TLS 1.3 tickets kept per backend, over all workers; rustls remembers one server for each eight.
const TICKETS: usize = 8;

/// A chain of certificates, the own one first, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Certificate authorities that are trusted, and the certificate shown to backends that ask for one.
///
/// TLS 1.2 and 1.3 with rustls's default suites. Revocation is not looked at.
pub struct Trust {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
    config: ClientConfig,
}

/// Why nobody could be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no certificate authority, or none that is a certificate.
    #[error("no certificate authority to trust")]
    NoRoots,
    /// The client certificate or its key.
    #[error("client certificate: {0}")]
    Identity(rustls::Error),
}

impl Trust {
    /// Trusts `roots`; those that rustls cannot read are passed over.
    ///
    /// # Errors
    /// No root is left, or certificate and key of `identity` do not belong together.
    pub fn new(roots: Vec<CertificateDer<'static>>, identity: Option<Identity>) -> Result<Self, TrustError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        if store.is_empty() {
            return Err(TrustError::NoRoots);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Identity)?
            .with_root_certificates(store);
        let mut config = match &identity {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(TrustError::Identity)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { roots, identity, config })
    }
}

/// How to speak TLS to one backend.
///
/// Two are equal if sessions and connections of one may be used for the other.
#[derive(Clone)]
pub struct TlsClient {
    trust: Arc<Trust>,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// For a backend of this host name or address, which is what its certificate must be for.
    ///
    /// # Errors
    /// The host is neither.
    pub fn new(host: &str, trust: &Arc<Trust>) -> Result<Self, InvalidDnsNameError> {
        let mut config = trust.config.clone();
        // Not shared: what one server issued says nothing to another, nor what one was trusted for.
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Self { trust: trust.clone(), name, config: Arc::new(config) })
    }

    pub(super) fn session(&self) -> Result<UnbufferedClientConnection, rustls::Error> {
        UnbufferedClientConnection::new(self.config.clone(), self.name.clone())
    }
}

impl PartialEq for TlsClient {
    fn eq(&self, other: &Self) -> bool {
        let (mine, theirs) = (&*self.trust, &*other.trust);
        self.name == other.name && mine.roots == theirs.roots && mine.identity == theirs.identity
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}
