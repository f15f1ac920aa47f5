//! Who is asking: a client certificate, or an identity that our own process stamped on.
//!
//! Nobody is anonymous but on the paths that tell whether the server is well.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use coracle_api::failure::Failure;
use http::header::AUTHORIZATION;

use crate::body;
use crate::identity::Identity;

/// What anybody may read.
pub(crate) const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// Lets in who has shown who they are.
pub(crate) async fn authenticate(request: Request, next: Next) -> Response {
    let stamped = request.extensions().get::<Identity>().is_some();
    let open = OPEN_PATHS.contains(&request.uri().path());
    // No tokens are known: one that is shown is wrong, even beside a certificate.
    let bad_token = request.headers().contains_key(AUTHORIZATION);
    if open || stamped && !bad_token {
        return next.run(request).await;
    }
    body::refuse(request.into_body(), Failure::Unauthorized.into()).await
}
