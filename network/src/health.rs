//! What load balancers ask a node: whether it has endpoints of a Service that keeps its traffic where it arrives.
//!
//! The answer is the one that kube-proxy gives, byte for byte: balancers parse it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::names::NamespacedName;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::routes::Route;

/// How long a balancer may take to ask: they ask at once, every few seconds.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How many endpoints there are, for those who distribute by it.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// Answers what is asked on one connection. The route's endpoints are those of this node that are ready.
pub(crate) async fn answer(client: TcpStream, route: Arc<Route>) {
    let service = service_fn(move |_: Request<Incoming>| {
        let response = response(&route.service, route.endpoints.len());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    // The next question may have another answer: each has a connection of its own.
    builder.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if let Err(error) = builder.serve_connection(TokioIo::new(client), service).await {
        tracing::debug!(%error, "a health check broke off");
    }
}

fn response(service: &NamespacedName, count: usize) -> Response<Full<Bytes>> {
    let NamespacedName { namespace, name } = service;
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\
         \"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = if count == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(WEIGHT, HeaderValue::from(count));
    response
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_node_is_healthy_while_it_has_endpoints() {
        let service = NamespacedName::new("default", "web");
        assert_eq!(response(&service, 0).status(), StatusCode::SERVICE_UNAVAILABLE);
        let some = response(&service, 2);
        assert_eq!((some.status(), &some.headers()[WEIGHT]), (StatusCode::OK, &HeaderValue::from(2)));
        let body = some.into_body().collect().await.unwrap().to_bytes();
        expect![[r#"
            {
            	"service": {
            		"namespace": "default",
            		"name": "web"
            	},
            	"localEndpoints": 2,
            	"serviceProxyHealthy": true
            }"#]]
        .assert_eq(std::str::from_utf8(&body).unwrap());
    }
}
