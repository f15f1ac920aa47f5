//! A service that answers HTTP requests in process: how the API server reaches a node's kubelet API
//! (logs, figures, sessions) and the image registry.
//!
//! In one process it is a plain call; for a node on another machine it is a TLS client. The caller cannot tell.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use crate::names::NodeName;

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of either direction, streamed.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A request as it is handed over.
pub type HttpRequest = http::Request<Body>;

/// Its answer.
pub type HttpResponse = http::Response<Body>;

/// Answers requests. A failure is a response with an error status, never an `Err`.
#[async_trait]
pub trait HttpService: Send + Sync + 'static {
    /// Answers one request; the response's body may go on streaming long after this returns.
    async fn serve(&self, request: HttpRequest) -> HttpResponse;
}

/// Why a request has no answer.
pub enum Unanswered {
    /// Nobody has looked at it: here it is, to be asked elsewhere.
    NotTaken(Box<HttpRequest>),
    /// Who was asked ended over it. It may have done something.
    BrokeOff,
}

/// An HTTP server that can be asked without a connection.
///
/// A request has its `Host` header and the path alone as its URI, as HTTP/1.1 has it on the wire.
#[async_trait]
pub trait HttpServer: Send + Sync {
    /// Asks it; the response's body may go on streaming long after this returns.
    ///
    /// # Errors
    /// [`Unanswered`], where a connection would have been refused, or would have broken off.
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, Unanswered>;
}

/// Finds the kubelet API of a node.
///
/// Its paths are the kubelet's own: `/containerLogs/{namespace}/{pod}/{container}` with the query of `PodLogOptions`,
/// `/stats/summary`, `/metrics/resource`, `/pods` and so on. One is ours: `/stats/usage` answers
/// `{"node": NodeMetrics, "pods": [PodMetrics]}` as in `metrics.k8s.io/v1beta1`, with `?namespace=&pod=` for fewer pods.
///
/// Sessions are asked for at `/exec/{namespace}/{pod}/{container}?command=…&input=1&output=1&error=1&tty=1`, at
/// `/attach/…` with the same query but for the command, and at `/portForward/{namespace}/{pod}?port=…`, by GET for a
/// WebSocket (ports are named for its channels only) and by POST for SPDY. Such a request has the client's headers for
/// the upgrade, and its connection as `hyper::upgrade::OnUpgrade` in its extensions; if the answer is 101, the kubelet
/// has taken that over. For a node on another machine, whoever answers would copy bytes between the two connections.
pub trait Nodes: Send + Sync + 'static {
    /// The kubelet API of the node, or nothing if it cannot be reached from here.
    fn kubelet(&self, node: &NodeName) -> Option<Arc<dyn HttpService>>;
}

/// What a part has counted, for the `/metrics` of the API server.
pub trait Figures: Send + Sync + 'static {
    /// The series, in the text format that Prometheus reads.
    fn figures(&self) -> String;
}

/// A whole body out of bytes at hand.
pub fn body_of(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
