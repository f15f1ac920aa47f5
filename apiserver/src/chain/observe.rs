//! The outermost layer: reads what a request asks for, opens its span, counts it, bounds its time, and gives every
//! answer the headers that all have.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coracle_api::duration;
use coracle_api::failure::Failure;
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::timeout;
use tracing::Instrument;

use crate::answer::Refused;
use crate::machine::Machine;
use crate::metrics::{Asked, Counted, Lasting};
use crate::request::{RequestInfo, parameter};

/// The longest path and query that are read, in bytes.
const URI_BYTES_MAX: usize = 64 * 1024;

/// Names a request, in what is told of it to others. A client may bring its own.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The longest name that a client may bring, in bytes: a UUID and to spare.
const AUDIT_ID_BYTES_MAX: usize = 64;

/// What the API answers changes, and may be secret: caches are to leave it alone, as upstream says.
const UNCACHED: HeaderValue = HeaderValue::from_static("no-cache, private");

/// Reads, times and counts a request.
pub(crate) async fn observe(State(machine): State<Arc<Machine>>, mut request: Request, next: Next) -> Response {
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES_MAX {
        return Refused::bad_request(format!("the request's path and query are longer than {URI_BYTES_MAX} bytes"))
            .into_response();
    }
    let query = uri.query().unwrap_or("");
    let info = Arc::new(RequestInfo::of(request.method(), uri));
    let asked = Asked::of(&info, query, request.headers(), &machine.registry);
    let lasting = if info.is_long_running() { Lasting::Long } else { Lasting::Short };
    let counted = Counted::begin(&machine, asked, lasting);
    let allotted = match lasting {
        Lasting::Long => Ok(None),
        Lasting::Short => allotted(query, machine.limits.request_timeout).map(Some),
    };
    let audit_id = audit_id(request.headers().get(AUDIT_ID));
    request.extensions_mut().insert(Arc::clone(&info));
    let span = tracing::debug_span!("request", verb = info.verb(), path = %info.path);
    let answer = async {
        match allotted {
            Err(refused) => refused.into_response(),
            Ok(None) => next.run(request).await,
            Ok(Some(allotted)) => timeout(allotted, next.run(request)).await.unwrap_or_else(|_| {
                machine.metrics.terminated(&asked, StatusCode::GATEWAY_TIMEOUT);
                let why = "request did not complete within the allotted timeout".to_owned();
                Refused::from(Failure::Timeout(why)).into_response()
            }),
        }
    };
    let mut response = answer.instrument(span.clone()).await;
    span.in_scope(|| tracing::debug!(code = response.status().as_u16(), took = ?counted.took(), "answered"));
    let headers = response.headers_mut();
    headers.insert(AUDIT_ID, audit_id);
    headers.entry(CACHE_CONTROL).or_insert(UNCACHED);
    counted.answered(response)
}

/// How long the request may take: less than usual if the client says so, never more.
fn allotted(query: &str, usual: Duration) -> Result<Duration, Refused> {
    let Some(stated) = parameter(query, "timeout").filter(|text| !text.is_empty()) else { return Ok(usual) };
    match duration::parse(&stated) {
        Ok(stated) if stated.is_zero() => Ok(usual),
        Ok(stated) => Ok(stated.min(usual)),
        Err(error) => Err(Refused::bad_request(format!("invalid timeout specified in the request URL - {error}"))),
    }
}

fn audit_id(brought: Option<&HeaderValue>) -> HeaderValue {
    let fits = |id: &&HeaderValue| !id.is_empty() && id.len() <= AUDIT_ID_BYTES_MAX;
    brought.filter(fits).cloned().unwrap_or_else(|| {
        let made = uuid::Uuid::new_v4().to_string();
        HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static("unknown"))
    })
}
