//! Which of the nodes that will do is best: the least busy, weighed with what the pod and the node prefer.
//!
//! Weights are upstream's defaults (`TaintToleration` 3, `NodeAffinity` 2, `NodeResourcesFit` 1). Scores are in
//! millionths of a percent, so that nodes of different size rarely tie.

use std::cmp::Reverse;

use coracle_api::names::NodeName;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::{affinity, taints};
use crate::amounts::Requests;
use crate::snapshot::NodeInfo;

/// The full score of one scorer.
const FULL: i64 = 100_000_000;

/// What is compared to see how busy a node is.
const COMPARED: [&str; 2] = ["cpu", "memory"];

/// The best of `fit`; the first by name of those that are equal.
pub(super) fn best<'a>(
    pod: &Pod,
    requests: &Requests,
    fit: &[(&'a NodeName, &Node, &NodeInfo)],
) -> Option<&'a NodeName> {
    if let [(only, _, _)] = fit {
        return Some(only);
    }
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let reluctance = |node: &Node| i64::try_from(taints::reluctance(node, tolerations)).unwrap_or(i64::MAX);
    let most_reluctant = fit.iter().map(|(_, node, _)| reluctance(node)).max().unwrap_or(0);
    let most_preferred = fit.iter().map(|(_, node, _)| affinity::preference(pod, node)).max().unwrap_or(0);
    let score = |node: &Node, info: &NodeInfo| {
        let welcome = FULL - share(reluctance(node), most_reluctant);
        let liked = share(affinity::preference(pod, node), most_preferred);
        3 * welcome + 2 * liked + idleness(requests, info)
    };
    let rank =
        |(name, node, info): &(&'a NodeName, &Node, &NodeInfo)| (Reverse(score(node, info)), info.pod_count(), *name);
    fit.iter().min_by_key(|candidate| rank(candidate)).map(|(name, _, _)| *name)
}

fn share(part: i64, most: i64) -> i64 {
    if most > 0 { part.saturating_mul(FULL) / most } else { 0 }
}

/// How much of the node would be free with the pod on it, averaged over what is compared.
fn idleness(requests: &Requests, info: &NodeInfo) -> i64 {
    let mut sum = 0;
    let mut counted = 0;
    for resource in COMPARED {
        let has = i128::from(info.allocatable.get(resource));
        if has > 0 {
            let used = i128::from(info.guessed.get(resource)) + i128::from(requests.guessed.get(resource));
            let free = (has - used).max(0) * i128::from(FULL) / has;
            sum += i64::try_from(free).unwrap_or(FULL);
            counted += 1;
        }
    }
    if counted > 0 { sum / counted } else { 0 }
}
