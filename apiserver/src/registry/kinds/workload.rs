//! Rules that kinds with a template of pods share, beside those for the template itself.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::selector::Selector;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::registry::check::numbers::not_negative;
use crate::registry::check::{Errors, labels};

/// Where a workload says which pods are its own.
pub(super) const SELECTOR: &str = "spec.selector";

/// The labels of a template.
pub(super) fn own_labels(template: &PodTemplateSpec) -> BTreeMap<String, String> {
    template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default()
}

/// Numbers of a status: none is negative.
pub(super) fn counted(errors: &mut Errors, counts: &[(&str, i64)]) {
    for (field, count) in counts {
        not_negative(errors, format!("status.{field}"), *count);
    }
}

/// Numbers of a status that are parts of all replicas.
pub(super) fn parts(errors: &mut Errors, all: i32, counts: &[(&str, Option<i32>)]) {
    for (field, count) in counts {
        let count = count.unwrap_or(0);
        if count > all {
            let detail = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(format!("status.{field}"), count, detail));
        }
    }
}

/// How often names of revisions collided: it never gets less.
pub(super) fn collisions(errors: &mut Errors, new: Option<i32>, old: Option<i32>) {
    if new.unwrap_or(0) < old.unwrap_or(0) {
        let detail = "cannot be decremented";
        errors.push(FieldError::invalid("status.collisionCount", new.unwrap_or(0), detail));
    }
}

/// The rules for a selector; gives what it selects by, if it can be read. None at all selects nothing.
pub(super) fn selector(errors: &mut Errors, selector: Option<&LabelSelector>, kind: &str) -> Option<Selector> {
    let Some(selector) = selector else { return Some(Selector::nothing()) };
    let before = errors.len();
    labels::selector(errors, SELECTOR, selector);
    let broken = errors.len() > before;
    let no_labels = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty);
    if no_labels && selector.match_expressions.as_ref().is_none_or(Vec::is_empty) {
        let detail = format!("empty selector is invalid for {kind}");
        errors.push(FieldError::invalid(SELECTOR, labels::shown(selector), detail));
    }
    Selector::from_structured(selector).ok().filter(|_| !broken)
}

/// The selector finds the template's own pods.
pub(super) fn finds(errors: &mut Errors, selector: &Selector, template: &PodTemplateSpec) {
    let own = own_labels(template);
    if !selector.matches(&own) {
        let shown = serde_json::to_value(&own).unwrap_or_default();
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", shown, detail));
    }
}

/// The pods of a template are always started again, and for ever.
pub(super) fn always(errors: &mut Errors, template: &PodTemplateSpec, kind: &str) {
    let Some(pod) = &template.spec else { return };
    let policy = pod.restart_policy.as_deref().unwrap_or_default();
    if policy != "Always" {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    if pod.active_deadline_seconds.is_some() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden("spec.template.spec.activeDeadlineSeconds", detail));
    }
}
