//! `proxy`: a request that is handed on to what an object serves.
//!
//! A node's proxy is its kubelet's own API, with all its paths; what is asked there is the kubelet's to judge. A pod is
//! asked at a port of its own, a Service at one of its ready endpoints, both by the kubelet of the pod's node. Who
//! answers there is told the pod's own address as host, and nothing that proves to us who asks.

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
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::connect::{node_is_there, upgrades};
use crate::answer::{Answer, Refused};
use crate::machine::Call;
use crate::request::Verb;
use crate::store::{Key, Prefix};
use target::{Endpoint, Named, Scheme};

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

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Hands the request on.
pub(super) async fn proxy(verb: Verb, call: &Call) -> Answer {
    let (what, asked) = (call.row.singular, call.path.name.as_str());
    let named = Named::read(asked).ok_or_else(|| Refused::bad_request(format!("invalid {what} request {asked:?}")))?;
    if (call.row.group, call.row.plural) == ("", "nodes") {
        return to_node(verb, call, named).await;
    }
    let object = call.store().get(&call.key(named.name)).ok_or_else(|| Refused::not_found(&call.row, named.name))?;
    let object = object.value();
    if call.path.rest.is_empty() && verb == Verb::Get {
        return Ok(to_its_root(call));
    }
    if call.row.plural == "pods" {
        let port = target::pod_port(&object, named).map_err(Failure::Unavailable)?;
        return to_pod(verb, call, &object, named.scheme, port).await;
    }
    let endpoint = chosen(endpoints(call, &object, named)?)?;
    let pod =
        endpoint.pod.as_ref().and_then(|pod| call.machine.store.get(&Key::new("", "pods", &call.path.namespace, pod)));
    let Endpoint { ip, port, .. } = endpoint;
    let why = format!("error trying to reach service: endpoint {ip}:{port} is no pod of this cluster");
    let pod = pod.ok_or(Failure::Unavailable(why))?.value();
    to_pod(verb, call, &pod, named.scheme, port).await
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

fn endpoints(call: &Call, service: &Value, named: Named<'_>) -> Result<Vec<Endpoint>, Failure> {
    let prefix = Prefix::namespace("discovery.k8s.io", "endpointslices", &call.path.namespace);
    let all: Vec<Value> = call.machine.store.list(&prefix).entries.iter().map(|entry| entry.value()).collect();
    let is_of_service = |slice: &&Value| {
        let labels = slice.pointer("/metadata/labels");
        labels.and_then(|labels| labels.get(LABEL_SERVICE_NAME)).and_then(Value::as_str) == Some(named.name)
    };
    let slices: Vec<&Value> = all.iter().filter(is_of_service).collect();
    target::endpoints(service, &slices, named, &call.path.name).map_err(Failure::Unavailable)
}

/// Any of them.
fn chosen(mut endpoints: Vec<Endpoint>) -> Result<Endpoint, Failure> {
    let mut bytes = [0; size_of::<usize>()];
    // Without random bytes it is the first one.
    let _ = getrandom::fill(&mut bytes);
    let place = usize::from_ne_bytes(bytes).checked_rem(endpoints.len());
    place.map(|place| endpoints.swap_remove(place)).ok_or_else(|| Failure::Unavailable("no endpoints".to_owned()))
}

async fn to_pod(verb: Verb, call: &Call, pod: &Value, scheme: Scheme, port: u16) -> Answer {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if text("/status/podIP").is_empty() {
        return Err(Refused::bad_request("address not allowed"));
    }
    let node = text("/spec/nodeName");
    node_is_there(call, node)?;
    let kubelet = NodeName::new(node).ok().and_then(|node| call.machine.nodes.kubelet(&node));
    let kubelet =
        kubelet.ok_or_else(|| unreachable(call, text("/metadata/name"), "is on a node that cannot be reached"))?;
    let (namespace, name) = (&call.path.namespace, text("/metadata/name"));
    let path = target::below(&call.path.rest);
    let mut request = request(verb, call, &format!("/proxy/{namespace}/{name}/{}:{port}{path}", scheme.as_str()))?;
    *request.headers_mut() = handed_on(call, &path);
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
    // Where else to look is told relative to the pod's own root, which is not ours.
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let moved = location.filter(|to| to.starts_with('/') && !to.starts_with("//"));
    if let Some(moved) = moved.and_then(|to| HeaderValue::try_from(root(call) + to).ok()) {
        answer.headers_mut().insert(LOCATION, moved);
    }
    Ok(streamed(call, answer))
}

/// The client's headers, as far as a pod is to see them.
fn handed_on(call: &Call, path: &str) -> HeaderMap {
    let mut headers = call.headers.clone();
    let upgrade = headers.get(UPGRADE).filter(|_| call.upgrade.is_some() && upgrades(call)).cloned();
    strip(&mut headers);
    let ours = |name: &HeaderName| {
        let name = name.as_str();
        ["impersonate-", "x-remote-", "x-forwarded-"].iter().any(|prefix| name.starts_with(prefix))
    };
    let ours: Vec<HeaderName> = headers.keys().filter(|name| ours(name)).cloned().collect();
    let host = headers.get(HOST).cloned();
    for name in ours.into_iter().chain([AUTHORIZATION, HOST, EXPECT, CONTENT_LENGTH]) {
        headers.remove(name);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
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

async fn to_node(verb: Verb, call: &Call, named: Named<'_>) -> Answer {
    let Named { name, port, .. } = named;
    node_is_there(call, name)?;
    if !matches!(port, "" | KUBELET_PORT) {
        return Err(unreachable(call, name, &format!("serves its kubelet's API at port {KUBELET_PORT} only")));
    }
    let kubelet = NodeName::new(name).ok().and_then(|node| call.machine.nodes.kubelet(&node));
    let kubelet = kubelet.ok_or_else(|| unreachable(call, name, "cannot be reached"))?;
    let path = if call.path.rest.is_empty() { "/" } else { &call.path.rest };
    Ok(streamed(call, kubelet.serve(request(verb, call, path)?).await))
}

/// A request for a kubelet, with the client's query and body.
fn request(verb: Verb, call: &Call, path: &str) -> Result<HttpRequest, Refused> {
    let uri = if call.query.is_empty() { path.to_owned() } else { format!("{path}?{}", call.query) };
    let body = http_body_util::Full::new(call.body.clone()).map_err(|never| match never {}).boxed_unsync();
    let request: Result<HttpRequest, _> = Request::builder().method(method(verb)).uri(uri).body(Body::new(body));
    request.map_err(|error| Refused::bad_request(format!("the path cannot be handed on: {error}")))
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

/// The method that was read as this verb.
fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get | Verb::List | Verb::Watch => Method::GET,
        Verb::Create => Method::POST,
        Verb::Update => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Delete | Verb::DeleteCollection => Method::DELETE,
    }
}
