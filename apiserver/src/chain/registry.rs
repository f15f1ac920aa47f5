//! How OCI tools sign in to the image registry: by user name and password, as they do everywhere.
//!
//! The password is a bearer token; the user name says nothing. Only under `/v2/`: nowhere else is a password taken.
//! What the chain refuses there is told as the distribution specification has it, so that tools understand it.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use crate::authenticator::Certificate;
use crate::identity::Identity;

/// The path under which the registry is.
const REGISTRY: &str = "/v2/";

/// What the registry itself says with every answer, by which its refusals are told from those of the chain.
const API_VERSION: &str = "docker-distribution-api-version";

/// A refusal of the chain is a small Status; of a larger body nothing is told.
const STATUS_BYTES_MAX: usize = 64 * 1024;

/// Whether a request's head shows who it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Something,
    Nothing,
}

/// Takes passwords for tokens, and refuses in the registry's words.
pub(crate) async fn sign_in(mut request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(REGISTRY) {
        return next.run(request).await;
    }
    let extensions = request.extensions();
    let is_known = extensions.get::<Certificate>().is_some() || extensions.get::<Identity>().is_some();
    let shown = take_password(request.headers_mut());
    let response = next.run(request).await;
    if response.headers().contains_key(API_VERSION) || !response.status().is_client_error() {
        return response;
    }
    // Nobody in particular is not refused for good: whoever it is may say who they are.
    let forbidden = response.status() == StatusCode::FORBIDDEN && shown == Shown::Nothing && !is_known;
    let status = if forbidden { StatusCode::UNAUTHORIZED } else { response.status() };
    refusal(status, message_of(response).await)
}

/// Turns a password into the bearer token that it is.
fn take_password(headers: &mut HeaderMap) -> Shown {
    let Some(value) = headers.get(AUTHORIZATION) else { return Shown::Nothing };
    let Some(password) = password(value) else { return Shown::Something };
    if password.is_empty() {
        // Some tools send an empty name and password where they have none.
        headers.remove(AUTHORIZATION);
        return Shown::Nothing;
    }
    if let Ok(mut token) = HeaderValue::try_from(format!("Bearer {password}")) {
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
    }
    Shown::Something
}

/// The password of an `Authorization: Basic` header.
fn password(value: &HeaderValue) -> Option<String> {
    let (scheme, credentials) = value.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some(password.to_owned())
}

/// What the chain said.
async fn message_of(response: Response) -> String {
    let status = response.status();
    let body = Limited::new(response.into_body(), STATUS_BYTES_MAX).collect().await;
    let value: Value = body.ok().and_then(|b| serde_json::from_slice(&b.to_bytes()).ok()).unwrap_or_default();
    let message = value.get("message").and_then(Value::as_str);
    message.unwrap_or(status.canonical_reason().unwrap_or_default()).to_owned()
}

fn refusal(status: StatusCode, message: String) -> Response {
    let (code, message) = match status {
        StatusCode::UNAUTHORIZED => (
            "UNAUTHORIZED",
            format!("{message}; sign in with any user name and a token as the password (kubectl create token …)"),
        ),
        StatusCode::FORBIDDEN => ("DENIED", message),
        StatusCode::TOO_MANY_REQUESTS => ("TOOMANYREQUESTS", message),
        _ => ("UNSUPPORTED", message),
    };
    let body = json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"coracle\""));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_for_a_token() {
        for (given, taken) in [
            ("Basic YW55Ym9keTpzZWNyZXQ=", "Bearer secret"),
            ("basic  YW55Ym9keTphOmI=", "Bearer a:b"),
            ("Bearer token", "Bearer token"),
            ("Basic %", "Basic %"),
            ("Basic bm9jb2xvbg==", "Basic bm9jb2xvbg=="),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(given));
            assert_eq!(take_password(&mut headers), Shown::Something);
            assert_eq!(headers.get(AUTHORIZATION).unwrap(), taken);
        }
        assert_eq!(take_password(&mut HeaderMap::new()), Shown::Nothing);
        let mut empty = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic Og=="))]);
        assert_eq!((take_password(&mut empty), empty.len()), (Shown::Nothing, 0));
    }

    #[tokio::test]
    async fn who_may_sign_in_is_told_how() {
        let response = refusal(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        assert_eq!(response.headers().get(WWW_AUTHENTICATE).unwrap(), "Basic realm=\"coracle\"");
        assert_eq!(message_of(Response::new(Body::from(r#"{"kind":"Status","message":"no"}"#))).await, "no");
        assert_eq!(message_of(Response::new(Body::from("text"))).await, "OK");
    }
}
