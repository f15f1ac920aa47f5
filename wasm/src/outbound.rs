//! A guest's outgoing HTTP: names are looked up in the cluster, connections go where the pod's network lets them.
//!
//! Invariant: no request leaves without the attachment's consent, which is asked for the very address that is
//! connected to; a name is looked up once, so that it cannot mean something else a moment later.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::meet::ConnectError;
use futures::future::{Either, select};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types as http02;
use wasmtime_wasi_http::p3::bindings::http::types as http03;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::sockets::Pod;
use super::traffic::Counted;

/// How long each step may take when the guest sets no limit: what wasmtime has, so that guests meet nothing new.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);

/// Sends an instance's outgoing requests.
pub(super) struct Outbound(Arc<Pod>);

impl Outbound {
    /// Sends them as `pod`.
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        Self(pod)
    }
}

/// The response, and what goes on with its connection while its body is read.
type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let pod = self.0.clone();
        Box::new(async move { send(&pod, request, options.unwrap_or_default()).await })
    }

    // What a guest's peer does wrong is the guest's to handle, and nothing for the node's log.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> http02::ErrorCode {
        http02::ErrorCode::HttpProtocolError
    }

    fn p3_error_from_hyper(&mut self, _: &hyper::Error) -> http03::ErrorCode {
        http03::ErrorCode::HttpProtocolError
    }

    fn p2_error_from_tls(&mut self, _: &io::Error) -> http02::ErrorCode {
        http02::ErrorCode::TlsProtocolError
    }

    fn p3_error_from_tls(&mut self, _: &io::Error) -> http03::ErrorCode {
        http03::ErrorCode::TlsProtocolError
    }
}

async fn send(pod: &Pod, request: Request<WasiBody>, options: RequestOptions) -> Result<Sent, Error> {
    let (host, port) = target(request.uri())?;
    let secure = request.uri().scheme() == Some(&Scheme::HTTPS);
    let limit = options.connect_timeout.unwrap_or(STEP_TIMEOUT);
    let stream = within(limit, connect(pod, &host, port)).await?;
    let stream = Counted::new(stream, pod.counters().clone());
    if secure {
        let stream = within(limit, secured(stream, &host)).await?;
        exchange(stream, request, options).await
    } else {
        exchange(stream, request, options).await
    }
}

/// The host, without brackets, and the port that a request is for.
fn target(uri: &Uri) -> Result<(String, u16), Error> {
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

async fn within<T>(limit: Duration, step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(limit, step).await.unwrap_or(Err(Error::ConnectionTimeout))
}

/// Connects to the first address of `host` that answers.
async fn connect(pod: &Pod, host: &str, port: u16) -> Result<TcpStream, Error> {
    let mut failure = Error::DnsError { rcode: Some("NXDOMAIN".into()), info_code: None };
    for ip in pod.look_up(host).await {
        failure = match pod.attachment().connect(SocketAddr::new(ip, port)) {
            Ok(real) => match pod.dial(real).await {
                Ok(stream) => return Ok(stream),
                Err(error) => connect_failure(&error),
            },
            Err(ConnectError::Refused) => Error::ConnectionRefused,
            Err(ConnectError::Denied) => Error::HttpRequestDenied,
        };
    }
    Err(failure)
}

fn connect_failure(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

async fn secured<S>(stream: S, host: &str) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
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

/// Sends the request and waits for the head of the response.
async fn exchange<S>(stream: S, mut request: Request<WasiBody>, options: RequestOptions) -> Result<Sent, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // The authority has done its work; on the wire only a proxy would see it.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let mut is_open = true;
    let limit = options.first_byte_timeout.unwrap_or(STEP_TIMEOUT);
    let head = {
        let send = pin!(timeout(limit, sender.send_request(request)));
        match select(send, &mut connection).await {
            Either::Left((head, _)) => head,
            Either::Right((ended, send)) => {
                ended?;
                is_open = false;
                send.await
            }
        }
    };
    let response = head.map_err(|_| Error::ConnectionReadTimeout)??;
    let between = options.between_bytes_timeout.unwrap_or(STEP_TIMEOUT);
    let response = response.map(|body| TimedBody::new(body, between).boxed_unsync());
    let rest = async move { if is_open { connection.await.map_err(Error::from) } else { Ok(()) } };
    Ok((response, Box::new(rest)))
}

/// A response's body, each of whose pieces must come in time.
struct TimedBody {
    body: Incoming,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl TimedBody {
    fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, deadline: Box::pin(sleep(limit)) }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                this.deadline.as_mut().reset(Instant::now() + this.limit);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => this.deadline.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_read_from_the_authority() {
        let target_of = |uri: &str| target(&uri.parse().unwrap()).unwrap();
        assert_eq!(target_of("http://db/x"), ("db".into(), 80));
        assert_eq!(target_of("https://db/x"), ("db".into(), 443));
        assert_eq!(target_of("http://[::1]:8080/"), ("::1".into(), 8080));
    }
}
