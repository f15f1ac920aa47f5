//! The authorities of certificates that guests' requests trust: those of the web, and one of the cluster for its own.
//!
//! A program that asks by `wasi:http` leaves TLS to the host, and has no way to name an authority. Invariant: that of
//! the cluster is trusted for the hosts it is given for, and for no other; and for those no other is trusted.

use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

use super::dial::OFFER;

/// Why there is no such authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The text is no certificate.
    #[error("the authority's certificate cannot be read: {0}")]
    Read(#[source] rustls::pki_types::pem::Error),
    /// The certificate is of no use.
    #[error("the authority's certificate cannot be used: {0}")]
    Use(#[source] rustls::Error),
}

/// An authority that signs the certificates of some hosts.
pub struct Authority {
    hosts: Vec<String>,
    connector: TlsConnector,
}

impl Authority {
    /// The authority with this certificate, as PEM, for these hosts: names, or addresses as text.
    ///
    /// # Errors
    /// [`AuthorityError`], if it is no certificate or none that can be trusted.
    pub fn new(certificate: &str, hosts: Vec<String>) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(AuthorityError::Read)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(AuthorityError::Use)?;
        Ok(Self { hosts, connector: connector(roots).map_err(AuthorityError::Use)? })
    }

    fn is_for(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// What secures a connection to `host`, for a container that knows the cluster's authority.
pub(super) fn connector_for(host: &str, cluster: Option<&Authority>) -> Option<TlsConnector> {
    static WEB: OnceLock<Option<TlsConnector>> = OnceLock::new();
    let web = || {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        connector(roots).ok()
    };
    match cluster.filter(|authority| authority.is_for(host)) {
        Some(authority) => Some(authority.connector.clone()),
        None => WEB.get_or_init(web).clone(),
    }
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = OFFER.iter().map(|(_, name)| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}
