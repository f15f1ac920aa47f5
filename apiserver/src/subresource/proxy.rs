//! `proxy`: a request that is handed on to what an object serves.
//!
//! A node's proxy is its kubelet's own API, with all its paths; what is asked there is the kubelet's to judge. A pod is
//! asked at a port of its own, a Service at one of its ready pods, both by the kubelet of the pod's node. Bodies go
//! through as they come, in both directions. Who answers is told nothing that proves to us who asks.

mod target;

use coracle_api::failure::Failure;
use coracle_api::meet::{Body, HttpRequest};
use coracle_api::names::NodeName;
use coracle_api::wellknown::LABEL_SERVICE_NAME;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CONNECTION,
    CONTENT_LENGTH, EXPECT, HOST, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use serde_json::Value;

use super::connect::{node_is_there, upgrades};
use crate::answer::{Answer, Refused};
use crate::machine::Call;
use crate::store::{Key, Prefix};
use target::{Named, Scheme};

/// The port that names a kubelet, as upstream's nodes have it.
const KUBELET_PORT: &str = "10250";

/// Headers of a connection, beside those that `connection` names; each side has its own.
const OF_CONNECTION: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What a page may do with our answers is not for a pod to say: to a browser they are ours.
const OF_ORIGINS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// For whom a request is handed on: each proxy on its way adds who asked it.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// What may be asked with: upstream's seven.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Hands the request on. What it was sent with is taken if it comes to that, and is read as whoever is asked reads it.
pub(crate) async fn proxy(call: &Call, method: Method, sent: &mut Option<axum::body::Body>) -> Answer {
    if !METHODS.contains(&method) {
        return Err(Failure::MethodNotAllowed.into());
    }
    let (what, asked) = (call.row.singular, call.path.name.as_str());
    let named = Named::read(asked).ok_or_else(|| Refused::bad_request(format!("invalid {what} request {asked:?}")))?;
    if (call.row.group, call.row.plural) == ("", "nodes") {
        return to_node(call, method, sent, named).await;
    }
    let object = call.store().get(&call.key(named.name)).ok_or_else(|| Refused::not_found(&call.row, named.name))?;
    let object = object.value();
    let (pod, port) = if call.row.plural == "pods" {
        let port = target::pod_port(&object, named).map_err(Failure::Unavailable)?;
        (object, port)
    } else {
        chosen(endpoints(call, &object, named)?)?
    };
    if target::ip(&pod).is_empty() {
        return Err(Refused::bad_request("address not allowed"));
    }
    if call.path.rest.is_empty() && matches!(method, Method::GET | Method::HEAD) && !upgrades(call) {
        return Ok(to_its_root(call));
    }
    to_pod(call, method, sent, &pod, named.scheme, port).await
}

/// Paths of a page are relative to its folder: without a slash at the end, they would leave the proxy.
fn to_its_root(call: &Call) -> axum::response::Response {
    let query = if call.query.is_empty() { String::new() } else { format!("?{}", call.query) };
    let location = HeaderValue::try_from(format!("{}/{query}", root(call)));
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().extend(location.ok().map(|location| (LOCATION, location)));
    response
}

/// The path of the proxy itself, as a client may ask for it.
fn root(call: &Call) -> String {
    let path = &call.path;
    format!("/api/{}/namespaces/{}/{}/{}/proxy", path.version, path.namespace, path.resource, path.name)
}

/// The pods of a Service, and where they are asked. What is no pod of its namespace is not asked, as by upstream: by us,
/// a client would get to what it may not reach itself.
fn endpoints(call: &Call, service: &Value, named: Named<'_>) -> Result<Vec<(Value, u16)>, Failure> {
    let prefix = Prefix::namespace("discovery.k8s.io", "endpointslices", &call.path.namespace);
    let all: Vec<Value> = call.machine.store.list(&prefix).entries.iter().map(|entry| entry.value()).collect();
    let is_of_service = |slice: &&Value| {
        let labels = slice.pointer("/metadata/labels");
        labels.and_then(|labels| labels.get(LABEL_SERVICE_NAME)).and_then(Value::as_str) == Some(named.name)
    };
    let slices: Vec<&Value> = all.iter().filter(is_of_service).collect();
    let pod = |name: &str| Some(call.machine.store.get(&Key::new("", "pods", &call.path.namespace, name))?.value());
    target::endpoints(service, &slices, named, &call.path.name, pod).map_err(Failure::Unavailable)
}

/// Any of them.
fn chosen<T>(mut endpoints: Vec<T>) -> Result<T, Failure> {
    let mut bytes = [0; size_of::<usize>()];
    // Without random bytes it is the first one.
    let _ = getrandom::fill(&mut bytes);
    let place = usize::from_ne_bytes(bytes).checked_rem(endpoints.len());
    place.map(|place| endpoints.swap_remove(place)).ok_or_else(|| Failure::Unavailable("no endpoints".to_owned()))
}

async fn to_pod(
    call: &Call,
    method: Method,
    sent: &mut Option<axum::body::Body>,
    pod: &Value,
    scheme: Scheme,
    port: u16,
) -> Answer {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let node = text("/spec/nodeName");
    node_is_there(call, node)?;
    let kubelet = NodeName::new(node).ok().and_then(|node| call.machine.nodes.kubelet(&node));
    let kubelet =
        kubelet.ok_or_else(|| unreachable(call, text("/metadata/name"), "is on a node that cannot be reached"))?;
    let (namespace, name) = (&call.path.namespace, text("/metadata/name"));
    let path = target::below(&call.path.rest);
    let place = format!("/proxy/{namespace}/{name}/{}:{port}{path}", scheme.as_str());
    let mut request = request(call, method, sent, &place)?;
    *request.headers_mut() = handed_on(call, request.body(), &path);
    let upgrade = call.upgrade.as_ref().filter(|_| upgrades(call));
    if let Some(upgrade) = upgrade {
        request.extensions_mut().insert(upgrade.connection.clone());
    }
    let mut answer = kubelet.serve(request).await;
    match (answer.status(), upgrade) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade)) => upgrade.patience.with_session(),
        (StatusCode::SWITCHING_PROTOCOLS, None) => return Err(unreachable(call, name, "changed its protocol unasked")),
        _ => strip(answer.headers_mut()),
    }
    OF_ORIGINS.iter().for_each(|name| drop(answer.headers_mut().remove(name)));
    let hosts = [Some(format!("{}:{port}", target::ip(pod))), header(&call.headers, &HOST).map(str::to_owned)];
    let moved = header(answer.headers(), &LOCATION).and_then(|to| target::moved(to, &root(call), &hosts));
    if let Some(moved) = moved.and_then(|to| HeaderValue::try_from(to).ok()) {
        answer.headers_mut().insert(LOCATION, moved);
    }
    Ok(streamed(call, answer))
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The client's headers, as far as a pod is to see them.
fn handed_on(call: &Call, body: &Body, path: &str) -> HeaderMap {
    let mut headers = call.headers.clone();
    let upgrade = headers.get(UPGRADE).filter(|_| call.upgrade.is_some() && upgrades(call)).cloned();
    let is_measured = headers.contains_key(CONTENT_LENGTH);
    strip(&mut headers);
    let ours = |name: &&HeaderName| {
        let is_ours =
            ["impersonate-", "x-remote-", "x-forwarded-"].iter().any(|prefix| name.as_str().starts_with(prefix));
        is_ours && **name != FORWARDED_FOR
    };
    let ours: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
    for name in ours.into_iter().chain([AUTHORIZATION, EXPECT, CONTENT_LENGTH]) {
        headers.remove(name);
    }
    // What was found to be its length is told, not what was said.
    let length = http_body::Body::size_hint(body).exact().filter(|_| is_measured);
    headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let host = headers.get(HOST).cloned();
    headers.extend(host.map(|host| (FORWARDED_HOST, host)));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.extend(HeaderValue::try_from(root(call) + path).ok().map(|uri| (FORWARDED_URI, uri)));
    headers
}

/// Leaves out what concerns a connection alone.
fn strip(headers: &mut HeaderMap) {
    let listed = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        listed.flat_map(|value| value.split(',')).filter_map(|n| n.trim().parse().ok()).collect();
    for name in named.into_iter().chain(OF_CONNECTION) {
        headers.remove(name);
    }
}

async fn to_node(call: &Call, method: Method, sent: &mut Option<axum::body::Body>, named: Named<'_>) -> Answer {
    let Named { name, port, .. } = named;
    node_is_there(call, name)?;
    if !matches!(port, "" | KUBELET_PORT) {
        return Err(unreachable(call, name, &format!("serves its kubelet's API at port {KUBELET_PORT} only")));
    }
    let kubelet = NodeName::new(name).ok().and_then(|node| call.machine.nodes.kubelet(&node));
    let kubelet = kubelet.ok_or_else(|| unreachable(call, name, "cannot be reached"))?;
    let path = if call.path.rest.is_empty() { "/" } else { &call.path.rest };
    // Whoever sends the answer leaves its body out.
    let method = if method == Method::HEAD { Method::GET } else { method };
    Ok(streamed(call, kubelet.serve(request(call, method, sent, path)?).await))
}

/// A request for a kubelet, with the client's query and body.
fn request(
    call: &Call,
    method: Method,
    sent: &mut Option<axum::body::Body>,
    path: &str,
) -> Result<HttpRequest, Refused> {
    let uri = if call.query.is_empty() { path.to_owned() } else { format!("{path}?{}", call.query) };
    let uri =
        Uri::try_from(uri).map_err(|error| Refused::bad_request(format!("the path cannot be handed on: {error}")))?;
    let body = sent.take().unwrap_or_default().map_err(Into::into).boxed_unsync();
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    Ok(request)
}

/// The answer, for as long as we are there.
fn streamed(call: &Call, answer: Response<Body>) -> axum::response::Response {
    let stopping = call.machine.stopping.clone();
    answer.map(|body| {
        let stream = futures::StreamExt::take_until(body.into_data_stream(), async move { stopping.cancelled().await });
        axum::body::Body::from_stream(stream)
    })
}

fn unreachable(call: &Call, name: &str, why: &str) -> Refused {
    let what = call.row.singular;
    Failure::Unavailable(format!("error trying to reach service: {what} {name:?} {why}")).into()
}
