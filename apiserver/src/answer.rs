//! Answers: how objects, lists, tables and refusals become HTTP responses.
//!
//! Invariant: only a [`Failure`](coracle_api::failure::Failure) becomes a `Status`, by way of [`Refused`].

pub(crate) mod accept;
pub(crate) mod pretty;
pub(crate) mod refused;
pub(crate) mod shape;
mod warnings;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, WARNING};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

pub(crate) use accept::{Encoding, Form, Wanted};
use pretty::Indenter;
pub(crate) use refused::Refused;

/// What a handler gives: a response, or why not.
pub(crate) type Answer = Result<Response, Refused>;

/// A response of bytes that are JSON already.
pub(crate) fn json(code: StatusCode, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response of a value in the encoding that the client wants.
pub(crate) fn value(code: StatusCode, value: &Value, encoding: Encoding) -> Response {
    match encoding {
        Encoding::Json => json(code, value.to_string()),
        Encoding::Pretty => json(code, pretty(value.to_string().as_bytes())),
        Encoding::Yaml => yaml(code, value),
    }
}

/// A response of an object's encoded bytes, with no parsing if the client wants JSON.
pub(crate) fn encoded(code: StatusCode, bytes: Bytes, encoding: Encoding) -> Response {
    match encoding {
        Encoding::Json => json(code, bytes),
        Encoding::Pretty => json(code, pretty(&bytes)),
        Encoding::Yaml => yaml(code, &serde_json::from_slice(&bytes).unwrap_or_default()),
    }
}

/// A response of plain text.
pub(crate) fn text(code: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Adds warnings, as `kubectl` prints them.
pub(crate) fn warn(mut response: Response, warnings: &[String]) -> Response {
    for warning in warnings::headers(warnings) {
        response.headers_mut().append(WARNING, warning);
    }
    response
}

/// Compact JSON, indented.
fn pretty(compact: &[u8]) -> Vec<u8> {
    let mut indented = Vec::new();
    Indenter::default().put(&mut indented, compact);
    indented.push(b'\n');
    indented
}

fn yaml(code: StatusCode, value: &Value) -> Response {
    let text = serde_saphyr::to_string(value).unwrap_or_default();
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    response
}
