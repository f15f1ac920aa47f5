//! A request and its answer, from the client's side to the backend's and back.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::meet::{Body, HttpResponse, Protocol};
use http::header::{CONNECTION, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::asked::{Asked, Client, strip};
use super::backends::Backends;
use super::refusal::Refusal;
use super::sites::Sites;
use super::tasks::Tasks;
use crate::table::Table;
use crate::wake::Using;

/// Bytes of a request's name, of which it has twice as many letters.
const REQUEST_ID_BYTES: usize = 16;

/// Answers requests by asking backends.
pub(super) struct Proxy {
    table: Arc<Table>,
    backends: Backends,
    /// Where what leads to.
    pub(super) sites: ArcSwap<Sites>,
    /// What clients have under way.
    pub(super) tasks: Tasks,
    /// The connections to backends, which outlive what they were made for.
    lines: Tasks,
}

impl Proxy {
    pub(super) fn new(table: Arc<Table>) -> Arc<Self> {
        let lines = Tasks::default();
        let backends = Backends::new(Arc::clone(&table), lines.clone());
        Arc::new(Self { table, backends, sites: ArcSwap::default(), tasks: Tasks::default(), lines })
    }

    /// Waits for what is under way, but for no longer than `within`; then ends all.
    pub(super) async fn end(&self, within: Duration) {
        if tokio::time::timeout(within, self.tasks.done()).await.is_err() {
            tracing::debug!("requests to Ingresses are cut off");
        }
        self.tasks.end().await;
        self.lines.end().await;
    }

    /// The answer to a request: a backend's, or what is wrong.
    pub(super) async fn answer(&self, client: &Client, request: Request<Incoming>) -> HttpResponse {
        let version = request.version();
        let mut response = self.ask(client, request).await.unwrap_or_else(Refusal::response);
        if version == Version::HTTP_2 {
            // Its connections are no business of single answers.
            response.headers_mut().remove(CONNECTION);
        }
        response
    }

    async fn ask(&self, client: &Client, mut request: Request<Incoming>) -> Result<HttpResponse, Refusal> {
        let asked = Asked::of(&request)?;
        let backend = self.sites.load().find(&asked.host, request.uri().path()).cloned().ok_or(Refusal::NoRule)?;
        let front = backend.front.ok_or(Refusal::NoEndpoint)?;
        let taken_over = asked.upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        asked.pass_on(request.headers_mut(), client, request_id);
        *request.uri_mut() = path_of(request.uri());
        *request.version_mut() = Version::HTTP_11;
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let asker = self.table.shown(Protocol::Tcp, client.peer).ip().to_canonical();
        let mut response = self.backends.ask(front, asker, request, backend.patience).await?;
        *response.version_mut() = Version::HTTP_11;
        match (response.status(), taken_over) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(taken_over)) => self.take_over(client, taken_over, response),
            // Nobody asked for that.
            (StatusCode::SWITCHING_PROTOCOLS, None) => Err(Refusal::BrokeOff),
            _ => {
                strip(response.headers_mut());
                Ok(response)
            }
        }
    }

    /// The connections on both sides become whatever they agreed on.
    fn take_over(
        &self,
        client: &Client,
        theirs: OnUpgrade,
        mut response: HttpResponse,
    ) -> Result<HttpResponse, Refusal> {
        let agreed = response.headers().get(UPGRADE).cloned().ok_or(Refusal::BrokeOff)?;
        let ours = hyper::upgrade::on(&mut response);
        let using = response.extensions_mut().remove::<Arc<Using>>();
        let client = client.clone();
        self.tasks.spawn(async move {
            let _using = using;
            let (theirs, ours) = match tokio::try_join!(theirs, ours) {
                Ok((theirs, ours)) => (theirs, ours),
                Err(error) => return tracing::debug!(%error, "a connection was not taken over"),
            };
            let (mut theirs, mut ours) = (TokioIo::new(theirs), TokioIo::new(ours));
            if let Err(error) = tokio::io::copy_bidirectional(&mut theirs, &mut ours).await {
                tracing::debug!(%error, peer = %client.peer, "a connection that was taken over broke off");
            }
        });
        strip(response.headers_mut());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, agreed);
        Ok(response.map(|_| empty()))
    }
}

fn empty() -> Body {
    coracle_api::meet::body_of("")
}

/// The path and query alone: the host has a header of its own.
fn path_of(uri: &Uri) -> Uri {
    Uri::from(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
}

/// A name for a request that has none, to find it by in logs.
fn request_id() -> HeaderValue {
    let mut bytes = [0; REQUEST_ID_BYTES];
    // Without random bytes the name says nothing, which harms nobody.
    let _ = getrandom::fill(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}
