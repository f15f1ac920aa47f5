//! The chain that every request walks, on one screen.
//!
//! Who asks is found out, perhaps exchanged for another, waits for a turn, and must be allowed to.
//!
//! Invariant: past `authorize` a request has an `Identity` that may do what it asks, and nothing that came by a
//! socket carries one before `authenticate`: the listener strips the extensions it does not set itself.

pub(crate) mod authenticate;
pub(crate) mod authorize;
pub(crate) mod compress;
pub(crate) mod dispatch;
pub(crate) mod impersonate;
pub(crate) mod inflight;
pub(crate) mod observe;
pub(crate) mod registry;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, any, get};

use crate::discovery;
use crate::health;
use crate::machine::Machine;
use crate::metrics;

/// The routes behind the chain, and the chain: the outermost layer stands last.
pub(crate) fn router(machine: Arc<Machine>) -> Router {
    let document = |handler: MethodRouter<Arc<Machine>>| handler.fallback(discovery::only_read);
    Router::new()
        .route("/", document(get(discovery::index)))
        .route("/healthz", get(health::all))
        .route("/livez", get(health::all))
        .route("/readyz", get(health::all))
        .route("/healthz/{*check}", get(health::one))
        .route("/livez/{*check}", get(health::one))
        .route("/readyz/{*check}", get(health::one))
        .route("/metrics", get(metrics::metrics))
        .route("/version", document(get(discovery::version::version)))
        .route("/version/", document(get(discovery::version::version)))
        .route("/api", document(get(discovery::api)))
        .route("/api/", document(get(discovery::api)))
        .route("/apis", document(get(discovery::apis)))
        .route("/apis/", document(get(discovery::apis)))
        .route("/openapi/v2", document(get(discovery::openapi::v2)))
        .route("/openapi/v3", document(get(discovery::openapi::index)))
        .route("/openapi/v3/", document(get(discovery::openapi::index)))
        .route("/openapi/v3/{*path}", document(get(discovery::openapi::document)))
        .route("/.well-known/openid-configuration", document(get(discovery::openid::configuration)))
        .route("/openid/v1/jwks", document(get(discovery::openid::keys)))
        .route("/v2/", any(dispatch::images))
        .route("/v2/{*path}", any(dispatch::images))
        .fallback(dispatch::resource)
        .with_state(Arc::clone(&machine))
        .layer(from_fn(compress::compress))
        .layer(from_fn_with_state(Arc::clone(&machine), authorize::authorize))
        .layer(from_fn_with_state(Arc::clone(&machine), inflight::limit))
        .layer(from_fn_with_state(Arc::clone(&machine), impersonate::impersonate))
        .layer(from_fn_with_state(Arc::clone(&machine), authenticate::authenticate))
        .layer(from_fn(registry::sign_in))
        .layer(from_fn_with_state(machine, observe::observe))
}
