//! The rules for affinity: to nodes, to pods, away from pods.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, WeightedPodAffinityTerm,
};

use crate::registry::check::Errors;
use crate::registry::check::labels::{label_value, qualified_name, selector};
use crate::registry::check::names::{label, require, subdomain};
use crate::registry::check::path::Path;

/// What must hold for a pod to be placed.
pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// What would be good.
pub(super) const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The rules for all of it.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, affinity: &Affinity) {
    if let Some(node) = &affinity.node_affinity {
        to_nodes(errors, path.field("nodeAffinity"), node);
    }
    if let Some(pod) = &affinity.pod_affinity {
        let required = pod.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = pod.preferred_during_scheduling_ignored_during_execution.as_deref();
        to_pods(errors, path.field("podAffinity"), required, preferred);
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let required = pod.required_during_scheduling_ignored_during_execution.as_deref();
        let preferred = pod.preferred_during_scheduling_ignored_during_execution.as_deref();
        to_pods(errors, path.field("podAntiAffinity"), required, preferred);
    }
}

/// Whether the values of a selector's labels are looked at: of what must hold only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Checked,
    Any,
}

fn to_nodes(errors: &mut Errors, path: Path<'_>, affinity: &NodeAffinity) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let path = path.field(REQUIRED);
        let list = path.field("nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            errors.push(FieldError::required(list, "must have at least one node selector term"));
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            node_term(errors, list.index(index), term, Values::Checked);
        }
    }
    let list = path.field(PREFERRED);
    for (index, term) in affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate() {
        let path = list.index(index);
        weight(errors, path.field("weight"), term.weight);
        node_term(errors, path.field("preference"), &term.preference, Values::Any);
    }
}

fn weight(errors: &mut Errors, path: Path<'_>, weight: i32) {
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(path, weight, "must be in the range 1-100"));
    }
}

fn node_term(errors: &mut Errors, path: Path<'_>, term: &NodeSelectorTerm, check: Values) {
    let list = path.field("matchExpressions");
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        by_label(errors, list.index(index), requirement, check);
    }
    let list = path.field("matchFields");
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        by_field(errors, list.index(index), requirement);
    }
}

fn by_label(errors: &mut Errors, path: Path<'_>, requirement: &NodeSelectorRequirement, check: Values) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let list = path.field("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(FieldError::required(list, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(list, detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(list, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            errors.push(FieldError::invalid(path.field("operator"), other, "not a valid selector operator"));
        }
    }
    require(errors, path.field("key"), &requirement.key, qualified_name);
    if check == Values::Checked {
        for (index, value) in values.iter().enumerate() {
            require(errors, list.index(index), value, label_value);
        }
    }
}

fn by_field(errors: &mut Errors, path: Path<'_>, requirement: &NodeSelectorRequirement) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let list = path.field("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(list, detail));
        }
        "In" | "NotIn" => {}
        other => {
            errors.push(FieldError::invalid(path.field("operator"), other, "not a valid selector operator"));
        }
    }
    if requirement.key != "metadata.name" {
        let detail = "not a valid field selector key";
        errors.push(FieldError::invalid(path.field("key"), requirement.key.as_str(), detail));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        require(errors, list.index(index), value, subdomain);
    }
}

fn to_pods(
    errors: &mut Errors,
    path: Path<'_>,
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
) {
    let list = path.field(REQUIRED);
    for (index, term) in required.unwrap_or_default().iter().enumerate() {
        pod_term(errors, list.index(index), term);
    }
    let list = path.field(PREFERRED);
    for (index, term) in preferred.unwrap_or_default().iter().enumerate() {
        let path = list.index(index);
        weight(errors, path.field("weight"), term.weight);
        pod_term(errors, path.field("podAffinityTerm"), &term.pod_affinity_term);
    }
}

fn pod_term(errors: &mut Errors, path: Path<'_>, term: &PodAffinityTerm) {
    for (field, selected) in [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selected) = selected {
            selector(errors, path.field(field), selected);
        }
    }
    for namespace in term.namespaces.iter().flatten() {
        require(errors, path.field("namespace"), namespace, label);
    }
    label_keys(errors, path, term);
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(path.field("topologyKey"), "can not be empty"));
    }
    require(errors, path.field("topologyKey"), &term.topology_key, qualified_name);
}

/// The rules for the keys whose values are taken from the pod itself.
fn label_keys(errors: &mut Errors, path: Path<'_>, term: &PodAffinityTerm) {
    let keys = term.match_label_keys.as_deref().unwrap_or_default();
    let mismatched = term.mismatch_label_keys.as_deref().unwrap_or_default();
    for (field, keys) in [("matchLabelKeys", keys), ("mismatchLabelKeys", mismatched)] {
        let list = path.field(field);
        if !keys.is_empty() && term.label_selector.is_none() {
            errors.push(FieldError::forbidden(list, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            require(errors, list.index(index), key, qualified_name);
        }
    }
    if let Some(selected) = term.label_selector.as_ref().filter(|_| !keys.is_empty()) {
        // A key of the list has been merged into the selector by now; found there before, it stands there twice.
        let mut seen: BTreeSet<&str> = selected.match_labels.iter().flatten().map(|(key, _)| key.as_str()).collect();
        for expression in selected.match_expressions.iter().flatten() {
            let index = keys.iter().rposition(|key| *key == expression.key);
            if let (false, Some(index)) = (seen.insert(&expression.key), index) {
                let detail = "exists in both matchLabelKeys and labelSelector";
                errors.push(FieldError::invalid(path.index(index), expression.key.as_str(), detail));
            }
        }
    }
    let list = path.field("matchLabelKeys");
    let others: BTreeSet<&String> = mismatched.iter().collect();
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| others.contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(list.index(index), key.as_str(), detail));
    }
}
