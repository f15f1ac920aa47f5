//! One connection: HTTP/1.1 with keep-alive, or HTTP/2, whichever the client speaks.
//!
//! It never takes the guest's word for the connection's framing. What is not HTTP is answered by hyper: 400, and 431
//! for a head that is too large.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::meet::{Connection, ConnectionHandler, HttpRequest, HttpResponse, HttpServer, Unanswered};
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::debug;
use wasmtime_wasi_http::{Error, WasiBody};

use super::slow::Slow;
use super::{Response, Server};
use crate::traffic::{Counted, Counters};

/// The largest head of a request in HTTP/1, and so the buffer of each connection at its largest.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The same for HTTP/2, whose heads are kept per stream.
const HEAD_BYTES_MAX_HTTP2: u32 = 64 * 1024;

/// Requests at once on one connection of HTTP/2: what hyper and most servers allow.
const STREAMS_MAX: u32 = 200;

/// How long a connection of HTTP/1 that has no request under way waits for one more when its server stops. A client
/// may be about to ask, and is told with the answer that it is the last; one that keeps quiet for so long will hardly
/// ask in the very moment in which it is closed.
const LAST_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// Takes the connections of one container.
pub(crate) struct Front(Arc<Server>);

/// Why a request of a guest of this process has no answer.
pub(crate) enum Unserved<B> {
    /// The server is stopping; nothing of the request was used.
    Untaken(Box<Request<B>>),
    /// The server ended while it was under way.
    BrokeOff,
}

impl Front {
    /// Hands them to `server`.
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self(server)
    }
}

impl Front {
    /// The answer to a request of a guest of this process.
    pub(crate) async fn ask<B>(&self, request: Request<B>) -> Result<Response, Unserved<B>>
    where
        B: Body<Data = Bytes, Error = Error> + Send + Unpin + 'static,
    {
        let server = &self.0;
        // The container ends when what is under way has ended.
        let under_way = server.serving.token();
        if server.draining.is_cancelled() {
            return Err(Unserved::Untaken(Box::new(request)));
        }
        let response = server.answer(request).await;
        if server.ended.is_cancelled() {
            return Err(Unserved::BrokeOff);
        }
        Ok(response.map(|body| UnderWay { body, _token: under_way }.boxed_unsync()))
    }

    /// Where the container's traffic is counted.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        self.0.counters()
    }
}

/// The body of an answer without a connection: the container is not drained while it is read.
struct UnderWay {
    body: WasiBody,
    _token: TaskTrackerToken,
}

impl Body for UnderWay {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[async_trait]
impl HttpServer for Front {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
        let under_way = self.0.serving.token();
        if self.0.draining.is_cancelled() {
            return Err(Unanswered::NotTaken(Box::new(request)));
        }
        let counters = self.counters();
        let request = request.map(|body| {
            let body = body.map_err(|_| Error::ConnectionTerminated);
            CountedBody { body, counters: counters.clone(), count: Counters::received }
        });
        let response = self.0.answer(request).await;
        if self.0.ended.is_cancelled() {
            return Err(Unanswered::BrokeOff);
        }
        Ok(response.map(|body| {
            let body = UnderWay { body, _token: under_way };
            let body = CountedBody { body, counters: counters.clone(), count: Counters::sent };
            body.map_err(Into::into).boxed_unsync()
        }))
    }
}

/// A body whose bytes are counted though they go over no connection.
struct CountedBody<B> {
    body: B,
    counters: Arc<Counters>,
    count: fn(&Counters, usize),
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll
            && let Some(data) = frame.data_ref()
        {
            (self.count)(&self.counters, data.len());
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl ConnectionHandler for Front {
    fn http(&self) -> Option<&dyn HttpServer> {
        Some(self)
    }

    fn take(&self, connection: Connection) -> Result<(), Connection> {
        let server = self.0.clone();
        if server.draining.is_cancelled() {
            return Err(connection);
        }
        let Ok(permit) = server.connections.clone().try_acquire_owned() else {
            debug!(peer = %connection.peer, "too many connections: one is not taken");
            return Err(connection);
        };
        self.0.serve(async move {
            let _permit = permit;
            if let Err(error) = converse(server, connection).await {
                debug!(%error, "a connection broke off");
            }
        });
        Ok(())
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
    let _held = connection.held;
    let stream = Counted::new(registered(connection.stream)?, server.counters().clone());
    let stream = Slow::new(stream, server.bounds.body_idle);
    let host = HeaderValue::try_from(connection.local.to_string())?;
    let (asked, is_http2) = (AtomicBool::new(false), AtomicBool::new(false));
    let service = service_fn(|mut request: Request<Incoming>| {
        let version = request.version();
        asked.store(true, Relaxed);
        is_http2.store(version == Version::HTTP_2, Relaxed);
        if request.uri().authority().is_none() && !request.headers().contains_key(HOST) {
            // HTTP/1.0 may leave it out; a guest is always told what it is asked as.
            request.headers_mut().insert(HOST, host.clone());
        }
        let server = server.clone();
        async move {
            let mut response = server.answer(request).await;
            if version != Version::HTTP_2 && server.draining.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let builder = builder(&server);
    let mut conversation = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Until its first bytes tell which HTTP a client speaks, nobody else looks at the clock.
    let mut silence = pin!(sleep(server.bounds.header_read));
    let mut is_silent = true;
    loop {
        tokio::select! {
            biased;
            ended = conversation.as_mut() => return ended,
            () = server.draining.cancelled() => break,
            () = silence.as_mut(), if is_silent => {
                is_silent = false;
                if !asked.load(Relaxed) {
                    return Err("the client did not say anything".into());
                }
            }
        }
    }
    // HTTP/2 has words for the end of a connection; HTTP/1 says it with an answer.
    if !is_http2.load(Relaxed) {
        tokio::select! {
            biased;
            ended = conversation.as_mut() => return ended,
            () = sleep(LAST_REQUEST_WAIT) => {}
        }
    }
    conversation.as_mut().graceful_shutdown();
    conversation.await
}

/// How both kinds of HTTP are spoken.
fn builder(server: &Arc<Server>) -> auto::Builder<Aside> {
    let bounds = &server.bounds;
    let mut builder = auto::Builder::new(Aside(server.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.header_read).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX_HTTP2)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(bounds.body_idle)
        .keep_alive_timeout(bounds.header_read);
    builder
}

fn registered(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    // An answer goes out when it is written, not when the next one is.
    stream.set_nodelay(true)?;
    Ok(stream)
}
