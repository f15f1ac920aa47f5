//! One stream among several of a connection, as bytes to read and to write.
//!
//! Invariant: what waits in a pipe is bounded, in both directions: a reader that is slow holds up who sends, and a
//! client that is slow holds up who writes.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// The largest piece that travels at once, in bytes: what Go's and Rust's clients copy at once, so that many streams of
/// one connection take turns.
pub(in crate::kubelet) const PIECE_BYTES_MAX: usize = 32 * 1024;

/// How many pieces from the client may wait for their reader: enough to keep it busy while more arrives.
pub(super) const PIECES_IN_MAX: usize = 4;

/// How many pieces of all streams together may wait for the client.
pub(super) const PIECES_OUT_MAX: usize = 16;

/// What is sent to the client on one stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) stream: u32,
    pub(super) item: Item,
}

/// A piece, or the end of its stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Data(Bytes),
    End,
}

/// Whether the client has thrown a stream away.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(super) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_reset(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

fn reset() -> Error {
    Error::new(ErrorKind::ConnectionReset, "the client has reset the stream")
}

/// What the client sends on a stream. It ends when the client says so, or is gone.
#[derive(Debug)]
pub(in crate::kubelet) struct Inlet {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    fate: Fate,
}

impl Inlet {
    /// An inlet, and where it gets its pieces from.
    pub(super) fn new(fate: Fate) -> (mpsc::Sender<Bytes>, Self) {
        let (sender, pieces) = mpsc::channel(PIECES_IN_MAX);
        (sender, Self { pieces, piece: Bytes::new(), fate })
    }
}

impl AsyncRead for Inlet {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        while self.piece.is_empty() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => self.piece = piece,
                None if self.fate.is_reset() => return Poll::Ready(Err(reset())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.piece.len().min(into.remaining());
        into.put_slice(self.piece.get(..count).unwrap_or_default());
        self.piece.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// What is sent to the client on a stream. Shutting it down tells the client that this was all.
#[derive(Debug)]
pub(in crate::kubelet) struct Outlet {
    queue: PollSender<Outgoing>,
    stream: u32,
    fate: Fate,
    ended: bool,
}

impl Outlet {
    /// A stream of this number on a connection's queue.
    pub(super) fn new(queue: mpsc::Sender<Outgoing>, stream: u32, fate: Fate) -> Self {
        Self { queue: PollSender::new(queue), stream, fate, ended: false }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.fate.is_reset() {
            return Poll::Ready(Err(reset()));
        }
        self.queue.poll_reserve(cx).map_err(|_| gone())
    }

    fn put(&mut self, item: Item) -> Result<()> {
        self.queue.send_item(Outgoing { stream: self.stream, item }).map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::BrokenPipe, "the client is gone")
}

impl AsyncWrite for Outlet {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(Error::new(ErrorKind::BrokenPipe, "the stream has ended")));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_room(cx))?;
        let count = bytes.len().min(PIECE_BYTES_MAX);
        self.put(Item::Data(Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default())))?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        // The connection's writer flushes whenever nothing waits.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.ended {
            ready!(self.poll_room(cx))?;
            self.put(Item::End)?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Hands on what arrived, in pieces. Nobody may want it any more, and then it is dropped.
pub(super) async fn hand_on(to: &mpsc::Sender<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
        if to.send(piece).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_inlet_gives_what_came_and_then_ends() {
        let (sender, mut inlet) = Inlet::new(Fate::default());
        hand_on(&sender, Bytes::from_static(b"one ")).await;
        hand_on(&sender, Bytes::from_static(b"two")).await;
        drop(sender);
        let mut read = String::new();
        inlet.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "one two");
    }

    #[tokio::test]
    async fn a_stream_that_was_reset_is_an_error_for_both_sides() {
        let fate = Fate::default();
        let (sender, mut inlet) = Inlet::new(fate.clone());
        let (queue, _outgoing) = mpsc::channel(1);
        let mut outlet = Outlet::new(queue, 1, fate.clone());
        fate.reset();
        drop(sender);
        assert_eq!(inlet.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(outlet.write_all(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn who_writes_waits_for_a_client_that_does_not_read() {
        let (queue, mut outgoing) = mpsc::channel(1);
        let mut outlet = Outlet::new(queue, 7, Fate::default());
        outlet.write_all(b"first").await.unwrap();
        assert!(outlet.write_all(b"second").now_or_never().is_none());
        let first = outgoing.recv().await.unwrap();
        assert_eq!(first, Outgoing { stream: 7, item: Item::Data(Bytes::from_static(b"first")) });
        outlet.write_all(b"second").await.unwrap();
        assert!(outgoing.recv().await.is_some());
        outlet.shutdown().await.unwrap();
        assert_eq!(outgoing.recv().await.unwrap().item, Item::End);
        drop(outgoing);
        assert!(outlet.write_all(b"late").await.is_err());
    }
}
