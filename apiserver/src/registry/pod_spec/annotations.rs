//! The rules for the annotations of a pod or a template that mean something to Kubernetes, or to Coracle.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::outside::{ANNOTATION_ALLOW_OUTSIDE, ANNOTATION_ALLOWED_HOSTS, Outside};
use k8s_openapi::api::core::v1::{PodSpec, Toleration};

use super::{profiles, tolerations};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, text};

/// Marks the image that a node keeps in the API of a pod of its own.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Tolerations as JSON, from before they had a field.
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
/// What it costs to delete this pod rather than another one of its ReplicaSet.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// What the pod may reach outside.
const OUTSIDE: [&str; 2] = [ANNOTATION_ALLOW_OUTSIDE, ANNOTATION_ALLOWED_HOSTS];
/// Whoever may label a running pod shall not open it.
const OUTSIDE_STAYS: &str = "may not be changed: what a pod may reach outside is fixed when it is created";

/// The rules for the annotations at `path`, which are those of the pods with this spec.
pub(in crate::registry) fn validate(
    errors: &mut Errors,
    path: Path<'_>,
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
) {
    if let Some(value) = annotations.get(MIRROR).filter(|_| text(&spec.node_name).is_empty()) {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(path.key(MIRROR), value.as_str(), detail));
    }
    if let Some(value) = annotations.get(TOLERATIONS).filter(|value| !value.is_empty()) {
        match serde_json::from_str::<Vec<Toleration>>(value) {
            Ok(parsed) => tolerations::validate(errors, path.field(TOLERATIONS), &parsed),
            Err(error) => errors.push(FieldError::invalid(path, TOLERATIONS, error.to_string())),
        }
    }
    if let Some(cost) = annotations.get(DELETION_COST).filter(|cost| !is_number(cost)) {
        errors.push(FieldError::invalid(path.key(DELETION_COST), cost.as_str(), "must be a 32bit integer"));
    }
    profiles::validate_annotations(errors, path, annotations, spec);
    if let Err(refused) = Outside::of(annotations) {
        errors.push(FieldError::invalid(path.key(refused.annotation), refused.value.as_str(), refused.why.clone()));
    }
}

/// A number of 32 bits, written without a plus or leading zeros.
fn is_number(text: &str) -> bool {
    let plain = text == "0" || text.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c));
    plain && text.parse::<i32>().is_ok()
}

/// The annotations and the fields of a new pod that say the same thing must agree. `path` is that of the spec.
pub(in crate::registry) fn validate_agreement(
    errors: &mut Errors,
    path: Path<'_>,
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
) {
    profiles::validate_agreement(errors, path, annotations, spec);
}

/// The rules for a change of a pod's annotations: what a node has acted on stays as it is.
pub(in crate::registry) fn validate_update(
    errors: &mut Errors,
    path: Path<'_>,
    new: &BTreeMap<String, String>,
    old: &BTreeMap<String, String>,
) {
    let app_armor = |key: &str| key.starts_with(profiles::APP_ARMOR_CONTAINER);
    for (key, _) in old.iter().filter(|(key, value)| new.get(*key) != Some(value)) {
        if app_armor(key) {
            errors.push(FieldError::forbidden(path.key(key), "may not remove or update AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(FieldError::forbidden(path.key(key), "may not remove or update mirror pod annotation"));
        }
        if OUTSIDE.contains(&key.as_str()) {
            errors.push(FieldError::forbidden(path.key(key), OUTSIDE_STAYS));
        }
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        if app_armor(key) {
            errors.push(FieldError::forbidden(path.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(FieldError::forbidden(path.key(key), "may not add mirror pod annotation"));
        }
        if OUTSIDE.contains(&key.as_str()) {
            errors.push(FieldError::forbidden(path.key(key), OUTSIDE_STAYS));
        }
    }
}
