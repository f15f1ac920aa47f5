//! `exec`, `attach`, `portforward`: sessions between a client and what runs on a node.
//!
//! The API server looks who asks, and finds the node and the container; then it hands the request and its connection to
//! the node's kubelet, which speaks the protocol. It looks at nothing that is sent after that.

use coracle_api::failure::{About, Failure};
use coracle_api::meet::body_of;
use coracle_api::names::NodeName;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderName, Method, Request, StatusCode};
use serde_json::Value;

use super::log::container;
use crate::answer::{Answer, Refused};
use crate::authorizer::{Attributes, Decision, Resource, Target};
use crate::chain::authorize::forbidden;
use crate::machine::Call;
use crate::registry::Subresource;
use crate::request::{Verb, is_true, pairs};
use crate::store::Key;

/// What the kubelet needs to agree with the client on a protocol.
const HANDED_ON: [HeaderName; 6] = [
    CONNECTION,
    UPGRADE,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
    SEC_WEBSOCKET_PROTOCOL,
    HeaderName::from_static("x-stream-protocol-version"),
];

/// The streams of `PodExecOptions` and `PodAttachOptions`, and what the kubelet calls them.
const STREAMS: [(&str, &str); 4] = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

/// Hands the request and its connection to the kubelet.
pub(super) async fn connect(verb: Verb, call: &Call, what: Subresource) -> Answer {
    may_create(call)?;
    let name = &call.path.name;
    let pod = call.existing()?.value();
    let path = path(call, what, &pod)?;
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("");
    if node.is_empty() {
        return Err(Refused::bad_request(format!("pod {name} does not have a host assigned")));
    }
    node_is_there(call, node)?;
    if !upgrades(call) {
        return Err(Refused::bad_request("Upgrade request required"));
    }
    let kubelet = NodeName::new(node).ok().and_then(|node| call.machine.nodes.kubelet(&node));
    let kubelet = kubelet
        .ok_or_else(|| Refused::unclassified(format!("error dialing backend: node {node:?} cannot be reached")))?;
    let method = if verb == Verb::Get { Method::GET } else { Method::POST };
    let request = Request::builder().method(method).uri(path).body(body_of(""));
    let mut request =
        request.map_err(|error| Refused::bad_request(format!("the session cannot be asked for: {error}")))?;
    for name in HANDED_ON {
        for value in call.headers.get_all(&name) {
            request.headers_mut().append(name.clone(), value.clone());
        }
    }
    if let Some(upgrade) = &call.upgrade {
        request.extensions_mut().insert(upgrade.connection.clone());
    }
    let answer = kubelet.serve(request).await;
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade)) = (answer.status(), &call.upgrade) {
        upgrade.patience.with_session();
    }
    // A refusal is shown in the kubelet's own words, as upstream's API server does: clients look for them.
    Ok(answer.map(axum::body::Body::new))
}

/// A session changes things, whatever the method of the request that begins it: as upstream since 1.35.
fn may_create(call: &Call) -> Result<(), Refused> {
    let path = &call.path;
    let attributes = Attributes {
        user: &call.user,
        verb: Verb::Create.as_str(),
        target: Target::Resource(Resource {
            group: &path.group,
            namespace: &path.namespace,
            resource: &path.resource,
            subresource: &path.subresource,
            name: &path.name,
        }),
    };
    match call.machine.authorizer.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) => Err(forbidden(&attributes, &reason)),
    }
}

/// The kubelet's path and query for a session.
fn path(call: &Call, what: Subresource, pod: &Value) -> Result<String, Refused> {
    let (namespace, name) = (&call.path.namespace, &call.path.name);
    // What is in a path of the API is what is in one of the kubelet's: names, which need no escapes.
    match what {
        Subresource::Exec => Ok(format!("/exec/{namespace}/{name}/{}?{}", container(call, pod)?, streams(&call.query))),
        Subresource::Attach => {
            Ok(format!("/attach/{namespace}/{name}/{}?{}", container(call, pod)?, streams(&call.query)))
        }
        _ => Ok(format!("/portForward/{namespace}/{name}?{}", ports(&call.query))),
    }
}

/// The words of a command stay as they were sent; the streams get the kubelet's names.
fn streams(query: &str) -> String {
    let words = query.split('&').filter(|pair| pair.starts_with("command=")).map(str::to_owned);
    let wanted = |name: &str| pairs(query).find(|(key, _)| key == name).is_some_and(|(_, value)| is_true(Some(&value)));
    let streams = STREAMS.iter().filter(|(name, _)| wanted(name)).map(|(_, kubelets)| format!("{kubelets}=1"));
    words.chain(streams).collect::<Vec<_>>().join("&")
}

fn ports(query: &str) -> String {
    let ports = query.split('&').filter_map(|pair| pair.strip_prefix("ports="));
    ports.map(|port| format!("port={port}")).collect::<Vec<_>>().join("&")
}

/// A node that is not there cannot be reached, and is named.
pub(super) fn node_is_there(call: &Call, node: &str) -> Result<(), Failure> {
    if call.machine.store.get(&Key::new("", "nodes", "", node)).is_some() {
        return Ok(());
    }
    let about = About { group: String::new(), kind: "nodes".to_owned(), name: node.to_owned() };
    Err(Failure::NotFound { about })
}

/// Whether the client wants another protocol than HTTP.
pub(super) fn upgrades(call: &Call) -> bool {
    let connection = call.headers.get(CONNECTION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let asks = connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    asks && call.headers.contains_key(UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_the_kubelets() {
        let query = "command=sh&command=-c&command=a%26b+c&container=c&stdin=true&stdout=1&stderr=false&tty=0";
        assert_eq!(streams(query), "command=sh&command=-c&command=a%26b+c&input=1&output=1");
        assert_eq!(ports("ports=80&x=1&ports=81%2C82"), "port=80&port=81%2C82");
    }
}
