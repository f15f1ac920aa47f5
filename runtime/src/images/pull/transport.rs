//! HTTP towards registries: one client with its TLS, bounded waits, redirects followed by hand.
//!
//! Invariant: credentials go to the host they are meant for and to no other; a redirect leads elsewhere without them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

use super::refusal::{Refusal, cause, words};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long a registry may think about a request before its answer begins.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long a registry may fall silent in the middle of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How many redirects are followed: registries send to their storage, which may send on once or twice.
const REDIRECTS_MAX: usize = 5;

/// How much of a refusal's body is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What we call ourselves.
const USER_AGENT: &str = concat!("coracle/", env!("CARGO_PKG_VERSION"));

/// A client with its connections.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Transport {
    pub(super) fn new(tls: &Arc<ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        tcp.set_nodelay(true);
        let tls = ClientConfig::clone(tls);
        let https = hyper_rustls::HttpsConnectorBuilder::new();
        let https = https.with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        Self { client: Client::builder(TokioExecutor::new()).build(https) }
    }

    /// Sends a request and returns its answer, whatever its status; redirects are followed for what only reads.
    pub(super) async fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut uri: Uri = url.parse().map_err(|_| Refusal::Redirect { url: url.to_owned(), why: "it is no URL" })?;
        let mut headers = headers.clone();
        headers.insert(header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT));
        for _ in 0..=REDIRECTS_MAX {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            let broken = |why| Refusal::Unreachable { url: without_query(&uri), why };
            let answer = tokio::time::timeout(ANSWER_MAX, self.client.request(request)).await;
            let answer = answer
                .map_err(|_| broken(format!("no answer within {} s", ANSWER_MAX.as_secs())))?
                .map_err(|e| broken(cause(&e)))?;
            if !is_redirect(answer.status()) || *method == Method::POST {
                return Ok(answer);
            }
            let next = redirected(&uri, &answer)?;
            if next.authority() != uri.authority() || next.scheme() != uri.scheme() {
                headers.remove(header::AUTHORIZATION);
            }
            uri = next;
        }
        Err(Refusal::Redirect { url: url.to_owned(), why: "it redirects without end" })
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where an answer leads. Never from TLS to plain text.
fn redirected(from: &Uri, answer: &Response<Incoming>) -> Result<Uri, Refusal> {
    let fault = |why| Refusal::Redirect { url: without_query(from), why };
    let location = answer.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
    let location = location.ok_or_else(|| fault("it redirects to nowhere"))?;
    let to = resolve(from, location).ok_or_else(|| fault("it redirects to what is no URL"))?;
    match (from.scheme_str(), to.scheme_str()) {
        (_, Some("https")) | (Some("http"), Some("http")) => Ok(to),
        _ => Err(fault("it redirects away from TLS")),
    }
}

/// `location` as seen from `from`: a whole URL, or an absolute path.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let to: Uri = location.parse().ok()?;
    if to.authority().is_some() && to.scheme().is_some() {
        return Some(to);
    }
    let path = location.starts_with('/').then_some(location)?;
    let authority = from.authority().map(Authority::as_str)?;
    format!("{}://{authority}{path}", from.scheme_str()?).parse().ok()
}

/// A URL for people: what stands in a query may be a signature.
fn without_query(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// The next piece of a body.
pub(super) async fn next_piece(body: &mut Incoming) -> Option<Result<Bytes, String>> {
    loop {
        let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Ok(frame) => frame?,
            Err(_) => return Some(Err(format!("it sent nothing for {} s", SILENCE_MAX.as_secs()))),
        };
        match frame {
            // Trailers are no piece of the content.
            Ok(frame) => match frame.into_data() {
                Ok(data) => return Some(Ok(data)),
                Err(_) => continue,
            },
            Err(error) => return Some(Err(cause(&error))),
        }
    }
}

/// A whole body of at most so many bytes.
pub(super) async fn whole(url: &str, answer: Response<Incoming>, max: usize) -> Result<Bytes, Refusal> {
    let mut body = answer.into_body();
    let mut bytes = BytesMut::new();
    while let Some(piece) = next_piece(&mut body).await {
        let piece = piece.map_err(|why| Refusal::Unreachable { url: url.to_owned(), why })?;
        if bytes.len() + piece.len() > max {
            return Err(Refusal::Content { url: url.to_owned(), why: format!("the answer has more than {max} bytes") });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// A refusal out of an answer, with what its body says.
pub(super) async fn refused(url: &str, answer: Response<Incoming>) -> Refusal {
    let status = answer.status();
    let said = whole(url, answer, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    Refusal::Status { url: url.to_owned(), status, words: words(&said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_as_urls_are() {
        let from: Uri = "https://r.io:5000/v2/a/blobs/x?a=b".parse().unwrap();
        let to = |location: &str| resolve(&from, location).map(|u| u.to_string());
        assert_eq!(to("https://cdn.io/x?sig=1").as_deref(), Some("https://cdn.io/x?sig=1"));
        assert_eq!(to("/other?x").as_deref(), Some("https://r.io:5000/other?x"));
        assert_eq!(to("relative"), None);
        assert_eq!(without_query(&from), "https://r.io:5000/v2/a/blobs/x");
    }
}
