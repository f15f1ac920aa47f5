//! The outermost layer: reads what a request asks for, opens its span, counts it, and bounds its time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coracle_api::failure::Failure;
use http::StatusCode;
use tokio::time::timeout;
use tracing::Instrument;

use crate::answer::Refused;
use crate::machine::Machine;
use crate::metrics::{Asked, Counted, Lasting};
use crate::request::RequestInfo;

/// How long a request may take that is no watch and no stream: upstream's bound.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest path and query that are read, in bytes.
const URI_BYTES_MAX: usize = 64 * 1024;

/// Reads, times and counts a request.
pub(crate) async fn observe(State(machine): State<Arc<Machine>>, mut request: Request, next: Next) -> Response {
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES_MAX {
        return Refused::bad_request(format!("the request's path and query are longer than {URI_BYTES_MAX} bytes"))
            .into_response();
    }
    let info = Arc::new(RequestInfo::of(request.method(), uri));
    let asked = Asked::of(&info, uri.query().unwrap_or(""), request.headers(), &machine.registry);
    let lasting = if info.is_long_running() { Lasting::Long } else { Lasting::Short };
    let counted = Counted::begin(&machine, asked, lasting);
    request.extensions_mut().insert(Arc::clone(&info));
    let span = tracing::debug_span!("request", verb = info.verb(), path = %info.path);
    let answer = async {
        if lasting == Lasting::Long {
            return next.run(request).await;
        }
        match timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                machine.metrics.terminated(&asked, StatusCode::GATEWAY_TIMEOUT);
                Refused::from(Failure::Timeout(format!(
                    "request did not complete within the allotted timeout of {} seconds",
                    REQUEST_TIMEOUT.as_secs()
                )))
                .into_response()
            }
        }
    };
    let response = answer.instrument(span.clone()).await;
    span.in_scope(|| tracing::debug!(code = response.status().as_u16(), took = ?counted.took(), "answered"));
    counted.answered(response)
}
