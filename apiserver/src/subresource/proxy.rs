//! `proxy`: a request that is handed on to what an object serves.
//!
//! A node's proxy is its kubelet's own API, with all its paths; what is asked there is the kubelet's to judge. Pods and
//! Services have none yet: who asks is told what clients expect of a pod that does not answer.

use coracle_api::failure::Failure;
use coracle_api::meet::{Body, HttpRequest};
use coracle_api::names::NodeName;
use http::{Method, Request};
use http_body_util::BodyExt;

use super::connect::node_is_there;
use crate::answer::{Answer, Refused};
use crate::machine::Call;
use crate::request::Verb;

/// The port that names a kubelet, as upstream's nodes have it.
const KUBELET_PORT: &str = "10250";

/// Hands the request on.
pub(super) async fn proxy(verb: Verb, call: &Call) -> Answer {
    // `name`, `name:port`, or `scheme:name:port`.
    let parts: Vec<&str> = call.path.name.split(':').collect();
    let (name, port) = match parts.as_slice() {
        [name] => (*name, ""),
        [name, port] | [_, name, port] => (*name, *port),
        _ => return Err(Refused::bad_request(format!("invalid {} request {:?}", call.row.singular, call.path.name))),
    };
    if (call.row.group, call.row.plural) == ("", "nodes") {
        return to_node(verb, call, name, port).await;
    }
    if call.store().get(&call.key(name)).is_none() {
        return Err(Refused::not_found(&call.row, name));
    }
    Err(unreachable(call, name, "does not offer proxy"))
}

async fn to_node(verb: Verb, call: &Call, name: &str, port: &str) -> Answer {
    node_is_there(call, name)?;
    if !matches!(port, "" | KUBELET_PORT) {
        return Err(unreachable(call, name, &format!("serves its kubelet's API at port {KUBELET_PORT} only")));
    }
    let kubelet = NodeName::new(name).ok().and_then(|node| call.machine.nodes.kubelet(&node));
    let kubelet = kubelet.ok_or_else(|| unreachable(call, name, "cannot be reached"))?;
    let mut uri = format!("/{}", call.path.rest);
    if !call.query.is_empty() {
        uri = format!("{uri}?{}", call.query);
    }
    let body = http_body_util::Full::new(call.body.clone()).map_err(|never| match never {}).boxed_unsync();
    let request: Result<HttpRequest, _> = Request::builder().method(method(verb)).uri(uri).body(Body::new(body));
    let request = request.map_err(|error| Refused::bad_request(format!("the path cannot be handed on: {error}")))?;
    let answer = kubelet.serve(request).await;
    let stopping = call.machine.stopping.clone();
    Ok(answer.map(|body| {
        let stream = futures::StreamExt::take_until(body.into_data_stream(), async move { stopping.cancelled().await });
        axum::body::Body::from_stream(stream)
    }))
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
