//! Rules about labels, annotations and the selectors over them.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::selector::{broken_by_key, broken_by_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::names::require;
use super::{Errors, at, item};

/// Keys of labels, annotations, finalizers: an optional subdomain and `/`, then a name.
pub(in crate::registry) fn qualified_name(value: &str) -> Vec<String> {
    broken_by_key(value)
}

/// Values of labels.
pub(in crate::registry) fn label_value(value: &str) -> Vec<String> {
    broken_by_value(value)
}

/// A map of labels.
pub(in crate::registry) fn labels(errors: &mut Errors, path: &str, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        require(errors, path, key, qualified_name);
        require(errors, path, value, label_value);
    }
}

/// A structured selector.
pub(in crate::registry) fn selector(errors: &mut Errors, path: &str, selector: &LabelSelector) {
    if let Some(match_labels) = &selector.match_labels {
        labels(errors, &at(path, "matchLabels"), match_labels);
    }
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = item(path, "matchExpressions", index);
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
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(at(&path, "operator"), other, detail));
            }
        }
        require(errors, &at(&path, "key"), &requirement.key, qualified_name);
        for (index, value) in values.iter().enumerate() {
            require(errors, &item(&path, "values", index), value, label_value);
        }
    }
}

/// A selector as a value in an error.
pub(in crate::registry) fn shown(selector: &LabelSelector) -> Value {
    serde_json::to_value(selector).unwrap_or_default()
}
