//! The rules for what a HorizontalPodAutoscaler follows.

use coracle_api::field::FieldError;
use k8s_openapi::api::autoscaling::v2::{MetricIdentifier, MetricSpec, MetricTarget};

use super::validate::reference;
use crate::registry::check::names::{path_segment, require};
use crate::registry::check::numbers::is_positive;
use crate::registry::check::{Errors, at, item};

const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// The rules for all metrics; `least` is how few replicas there may be.
pub(super) fn validate(errors: &mut Errors, metrics: &[MetricSpec], least: Option<i32>) {
    for (index, metric) in metrics.iter().enumerate() {
        one(errors, &item("spec", "metrics", index), metric);
    }
    let from_outside = metrics.iter().any(|m| matches!(m.type_.as_str(), "Object" | "External"));
    if least == Some(0) && !from_outside {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", detail));
    }
}

fn one(errors: &mut Errors, path: &str, metric: &MetricSpec) {
    let kind = metric.type_.as_str();
    if kind.is_empty() {
        errors.push(FieldError::required(at(path, "type"), "must specify a metric source type"));
    }
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(at(path, "type"), kind, &TYPES));
    }
    let present = [
        ("object", metric.object.is_some()),
        ("external", metric.external.is_some()),
        ("pods", metric.pods.is_some()),
        ("resource", metric.resource.is_some()),
        ("containerResource", metric.container_resource.is_some()),
    ];
    let present: Vec<&str> = present.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if let Some(first) = present.first() {
        source(errors, &at(path, first), metric, first);
    }
    let mut expected = kind.to_owned();
    if let Some(head) = expected.get_mut(..1) {
        head.make_ascii_lowercase();
    }
    if TYPES.contains(&kind) && !present.contains(&expected.as_str()) {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(at(path, &expected), detail));
    }
    if present.len() != 1 {
        let others = present.iter().filter(|name| **name != expected);
        let detail = "must populate the given metric source only";
        errors.extend(others.map(|name| FieldError::forbidden(at(path, name), detail)));
    }
}

/// The rules for the one source of a metric, by the name of its field.
fn source(errors: &mut Errors, path: &str, metric: &MetricSpec, field: &str) {
    if let Some(source) = metric.object.as_ref().filter(|_| field == "object") {
        reference(errors, &at(path, "describedObject"), &source.described_object);
        identifier(errors, &at(path, "metric"), &source.metric);
        target(errors, &at(path, "target"), &source.target);
        if source.target.value.is_none() && source.target.average_value.is_none() {
            let detail = "must set either a target value or averageValue";
            errors.push(FieldError::required(at(path, "target.averageValue"), detail));
        }
    }
    if let Some(source) = metric.external.as_ref().filter(|_| field == "external") {
        identifier(errors, &at(path, "metric"), &source.metric);
        target(errors, &at(path, "target"), &source.target);
        match (&source.target.value, &source.target.average_value) {
            (None, None) => {
                let detail = "must set either a target value for metric or a per-pod target";
                errors.push(FieldError::required(at(path, "target.averageValue"), detail));
            }
            (Some(_), Some(_)) => {
                let detail = "may not set both a target value for metric and a per-pod target";
                errors.push(FieldError::forbidden(at(path, "target.value"), detail));
            }
            _ => {}
        }
    }
    if let Some(source) = metric.pods.as_ref().filter(|_| field == "pods") {
        identifier(errors, &at(path, "metric"), &source.metric);
        target(errors, &at(path, "target"), &source.target);
        if !source.target.average_value.as_ref().is_some_and(is_positive) {
            let detail = "must specify a positive target value";
            errors.push(FieldError::required(at(path, "target.averageValue"), detail));
        }
    }
    if let Some(source) = metric.resource.as_ref().filter(|_| field == "resource") {
        named(errors, &at(path, "name"), &source.name, "must specify a resource name");
        target(errors, &at(path, "target"), &source.target);
        utilization_or_value(errors, path, &source.target);
    }
    if let Some(source) = metric.container_resource.as_ref().filter(|_| field == "containerResource") {
        named(errors, &at(path, "name"), &source.name, "must specify a resource name");
        named(errors, &at(path, "container"), &source.container, "must specify a container");
        target(errors, &at(path, "target"), &source.target);
        utilization_or_value(errors, path, &source.target);
    }
}

fn named(errors: &mut Errors, path: &str, name: &str, detail: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, detail));
    }
}

fn identifier(errors: &mut Errors, path: &str, metric: &MetricIdentifier) {
    if metric.name.is_empty() {
        errors.push(FieldError::required(at(path, "name"), "must specify a metric name"));
    } else {
        require(errors, &at(path, "name"), &metric.name, path_segment);
    }
}

fn utilization_or_value(errors: &mut Errors, path: &str, target: &MetricTarget) {
    match (target.average_utilization, &target.average_value) {
        (None, None) => {
            let detail = "must set either a target raw value or a target utilization";
            errors.push(FieldError::required(at(path, "target.averageUtilization"), detail));
        }
        (Some(_), Some(_)) => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(at(path, "target.averageValue"), detail));
        }
        _ => {}
    }
}

fn target(errors: &mut Errors, path: &str, target: &MetricTarget) {
    let kind = target.type_.as_str();
    if kind.is_empty() {
        errors.push(FieldError::required(at(path, "type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(at(path, "type"), kind, detail));
    }
    for (field, quantity) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(quantity) = quantity.as_ref().filter(|quantity| !is_positive(quantity)) {
            errors.push(FieldError::invalid(at(path, field), quantity.0.as_str(), "must be positive"));
        }
    }
    if let Some(utilization) = target.average_utilization.filter(|u| *u < 1) {
        errors.push(FieldError::invalid(at(path, "averageUtilization"), utilization, "must be greater than 0"));
    }
}
