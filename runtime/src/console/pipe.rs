//! A pipe of bounded room between a guest, or whoever writes for it, and whoever carries its bytes on.
//!
//! Writing is never refused: it is asked for room before, and waits there. Who cannot wait offers instead, and is told
//! when there was no room. Closing lets the reader have what is left; when the reader goes, nothing is kept any more.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use coracle_wasm::Sink;
use tokio::io::{AsyncRead, ReadBuf};

/// The writing end; it may be shared.
#[derive(Debug)]
pub(crate) struct Pipe {
    room: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    /// Nothing comes any more.
    closed: bool,
    /// Nobody reads any more.
    abandoned: bool,
    /// Something was lost for want of room.
    overrun: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Reader(Arc<Pipe>);

/// A pipe in which `room` bytes may wait, and one piece more.
pub(crate) fn pipe(room: usize) -> (Arc<Pipe>, Reader) {
    let pipe = Arc::new(Pipe { room, state: Mutex::default() });
    (Arc::clone(&pipe), Reader(pipe))
}

impl Pipe {
    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.wake_reader();
        state.wake_writers();
    }

    /// Gives the reader `bytes` if there is room; else nothing more, ever.
    pub(crate) fn offer(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.bytes.len().saturating_add(bytes.len()) > self.room {
            state.overrun = true;
            state.closed = true;
        }
        state.take(bytes);
    }

    /// Whether something was lost for want of room.
    pub(crate) fn was_overrun(&self) -> bool {
        self.lock().overrun
    }

    /// Whether anybody will read what is written.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        !state.closed && !state.abandoned
    }

    /// Waits for room.
    pub(crate) async fn room(&self) {
        std::future::poll_fn(|context| self.poll_room(context)).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Pipe {
    fn write(&self, bytes: &[u8]) {
        self.lock().take(bytes);
    }

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.bytes.len() < self.room || state.closed || state.abandoned {
            return Poll::Ready(());
        }
        if !state.writers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.writers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl State {
    fn take(&mut self, bytes: &[u8]) {
        if !self.closed && !self.abandoned {
            self.bytes.extend_from_slice(bytes);
        }
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writers(&mut self) {
        self.writers.drain(..).for_each(Waker::wake);
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.bytes.is_empty() {
            if state.closed {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let length = state.bytes.len().min(into.remaining());
        into.put_slice(state.bytes.get(..length).unwrap_or_default());
        state.bytes.advance(length);
        if state.bytes.is_empty() {
            // A burst is over: its memory is given back.
            state.bytes = BytesMut::new();
        }
        if state.bytes.len() < self.0.room {
            state.wake_writers();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        state.bytes = BytesMut::new();
        state.wake_writers();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_writer_waits_until_there_is_room_or_nobody_reads() {
        let (writer, mut reader) = pipe(4);
        writer.write(b"abcd");
        assert!(writer.room().now_or_never().is_none());
        let mut two = [0; 2];
        reader.read_exact(&mut two).await.unwrap();
        writer.room().await;
        writer.write(b"efgh");
        assert!(writer.room().now_or_never().is_none());
        drop(reader);
        writer.room().await;
        assert!(!writer.is_open());
    }

    #[tokio::test]
    async fn what_was_written_before_the_close_is_read() {
        let (writer, mut reader) = pipe(4);
        writer.write(b"abcd");
        writer.close();
        writer.write(b"late");
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"abcd");
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_an_offer_is_given_up() {
        let (writer, mut reader) = pipe(4);
        writer.offer(b"abc");
        writer.offer(b"de");
        writer.offer(b"f");
        assert!(writer.was_overrun());
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"abc");
    }
}
