//! The way of a request to a backend: handed to a server of this process, or over a connection that is kept for the
//! next request.
//!
//! Invariant: a request is asked a second time only where the first one who was asked cannot have acted on it, or where
//! doing it twice is the same as once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{Address, HttpRequest, HttpResponse, HttpServer, Protocol, Unanswered};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;

use super::body::{Asking, Held, Lender, Lent, Timed, Turn, Turns};
use super::refusal::Refusal;
use super::tasks::Tasks;
use crate::routes::Front;
use crate::table::{Destination, Table, Turned};
use crate::wake::Met;

/// How many endpoints a request is tried at: one that does not answer may be stopping, but when three do not,
/// the next hundred would only keep the client waiting.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// How long an endpoint may take to take a connection: what ingress-nginx allows.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take for the next piece of its request: what ingress-nginx allows.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection is kept that nobody uses: shorter than servers usually keep theirs, so that few are found closed.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// How many connections are kept for one endpoint while nobody uses them.
const IDLE_MAX: usize = 32;

/// How many requests may be on their way over connections: each takes a file.
const CARRIED_REQUESTS_MAX: usize = 4096;

/// The largest head of an answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Asks backends.
pub(super) struct Backends {
    table: Arc<Table>,
    client: Client<HttpConnector, Lent>,
    permits: Arc<Semaphore>,
}

/// A request that nobody answers.
struct Unasked {
    refusal: Refusal,
    /// The request, if nothing of it was used and somebody else may be asked.
    request: Option<Box<HttpRequest>>,
}

impl From<Refusal> for Unasked {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, request: None }
    }
}

impl Backends {
    /// Asks those that `table` leads to; connections live in `tasks`.
    pub(super) fn new(table: Arc<Table>, tasks: Tasks) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut builder = Client::builder(tasks);
        builder.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        builder.pool_idle_timeout(IDLE_TIME).pool_max_idle_per_host(IDLE_MAX).set_host(false);
        builder.http1_max_buf_size(HEAD_BYTES_MAX);
        let client = builder.build(connector);
        Self { table, client, permits: Arc::new(Semaphore::new(CARRIED_REQUESTS_MAX)) }
    }

    /// Asks one of a front's endpoints, on behalf of `client`; each step of the answer may take as long as `patience`.
    pub(super) async fn ask(
        &self,
        front: Front,
        client: IpAddr,
        request: HttpRequest,
        patience: Option<Duration>,
    ) -> Result<HttpResponse, Refusal> {
        let turns = Turns::new();
        let asking = self.find_and_ask(front, client, watched(request, &turns));
        let response = tokio::select! {
            biased;
            response = asking => response?,
            turn = turns.overdue(CLIENT_TIMEOUT, patience) => return Err(match turn {
                Turn::Client => Refusal::ClientLate,
                Turn::Backend => Refusal::BackendLate,
            }),
        };
        Ok(match patience {
            Some(limit) => response.map(|body| Timed::new(body, limit).boxed_unsync()),
            None => response,
        })
    }

    /// Asks; where nobody is there to be asked, it waits if the Service may sleep.
    async fn find_and_ask(
        &self,
        front: Front,
        client: IpAddr,
        mut request: HttpRequest,
    ) -> Result<HttpResponse, Refusal> {
        let turned = || self.table.turned(front).ok_or(Refusal::NoEndpoint);
        let first = turned()?;
        let Some(sleeper) = self.table.sleepers().of(&first.route) else {
            return self.try_all(&first, client, request).await.map_err(|unasked| unasked.refusal);
        };
        let using = sleeper.using();
        let mut wait = using.wait(self.table.changes());
        let response = loop {
            let Unasked { refusal, request: back } = match self.try_all(&turned()?, client, request).await {
                Ok(response) => break response,
                Err(unasked) => unasked,
            };
            request = back.map(|back| *back).ok_or(refusal)?;
            let met = if refusal == Refusal::NoEndpoint { Met::Nobody } else { Met::Unwilling };
            if !wait.again(met).await {
                return Err(refusal);
            }
        };
        drop(wait);
        // The Service is in use for as long as the answer is read, or what it turns into lasts.
        let using = Arc::new(using);
        let mut response = response.map(|body| Held { body, _held: Arc::clone(&using) }.boxed_unsync());
        response.extensions_mut().insert(using);
        Ok(response)
    }

    async fn try_all(
        &self,
        turned: &Turned,
        client: IpAddr,
        mut request: HttpRequest,
    ) -> Result<HttpResponse, Unasked> {
        let endpoints =
            turned.endpoints(client).filter_map(|to| Some((to, self.table.destination(Protocol::Tcp, to)?)));
        let endpoints: Vec<(Address, Destination)> = endpoints.take(ENDPOINTS_TRIED_MAX).collect();
        let mut refusal = Refusal::NoEndpoint;
        for (to, endpoint) in endpoints {
            if self.is_denied(client, to) {
                return Err(Refusal::Denied.into());
            }
            let answer = match &endpoint {
                Destination::Handler(handler) => match handler.http() {
                    Some(server) => near(server, request).await,
                    // It takes connections of something that is not HTTP.
                    None => Err(Unanswered::BrokeOff),
                },
                Destination::Pod(real) | Destination::Outside(real) => self.far(*real, request).await?,
            };
            match answer {
                Ok(response) => return Ok(response),
                Err(Unanswered::NotTaken(back)) => (request, refusal) = (*back, Refusal::Unreachable),
                Err(Unanswered::BrokeOff) => return Err(Refusal::BrokeOff.into()),
            }
        }
        Err(Unasked { refusal, request: Some(Box::new(request)) })
    }

    /// Whether a policy forbids it. A client outside is seen as the node that serves it, as by any controller on a
    /// node, and nodes reach their pods; a pod is itself, so that it cannot reach by us what it could not reach alone.
    fn is_denied(&self, client: IpAddr, to: Address) -> bool {
        self.table.is_pod(client) && !self.table.policies().allow(client, Protocol::Tcp, to)
    }

    /// Asks over a connection.
    async fn far(&self, to: SocketAddr, request: HttpRequest) -> Result<Result<HttpResponse, Unanswered>, Refusal> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let (head, body) = request.into_parts();
        let lender = Lender::default();
        let mut sent = Request::from_parts(head.clone(), lender.lend(body));
        *sent.uri_mut() = absolute(to, head.uri.path_and_query().cloned())?;
        let error = match self.client.request(sent).await {
            Ok(response) => {
                let answered = response.map(|body| {
                    let body = body.map_err(Into::into);
                    // The request is on its way for as long as its answer is read.
                    Held { body, _held: permit }.boxed_unsync()
                });
                return Ok(Ok(answered));
            }
            Err(error) => error,
        };
        tracing::debug!(%error, %to, "an endpoint did not answer");
        let may_repeat = error.is_connect() || head.method.is_idempotent();
        Ok(Err(match lender.take().filter(|_| may_repeat) {
            Some(body) => Unanswered::NotTaken(Box::new(Request::from_parts(head, body))),
            None => Unanswered::BrokeOff,
        }))
    }
}

/// Asks a server of this process.
async fn near(server: &dyn HttpServer, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
    server.ask(request).await
}

/// The request, that tells whose turn it is.
fn watched(request: HttpRequest, turns: &Turns) -> HttpRequest {
    use http_body::Body;
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Asking { body, turns: turns.clone(), is_waiting: false }.boxed_unsync())
}

/// The URI by which the client of ours finds the endpoint; on the wire there is only the path of it.
fn absolute(to: SocketAddr, path: Option<PathAndQuery>) -> Result<Uri, Refusal> {
    let authority: Authority = to.to_string().parse().map_err(|_| Refusal::Unreachable)?;
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let made = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build();
    made.map_err(|_| Refusal::Malformed)
}
