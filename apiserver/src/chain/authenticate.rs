//! Who is asking: what our own process stamped on, else what the request shows.
//!
//! Past this step a request has an [`Identity`], be it that of nobody in particular.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use coracle_api::failure::Failure;
use http::header::AUTHORIZATION;

use crate::authenticator::Certificate;
use crate::body;
use crate::identity::Identity;
use crate::machine::Machine;

/// Marks a request that came from outside of our own process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outside;

/// Lets in who has shown who they are, and nobody if nobody is served.
pub(crate) async fn authenticate(State(machine): State<Arc<Machine>>, mut request: Request, next: Next) -> Response {
    if request.extensions().get::<Identity>().is_none() {
        let certificate = request.extensions().get::<Certificate>();
        let Some(identity) = machine.authenticator.identify(certificate, request.headers(), &*machine.store) else {
            return body::refuse(request.into_body(), Failure::Unauthorized.into()).await;
        };
        request.extensions_mut().insert(identity);
        request.extensions_mut().insert(Outside);
        // It has served its purpose, and is nobody else's to see.
        request.headers_mut().remove(AUTHORIZATION);
    }
    next.run(request).await
}
