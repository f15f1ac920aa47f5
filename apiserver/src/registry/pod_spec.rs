//! The spec of a pod, alone or in a template: defaults, rules and warnings that pods and workloads share.

mod containers;
mod defaults;
mod environment;
mod probes;
mod resources;
mod scheduling;
mod spec;
mod volumes;
mod warnings;

use coracle_api::field::FieldError;
use coracle_api::selector::Selector;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::check::{Errors, at, labels};

pub(super) use defaults::{default_spec, default_template};
pub(super) use resources::quality_of_service;
pub(super) use spec::validate_spec;
pub(super) use warnings::warnings as spec_warnings;

/// Warnings about a template.
pub(super) fn template_warnings(path: &str, template: &PodTemplateSpec) -> Vec<String> {
    template.spec.as_ref().map_or_else(Vec::new, |spec| warnings::warnings(&at(path, "spec"), spec))
}

/// The rules for a workload's template: those for a pod, and that its pods are always started again.
pub(super) fn validate_template(errors: &mut Errors, path: &str, template: &PodTemplateSpec) {
    if let Some(map) = template.metadata.as_ref().and_then(|m| m.labels.as_ref()) {
        labels::labels(errors, &at(path, "labels"), map);
    }
    let empty = k8s_openapi::api::core::v1::PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    let path = at(path, "spec");
    let before = errors.len();
    validate_spec(errors, &path, spec);
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    if policy != "Always" {
        // The narrower rule alone is told of a policy that is wrong for other reasons too.
        let place = at(&path, "restartPolicy");
        let mut index = 0;
        errors.retain(|e| {
            index += 1;
            index <= before || e.path != place
        });
        errors.push(FieldError::not_supported(place, policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden(at(&path, "activeDeadlineSeconds"), detail));
    }
}

/// The rules for a workload's selector: it is there, and selects the template's own pods.
pub(super) fn validate_selector(
    errors: &mut Errors,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    workload: &str,
) {
    const PATH: &str = "spec.selector";
    let empty = selector.match_labels.as_ref().is_none_or(|l| l.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        errors.push(FieldError::required(PATH, format!("an empty selector is invalid for a {workload}")));
    }
    let before = errors.len();
    labels::selector(errors, PATH, selector);
    if errors.len() > before {
        errors.push(FieldError::invalid(PATH, labels::shown(selector), "invalid label selector"));
        return;
    }
    let none = std::collections::BTreeMap::new();
    let own = template.metadata.as_ref().and_then(|m| m.labels.as_ref()).unwrap_or(&none);
    let selects = !empty && Selector::from_structured(selector).is_ok_and(|s| s.matches(own));
    if !selects {
        let shown = serde_json::to_value(own).unwrap_or_default();
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", shown, detail));
    }
}
