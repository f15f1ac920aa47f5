//! One connection of a client: TLS if it came to that port, then HTTP/1.1 or HTTP/2, whichever it speaks.
//!
//! What is not HTTP is answered by hyper: 400, and 431 for a head that is too large. A client that says nothing, does not
//! read its answer, or is silent between requests is let go after a while.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::asked::{Client, Scheme};
use super::proxy::Proxy;

/// How many connections clients may have: each takes a file, and processes often have few thousand.
const CONNECTIONS_MAX: usize = 4096;

/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take for the head of a request, and keep silent between two: what nginx allows.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may leave unread what was sent to it: what nginx allows.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a silent HTTP/2 connection is asked whether its client still lives.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest head of a request, in HTTP/1 the buffer of a connection at its largest: what wasm pods take, too.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The same in HTTP/2.
const HEAD_LIST_MAX: u32 = 64 * 1024;

/// Requests at once on one connection of HTTP/2: what nginx allows.
const STREAMS_MAX: u32 = 128;

/// Speaks with clients.
pub(super) struct Conversations {
    proxy: Arc<Proxy>,
    tls: TlsAcceptor,
    places: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Conversations {
    /// Until `stopping`, then what is under way is finished.
    pub(super) fn new(proxy: Arc<Proxy>, tls: TlsAcceptor, stopping: CancellationToken) -> Arc<Self> {
        Arc::new(Self { proxy, tls, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), stopping })
    }

    /// Takes a connection that came to `port`. Returns at once.
    pub(super) fn take(self: &Arc<Self>, scheme: Scheme, port: u16, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections to Ingresses: one is closed");
            return;
        };
        let client = Client { peer, port, scheme, _place: Arc::new(place) };
        let this = Arc::clone(self);
        self.proxy.tasks.spawn(async move {
            let ended = match scheme {
                Scheme::Http => this.converse(Patient::new(stream), client).await,
                Scheme::Https => match timeout(HANDSHAKE_TIMEOUT, this.tls.accept(stream)).await {
                    Ok(Ok(secured)) => this.converse(Patient::new(secured), client).await,
                    Ok(Err(error)) => Err(error.into()),
                    Err(late) => Err(late.into()),
                },
            };
            if let Err(error) = ended {
                tracing::debug!(%error, %peer, "a connection broke off");
            }
        });
    }

    async fn converse<S>(&self, stream: S, client: Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let asked = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Relaxed);
            let (proxy, client) = (Arc::clone(&self.proxy), client.clone());
            async move { Ok::<_, Infallible>(proxy.answer(&client, request).await) }
        });
        let builder = self.builder();
        let mut conversation = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        // Until its first bytes tell which HTTP a client speaks, nobody else looks at the clock.
        let mut silence = pin!(sleep(HEAD_TIMEOUT));
        let mut is_silent = true;
        loop {
            tokio::select! {
                biased;
                ended = conversation.as_mut() => return ended,
                () = self.stopping.cancelled() => break,
                () = silence.as_mut(), if is_silent => {
                    is_silent = false;
                    if !asked.load(Relaxed) {
                        return Err("the client did not say anything".into());
                    }
                }
            }
        }
        conversation.as_mut().graceful_shutdown();
        conversation.await
    }

    /// How both kinds of HTTP are spoken.
    fn builder(&self) -> auto::Builder<super::tasks::Tasks> {
        let mut builder = auto::Builder::new(self.proxy.tasks.clone());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_LIST_MAX)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}

/// A stream whose other side must read what is sent to it.
struct Patient<S> {
    stream: S,
    /// Armed while it does not.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Patient<S> {
    fn new(stream: S) -> Self {
        Self { stream, late: None }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = write(Pin::new(&mut self.stream), context) {
            self.late = None;
            return Poll::Ready(done);
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + SEND_TIMEOUT)));
        late.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watch(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(context, |stream, context| stream.poll_shutdown(context))
    }
}
