//! The rules for where a pod may go: node selectors, affinity, tolerations, spreading.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{
    Affinity, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint, WeightedPodAffinityTerm,
};

use crate::registry::check::labels::{label_value, labels, qualified_name, selector};
use crate::registry::check::names::require;
use crate::registry::check::{Errors, at, item, one_of_if_any};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The rules for all of it.
pub(super) fn validate(errors: &mut Errors, path: &str, spec: &PodSpec) {
    if let Some(map) = &spec.node_selector {
        labels(errors, &at(path, "nodeSelector"), map);
    }
    if let Some(affinity) = &spec.affinity {
        validate_affinity(errors, &at(path, "affinity"), affinity);
    }
    for (index, toleration) in spec.tolerations.iter().flatten().enumerate() {
        validate_toleration(errors, &item(path, "tolerations", index), toleration);
    }
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        validate_spread(errors, &item(path, "topologySpreadConstraints", index), constraint);
    }
}

fn validate_toleration(errors: &mut Errors, path: &str, toleration: &Toleration) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, operator, value) = (text(&toleration.key), text(&toleration.operator), text(&toleration.value));
    let place = at(path, "operator");
    if !key.is_empty() {
        require(errors, &at(path, "key"), &key, qualified_name);
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(place.as_str(), operator.as_str(), detail));
    }
    let effect = text(&toleration.effect);
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(at(path, "effect"), effect.as_str(), detail));
    }
    match operator.as_str() {
        "" | "Equal" => require(errors, &place, &value, label_value),
        "Exists" if !value.is_empty() => {
            errors.push(FieldError::invalid(place, value, "value must be empty when `operator` is 'Exists'"));
        }
        "Exists" => {}
        other => errors.push(FieldError::not_supported(place, other, &["Equal", "Exists"])),
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    one_of_if_any(errors, at(path, "effect"), Some(&effect), &effects);
}

fn validate_spread(errors: &mut Errors, path: &str, constraint: &TopologySpreadConstraint) {
    if constraint.max_skew <= 0 {
        errors.push(FieldError::invalid(at(path, "maxSkew"), constraint.max_skew, "must be greater than zero"));
    }
    if constraint.topology_key.is_empty() {
        errors.push(FieldError::required(at(path, "topologyKey"), "can not be empty"));
    } else {
        require(errors, &at(path, "topologyKey"), &constraint.topology_key, qualified_name);
    }
    let actions = ["DoNotSchedule", "ScheduleAnyway"];
    if !actions.contains(&constraint.when_unsatisfiable.as_str()) {
        let place = at(path, "whenUnsatisfiable");
        errors.push(FieldError::not_supported(place, constraint.when_unsatisfiable.as_str(), &actions));
    }
    if let Some(s) = &constraint.label_selector {
        selector(errors, &at(path, "labelSelector"), s);
    }
}

fn validate_affinity(errors: &mut Errors, path: &str, affinity: &Affinity) {
    if let Some(node) = &affinity.node_affinity {
        let path = at(path, "nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            let path = at(&at(&path, REQUIRED), "nodeSelectorTerms");
            if required.node_selector_terms.is_empty() {
                errors.push(FieldError::required(path.as_str(), "must have at least one node selector term"));
            }
            for (index, term) in required.node_selector_terms.iter().enumerate() {
                validate_node_term(errors, &format!("{path}[{index}]"), term);
            }
        }
        for (index, term) in node.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate() {
            let path = item(&path, PREFERRED, index);
            weight(errors, &path, term.weight);
            validate_node_term(errors, &at(&path, "preference"), &term.preference);
        }
    }
    if let Some(pod) = &affinity.pod_affinity {
        let path = at(path, "podAffinity");
        required_terms(errors, &path, pod.required_during_scheduling_ignored_during_execution.as_deref());
        preferred_terms(errors, &path, pod.preferred_during_scheduling_ignored_during_execution.as_deref());
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let path = at(path, "podAntiAffinity");
        required_terms(errors, &path, pod.required_during_scheduling_ignored_during_execution.as_deref());
        preferred_terms(errors, &path, pod.preferred_during_scheduling_ignored_during_execution.as_deref());
    }
}

fn weight(errors: &mut Errors, path: &str, weight: i32) {
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(at(path, "weight"), weight, "must be in the range 1-100"));
    }
}

fn required_terms(errors: &mut Errors, path: &str, terms: Option<&[PodAffinityTerm]>) {
    for (index, term) in terms.iter().copied().flatten().enumerate() {
        validate_pod_term(errors, &item(path, REQUIRED, index), term);
    }
}

fn preferred_terms(errors: &mut Errors, path: &str, terms: Option<&[WeightedPodAffinityTerm]>) {
    for (index, term) in terms.iter().copied().flatten().enumerate() {
        let path = item(path, PREFERRED, index);
        weight(errors, &path, term.weight);
        validate_pod_term(errors, &at(&path, "podAffinityTerm"), &term.pod_affinity_term);
    }
}

fn validate_pod_term(errors: &mut Errors, path: &str, term: &PodAffinityTerm) {
    if let Some(s) = &term.label_selector {
        selector(errors, &at(path, "labelSelector"), s);
    }
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(at(path, "topologyKey"), "can not be empty"));
    }
    require(errors, &at(path, "topologyKey"), &term.topology_key, qualified_name);
}

fn validate_node_term(errors: &mut Errors, path: &str, term: &NodeSelectorTerm) {
    let all = [("matchExpressions", &term.match_expressions), ("matchFields", &term.match_fields)];
    for (field, requirements) in all {
        for (index, requirement) in requirements.iter().flatten().enumerate() {
            let path = item(path, field, index);
            let values = requirement.values.as_deref().unwrap_or_default();
            match requirement.operator.as_str() {
                "In" | "NotIn" if values.is_empty() => {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.push(FieldError::required(at(&path, "values"), detail));
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(FieldError::forbidden(at(&path, "values"), detail));
                }
                "Gt" | "Lt" if values.len() != 1 => {
                    let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                    errors.push(FieldError::required(at(&path, "values"), detail));
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
                other => {
                    let detail = "not a valid selector operator";
                    errors.push(FieldError::invalid(at(&path, "operator"), other, detail));
                }
            }
            if field == "matchExpressions" {
                require(errors, &at(&path, "key"), &requirement.key, qualified_name);
            } else if requirement.key != "metadata.name" {
                let detail = "not a valid field selector key";
                errors.push(FieldError::invalid(at(&path, "key"), requirement.key.as_str(), detail));
            }
        }
    }
}
