//! A new connection to a real address, with TLS if the request wants it.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi_http::Error;

use super::authority::{Authority, connector_for};
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
        Some(host) => Ok(Box::new(secured(stream, host, pod.authority()).await?)),
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

async fn secured<S>(stream: S, host: &str, cluster: Option<&Authority>) -> Result<impl Stream + 'static, Error>
where
    S: Stream + 'static,
{
    let connector = connector_for(host, cluster).ok_or(Error::ConfigurationError)?;
    let name = ServerName::try_from(host.to_owned())?;
    connector.connect(name, stream).await.map_err(Error::Tls)
}
