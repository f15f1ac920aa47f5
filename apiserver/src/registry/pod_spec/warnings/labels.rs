//! Warnings about labels of nodes that go by another name now.

use k8s_openapi::api::core::v1::{NodeSelectorTerm, PodSpec};

use crate::registry::check::labels::label_value;
use crate::registry::check::path::Path;
use crate::registry::pod_spec::affinity::{PREFERRED, REQUIRED};

/// The labels, and what is said of them.
const DEPRECATED: [(&str, &str); 8] = [
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#),
    ("beta.kubernetes.io/instance-type", r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#),
    ("beta.kubernetes.io/os", r#"deprecated since v1.14; use "kubernetes.io/os" instead"#),
    (
        "failure-domain.beta.kubernetes.io/region",
        r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#,
    ),
    ("failure-domain.beta.kubernetes.io/zone", r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#),
    ("node-role.kubernetes.io/master", r#"use "node-role.kubernetes.io/control-plane" instead"#),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
];

/// What is said of a label.
pub(super) fn deprecated(key: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(old, _)| *old == key).map(|(_, message)| *message)
}

pub(super) fn about(found: &mut Vec<String>, path: Path<'_>, spec: &PodSpec) {
    let list = path.field("nodeSelector");
    for (key, _) in spec.node_selector.iter().flatten() {
        if let Some(message) = deprecated(key) {
            found.push(format!("{}: {message}", list.key(key)));
        }
    }
    let Some(affinity) = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()) else { return };
    let path = path.field("affinity");
    let path = path.field("nodeAffinity");
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref();
    let list = path.field(REQUIRED);
    let list = list.field("nodeSelectorTerms");
    for (index, term) in required.iter().flat_map(|r| &r.node_selector_terms).enumerate() {
        keys(found, list.index(index), term);
    }
    let list = path.field(PREFERRED);
    for (index, term) in affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate() {
        let path = list.index(index);
        let path = path.field("preference");
        keys_and_values(found, path, &term.preference);
    }
}

fn keys(found: &mut Vec<String>, path: Path<'_>, term: &NodeSelectorTerm) {
    let list = path.field("matchExpressions");
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        key(found, list.index(index), &expression.key);
    }
}

fn key(found: &mut Vec<String>, path: Path<'_>, key: &str) {
    if let Some(message) = deprecated(key) {
        found.push(format!("{}: {key} is {message}", path.field("key")));
    }
}

/// Values that no node can have are refused where a term must hold; here they are only odd.
fn keys_and_values(found: &mut Vec<String>, path: Path<'_>, term: &NodeSelectorTerm) {
    let list = path.field("matchExpressions");
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        let path = list.index(index);
        key(found, path, &expression.key);
        let list = path.field("values");
        for (index, value) in expression.values.iter().flatten().enumerate() {
            let broken = label_value(value);
            found.extend(broken.into_iter().map(|rule| format!("{}: {value} is invalid, {rule}", list.index(index))));
        }
    }
}
