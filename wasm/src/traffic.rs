//! What a container sends, receives and answers, counted.
//!
//! Invariant: what is a state and not a sum (in flight, waiting) is held by a guard, so that it comes back to zero
//! however a request ends. Counting takes no lock and orders nothing: a reader may be one request behind.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use coracle_api::meet::Guise;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a container has sent, received and answered since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came in by its connections, whoever opened them.
    pub received_bytes: u64,
    /// Bytes that went out by them.
    pub sent_bytes: u64,
    /// TCP connections so far, of either direction.
    pub connections: u64,
    /// TCP connections that are open now.
    pub connections_open: u64,
    /// The HTTP requests that it was asked, if it serves any.
    pub requests: Requests,
}

/// The HTTP requests of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// All that came.
    pub total: u64,
    /// Answers by the class of their status, 1xx to 5xx, whether the guest gave them or the host for it.
    /// A request whose client left before its answer is in none.
    pub by_class: [u64; 5],
    /// Those answered 503 by the host: too many waited, or there was no room for an instance. Also in 5xx.
    pub refused: u64,
    /// Those answered 504 by the host: the guest took too long. Also in 5xx.
    pub timed_out: u64,
    /// Those that instances work on now.
    pub in_flight: u64,
    /// Those that wait for an instance now.
    pub waiting: u64,
}

/// The counters behind [`Traffic`], shared by whatever moves bytes or requests of a container.
#[derive(Debug, Default)]
pub(super) struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
    connections: AtomicU64,
    connections_open: AtomicU64,
    total: AtomicU64,
    by_class: [AtomicU64; 5],
    refused: AtomicU64,
    timed_out: AtomicU64,
    in_flight: AtomicU64,
    waiting: AtomicU64,
}

impl Counters {
    pub(super) fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Relaxed);
        Traffic {
            received_bytes: read(&self.received),
            sent_bytes: read(&self.sent),
            connections: read(&self.connections),
            connections_open: read(&self.connections_open),
            requests: Requests {
                total: read(&self.total),
                by_class: self.by_class.each_ref().map(read),
                refused: read(&self.refused),
                timed_out: read(&self.timed_out),
                in_flight: read(&self.in_flight),
                waiting: read(&self.waiting),
            },
        }
    }

    /// Bytes came in.
    pub(super) fn received(&self, bytes: usize) {
        add(&self.received, bytes);
    }

    /// Bytes went out.
    pub(super) fn sent(&self, bytes: usize) {
        add(&self.sent, bytes);
    }

    /// A connection was opened, and is open as long as what comes back lives.
    pub(super) fn connected(self: &Arc<Self>) -> Held {
        self.connections.fetch_add(1, Relaxed);
        Held::new(self.clone(), |counters| &counters.connections_open)
    }

    /// A request came.
    pub(super) fn asked(&self) {
        self.total.fetch_add(1, Relaxed);
    }

    /// A request was answered.
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.by_class.get(class) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// The host answered 503.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// The host answered 504.
    pub(super) fn timed_out(&self) {
        self.timed_out.fetch_add(1, Relaxed);
    }

    /// An instance works on a request as long as this lives.
    pub(super) fn in_flight(self: &Arc<Self>) -> Held {
        Held::new(self.clone(), |counters| &counters.in_flight)
    }

    /// A request waits for an instance as long as this lives.
    pub(super) fn waiting(self: &Arc<Self>) -> Held {
        Held::new(self.clone(), |counters| &counters.waiting)
    }
}

fn add(count: &AtomicU64, bytes: usize) {
    count.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Relaxed);
}

/// One that is counted as long as this lives.
pub(super) struct Held {
    counters: Arc<Counters>,
    which: fn(&Counters) -> &AtomicU64,
}

impl Held {
    fn new(counters: Arc<Counters>, which: fn(&Counters) -> &AtomicU64) -> Self {
        which(&counters).fetch_add(1, Relaxed);
        Self { counters, which }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.which)(&self.counters).fetch_sub(1, Relaxed);
    }
}

/// A connection whose bytes are counted.
pub(super) struct Counted<S> {
    stream: S,
    counters: Arc<Counters>,
    _open: Held,
    /// Its own address is shown as its pod's.
    _guise: Option<Box<dyn Guise>>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, counters: Arc<Counters>) -> Self {
        Self { stream, _open: counters.connected(), counters, _guise: None }
    }

    /// Keeps the guise of its own address.
    pub(super) fn in_guise(self, guise: Option<Box<dyn Guise>>) -> Self {
        Self { _guise: guise, ..self }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, into);
        self.counters.received(into.filled().len() - before);
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Counted<S> {
    fn wrote(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &poll {
            self.counters.sent(*bytes);
        }
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_their_class() {
        let counters = Counters::default();
        for status in [200, 204, 404, 503] {
            counters.answered(StatusCode::from_u16(status).unwrap());
        }
        assert_eq!(counters.traffic().requests.by_class, [0, 2, 0, 1, 1]);
    }

    #[test]
    fn what_is_in_flight_comes_back_to_nothing() {
        let counters = Arc::new(Counters::default());
        let held = (counters.in_flight(), counters.in_flight(), counters.waiting());
        let now = counters.traffic().requests;
        assert_eq!((now.in_flight, now.waiting), (2, 1));
        drop(held);
        assert_eq!(counters.traffic(), Traffic::default());
    }
}
