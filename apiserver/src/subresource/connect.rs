//! `exec`, `attach`, `portforward`: streams between a client and what runs on a node.
//!
//! What can be told without the node is told as upstream tells it. The streams themselves do not exist yet: who asks
//! for one is told that the node cannot be reached, which is what clients expect of a node without a kubelet.

use coracle_api::failure::{About, Failure};
use http::header::{CONNECTION, UPGRADE};
use serde_json::Value;

use super::log::container;
use crate::answer::{Answer, Refused};
use crate::machine::Call;
use crate::registry::Subresource;
use crate::store::Key;

/// Answers a request for a stream.
pub(super) fn connect(call: &Call, what: Subresource) -> Answer {
    let name = &call.path.name;
    let pod = call.existing()?.value();
    if matches!(what, Subresource::Exec | Subresource::Attach) {
        container(call, &pod)?;
    }
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("");
    if node.is_empty() {
        return Err(Refused::bad_request(format!("pod {name} does not have a host assigned")));
    }
    node_is_there(call, node)?;
    if !upgrades(call) {
        return Err(Refused::bad_request("Upgrade request required"));
    }
    let what = what.name();
    Err(Refused::unclassified(format!("error dialing backend: node {node:?} does not offer {what}")))
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
fn upgrades(call: &Call) -> bool {
    let connection = call.headers.get(CONNECTION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let asks = connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    asks && call.headers.contains_key(UPGRADE)
}
