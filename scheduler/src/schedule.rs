//! The decision: which node a pod should run on, given all that is known, or why it fits nowhere.
//!
//! A plain function. The filters run in upstream's order and a node is told off for the first that fails;
//! among the nodes that are left the least busy wins, and the name decides between equals.

mod affinity;
mod score;
mod taints;
mod verdict;
mod volumes;

use coracle_api::names::NodeName;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::amounts::Requests;
use crate::snapshot::{NodeInfo, Snapshot};
pub use verdict::{Reason, Unschedulable};
pub(crate) use volumes::{Preparation, needs, prepare};

/// Chooses a node for the pod.
///
/// # Errors
/// [`Unschedulable`], which prints as upstream's message, if no node will do.
pub fn schedule(pod: &Pod, snapshot: &Snapshot) -> Result<NodeName, Unschedulable> {
    let requests = Requests::of(pod);
    let mut unfit = Unschedulable::new(pod);
    let needs = match needs(pod, &snapshot.storage) {
        Ok(needs) => needs,
        Err(why) => return Err(unfit.everywhere(snapshot.nodes().count(), why)),
    };
    let mut fit = Vec::new();
    for (name, node, info) in snapshot.nodes() {
        let mut reasons = reasons_against(pod, &requests, node, info);
        if reasons.is_empty() {
            reasons = volumes::reasons_against(&needs, node, &snapshot.storage);
        }
        if reasons.is_empty() {
            fit.push((name, node, info));
        } else {
            unfit.nodes.insert(name.clone(), reasons);
        }
    }
    score::best(pod, &requests, &fit).cloned().ok_or(unfit)
}

/// Why the pod cannot run on the node; empty if it can.
fn reasons_against(pod: &Pod, requests: &Requests, node: &Node, info: &NodeInfo) -> Vec<Reason> {
    let spec = pod.spec.as_ref();
    let tolerations = spec.and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    if taints::is_cordoned_for(node, tolerations) {
        return vec![Reason::Cordoned];
    }
    let asked = spec.and_then(|s| s.node_name.as_deref()).filter(|name| !name.is_empty());
    if asked.is_some_and(|name| node.metadata.name.as_deref() != Some(name)) {
        return vec![Reason::OtherNodeAsked];
    }
    if taints::untolerated(node, tolerations).next().is_some() {
        return vec![Reason::Taint];
    }
    if !affinity::is_allowed(pod, node) {
        return vec![Reason::Affinity];
    }
    lacking(requests, info)
}

fn lacking(requests: &Requests, info: &NodeInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if info.pod_count() >= info.allocatable.get("pods") {
        reasons.push(Reason::TooManyPods);
    }
    for (resource, asked) in requests.said.positive() {
        let has = info.allocatable.get(resource);
        if asked > has - info.requested.get(resource) {
            reasons.push(Reason::Insufficient { resource: resource.to_owned(), even_if_empty: asked > has });
        }
    }
    reasons
}

#[cfg(test)]
mod tests;
