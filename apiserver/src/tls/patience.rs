//! A connection that is not written to for ever: a client that stops reading is cut off after a while.
//!
//! It is what bounds a watch of HTTP/1.1 whose client hangs: nothing else would ever look at it again. A connection that
//! was taken over for a session is given more time: a person may read what a command wrote for as long as they like.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may read nothing of what is sent to it.
pub(super) const STALLED_MAX: Duration = Duration::from_secs(60);

/// The same for the client of a session: the kubelet's `streamingConnectionIdleTimeout`.
const SESSION_STALLED_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// How much patience there is with one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience(Arc<AtomicBool>);

impl Patience {
    /// The connection carries a session from now on.
    pub(crate) fn with_session(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn stalled_max(&self) -> Duration {
        if self.0.load(Ordering::Relaxed) { SESSION_STALLED_MAX } else { STALLED_MAX }
    }
}

/// A connection and how long it has not taken anything.
pub(super) struct Patient<S> {
    stream: S,
    patience: Patience,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// The same connection, written to with patience.
    pub(super) const fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience, stalled: None }
    }

    /// What a write came to, or that it has waited for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.patience.stalled_max())));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_off() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut ours = Patient::new(ours, Patience::default());
        ours.write_all(b"12345678").await.unwrap();
        // It is slow, but it reads: that is no reason.
        let slow = timeout(STALLED_MAX / 2, ours.write_all(b"9")).await;
        assert!(slow.is_err());
        theirs.read_exact(&mut [0; 4]).await.unwrap();
        ours.write_all(b"9abc").await.unwrap();
        let since = Instant::now();
        let refused = ours.write_all(b"d").await.unwrap_err();
        assert_eq!((refused.kind(), since.elapsed()), (ErrorKind::TimedOut, STALLED_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_of_a_session_may_take_its_time() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let patience = Patience::default();
        let mut ours = Patient::new(ours, patience.clone());
        patience.with_session();
        let since = Instant::now();
        ours.write_all(b"12").await.unwrap_err();
        assert_eq!(since.elapsed(), SESSION_STALLED_MAX);
    }
}
