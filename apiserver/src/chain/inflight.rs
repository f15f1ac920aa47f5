//! A seat for each request: who comes by a socket waits for a turn, shared fairly among users.
//!
//! Our own components are not held up by anybody's noise: they bound themselves. Nor is the question whether the server
//! is well. A lasting request keeps its seat until its answer ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};

use super::authenticate::Outside;
use crate::answer;
use crate::body;
use crate::fairness::{Level, Seat};
use crate::identity::Identity;
use crate::machine::Machine;
use crate::request::RequestInfo;

/// In how many seconds a client that is turned away should come back: upstream's first answer.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Lets a request in when its turn comes.
pub(crate) async fn limit(State(machine): State<Arc<Machine>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (Some(_), Some(user), Some(info)) =
        (extensions.get::<Outside>(), extensions.get::<Identity>(), extensions.get::<Arc<RequestInfo>>())
    else {
        return next.run(request).await;
    };
    let Some(level) = level(info, request.method()) else { return next.run(request).await };
    let Some(seat) = machine.fairness.seat(level, user.name()).await else {
        body::drain(request.into_body()).await;
        return turned_away();
    };
    let response = next.run(request).await;
    match level {
        Level::Lasting => response.map(|body| Body::new(Seated { body, _seat: seat })),
        Level::Read | Level::Write => response,
    }
}

/// Where a request takes its seat; nowhere if it asks whether the server is well.
fn level(info: &RequestInfo, method: &Method) -> Option<Level> {
    let asks_health = ["/healthz", "/livez", "/readyz"].iter().any(|path| info.path.starts_with(path));
    match *method {
        _ if asks_health => None,
        _ if info.is_long_running() => Some(Level::Lasting),
        Method::GET | Method::HEAD | Method::OPTIONS => Some(Level::Read),
        _ => Some(Level::Write),
    }
}

/// A plain text, as upstream: clients look at the code and at when to come back.
fn turned_away() -> Response {
    let mut response = answer::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.\n");
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A body that keeps a seat as long as it lasts.
struct Seated {
    body: Body,
    _seat: Seat,
}

impl http_body::Body for Seated {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
