//! The connections that a listener of WASI 0.3 accepts, on their way from wasmtime to the guest.
//!
//! Each is looked at before the guest gets it. One that it may not have, because its container is stopping or has as
//! many sockets as it may, is closed, and the next is taken.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wasmtime::component::{Destination, Resource, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::sockets::TcpSocket;

use super::preview3::admit;
use crate::state::State;

type Tcp = Resource<TcpSocket>;

/// The connection that waits for the guest, and who waits for it.
#[derive(Default)]
struct Shared {
    waiting: Option<Tcp>,
    ended: bool,
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type Link = Arc<Mutex<Shared>>;

fn lock(link: &Link) -> MutexGuard<'_, Shared> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Takes what wasmtime accepts.
pub(super) struct Entrance(Link);

/// Gives the guest what it may have.
pub(super) struct Exit {
    link: Link,
    /// The number of the socket that listens.
    listener: u32,
}

/// The way of the connections that socket number `listener` accepts.
pub(super) fn way(listener: u32) -> (Entrance, Exit) {
    let link = Link::default();
    (Entrance(link.clone()), Exit { link, listener })
}

impl StreamConsumer<State> for Entrance {
    type Item = Tcp;

    fn poll_consume(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, State>,
        mut source: Source<'_, Tcp>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut shared = lock(&self.0);
        if shared.abandoned {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        if shared.waiting.is_some() {
            shared.writer = Some(context.waker().clone());
            return if finish { Poll::Ready(Ok(StreamResult::Cancelled)) } else { Poll::Pending };
        }
        source.read(store, &mut shared.waiting)?;
        if shared.waiting.is_some() {
            wake(&mut shared.reader);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.ended = true;
        wake(&mut shared.reader);
    }
}

impl StreamProducer<State> for Exit {
    type Item = Tcp;
    type Buffer = Option<Tcp>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, State>,
        mut destination: Destination<'a, Tcp, Option<Tcp>>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut shared = lock(&self.link);
        // Somebody who asks for nothing wants to know whether there is something.
        let is_question = destination.remaining(&mut store) == Some(0);
        if is_question && shared.waiting.is_some() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        if let Some(connection) = shared.waiting.take() {
            wake(&mut shared.writer);
            if let Some(connection) = admit(&mut store.data_mut().pod_sockets(), self.listener, connection)? {
                destination.set_buffer(Some(connection));
                return Poll::Ready(Ok(StreamResult::Completed));
            }
        }
        if shared.ended {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        shared.reader = Some(context.waker().clone());
        if finish { Poll::Ready(Ok(StreamResult::Cancelled)) } else { Poll::Pending }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let mut shared = lock(&self.link);
        shared.abandoned = true;
        wake(&mut shared.writer);
    }
}
