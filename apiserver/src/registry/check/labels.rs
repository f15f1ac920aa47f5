//! Rules about labels, annotations and the selectors over them.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::selector::{broken_by_key, broken_by_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::Errors;
use super::names::require;
use super::path::{Path, Place};

/// All annotations of an object together, keys and values: upstream's 256 KiB, which keeps objects watchable.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Keys of labels, annotations, finalizers: an optional subdomain and `/`, then a name.
pub(in crate::registry) fn qualified_name(value: &str) -> Vec<String> {
    broken_by_key(value)
}

/// Values of labels.
pub(in crate::registry) fn label_value(value: &str) -> Vec<String> {
    broken_by_value(value)
}

/// A map of labels.
pub(in crate::registry) fn labels(errors: &mut Errors, path: impl Place, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        require(errors, path, key, qualified_name);
        require(errors, path, value, label_value);
    }
}

/// A map of annotations.
pub(in crate::registry) fn annotations(errors: &mut Errors, path: impl Place, annotations: &BTreeMap<String, String>) {
    let mut size = 0;
    for (key, value) in annotations {
        size += key.len() + value.len();
        let broken = qualified_name(&key.to_lowercase());
        errors.extend(broken.into_iter().map(|rule| FieldError::invalid(path.told(), key.as_str(), rule)));
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path.told(), ANNOTATIONS_BYTES_MAX));
    }
}

/// A structured selector.
pub(in crate::registry) fn selector<'a>(errors: &mut Errors, path: impl Into<Path<'a>>, selector: &LabelSelector) {
    let path = path.into();
    if let Some(match_labels) = &selector.match_labels {
        labels(errors, path.field("matchLabels"), match_labels);
    }
    let path = path.field("matchExpressions");
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.index(index);
        let place = path.field("values");
        let values = requirement.values.as_deref().unwrap_or_default();
        match requirement.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(place, detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(place, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(path.field("operator"), other, detail));
            }
        }
        require(errors, path.field("key"), &requirement.key, qualified_name);
        for (index, value) in values.iter().enumerate() {
            require(errors, place.index(index), value, label_value);
        }
    }
}

/// A selector as a value in an error.
pub(in crate::registry) fn shown(selector: &LabelSelector) -> Value {
    serde_json::to_value(selector).unwrap_or_default()
}
