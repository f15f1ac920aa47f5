//! One connection: HTTP/1.1 with keep-alive, or HTTP/2, whichever the client speaks.
//!
//! It never takes the guest's word for the connection's framing, and turns each [`Refusal`] into its status.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::meet::{Connection, ConnectionHandler};
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tracing::debug;

use super::{Refusal, Response, Server};
use crate::traffic::Counted;

/// Takes the connections of one container.
pub(crate) struct Front(Arc<Server>);

impl Front {
    /// Hands them to `server`.
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self(server)
    }
}

impl ConnectionHandler for Front {
    fn take(&self, connection: Connection) {
        let server = self.0.clone();
        if server.draining.is_cancelled() {
            return;
        }
        let Ok(permit) = server.connections.clone().try_acquire_owned() else {
            debug!(peer = %connection.peer, "too many connections: one is closed");
            return;
        };
        self.0.serve(async move {
            let _permit = permit;
            if let Err(error) = converse(server, connection).await {
                debug!(%error, "a connection broke off");
            }
        });
    }
}

/// Runs what HTTP/2 does aside on the container's account.
#[derive(Clone)]
struct Aside(Arc<Server>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Aside {
    fn execute(&self, task: F) {
        self.0.serve(task);
    }
}

async fn converse(server: Arc<Server>, connection: Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = Counted::new(registered(connection.stream)?, server.counters().clone());
    let host = HeaderValue::try_from(connection.local.to_string())?;
    let service = service_fn(|mut request: Request<Incoming>| {
        if request.uri().authority().is_none() && !request.headers().contains_key(HOST) {
            // HTTP/1.0 may leave it out; a guest is always told what it is asked as.
            request.headers_mut().insert(HOST, host.clone());
        }
        let server = server.clone();
        async move {
            server.counters().asked();
            let response = server.answer(request).await.unwrap_or_else(|refusal| {
                if matches!(refusal, Refusal::Busy | Refusal::Unavailable) {
                    server.counters().refused();
                }
                refused(refusal)
            });
            server.counters().answered(response.status());
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(Aside(server.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(server.bounds.header_read);
    builder.http2().timer(TokioTimer::new());
    let mut conversation = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        biased;
        ended = conversation.as_mut() => return ended,
        () = server.draining.cancelled() => conversation.as_mut().graceful_shutdown(),
    }
    conversation.await
}

fn registered(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    // An answer goes out when it is written, not when the next one is.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn refused(refusal: Refusal) -> Response {
    let (status, text) = match refusal {
        Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting for this pod\n"),
        Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "this pod cannot take a request now\n"),
        Refusal::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "the program failed on this request; see its log\n"),
    };
    let mut response =
        Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
