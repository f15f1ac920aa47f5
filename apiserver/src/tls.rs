//! The listener: TCP, TLS and HTTP/1.1 or HTTP/2, a task a connection, each with its limits.
//!
//! Invariant: the only extensions that a request from a socket gets are what its client certificate is worth, where it
//! comes from, and what it takes to take the connection over.

mod clients;
mod patience;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::crypto::CryptoProvider;
use rustls::{InvalidMessage, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::authenticator::Certificate;
use crate::identity::Identity;
use crate::pki::{self, Pki};
use clients::Clients;
pub(crate) use patience::Patience;
use patience::Patient;

/// How long a client may take to say hello.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to send the head of a request, and so how long a connection may be idle: longer than
/// clients keep theirs, so that they close it and not we, just when they use it again.
const HEADER_TIMEOUT: Duration = Duration::from_secs(180);

/// How often a silent HTTP/2 connection is asked whether its client still lives: its watches may be silent for long.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest head of a request: upstream's bound.
const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// The same in HTTP/2.
const HEADER_LIST_MAX: u32 = 1024 * 1024;

/// Streams at once in one HTTP/2 connection: upstream's bound, above what informers of one client need.
const STREAMS_MAX: u32 = 250;

/// Connections at once: each costs a task and its buffers.
const CONNECTIONS_MAX: usize = 4096;

/// How long connections may take to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before accepting again when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client is told that speaks HTTP where TLS is spoken.
const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key is no PEM.
    #[error("a certificate in the data directory cannot be read; delete the `pki` directory, and new ones are made")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// They do not fit together.
    #[error("the certificates in the data directory do not fit; delete the `pki` directory, and new ones are made")]
    Rustls(#[source] rustls::Error),
    /// The file of authorities for clients cannot be used.
    #[error("--client-ca-file {path:?} holds no certificates: {why}")]
    ClientCa {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The authority cannot verify clients.
    #[error("the authority in the data directory cannot verify clients; delete the `pki` directory to make a new one")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// How the server speaks TLS: its own certificate, and whom it takes client certificates of.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    clients: Clients,
}

impl Tls {
    /// With the certificates in the data directory, and further authorities for clients in a file of PEM.
    pub(crate) fn new(pki: &Pki, more: Option<&Path>) -> Result<Self, TlsError> {
        let authority = pki::certificate(&pki.authority).map_err(TlsError::Pem)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = Clients::new(authority, more, &provider)?;
        Ok(Self { acceptor: acceptor(pki, provider, &clients)?, clients })
    }
}

fn acceptor(pki: &Pki, provider: Arc<CryptoProvider>, clients: &Clients) -> Result<TlsAcceptor, TlsError> {
    let chain = vec![pki::certificate(&pki.serving.certificate).map_err(TlsError::Pem)?];
    let key = pki::key(&pki.serving.key).map_err(TlsError::Pem)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rustls)?
        .with_client_cert_verifier(clients.asking())
        .with_single_cert(chain, key)
        .map_err(TlsError::Rustls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until told to stop; then ends connections as soon as their requests have ended, within a bound.
pub(crate) async fn serve(listener: TcpListener, tls: Tls, router: Router, stopping: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, router) = (tls.clone(), router.clone());
                connections.spawn(connection(stream, Peer(peer.ip()), tls, router, stopping.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::debug!(open = connections.len(), "connections are cut off");
    }
    connections.shutdown().await;
}

/// Tells a client that speaks HTTP without TLS what is wrong, as upstream does.
async fn correct(error: &std::io::Error, mut stream: TcpStream) {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    if matches!(cause, Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))) {
        // It may have gone meanwhile.
        let _ = timeout(HANDSHAKE_TIMEOUT, stream.write_all(PLAIN_HTTP)).await;
    }
}

async fn connection(stream: TcpStream, peer: Peer, tls: Tls, router: Router, stopping: CancellationToken) {
    // Answers are written whole; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_TIMEOUT, tls.acceptor.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, stream))) => {
            tracing::debug!(%error, "a handshake failed");
            return correct(&error, stream).await;
        }
        Err(_) => return tracing::debug!("a handshake took too long"),
    };
    let patience = Patience::default();
    let for_requests = patience.clone();
    let certificate = tls.clients.judge(stream.get_ref().1.peer_certificates());
    let service = router.map_request(move |mut request: http::Request<Incoming>| {
        let extensions = request.extensions_mut();
        extensions.remove::<Identity>();
        extensions.remove::<Certificate>();
        extensions.insert(for_requests.clone());
        extensions.insert(peer);
        if let Some(certificate) = &certificate {
            extensions.insert(certificate.clone());
        }
        request.map(axum::body::Body::new)
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_BYTES_MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let serving = server.serve_connection_with_upgrades(
        TokioIo::new(Patient::new(stream, patience)),
        TowerToHyperService::new(service),
    );
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
