//! Client certificates: asked for, never insisted on, and judged after the handshake.
//!
//! A certificate of an unknown authority does not end the connection: as upstream, its requests are answered with 401,
//! unless they show something better. That the client holds the certificate's key is proven in the handshake either way.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::TlsError;
use crate::authenticator::Certificate;
use crate::identity::Identity;

/// Whose certificates are taken.
#[derive(Debug, Clone)]
pub(super) struct Clients(Arc<dyn ClientCertVerifier>);

impl Clients {
    /// Those of this authority, and of those in a file.
    pub(super) fn new(
        authority: CertificateDer<'static>,
        more: Option<&Path>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(TlsError::Rustls)?;
        for certificate in more.map(read).transpose()?.into_iter().flatten() {
            roots.add(certificate).map_err(TlsError::Rustls)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self(verifier.allow_unauthenticated().build().map_err(TlsError::Verifier)?))
    }

    /// What asks for certificates in the handshake.
    pub(super) fn asking(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Asking(Arc::clone(&self.0)))
    }

    /// What a client's certificate is worth. Nothing if it showed none, or one that names nobody.
    pub(super) fn judge(&self, shown: Option<&[CertificateDer<'_>]>) -> Option<Certificate> {
        let (own, chain) = shown?.split_first()?;
        if let Err(error) = self.0.verify_client_cert(own, chain, UnixTime::now()) {
            tracing::debug!(%error, "a client certificate is not trusted");
            return Some(Certificate::Untrusted);
        }
        Identity::of_certificate(own).map(Certificate::Of)
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |why: String| TlsError::ClientCa { path: path.to_owned(), why };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(found) if found.is_empty() => Err(unusable("it is empty of them".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// Takes any certificate whose key the client holds; what it is worth is asked later.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
