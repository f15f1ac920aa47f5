//! How many requests are worked on at once: beyond that, clients are told to come back.
//!
//! Watches and streams are not counted once they are under way: they cost memory, not work.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use coracle_api::failure::Failure;
use http::Method;
use tokio::sync::Semaphore;

use crate::body;

/// Reads at once: upstream's default.
const READS_MAX: usize = 400;

/// Writes at once: upstream's default.
const WRITES_MAX: usize = 200;

/// The places for requests.
pub(crate) struct InFlight {
    reads: Semaphore,
    writes: Semaphore,
}

impl InFlight {
    /// All places free.
    pub(crate) fn new() -> Self {
        Self { reads: Semaphore::new(READS_MAX), writes: Semaphore::new(WRITES_MAX) }
    }
}

/// Lets a request in while there is a place.
pub(crate) async fn limit(State(places): State<Arc<InFlight>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let place = if reads { places.reads.try_acquire() } else { places.writes.try_acquire() };
    let Ok(_place) = place else {
        let why = "The apiserver is overloaded, please try again later".to_owned();
        let refused = Failure::TooManyRequests { why, retry_after: 1, causes: Vec::new() }.into();
        return body::refuse(request.into_body(), refused).await;
    };
    next.run(request).await
}
