//! TLS towards registries: the system's authorities, more of them, client certificates, or none of it checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::registries::TlsFile;
use crate::any_certificate::AnyCertificate;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds nothing of what it should.
    #[error("{path:?} holds no certificate in PEM form")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// One of certificate and key is missing.
    #[error("cert_file and key_file belong together; give both or neither")]
    Half,
    /// The key does not fit, or a certificate is no certificate.
    #[error("the certificates cannot be used")]
    Unfit(#[from] rustls::Error),
}

/// TLS with nothing but the system's authorities.
pub(super) fn system() -> Result<Arc<ClientConfig>, TlsError> {
    config(&TlsFile::default())
}

/// TLS as a registries file has it; the authorities that it names come beside the system's.
pub(super) fn config(file: &TlsFile) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if file.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(&provider)))
    } else {
        builder.with_root_certificates(authorities(file.ca_file.as_deref())?)
    };
    let config = match (&file.cert_file, &file.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let source = |source| TlsError::Read { path: key.clone(), source };
            builder.with_client_auth_cert(certificates(cert)?, PrivateKeyDer::from_pem_file(key).map_err(source)?)?
        }
        (Some(_), None) | (None, Some(_)) => return Err(TlsError::Half),
    };
    Ok(Arc::new(config))
}

fn authorities(more: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    if system.certs.is_empty() {
        tracing::debug!(errors = ?system.errors, "the system trusts no authorities");
    }
    store.add_parsable_certificates(system.certs);
    if let Some(path) = more {
        for certificate in certificates(path)? {
            store.add(certificate)?;
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |source| TlsError::Read { path: path.to_owned(), source };
    let all: Vec<_> = CertificateDer::pem_file_iter(path).map_err(fault)?.collect::<Result<_, _>>().map_err(fault)?;
    if all.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(all) }
}
