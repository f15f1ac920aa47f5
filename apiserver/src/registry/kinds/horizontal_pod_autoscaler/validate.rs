//! The rules for HorizontalPodAutoscalers.

use coracle_api::field::FieldError;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus,
};

use super::metrics;
use crate::registry::check::names::{path_segment, require};
use crate::registry::check::numbers::{not_negative, quantity_not_negative};
use crate::registry::check::{Errors, at, item};

/// How long it may wait before it scales: an hour.
const STABILIZATION_SECONDS_MAX: i32 = 3600;
/// How long a change may count against a policy: half an hour.
const PERIOD_SECONDS_MAX: i32 = 1800;

/// The rules for what is wanted.
pub(super) fn spec(spec: &HorizontalPodAutoscalerSpec) -> Errors {
    let mut errors = Vec::new();
    let least = spec.min_replicas;
    if let Some(least) = least.filter(|least| *least < 1) {
        errors.push(FieldError::invalid("spec.minReplicas", least, "must be greater than or equal to 1"));
    }
    if spec.max_replicas < 1 {
        errors.push(FieldError::invalid("spec.maxReplicas", spec.max_replicas, "must be greater than 0"));
    }
    if least.is_some_and(|least| spec.max_replicas < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", spec.max_replicas, detail));
    }
    reference(&mut errors, "spec.scaleTargetRef", &spec.scale_target_ref);
    let version = spec.scale_target_ref.api_version.as_deref().unwrap_or_default();
    if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid("spec.scaleTargetRef.apiVersion", version, detail));
    }
    metrics::validate(&mut errors, spec.metrics.as_deref().unwrap_or_default(), least);
    if let Some(behavior) = &spec.behavior {
        validate_behavior(&mut errors, behavior);
    }
    errors
}

/// The rules for what is told about it.
pub(super) fn status(status: Option<&HorizontalPodAutoscalerStatus>) -> Errors {
    let mut errors = Vec::new();
    if let Some(status) = status {
        not_negative(&mut errors, "status.currentReplicas".to_owned(), status.current_replicas.unwrap_or(0));
        not_negative(&mut errors, "status.desiredReplicas".to_owned(), status.desired_replicas);
    }
    errors
}

/// The rules for a reference to an object that is scaled or measured.
pub(super) fn reference(errors: &mut Errors, path: &str, reference: &CrossVersionObjectReference) {
    for (field, value) in [("kind", &reference.kind), ("name", &reference.name)] {
        if value.is_empty() {
            errors.push(FieldError::required(at(path, field), ""));
        } else {
            require(errors, &at(path, field), value, path_segment);
        }
    }
}

fn validate_behavior(errors: &mut Errors, behavior: &HorizontalPodAutoscalerBehavior) {
    for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
        if let Some(rules) = rules {
            validate_rules(errors, &at("spec.behavior", field), rules);
        }
    }
}

fn validate_rules(errors: &mut Errors, path: &str, rules: &HPAScalingRules) {
    let window = at(path, "stabilizationWindowSeconds");
    match rules.stabilization_window_seconds {
        Some(seconds) if seconds < 0 => {
            errors.push(FieldError::invalid(window, seconds, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > STABILIZATION_SECONDS_MAX => {
            let detail = format!("must be less than or equal to {STABILIZATION_SECONDS_MAX}");
            errors.push(FieldError::invalid(window, seconds, detail));
        }
        Some(_) | None => {}
    }
    let selections = ["Disabled", "Max", "Min"];
    if let Some(selection) = rules.select_policy.as_deref().filter(|s| !selections.contains(s)) {
        errors.push(FieldError::not_supported(at(path, "selectPolicy"), selection, &selections));
    }
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.push(FieldError::required(at(path, "policies"), "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = item(path, "policies", index);
        let kinds = ["Percent", "Pods"];
        if !kinds.contains(&policy.type_.as_str()) {
            errors.push(FieldError::not_supported(at(&path, "type"), policy.type_.as_str(), &kinds));
        }
        for (field, value) in [("value", policy.value), ("periodSeconds", policy.period_seconds)] {
            if value <= 0 {
                errors.push(FieldError::invalid(at(&path, field), value, "must be greater than zero"));
            }
        }
        if policy.period_seconds > PERIOD_SECONDS_MAX {
            let detail = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            errors.push(FieldError::invalid(at(&path, "periodSeconds"), policy.period_seconds, detail));
        }
    }
    if let Some(tolerance) = &rules.tolerance {
        quantity_not_negative(errors, at(path, "tolerance"), tolerance);
    }
}
