//! TLS without verification: a probe asks whether a container answers, not who it is, and sends it no secrets.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::any_certificate::AnyCertificate;

/// Speaks TLS over `stream`, whatever certificate the other side shows.
///
/// # Errors
/// In Go's words, as the kubelet has them.
pub(crate) async fn over<S>(stream: S, host: &str) -> Result<TlsStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| config().map_err(|error| format!("tls: {error}"))).clone()?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("tls: {error}"))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            // What a server that speaks no TLS sends looks like a message of a content type that there is not.
            Some(Error::InvalidMessage(_)) => PLAIN_HTTP.to_owned(),
            Some(_) | None => format!("tls: {error}"),
        }
    })
}

/// What a server that speaks plain HTTP is told by.
pub(super) const PLAIN_HTTP: &str = "http: server gave HTTP response to HTTPS client";

fn config() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let any = Arc::new(AnyCertificate::new(&provider));
    Ok(Arc::new(builder(provider)?.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()))
}

fn builder(provider: Arc<CryptoProvider>) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}
