//! The rules for spreading pods over a topology, and the selectors that a new pod's own labels complete.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{PodAffinityTerm, PodSpec, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::registry::check::Errors;
use crate::registry::check::labels::{qualified_name, selector};
use crate::registry::check::names::require;
use crate::registry::check::path::Path;

const DO_NOT_SCHEDULE: &str = "DoNotSchedule";

/// The rules for the constraints.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    let pair = |c: &TopologySpreadConstraint| (c.topology_key.clone(), c.when_unsatisfiable.clone());
    let last: BTreeMap<_, usize> = constraints.iter().enumerate().map(|(index, c)| (pair(c), index)).collect();
    for (index, constraint) in constraints.iter().enumerate() {
        let repeated = last.get(&pair(constraint)).is_some_and(|last| *last > index);
        one(errors, path.index(index), constraint, repeated.then_some("{topologyKey, whenUnsatisfiable}"));
    }
}

fn one(errors: &mut Errors, path: Path<'_>, constraint: &TopologySpreadConstraint, repeated: Option<&str>) {
    let (key, action) = (constraint.topology_key.as_str(), constraint.when_unsatisfiable.as_str());
    if constraint.max_skew <= 0 {
        errors.push(FieldError::invalid(path.field("maxSkew"), constraint.max_skew, "must be greater than zero"));
    }
    if key.is_empty() {
        errors.push(FieldError::required(path.field("topologyKey"), "can not be empty"));
    }
    let actions = [DO_NOT_SCHEDULE, "ScheduleAnyway"];
    if !actions.contains(&action) {
        errors.push(FieldError::not_supported(path.field("whenUnsatisfiable"), action, &actions));
    }
    if let Some(pair) = repeated {
        errors.push(FieldError::duplicate(path.field(pair), format!("{{{key}, {action}}}")));
    }
    if let Some(domains) = constraint.min_domains {
        let place = path.field("minDomains");
        if domains <= 0 {
            errors.push(FieldError::invalid(place, domains, "must be greater than zero"));
        }
        if action != DO_NOT_SCHEDULE {
            let detail = format!("can only use minDomains if whenUnsatisfiable={DO_NOT_SCHEDULE}, not {action}");
            errors.push(FieldError::invalid(place, domains, detail));
        }
    }
    for (field, policy) in
        [("nodeAffinityPolicy", &constraint.node_affinity_policy), ("nodeTaintsPolicy", &constraint.node_taints_policy)]
    {
        if let Some(policy) = policy.as_deref().filter(|p| !["Honor", "Ignore"].contains(p)) {
            errors.push(FieldError::not_supported(path.field(field), policy, &["Honor", "Ignore"]));
        }
    }
    label_keys(errors, path.field("matchLabelKeys"), constraint);
    if let Some(selected) = &constraint.label_selector {
        selector(errors, path.field("labelSelector"), selected);
    }
}

fn label_keys(errors: &mut Errors, path: Path<'_>, constraint: &TopologySpreadConstraint) {
    let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
    if keys.is_empty() {
        return;
    }
    let Some(selected) = &constraint.label_selector else {
        errors.push(FieldError::forbidden(path, "must not be specified when labelSelector is not set"));
        for (index, key) in keys.iter().enumerate() {
            require(errors, path.index(index), key, qualified_name);
        }
        return;
    };
    let mut seen = BTreeSet::new();
    let named = selected.match_labels.iter().flatten().map(|(key, _)| key.as_str());
    // A key of the list has been merged into a pod's expressions by now; found there twice, it was there before.
    let expressions = selected.match_expressions.iter().flatten().map(|e| e.key.as_str());
    let both: BTreeSet<&str> = named.chain(expressions.filter(|key| !seen.insert(*key))).collect();
    for (index, key) in keys.iter().enumerate() {
        require(errors, path.index(index), key, qualified_name);
        if both.contains(key.as_str()) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(path.index(index), key.as_str(), detail));
        }
    }
}

/// Merges the labels of a new pod into the selectors that name them by their keys.
pub(in crate::registry) fn merge_label_keys(spec: &mut PodSpec, labels: &BTreeMap<String, String>) {
    if let Some(affinity) = &mut spec.affinity {
        if let Some(pods) = &mut affinity.pod_affinity {
            let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
            preferred.for_each(|term| merge_term(&mut term.pod_affinity_term, labels));
            let required = pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
            required.for_each(|term| merge_term(term, labels));
        }
        if let Some(pods) = &mut affinity.pod_anti_affinity {
            let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
            preferred.for_each(|term| merge_term(&mut term.pod_affinity_term, labels));
            let required = pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
            required.for_each(|term| merge_term(term, labels));
        }
    }
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        merge(constraint.label_selector.as_mut(), keys, "In", labels);
    }
}

fn merge_term(term: &mut PodAffinityTerm, labels: &BTreeMap<String, String>) {
    merge(term.label_selector.as_mut(), term.match_label_keys.as_deref().unwrap_or_default(), "In", labels);
    merge(term.label_selector.as_mut(), term.mismatch_label_keys.as_deref().unwrap_or_default(), "NotIn", labels);
}

/// What selects nothing is not completed.
fn merge(selected: Option<&mut LabelSelector>, keys: &[String], operator: &str, labels: &BTreeMap<String, String>) {
    let Some(selected) = selected else { return };
    for (key, value) in keys.iter().filter_map(|key| Some((key, labels.get(key)?))) {
        selected.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        });
    }
}
