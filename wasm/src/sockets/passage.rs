//! A way between two ends of streams of WASI 0.3, on which bytes are counted and connections looked at.
//!
//! Wasmtime's own streams of a connection go through one, since they can be neither looked into nor replaced. Its
//! memory is bounded: who writes waits for who reads.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime::{Result, StoreContextMut};

use super::pod::InFlight;
use crate::state::State;
use crate::traffic::Counters;

/// Bytes that may be on their way: what wasmtime itself reads from a connection at once, many times over.
const BYTES_MAX: usize = 64 * 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// From the guest.
    Out,
    /// To the guest.
    In,
}

/// What is on its way, and who waits for it.
struct Shared {
    bytes: BytesMut,
    /// Nothing more comes.
    ended: bool,
    /// Nobody reads any more.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type Link = Arc<Mutex<Shared>>;

fn lock(link: &Link) -> MutexGuard<'_, Shared> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where bytes go in.
pub(super) struct Inlet(Link);

/// Where they come out, and are counted.
pub(super) struct Outlet {
    link: Link,
    way: Way,
    counters: Arc<Counters>,
    /// The connection is not over while its bytes are on their way.
    _in_flight: Option<Arc<InFlight>>,
}

/// A way for bytes.
pub(super) fn passage(way: Way, counters: Arc<Counters>, in_flight: Option<Arc<InFlight>>) -> (Inlet, Outlet) {
    let shared = Shared { bytes: BytesMut::new(), ended: false, abandoned: false, reader: None, writer: None };
    let link = Arc::new(Mutex::new(shared));
    (Inlet(link.clone()), Outlet { link, way, counters, _in_flight: in_flight })
}

/// What a poll says that has nothing to do: that it was broken off, if it was.
fn later(finish: bool) -> Poll<Result<StreamResult>> {
    if finish { Poll::Ready(Ok(StreamResult::Cancelled)) } else { Poll::Pending }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl StreamConsumer<State> for Inlet {
    type Item = u8;

    fn poll_consume(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, State>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut shared = lock(&self.0);
        if shared.abandoned {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        let room = BYTES_MAX.saturating_sub(shared.bytes.len());
        if room == 0 {
            shared.writer = Some(context.waker().clone());
            return later(finish);
        }
        let mut source = source.as_direct(store);
        let given = source.remaining();
        let taken = given.len().min(room);
        shared.bytes.extend_from_slice(given.get(..taken).unwrap_or_default());
        source.mark_read(taken);
        if taken > 0 {
            wake(&mut shared.reader);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.ended = true;
        wake(&mut shared.reader);
    }
}

impl StreamProducer<State> for Outlet {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, State>,
        destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut shared = lock(&self.link);
        if shared.bytes.is_empty() {
            if shared.ended {
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
            shared.reader = Some(context.waker().clone());
            return later(finish);
        }
        // Somebody who asks for nothing wants to know whether there is something.
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut direct = destination.as_direct(store, shared.bytes.len());
        let into = direct.remaining();
        let given = into.len().min(shared.bytes.len());
        shared.bytes.copy_to_slice(into.get_mut(..given).unwrap_or_default());
        direct.mark_written(given);
        match self.way {
            Way::Out => self.counters.sent(given),
            Way::In => self.counters.received(given),
        }
        wake(&mut shared.writer);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut shared = lock(&self.link);
        shared.abandoned = true;
        wake(&mut shared.writer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_learns_of_the_others() {
        let (inlet, outlet) = passage(Way::Out, Arc::default(), None);
        assert!(!lock(&inlet.0).abandoned);
        drop(outlet);
        assert!(lock(&inlet.0).abandoned);
        let (inlet, outlet) = passage(Way::In, Arc::default(), None);
        drop(inlet);
        assert!(lock(&outlet.link).ended);
    }
}
