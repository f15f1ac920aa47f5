//! A guest's streams of a TCP connection, with the bytes they carry counted.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::p2::pipe::{ClosedInputStream, ClosedOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamResult};

use crate::traffic::Counters;

/// Counts what is read from `stream` from now on.
pub(super) fn count_input(stream: &mut DynInputStream, counters: &Arc<Counters>) {
    let inner = mem::replace(stream, Box::new(ClosedInputStream));
    *stream = Box::new(Counted { inner, counters: counters.clone() });
}

/// Counts what is written to `stream` from now on.
pub(super) fn count_output(stream: &mut DynOutputStream, counters: &Arc<Counters>) {
    let inner = mem::replace(stream, Box::new(ClosedOutputStream));
    *stream = Box::new(Counted { inner, counters: counters.clone() });
}

/// One direction of a connection.
struct Counted<S> {
    inner: S,
    counters: Arc<Counters>,
}

impl InputStream for Counted<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.read(size)?;
        self.counters.received(bytes.len());
        Ok(bytes)
    }
}

#[async_trait::async_trait]
impl Pollable for Counted<DynInputStream> {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for Counted<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let length = bytes.len();
        self.inner.write(bytes)?;
        self.counters.sent(length);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait::async_trait]
impl Pollable for Counted<DynOutputStream> {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}
