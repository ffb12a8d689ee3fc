//! The certificates that TLS to backends goes by, from files and from the system.

use std::path::Path;
use std::sync::Arc;

use pintle_config::Tls;
use pintle_dataplane::upstream::Trust;
use pintle_dataplane::upstream::trust::TrustError as Unusable;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why there is no TLS to backends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("global.pintle.tls.{key}: {file}: {error}")]
    File { key: &'static str, file: String, error: pem::Error },
    #[error("global.pintle.tls.{key}: {file}: no certificate in it")]
    NoCertificate { key: &'static str, file: String },
    #[error("global.pintle.tls: certificate_file and key_file are written both or neither")]
    Half,
    #[error(
        "global.pintle.tls: no certificate authority is trusted, so no backend can be reached over TLS; install the \
         system's (package ca-certificates) or name a ca_file"
    )]
    NoRoots,
    #[error("global.pintle.tls.certificate_file: {0}")]
    Unusable(Unusable),
}

/// Reads what the settings name.
pub(crate) fn load(settings: &Tls) -> Result<Arc<Trust>, TrustError> {
    let mut roots = Vec::new();
    if settings.system_roots {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificate authorities cannot be read");
        }
        roots.extend(found.certs);
    }
    if !settings.ca_file.is_empty() {
        roots.extend(certificates("ca_file", &settings.ca_file)?);
    }
    let identity = match (&*settings.certificate_file, &*settings.key_file) {
        ("", "") => None,
        ("", _) | (_, "") => return Err(TrustError::Half),
        (chain, key) => {
            let key = PrivateKeyDer::from_pem_file(Path::new(key)).map_err(|error| TrustError::File {
                key: "key_file",
                file: key.to_owned(),
                error,
            })?;
            Some((certificates("certificate_file", chain)?, key))
        }
    };
    Trust::new(roots, identity).map(Arc::new).map_err(|error| match error {
        Unusable::NoRoots => TrustError::NoRoots,
        error @ Unusable::Identity(_) => TrustError::Unusable(error),
    })
}

fn certificates(key: &'static str, file: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let named = |error| TrustError::File { key, file: file.to_owned(), error };
    let found = CertificateDer::pem_file_iter(Path::new(file)).map_err(named)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(named)?;
    if found.is_empty() {
        return Err(TrustError::NoCertificate { key, file: file.to_owned() });
    }
    Ok(found)
}
