//! An httpGet probe: healthy is who answers with a status from 200 to 399.
//!
//! Redirects are followed on the same host; one to another host counts as success, with a warning. Hooks fetch the
//! same way, and read less into the answer.

use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use tokio::io::{AsyncRead, AsyncWrite};

use super::place::{self, Refusal};
use super::target::{Redirect, Target, sendable};
use super::{Answer, tls};
use crate::pods::launch::Order;

/// So much of an answer's body is read for the event: as much as the kubelet reads.
const BODY_BYTES_MAX: usize = 10 * 1024;

/// Redirects that are followed before it is given up: Go's number, and so the kubelet's.
const REDIRECTS_MAX: usize = 10;

/// An answer, its redirects followed.
pub(in crate::pods) struct Reply {
    status: StatusCode,
    body: String,
}

/// What a single request came to.
struct Response {
    status: StatusCode,
    location: Option<String>,
    body: String,
}

/// Asks by `GET`.
pub(super) async fn ask(order: &Order, action: &HTTPGetAction, patience: Duration) -> Answer {
    let target = match target(order, action) {
        Ok(target) => target,
        Err(why) => return Answer::Unknown(why),
    };
    let shown = target.to_string();
    match tokio::time::timeout(patience, get(order, target, action, "kube-probe/1.37")).await {
        Ok(Ok(Reply { status, body })) => judge(status, body),
        Ok(Err(Refusal::NobodyListens(why))) => Answer::NobodyListens(why),
        Ok(Err(Refusal::Other(why))) => Answer::Unhealthy(why),
        Err(_) => Answer::Unhealthy(format!(
            "Get {shown:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

fn judge(status: StatusCode, body: String) -> Answer {
    match status.as_u16() {
        200..300 => Answer::Healthy,
        300..400 => Answer::Doubtful(format!("Probe terminated redirects, Response body: {body}")),
        // The body stays out of it, since it may hold what not everybody who reads events may see.
        code => Answer::Unhealthy(format!("HTTP probe failed with statuscode: {code}")),
    }
}

/// Where a probe or hook means to fetch.
///
/// # Errors
/// The kubelet's words for a port that there is not.
pub(in crate::pods) fn target(order: &Order, action: &HTTPGetAction) -> Result<Target, String> {
    Ok(Target {
        https: action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        host: place::host(action.host.as_deref(), order),
        port: place::port(&action.port, &order.container)?,
        path: sendable(action.path.as_deref().unwrap_or_default()),
    })
}

/// Fetches `target`, and what it redirects to on the same host.
pub(in crate::pods) async fn get(
    order: &Order,
    mut target: Target,
    action: &HTTPGetAction,
    agent: &'static str,
) -> Result<Reply, Refusal> {
    let headers = headers(action, agent);
    for _ in 0..=REDIRECTS_MAX {
        let failed = |why: String| Refusal::Other(format!("Get {:?}: {why}", target.to_string()));
        let response = fetch(order, &target, &headers).await.map_err(|refusal| match refusal {
            Refusal::NobodyListens(why) => Refusal::NobodyListens(format!("Get {:?}: {why}", target.to_string())),
            Refusal::Other(why) => failed(why),
        })?;
        let location = response.location.filter(|_| is_redirect(response.status));
        match location.map(|location| target.redirect(&location)) {
            Some(Redirect::Here(next)) => target = next,
            Some(Redirect::Elsewhere) | None => return Ok(Reply { status: response.status, body: response.body }),
        }
    }
    Err(Refusal::Other(format!("Get {:?}: stopped after {REDIRECTS_MAX} redirects", target.to_string())))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The headers of the request: those of the spec, and the kubelet's own where the spec has none.
fn headers(action: &HTTPGetAction, agent: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for given in action.http_headers.iter().flatten() {
        // Validation has seen to the names; what HTTP cannot carry is left out.
        if let (Ok(name), Ok(value)) = (given.name.parse::<HeaderName>(), HeaderValue::from_str(&given.value)) {
            headers.append(name, value);
        }
    }
    for (name, value) in [(USER_AGENT, agent), (ACCEPT, "*/*")] {
        match headers.get(&name) {
            None => drop(headers.insert(name, HeaderValue::from_static(value))),
            // An empty one is how a spec says that there shall be none.
            Some(given) if given.is_empty() => drop(headers.remove(name)),
            Some(_) => {}
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers
}

fn request(target: &Target, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::get(&target.path).body(Empty::new())?;
    *request.headers_mut() = headers.clone();
    if !headers.contains_key(HOST) {
        request.headers_mut().insert(HOST, HeaderValue::try_from(target.authority())?);
    }
    Ok(request)
}

async fn fetch(order: &Order, target: &Target, headers: &HeaderMap) -> Result<Response, Refusal> {
    let request = request(target, headers).map_err(|error| Refusal::Other(error.to_string()))?;
    let stream = place::connect(order, &target.host, target.port).await?;
    let response = if target.https {
        let stream = tls::over(stream, &target.host).await.map_err(Refusal::Other)?;
        exchange(stream, request).await
    } else {
        exchange(stream, request).await
    };
    response.map_err(|error| Refusal::Other(in_words(&error)))
}

/// A failed exchange in Go's words, where it has words for it.
fn in_words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "EOF".to_owned()
    } else if error.is_parse() {
        format!("net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}")
    } else {
        system(error).map_or_else(|| crate::with_causes(error), |system| format!("read: {}", place::in_words(system)))
    }
}

/// The system's error behind one of the connection, if there is one.
fn system(error: &hyper::Error) -> Option<&std::io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(system) = error.downcast_ref() {
            return Some(system);
        }
        cause = error.source();
    }
    None
}

/// One request and its answer, on a connection of its own.
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> hyper::Result<Response>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        let status = response.status();
        Ok(Response { status, location, body: beginning(response.into_body()).await? })
    };
    // It may end before all of the answer was taken out of it.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let (mut answer, mut driven) = (pin!(answer), pin!(driven));
    tokio::select! {
        answer = &mut answer => answer,
        () = &mut driven => answer.await,
    }
}

/// The beginning of a body; the rest is not waited for.
async fn beginning(mut body: Incoming) -> hyper::Result<String> {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes.truncate(BODY_BYTES_MAX);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(headers_given: &serde_json::Value, expected: &Expect) {
        let action = json!({"port": 80, "httpHeaders": headers_given});
        let action: HTTPGetAction = serde_json::from_value(action).unwrap();
        let target = Target { https: false, host: "127.42.0.5".into(), port: 80, path: "/x?y".into() };
        let request = request(&target, &headers(&action, "kube-probe/1.37")).unwrap();
        let mut lines = format!("GET {}\n", request.uri());
        for (name, value) in request.headers() {
            lines += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        expected.assert_eq(&lines);
    }

    #[test]
    fn a_request_has_the_kubelets_headers_unless_the_spec_has_others() {
        check(
            &json!([]),
            &expect![[r#"
            GET /x?y
            user-agent: kube-probe/1.37
            accept: */*
            connection: close
            host: 127.42.0.5:80
        "#]],
        );
        let given = json!([
            {"name": "Host", "value": "shop.example"}, {"name": "user-agent", "value": "me"},
            {"name": "X-Twice", "value": "1"}, {"name": "X-Twice", "value": "2"}, {"name": "Accept", "value": ""},
        ]);
        check(
            &given,
            &expect![[r#"
            GET /x?y
            host: shop.example
            user-agent: me
            x-twice: 1
            x-twice: 2
            connection: close
        "#]],
        );
    }

    #[test]
    fn a_status_says_how_a_container_is() {
        let words = |code: u16| match judge(StatusCode::from_u16(code).unwrap(), "moved".into()) {
            Answer::Healthy => "healthy".to_owned(),
            Answer::Doubtful(why) | Answer::Unhealthy(why) => why,
            Answer::NobodyListens(_) | Answer::Unknown(_) => unreachable!(),
        };
        assert_eq!(words(204), "healthy");
        assert_eq!(words(302), "Probe terminated redirects, Response body: moved");
        assert_eq!(words(503), "HTTP probe failed with statuscode: 503");
    }

    #[tokio::test]
    async fn only_the_beginning_of_an_endless_body_is_read() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let serve = async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut reader, mut writer) = tokio::io::split(theirs);
            reader.read_u8().await.unwrap();
            writer.write_all(b"HTTP/1.1 200 OK\r\nlocation: /else\r\n\r\n").await.unwrap();
            while writer.write_all(&[b'x'; 512]).await.is_ok() {}
        };
        let target = Target { https: false, host: "127.42.0.5".into(), port: 80, path: "/".into() };
        let request = request(&target, &HeaderMap::new()).unwrap();
        let (response, ()) = tokio::join!(exchange(ours, request), serve);
        let response = response.unwrap();
        assert_eq!((response.body.len(), response.location.as_deref()), (BODY_BYTES_MAX, Some("/else")));
    }
}
