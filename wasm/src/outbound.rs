//! A guest's outgoing HTTP: names are looked up in the cluster, connections go where the pod's network lets them.
//!
//! Invariant: no request leaves without the attachment's consent, which is asked for the very address that is
//! connected to; a name is looked up once, so that it cannot mean something else a moment later. Where a request goes
//! is read from what its guest asks for, never from a request that the guest was asked.
//!
//! A request to an HTTP program of this process is handed to it (`near`); others go over connections that are dialled
//! (`dial`), secured by who is trusted for their host (`authority`), and kept for the next request to the same place (`kept`).

mod authority;
mod dial;
mod kept;
mod near;
mod timed;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{ConnectError, Protocol, Reached};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use tokio::time::timeout;
use wasmtime_wasi_http::p2::bindings::http::types as http02;
use wasmtime_wasi_http::p3::bindings::http::types as http03;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::bounds::BODY_CHUNK_BYTES_MAX;
use super::serve::Front;
use super::sockets::Pod;
pub use authority::{Authority, AuthorityError};
pub(super) use kept::Kept;

/// How long each step may take when the guest sets no limit: what wasmtime has, so that guests meet nothing new.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);

/// How many servers of a Service a request is handed to when each of them is just stopping: as many endpoints as a
/// connection is tried at.
const SERVERS_ASKED_MAX: usize = 3;

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
        Box::new(async move { send(&pod, request, Limits::of(options.unwrap_or_default())).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES_MAX
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES_MAX
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

/// How long each step of a request may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Limits {
    fn of(options: RequestOptions) -> Self {
        Self {
            connect: options.connect_timeout.unwrap_or(STEP_TIMEOUT),
            first_byte: options.first_byte_timeout.unwrap_or(STEP_TIMEOUT),
            between_bytes: options.between_bytes_timeout.unwrap_or(STEP_TIMEOUT),
        }
    }
}

/// How a request gets to where it goes.
enum Way {
    /// Handed to a server of this process.
    Near(Arc<Front>),
    /// Over a connection.
    Far(kept::Line),
}

async fn send(pod: &Pod, mut request: Request<WasiBody>, limits: Limits) -> Result<Sent, Error> {
    let (host, port) = target(request.uri())?;
    let secure = request.uri().scheme() == Some(&Scheme::HTTPS);
    for _ in 0..SERVERS_ASKED_MAX {
        let found = timeout(limits.connect, find(pod, &host, port, secure)).await;
        match found.unwrap_or(Err(Error::ConnectionTimeout))? {
            Way::Near(front) => match near::ask(pod, &front, request, limits).await {
                Ok(sent) => return Ok(sent),
                Err(near::Failure::Untaken(back)) => request = *back,
                Err(near::Failure::Failed(error)) => return Err(error),
            },
            Way::Far(line) => return kept::ask(pod, line, request, limits).await,
        }
    }
    Err(Error::ConnectionRefused)
}

/// The host, without brackets, and the port that a request is for.
fn target(uri: &Uri) -> Result<(String, u16), Error> {
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

/// The way to the first address of `host` that can be reached.
async fn find(pod: &Pod, host: &str, port: u16, secure: bool) -> Result<Way, Error> {
    let mut failure = Error::DnsError { rcode: Some("NXDOMAIN".into()), info_code: None };
    for ip in pod.look_up(host).await {
        failure = match pod.attachment().reach(Protocol::Tcp, SocketAddr::new(ip, port)) {
            Ok(Reached { real, handler }) => {
                if let Some(front) = handler.filter(|_| !secure).and_then(near::front) {
                    return Ok(Way::Near(front));
                }
                let key = kept::Key { real, secure: secure.then(|| host.to_owned()) };
                match pod.kept().line(pod, key).await {
                    Ok(line) => return Ok(Way::Far(line)),
                    Err(error) => error,
                }
            }
            Err(ConnectError::Refused) => Error::ConnectionRefused,
            Err(ConnectError::Denied) => Error::HttpRequestDenied,
        };
    }
    Err(failure)
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
