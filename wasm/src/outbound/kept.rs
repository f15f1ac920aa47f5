//! Connections of a container that are kept for its next request to the same place.
//!
//! Invariant: a connection is kept by the real address it leads to, which the network chose for this very request;
//! so keeping it goes round neither policy nor the choice of an endpoint. One of HTTP/1.1 is used for one request at a
//! time, and kept only when both sides have come to the end of theirs; one of HTTP/2 is shared by all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, WasiBody};

use super::dial::{Http, dial};
use super::timed::Timed;
use super::{Limits, Sent};
use crate::sockets::Pod;

/// Connections for outgoing requests that a container may have at once: each is a file of the whole process.
const CONNECTIONS_MAX: usize = 512;

/// Of those, how many may be kept while nothing is asked.
const IDLE_MAX: usize = 64;

/// How long one is kept: shorter than servers usually keep theirs (Go's and nginx's for a minute or more), so that
/// few are found closed.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) real: SocketAddr,
    /// The name under which it is secured.
    pub(super) secure: Option<String>,
}

/// A connection that is ready for a request.
pub(super) struct Line {
    key: Key,
    sender: Sender,
    /// It was used before: the other side may have closed it in the meantime.
    is_used: bool,
}

/// Sends requests over a connection.
enum Sender {
    One(http1::SendRequest<WasiBody>),
    Two(http2::SendRequest<WasiBody>),
}

impl Sender {
    fn is_ready(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_ready(),
            Self::Two(sender) => sender.is_ready(),
        }
    }

    /// Another that sends over the same connection, where several can.
    fn shared(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Two(sender) => Some(Self::Two(sender.clone())),
        }
    }

    async fn send(
        &mut self,
        request: Request<WasiBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<WasiBody>>> {
        match self {
            Self::One(sender) => sender.try_send_request(one_on_the_wire(request)).await,
            Self::Two(sender) => sender.try_send_request(two_on_the_wire(request)).await,
        }
    }
}

/// The connections of one container. Dropping it ends them.
pub(crate) struct Kept {
    shared: Arc<Shared>,
    _end: DropGuard,
}

/// What is kept, and since when.
type Idle = HashMap<Key, Vec<(Sender, Instant)>>;

struct Shared {
    idle: Mutex<Idle>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Default for Kept {
    fn default() -> Self {
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shared = Shared { idle: Mutex::default(), permits, tasks: TaskTracker::new(), ended };
        Self { shared: Arc::new(shared), _end: end }
    }
}

impl Kept {
    /// A connection to where `key` leads: one that was kept, or a new one.
    pub(super) async fn line(&self, pod: &Pod, key: Key) -> Result<Line, Error> {
        if let Some(sender) = self.shared.take(&key) {
            return Ok(Line { key, sender, is_used: true });
        }
        self.fresh(pod, key).await
    }

    async fn fresh(&self, pod: &Pod, key: Key) -> Result<Line, Error> {
        let permit = match self.shared.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                // What is kept for other places stands back.
                self.shared.idle().clear();
                self.shared.permits.clone().try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?
            }
        };
        let (stream, http) = dial(pod, key.real, key.secure.as_deref()).await?;
        let sender = match http {
            Http::One => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                self.shared.drive(connection, permit);
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(Tasks(self.shared.clone()), TokioIo::new(stream)).await?;
                self.shared.drive(connection, permit);
                // Others may have it at once.
                self.shared.put(key.clone(), Sender::Two(sender.clone()));
                Sender::Two(sender)
            }
        };
        Ok(Line { key, sender, is_used: false })
    }
}

impl Shared {
    fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.idle();
        let lines = idle.get_mut(key)?;
        let mut found = None;
        while let Some((sender, since)) = lines.pop() {
            if sender.is_ready() && since.elapsed() < IDLE_TIME {
                if let Some(shared) = sender.shared() {
                    lines.push((shared, Instant::now()));
                }
                found = Some(sender);
                break;
            }
        }
        if lines.is_empty() {
            idle.remove(key);
        }
        found
    }

    fn put(&self, key: Key, sender: Sender) {
        let mut idle = self.idle();
        if idle.values().map(Vec::len).sum::<usize>() < IDLE_MAX {
            idle.entry(key).or_default().push((sender, Instant::now()));
        }
    }

    /// Gives up what was kept for long enough.
    fn expire(&self) {
        self.idle().retain(|_, lines| {
            lines.retain(|(sender, since)| sender.is_ready() && since.elapsed() < IDLE_TIME);
            !lines.is_empty()
        });
    }

    /// Moves a connection's bytes until it ends, which it does when nobody can send over it any more.
    fn drive<C>(self: &Arc<Self>, connection: C, permit: OwnedSemaphorePermit)
    where
        C: Future<Output = hyper::Result<()>> + Send + 'static,
    {
        let shared = self.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            let ended = shared.ended.clone();
            let work = async {
                let mut connection = std::pin::pin!(connection);
                loop {
                    tokio::select! {
                        // What went wrong is told to whom it concerns: the one whose request it was.
                        _ = connection.as_mut() => return,
                        () = sleep(IDLE_TIME) => shared.expire(),
                    }
                }
            };
            ended.run_until_cancelled_owned(work).await
        });
    }

    /// Keeps a connection when its request and response are over. What comes back is told when that is.
    fn give_back(self: &Arc<Self>, key: Key, sender: Sender) -> oneshot::Receiver<Result<(), Error>> {
        let (tell, told) = oneshot::channel();
        let Sender::One(mut sender) = sender else {
            let _ = tell.send(Ok(()));
            return told;
        };
        let shared = self.clone();
        self.tasks.spawn(async move {
            let ready = sender.ready().await;
            // A connection that closes after its response has done what it should.
            let is_failed = matches!(&ready, Err(error) if !error.is_closed() && !error.is_canceled());
            if ready.is_ok() && !shared.ended.is_cancelled() {
                shared.put(key, Sender::One(sender));
            }
            let _ = tell.send(if is_failed { ready.map_err(Error::from) } else { Ok(()) });
        });
        told
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what a connection of HTTP/2 does beside its own work, as long as its container is there.
#[derive(Clone)]
struct Tasks(Arc<Shared>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, work: F) {
        let ended = self.0.ended.clone();
        self.0.tasks.spawn(ended.run_until_cancelled_owned(work));
    }
}

/// Sends a request and waits for the head of its response.
pub(super) async fn ask(pod: &Pod, line: Line, request: Request<WasiBody>, limits: Limits) -> Result<Sent, Error> {
    let kept = pod.kept();
    let mut request = request;
    let mut line = line;
    let (response, Line { key, sender, .. }) = loop {
        let again = line.is_used.then(|| repeatable(&request)).flatten();
        let answer = timeout(limits.first_byte, line.sender.send(request)).await;
        match answer.map_err(|_| Error::ConnectionReadTimeout)? {
            Ok(response) => break (response, line),
            Err(mut failure) => {
                // The other side had closed what we kept: nothing was asked, or nothing that may not be asked again.
                let unsent = failure.take_message().filter(|_| line.is_used);
                request = unsent.or(again).ok_or_else(|| Error::from(failure.into_error()))?;
                let fresh = timeout(limits.connect, kept.fresh(pod, line.key));
                line = fresh.await.map_err(|_| Error::ConnectionTimeout)??;
            }
        }
    };
    let over = kept.shared.give_back(key, sender);
    let response = response.map(|body| Timed::new(body, limits.between_bytes).boxed_unsync());
    Ok((response, Box::new(async move { over.await.unwrap_or(Ok(())) })))
}

/// The authority has done its work; in HTTP/1.1 only a proxy would see it.
fn one_on_the_wire(mut request: Request<WasiBody>) -> Request<WasiBody> {
    let mut parts = request.uri().clone().into_parts();
    (parts.scheme, parts.authority) = (None, None);
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    // What is left is a path.
    if let Ok(path) = Uri::from_parts(parts) {
        *request.uri_mut() = path;
    }
    request
}

/// HTTP/2 has the authority where HTTP/1.1 has `Host`.
fn two_on_the_wire(mut request: Request<WasiBody>) -> Request<WasiBody> {
    request.headers_mut().remove(header::HOST);
    *request.version_mut() = Version::HTTP_2;
    request
}

/// The same request again, if asking twice does no harm and nothing of it is used up.
fn repeatable(request: &Request<WasiBody>) -> Option<Request<WasiBody>> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if !is_safe || !request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return None;
    }
    let mut again = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}
