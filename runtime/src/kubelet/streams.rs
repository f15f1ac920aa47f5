//! Sessions: connections that clients keep for long, each with several streams (`exec`, `attach`, `portForward`).
//!
//! A request is checked as long as it can be refused in HTTP; then its connection is taken over, and belongs to a task
//! of its own. Invariant: there are never more sessions than [`SESSIONS_MAX`], and none outlives the node.

pub(super) mod channels;
mod idle;
pub(super) mod negotiate;
pub(super) mod pipe;
mod remote_command;
pub(super) mod spdy;
mod status;
pub(super) mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{HttpRequest, HttpResponse, body_of};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::forward;
use super::session::{Place, Sessions};
use crate::pods::Attached;
use negotiate::{Agreed, agree};
use remote_command::Asked;

/// How many sessions a node has at once: each holds a connection and up to some megabytes of what waits in its streams.
const SESSIONS_MAX: usize = 512;

/// How long a client may take to hand over its connection once it has been told that it may.
const UPGRADE_WITHIN: Duration = Duration::from_secs(30);

/// How often a client is asked whether it is still there: one that is gone without a word is noticed by the second one.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long a connection that has been said goodbye to may take to end.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// How long sessions may take to end when the node stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// In how many seconds a client that finds no room should come back: the kubelet's answer.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("60");

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All was said.
    Done,
    /// The client left before that, or broke the rules.
    Left,
}

/// Why there is no session, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) headers: Box<HeaderMap>,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Self { status, headers: Box::new(headers), text: text.into() }
    }

    pub(super) fn response(self) -> HttpResponse {
        let mut response = Response::new(body_of(self.text));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        response
    }
}

pub(super) fn bad_request(text: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, text)
}

/// Lets a session's work and its connection live as long as both do. Work that is done, or that `ends` puts an end to,
/// leaves its connection time to say so; a connection that is gone leaves the work as long as `patience` says.
pub(super) async fn together(
    work: impl Future<Output = ()>,
    connection: impl Future<Output = Ended>,
    ends: impl Future<Output = ()>,
    patience: Duration,
) {
    let mut connection = std::pin::pin!(connection);
    {
        // On the heap, so that it can be dropped before the connection.
        let mut work = Box::pin(work);
        tokio::select! {
            () = &mut work => {}
            ended = &mut connection => {
                tracing::debug!(?ended, "the client of a session is gone");
                let _ = timeout(patience, work).await;
                return;
            }
            () = ends => {}
        }
    }
    // What the work held of the connection is gone, and so it comes to its end.
    connection.await;
}

/// The sessions of a node.
#[derive(Debug, Clone)]
pub(crate) struct Streaming {
    seats: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Sessions are to say goodbye.
    stop: CancellationToken,
    /// They have had the time for it.
    kill: CancellationToken,
}

impl Default for Streaming {
    fn default() -> Self {
        Self {
            seats: Arc::new(Semaphore::new(SESSIONS_MAX)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }
}

impl Streaming {
    /// Answers a request for a session in a container.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(super) fn remote_command(
        &self,
        request: &mut HttpRequest,
        sessions: Sessions,
        place: Place,
        exec: bool,
    ) -> Result<HttpResponse, Refusal> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let asked = Asked::read(place, exec, &query)?;
        sessions.check(&asked.place).map_err(|text| Refusal::new(StatusCode::NOT_FOUND, text))?;
        let agreed = agree(request.headers(), remote_command::OFFER)?;
        let stop = self.stop.clone();
        self.open(request, agreed, move |connection, agreed| async move {
            remote_command::serve(connection, &agreed, asked, sessions, stop).await;
        })
    }

    /// Answers a request for a session with a pod's ports.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(super) fn port_forward(&self, request: &mut HttpRequest, attached: Attached) -> Result<HttpResponse, Refusal> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let asked = forward::Asked::read(request.headers(), &query)?;
        let stop = self.stop.clone();
        self.open(request, asked.agreed.clone(), move |connection, _| forward::serve(connection, asked, attached, stop))
    }

    /// Drives a connection of ours to its end, or to that of the node.
    pub(super) fn drive(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move { kill.run_until_cancelled(connection).await });
    }

    /// Takes the request's connection over, and has it served.
    fn open<F, Serving>(&self, request: &mut HttpRequest, agreed: Agreed, serve: F) -> Result<HttpResponse, Refusal>
    where
        F: FnOnce(TokioIo<Upgraded>, Agreed) -> Serving + Send + 'static,
        Serving: Future<Output = ()> + Send,
    {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            let text = "maximum number of in-flight requests exceeded";
            let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, text);
            refusal.headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            return Err(refusal);
        };
        let connection = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(|| {
            bad_request("unable to upgrade: this connection cannot be taken over; HTTP/1.1 is required")
        })?;
        let mut response = Response::new(body_of(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = agreed.headers.clone();
        let session = async move {
            match timeout(UPGRADE_WITHIN, connection).await {
                Ok(Ok(upgraded)) => serve(TokioIo::new(upgraded), agreed).await,
                Ok(Err(error)) => tracing::debug!(%error, "a connection was not handed over"),
                Err(_) => tracing::debug!("a connection was not handed over in time"),
            }
        };
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = session => {}
                () = kill.cancelled() => {}
            }
            drop(seat);
        });
        Ok(response)
    }

    /// Ends all sessions.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::debug!(open = self.tasks.len(), "sessions are cut off");
            self.kill.cancel();
        }
    }
}
