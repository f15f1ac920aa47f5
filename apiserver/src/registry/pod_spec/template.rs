//! The rules for the template of a workload, and for the selector that must find its pods.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::selector::Selector;
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::annotations;
use super::spec::{self, Holder};
use crate::registry::check::Errors;
use crate::registry::check::labels;
use crate::registry::check::path::Path;

/// The rules for any template.
pub(in crate::registry) fn validate_any(errors: &mut Errors, path: Path<'_>, template: &PodTemplateSpec) {
    let (empty, none) = (PodSpec::default(), BTreeMap::new());
    let spec = template.spec.as_ref().unwrap_or(&empty);
    let meta = template.metadata.as_ref();
    let map = meta.and_then(|m| m.annotations.as_ref()).unwrap_or(&none);
    labels::labels(errors, path.field("labels"), meta.and_then(|m| m.labels.as_ref()).unwrap_or(&none));
    labels::annotations(errors, path.field("annotations"), map);
    annotations::validate(errors, path.field("annotations"), map, spec);
    let place = path.field("spec");
    spec::validate(errors, place, spec, Holder::Template);
    annotations::validate_agreement(errors, place, map, spec);
    if spec.ephemeral_containers.as_ref().is_some_and(|c| !c.is_empty()) {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(place.field("ephemeralContainers"), detail));
    }
}

/// The rules for a workload's template: those for any, that the selector finds its pods, and that these are always
/// started again. `selector` is what [`validate_selector`] gave; without it the template is not looked at.
pub(in crate::registry) fn validate(
    errors: &mut Errors,
    path: Path<'_>,
    template: &PodTemplateSpec,
    selector: Option<&Selector>,
    replicas: i32,
) {
    let Some(selector) = selector else { return };
    let none = BTreeMap::new();
    let own = template.metadata.as_ref().and_then(|m| m.labels.as_ref()).unwrap_or(&none);
    if !selector.matches(own) {
        let path = path.field("metadata");
        let shown = serde_json::to_value(own).unwrap_or_default();
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(path.field("labels"), shown, detail));
    }
    validate_any(errors, path, template);
    let empty = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    let path = path.field("spec");
    if replicas > 1 {
        read_only_disks(errors, path.field("volumes"), spec);
    }
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    if policy != "Always" {
        errors.push(FieldError::not_supported(path.field("restartPolicy"), policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden(path.field("activeDeadlineSeconds"), detail));
    }
}

/// A disk that several pods share can only be read.
fn read_only_disks(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let Some(disk) = volume.gce_persistent_disk.as_ref().filter(|d| d.read_only != Some(true)) else { continue };
        let path = path.index(index);
        let path = path.field("gcePersistentDisk");
        let detail = "must be true for replicated pods > 1; GCE PD can only be mounted on multiple machines if it is \
                      read-only";
        errors.push(FieldError::invalid(path.field("readOnly"), disk.read_only.unwrap_or(false), detail));
    }
}

/// The rules for a workload's selector; gives what it selects by, if it can be read. Without one nothing is selected.
pub(in crate::registry) fn validate_selector(
    errors: &mut Errors,
    path: Path<'_>,
    selector: Option<&LabelSelector>,
    workload: &str,
) -> Option<Selector> {
    let Some(selector) = selector else {
        errors.push(FieldError::required(path, ""));
        return Some(Selector::nothing());
    };
    let before = errors.len();
    labels::selector(errors, path, selector);
    let broken = errors.len() > before;
    let labels = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty);
    if labels && selector.match_expressions.as_ref().is_none_or(Vec::is_empty) {
        let detail = format!("empty selector is invalid for {workload}");
        errors.push(FieldError::invalid(path, labels::shown(selector), detail));
    }
    let parsed = Selector::from_structured(selector).ok().filter(|_| !broken);
    if parsed.is_none() {
        errors.push(FieldError::invalid(path, labels::shown(selector), "invalid label selector"));
    }
    parsed
}
