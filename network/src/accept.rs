//! The accept loop that all our listeners have, behind a door that closes at once.
//!
//! It never ends by an error: a connection that failed is the client's matter, and when the system has run out
//! of something (files, memory) it waits and goes on.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// How many connections may wait to be accepted: what Linux allows by default (`net.core.somaxconn`).
pub(crate) const BACKLOG: u32 = 4096;

/// How long to wait when the system has run out of something: long enough that it does not cost a processor,
/// short enough that a person hardly notices.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A listener that is being accepted from. Dropping it closes the listener before the drop returns,
/// so that the same port can be bound again at once; ending the task alone would close it some time later.
pub(crate) struct Door {
    listener: Arc<Mutex<Option<TcpListener>>>,
    _accepting: JoinSet<()>,
}

impl Door {
    /// Accepts on `runtime` until dropped; `take` gets each connection, with no delay set, and returns at once.
    pub(crate) fn open(
        listener: TcpListener,
        runtime: &Handle,
        take: impl FnMut(TcpStream, SocketAddr) + Send + 'static,
    ) -> Self {
        let listener = Arc::new(Mutex::new(Some(listener)));
        let mut accepting = JoinSet::new();
        accepting.spawn_on(accept_all(Arc::clone(&listener), take), runtime);
        Self { listener, _accepting: accepting }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn accept_all(listener: Arc<Mutex<Option<TcpListener>>>, mut take: impl FnMut(TcpStream, SocketAddr)) {
    while let Some(accepted) = poll_fn(|context| poll_accept(&listener, context)).await {
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, %peer, "no delay could not be set");
                }
                take(stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "connections cannot be accepted for now");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// The next connection; nothing once the door is closed.
fn poll_accept(
    listener: &Mutex<Option<TcpListener>>,
    context: &mut Context<'_>,
) -> Poll<Option<io::Result<(TcpStream, SocketAddr)>>> {
    match &*listener.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(listener) => listener.poll_accept(context).map(Some),
        None => Poll::Ready(None),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
