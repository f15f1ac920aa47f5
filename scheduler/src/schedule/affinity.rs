//! Node selectors and node affinity: which nodes a pod must or would like to have.

use std::collections::BTreeMap;

use coracle_api::node_selector::{matches, term_matches};
use k8s_openapi::api::core::v1::{Node, Pod, PreferredSchedulingTerm};

/// Whether `nodeSelector` and the required node affinity allow the node.
pub(super) fn is_allowed(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    if !spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|selector| matches(selector, node))
}

/// The weights of the preferences that the node meets.
pub(super) fn preference(pod: &Pod, node: &Node) -> i64 {
    let affinity = pod.spec.as_ref().and_then(|s| s.affinity.as_ref()).and_then(|a| a.node_affinity.as_ref());
    let preferred = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    // An empty preferred term likes every node alike, so it changes nothing.
    let met = |term: &&PreferredSchedulingTerm| term_matches(&term.preference, node);
    preferred.into_iter().flatten().filter(met).map(|term| i64::from(term.weight)).sum()
}
