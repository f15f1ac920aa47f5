//! What others need to check the tokens of ServiceAccounts: who issues them, and the public key.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::answer;
use crate::machine::Machine;
use crate::tokens::Tokens;

/// `/.well-known/openid-configuration`.
pub(crate) async fn configuration(State(machine): State<Arc<Machine>>) -> Response {
    let told = Tokens::openid_configuration(machine.discovery.address);
    for_an_hour(answer::json(StatusCode::OK, told.to_string()))
}

/// `/openid/v1/jwks`.
pub(crate) async fn keys(State(machine): State<Arc<Machine>>) -> Response {
    let mut response = for_an_hour(answer::json(StatusCode::OK, machine.tokens.key_set().to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    response
}

fn for_an_hour(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
