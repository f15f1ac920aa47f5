//! The chain that every request walks, on one screen.
//!
//! Invariant: past `authorize` a request has an [`Identity`] that may do what it asks, and nothing that came by a
//! socket carries one before `authenticate`: the listener strips the extensions it does not set itself.

pub(crate) mod authenticate;
pub(crate) mod authorize;
pub(crate) mod dispatch;
pub(crate) mod inflight;
pub(crate) mod observe;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get};

use crate::discovery;
use crate::health;
use crate::machine::Machine;
use crate::metrics;

/// The routes behind the chain, and the chain: the outermost layer stands last.
pub(crate) fn router(machine: Arc<Machine>) -> Router {
    let limits = Arc::new(inflight::InFlight::new());
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/version", get(discovery::version::version))
        .route("/api", get(discovery::api))
        .route("/apis", get(discovery::apis))
        .route("/openapi/v2", get(discovery::openapi::v2))
        .route("/openapi/v3", get(discovery::openapi::index))
        .route("/openapi/v3/{*path}", get(discovery::openapi::document))
        .route("/v2/", any(dispatch::images))
        .route("/v2/{*path}", any(dispatch::images))
        .fallback(dispatch::resource)
        .with_state(Arc::clone(&machine))
        .layer(from_fn_with_state(limits, inflight::limit))
        .layer(from_fn(authorize::authorize))
        .layer(from_fn(authenticate::authenticate))
        .layer(from_fn_with_state(machine, observe::observe))
}
