//! A new connection to a real address, with TLS if the request wants it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use crate::sockets::Pod;
use crate::traffic::Counted;

/// What a request is sent over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to `real`; as `host` where it is to be secured.
pub(super) async fn dial(pod: &Pod, real: SocketAddr, host: Option<&str>) -> Result<Box<dyn Stream>, Error> {
    let stream = pod.dial(real).await.map_err(|error| failure(&error))?;
    let stream = Counted::new(stream, pod.counters().clone());
    match host {
        None => Ok(Box::new(stream)),
        Some(host) => Ok(Box::new(secured(stream, host).await?)),
    }
}

fn failure(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

async fn secured<S>(stream: S, host: &str) -> Result<impl Stream + 'static, Error>
where
    S: Stream + 'static,
{
    static TLS: OnceLock<Option<TlsConnector>> = OnceLock::new();
    let connector = TLS.get_or_init(connector).as_ref().ok_or(Error::ConfigurationError)?;
    let name = ServerName::try_from(host.to_owned())?;
    connector.connect(name, stream).await.map_err(Error::Tls)
}

/// TLS with the web's certificate authorities.
fn connector() -> Option<TlsConnector> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = versions.with_root_certificates(roots).with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}
