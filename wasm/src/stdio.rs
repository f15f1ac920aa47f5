//! A guest's standard streams: what it writes goes through to a sink, unbuffered.
//!
//! All instances of a container share the two sinks. It cuts no lines and keeps nothing back, so that what a guest
//! wrote before a trap is in the log. A guest that writes faster than its sink may keep waits, and nobody else does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use wasmtime_wasi::cli::{AsyncStdinStream, IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::launch::{Input, Sink, Tty};

/// The most a guest may write in one call: enough for any line, and small enough to stay fair.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// A guest's input.
pub(super) struct Stdin {
    stream: AsyncStdinStream,
    tty: Tty,
}

impl Stdin {
    /// The guest reads `input`. To be called on a runtime, where it is read ahead by one piece.
    pub(super) fn new(input: Input, tty: Tty) -> Self {
        Self { stream: AsyncStdinStream::new(input), tty }
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        self.tty == Tty::Yes
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        self.stream.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        self.stream.p2_stream()
    }
}

/// One of a guest's outputs.
pub(super) struct Output {
    sink: Arc<dyn Sink>,
    tty: Tty,
    /// How much the guest was told that it may write.
    permit: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Output {
    /// An output that `sink` takes.
    pub(super) fn new(sink: Arc<dyn Sink>, tty: Tty) -> Self {
        Self { sink, tty, permit: 0, pause: None }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        self.tty == Tty::Yes
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Self::new(self.sink.clone(), self.tty))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self::new(self.sink.clone(), self.tty))
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > std::mem::take(&mut self.permit) {
            // As every stream of WASI has it: whoever does not ask how much it may write breaks the contract.
            return Err(StreamError::trap("the program wrote more than it was permitted to"));
        }
        self.sink.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let room = self.sink.poll_room(&mut Context::from_waker(Waker::noop()));
        self.permit = if self.sink.wait().is_some() || room.is_pending() { 0 } else { WRITE_BYTES_MAX };
        Ok(self.permit)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        while let Some(wait) = self.sink.wait() {
            sleep(wait).await;
        }
        std::future::poll_fn(|context| self.sink.poll_room(context)).await;
    }
}

impl AsyncWrite for Output {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while let Some(wait) = self.sink.wait() {
            let until = Instant::now() + wait;
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        ready!(self.sink.poll_room(context));
        let written = bytes.len().min(WRITE_BYTES_MAX);
        self.sink.write(bytes.get(..written).unwrap_or(bytes));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
