//! One call to the API: warnings are shown, a refusal becomes [`ServerError`].

use anyhow::Context;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::output;

/// What the server refused, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("Error from server ({reason}): {message}")]
pub(crate) struct ServerError {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl ServerError {
    /// Whether this error is the server's "not found".
    pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some_and(|e| e.code == 404)
    }
}

/// Sends a request and reads its answer.
pub(crate) async fn call<T: DeserializeOwned>(client: &Client, request: Request<Vec<u8>>) -> anyhow::Result<T> {
    let response = send(client, request).await?;
    let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    serde_json::from_slice(&body).context("the answer is not understood")
}

/// Reads an object or collection.
pub(crate) async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> anyhow::Result<T> {
    call(client, Request::get(path).body(Vec::new())?).await
}

/// Sends a request and hands back its answer for streaming; a refusal is read and becomes an error.
pub(crate) async fn send(client: &Client, request: Request<Vec<u8>>) -> anyhow::Result<Response<Body>> {
    let response = client.send(request.map(Body::from)).await.context("the server cannot be reached")?;
    for warning in response.headers().get_all(http::header::WARNING) {
        if let Some(text) = warning.to_str().ok().and_then(warning_text) {
            output::error(&format!("Warning: {text}"));
        }
    }
    if response.status().is_success() {
        return Ok(response);
    }
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    Err(refusal(code, &body).into())
}

fn refusal(code: u16, body: &[u8]) -> ServerError {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    ServerError {
        code,
        reason: text("reason").unwrap_or_else(|| format!("HTTP {code}")),
        message: text("message").unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned()),
    }
}

/// The text of a `Warning` header: `299 - "text"` (RFC 7234).
fn warning_text(header: &str) -> Option<String> {
    let quoted = header.splitn(3, ' ').nth(2)?.trim();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_taken_out_of_their_header() {
        assert_eq!(warning_text(r#"299 - "unknown field \"spec.x\"""#).as_deref(), Some(r#"unknown field "spec.x""#));
        assert_eq!(warning_text("nonsense"), None);
    }

    #[test]
    fn a_refusal_keeps_the_servers_words() {
        let error = refusal(404, br#"{"kind":"Status","reason":"NotFound","message":"pods \"x\" not found"}"#);
        assert_eq!(error.to_string(), r#"Error from server (NotFound): pods "x" not found"#);
        assert!(ServerError::is_not_found(&error.into()));
    }
}
