//! What a client is told where no backend answers.

use coracle_api::meet::{HttpResponse, body_of};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

/// Why no backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request contradicts itself, or names no host or path that could be one.
    Malformed,
    /// `CONNECT`: this is no proxy of the client's.
    Connect,
    /// No rule fits, and there is no default backend.
    NoRule,
    /// The Service is not there, or has no endpoint that is ready.
    NoEndpoint,
    /// Endpoints there are, but none could be reached.
    Unreachable,
    /// The client is a pod, and a policy forbids it.
    Denied,
    /// As much is asked as may be.
    Busy,
    /// The backend ended over the request.
    BrokeOff,
    /// The backend took too long.
    BackendLate,
    /// The client took too long to send its request.
    ClientLate,
}

impl Refusal {
    /// Its status and words. They name no object of the cluster: the client may be anybody.
    const fn words(self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "this is no request that can be passed on\n"),
            Self::Connect => (StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here\n"),
            Self::NoRule => (StatusCode::NOT_FOUND, "no Ingress has a rule for this host and path\n"),
            Self::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, "no pod is ready to answer this request\n"),
            Self::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, "the pods behind this address cannot be reached\n"),
            Self::Denied => (StatusCode::FORBIDDEN, "a network policy forbids this request\n"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way\n"),
            Self::BrokeOff => (StatusCode::BAD_GATEWAY, "the pod broke off before it had answered\n"),
            Self::BackendLate => (StatusCode::GATEWAY_TIMEOUT, "the pod took too long to answer\n"),
            Self::ClientLate => (StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive\n"),
        }
    }

    /// The answer that says so.
    pub(super) fn response(self) -> HttpResponse {
        let (status, text) = self.words();
        let mut response = Response::new(body_of(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self {
            Self::NoEndpoint | Self::Unreachable | Self::Busy => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What is left of such a request is not worth reading.
            Self::Malformed | Self::ClientLate => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Connect | Self::NoRule | Self::Denied | Self::BrokeOff | Self::BackendLate => {}
        }
        response
    }
}
