//! `proxy`: one request to a port of a pod, as whoever is on its node would make it.
//!
//! A server of this process is asked without a connection; any other over one of its own, so that a pod that is gone is
//! never met by a request that was to be somebody else's. The host that the pod is told is the one that the client asked,
//! and its own address only for want of that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use coracle_api::failure::Failure;
use coracle_api::meet::{ConnectError, HttpRequest, HttpResponse, Protocol, Unanswered, body_of};
use http::header::{CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Kubelet;
use super::streams::Streaming;
use crate::pods::{Attached, in_words, tls};

/// What such paths begin with.
pub(super) const PREFIX: &str = "/proxy/";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    namespace: &'a str,
    pod: &'a str,
    is_https: bool,
    port: u16,
    /// Path and query.
    path: &'a str,
}

impl<'a> Asked<'a> {
    fn read(uri: &'a Uri) -> Option<Self> {
        let text = uri.path_and_query()?.as_str().strip_prefix(PREFIX)?;
        let (namespace, text) = text.split_once('/')?;
        let (pod, text) = text.split_once('/')?;
        let place = text.find(['/', '?'])?;
        let (port, path) = text.split_at_checked(place)?;
        let (scheme, port) = port.split_once(':')?;
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Some(Self { namespace, pod, is_https, port: port.parse().ok().filter(|port| *port != 0)?, path })
    }
}

impl Kubelet {
    /// What the pod answers, or why it does not.
    pub(super) async fn proxied(&self, mut request: HttpRequest) -> HttpResponse {
        let uri = request.uri().clone();
        let Some(asked) = Asked::read(&uri) else {
            return refused(StatusCode::BAD_REQUEST, format!("{PREFIX} is followed by namespace, pod and scheme:port"));
        };
        let record = self.records.get(asked.namespace, asked.pod);
        let Some(attached) = record.and_then(|record| self.attachments.get(&record.uid)) else {
            return unreached(&format!("pod {:?} has no place in the network", asked.pod));
        };
        let host = SocketAddr::new(attached.attachment.ip(), asked.port);
        let (Ok(path), Ok(told)) = (asked.path.parse::<PathAndQuery>(), HeaderValue::try_from(host.to_string())) else {
            return refused(StatusCode::BAD_REQUEST, "the path cannot be handed on".to_owned());
        };
        *request.uri_mut() = Uri::from(path);
        request.headers_mut().entry(HOST).or_insert(told);
        match ask(&self.streaming, attached, asked.is_https, host, request).await {
            Ok(answer) => answer,
            Err(why) => unreached(&why),
        }
    }
}

async fn ask(
    streaming: &Streaming,
    attached: Attached,
    is_https: bool,
    host: SocketAddr,
    request: HttpRequest,
) -> Result<HttpResponse, String> {
    let dial = |why: &str| format!("dial tcp {host}: connect: {why}");
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, host.port()));
    let reached = attached.attachment.reach(Protocol::Tcp, at).map_err(|error| match error {
        ConnectError::Refused => dial("connection refused"),
        ConnectError::Denied => dial(&error.to_string()),
    })?;
    // What it was asked without a connection, a server could not have encrypted.
    if let Some(server) = reached.handler.as_ref().and_then(|handler| handler.http()).filter(|_| !is_https) {
        return server.ask(request).await.map_err(|unanswered| match unanswered {
            Unanswered::NotTaken(_) => dial("connection refused"),
            Unanswered::BrokeOff => "EOF".to_owned(),
        });
    }
    let stream = TcpStream::connect(reached.real).await.map_err(|error| dial(&in_words(&error)))?;
    let _ = stream.set_nodelay(true);
    if is_https {
        let ip: IpAddr = host.ip();
        exchange(streaming, tls::over(stream, &ip.to_string()).await?, request).await
    } else {
        exchange(streaming, stream, request).await
    }
}

async fn exchange<S>(streaming: &Streaming, stream: S, mut request: HttpRequest) -> Result<HttpResponse, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = request.extensions_mut().remove::<OnUpgrade>();
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| crate::with_causes(&error))?;
    streaming.drive(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection broke off");
        }
    });
    let mut response = sender.send_request(request).await.map_err(|error| match error {
        error if error.is_incomplete_message() => "EOF".to_owned(),
        error => crate::with_causes(&error),
    })?;
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (response.status(), client) {
        let pod = hyper::upgrade::on(&mut response);
        streaming.drive(async move {
            let Ok((client, pod)) = tokio::try_join!(client, pod) else { return };
            let (mut client, mut pod) = (TokioIo::new(client), TokioIo::new(pod));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut pod).await;
        });
    }
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Nobody answers: a `Status`, in the words of upstream's API server.
fn unreached(why: &str) -> HttpResponse {
    let failure = Failure::Unavailable(format!("error trying to reach service: {why}"));
    let mut response = Response::new(body_of(serde_json::to_vec(&failure.status()).unwrap_or_default()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refused(status: StatusCode, text: String) -> HttpResponse {
    let mut response = Response::new(body_of(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_pod_a_port_and_what_is_asked_there() {
        let check = |path: &str, expected: Option<(&str, bool, u16, &str)>| {
            let uri: Uri = path.parse().unwrap();
            let asked = Asked::read(&uri);
            assert_eq!(asked.map(|a| (a.pod, a.is_https, a.port, a.path)), expected, "{path}");
        };
        check("/proxy/shop/web/http:80/a%2Fb?c=d/e", Some(("web", false, 80, "/a%2Fb?c=d/e")));
        check("/proxy/shop/web/https:443/", Some(("web", true, 443, "/")));
        for bad in
            ["/proxy/", "/proxy/a/b", "/proxy/a/b/c", "/proxy/a/b/80/", "/proxy/a/b/http:0/", "/proxy/a/b/ftp:1/"]
        {
            check(bad, None);
        }
    }
}
