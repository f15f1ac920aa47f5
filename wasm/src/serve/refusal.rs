//! What a client is told where there is no answer of the guest.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};

use super::Response;

/// Why there is no answer of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many requests wait as may.
    Busy,
    /// The container is being stopped, or the node is full.
    Unavailable,
    /// The guest failed on this request.
    Failed,
    /// The guest took too long.
    Late,
    /// The request names no host that could be one.
    BadHost,
    /// The client wants the connection to become another: WASI has no such thing.
    Upgrade,
}

impl Refusal {
    /// What is wrong with a request before anybody works on it.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        if request.method() == Method::CONNECT || wants_websocket(headers) {
            return Some(Self::Upgrade);
        }
        let host = headers.get(http::header::HOST)?;
        let is_good = host.is_empty() || http::uri::Authority::try_from(host.as_bytes()).is_ok();
        (!is_good).then_some(Self::BadHost)
    }

    /// Its status and words.
    fn words(self) -> (StatusCode, &'static str) {
        match self {
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting for this pod\n"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "this pod cannot take a request now\n"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "the program failed on this request; see its log\n"),
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, "the program took too long to answer this request\n"),
            Self::BadHost => (StatusCode::BAD_REQUEST, "the Host header is not a host\n"),
            Self::Upgrade => (StatusCode::NOT_IMPLEMENTED, "this pod speaks HTTP only: no WebSocket, no CONNECT\n"),
        }
    }

    /// The answer that says so.
    pub(super) fn response(self) -> Response {
        let (status, text) = self.words();
        let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A client may propose other protocols and go on with HTTP if they are ignored; a WebSocket client would not.
fn wants_websocket(headers: &HeaderMap) -> bool {
    let says = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
    };
    headers.contains_key(UPGRADE) && says(UPGRADE, "websocket") && says(CONNECTION, "upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(method: Method, headers: &[(&str, &[u8])]) -> Option<Refusal> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        }
        Refusal::of(&request)
    }

    #[test]
    fn what_is_not_http_is_refused_and_what_may_be_ignored_is_not() {
        let websocket: &[(&str, &[u8])] = &[("connection", b"keep-alive, Upgrade"), ("upgrade", b"WebSocket")];
        assert_eq!(refusal(Method::GET, websocket), Some(Refusal::Upgrade));
        assert_eq!(refusal(Method::CONNECT, &[]), Some(Refusal::Upgrade));
        let http2: &[(&str, &[u8])] = &[("connection", b"Upgrade, HTTP2-Settings"), ("upgrade", b"h2c")];
        assert_eq!(refusal(Method::GET, http2), None);
    }

    #[test]
    fn a_host_that_is_none_is_the_clients_fault() {
        assert_eq!(refusal(Method::GET, &[("host", b"pod:80")]), None);
        assert_eq!(refusal(Method::GET, &[("host", b"")]), None);
        assert_eq!(refusal(Method::GET, &[("host", b"p\xffd")]), Some(Refusal::BadHost));
        assert_eq!(refusal(Method::GET, &[("host", b"a b")]), Some(Refusal::BadHost));
    }

    #[test]
    fn who_may_come_again_is_told_when() {
        assert_eq!(Refusal::Busy.response().headers()[RETRY_AFTER], "1");
        assert!(!Refusal::Late.response().headers().contains_key(RETRY_AFTER));
    }
}
