//! A new connection to a real address, with TLS if the request wants it.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

use super::authority::{Authority, connector_for};
use crate::sockets::Pod;
use crate::traffic::Counted;

/// What a request is sent over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Which HTTP is spoken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Http {
    /// 1.1: one request at a time.
    One,
    /// 2: many.
    Two,
}

/// What is offered to a server by ALPN, the better first.
pub(super) const OFFER: [(Http, &[u8]); 2] = [(Http::Two, b"h2"), (Http::One, b"http/1.1")];

/// Connects to `real`; as `host` where it is to be secured. Without TLS nothing is agreed on, and it is HTTP/1.1.
pub(super) async fn dial(pod: &Pod, real: SocketAddr, host: Option<&str>) -> Result<(Box<dyn Stream>, Http), Error> {
    let (stream, guise) = pod.dial(real).await.map_err(|error| failure(&error))?;
    let stream = Counted::new(stream, pod.counters().clone()).in_guise(guise);
    match host {
        None => Ok((Box::new(stream), Http::One)),
        Some(host) => {
            let stream = secured(stream, host, pod.authority()).await?;
            let agreed = stream.get_ref().1.alpn_protocol();
            let http = OFFER.iter().find(|(_, name)| Some(*name) == agreed).map_or(Http::One, |(http, _)| *http);
            Ok((Box::new(stream), http))
        }
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

async fn secured<S>(stream: S, host: &str, cluster: Option<&Authority>) -> Result<TlsStream<S>, Error>
where
    S: Stream + 'static,
{
    let connector = connector_for(host, cluster).ok_or(Error::ConfigurationError)?;
    let name = ServerName::try_from(host.to_owned())?;
    connector.connect(name, stream).await.map_err(Error::Tls)
}
