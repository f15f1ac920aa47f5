//! Rules about labels, annotations and the selectors over them.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::selector::{LABEL_VALUE_RULE, QUALIFIED_NAME_RULE, is_label_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::names::{self, LABEL_MAX, require};
use super::{Errors, at, item};

/// Keys of labels, annotations, finalizers: an optional subdomain and `/`, then a name.
pub(in crate::registry) fn qualified_name(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                broken.push("prefix part must be non-empty".to_owned());
            } else {
                broken.extend(names::subdomain(prefix).into_iter().map(|rule| format!("prefix part {rule}")));
            }
            name
        }
        _ => {
            let rule = QUALIFIED_NAME_RULE.trim_start_matches("name part");
            let hint = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name{rule} {hint}")];
        }
    };
    if name.is_empty() {
        broken.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        broken.push(format!("name part must be no more than {LABEL_MAX} characters"));
    }
    if name.is_empty() || !name.split_at_checked(LABEL_MAX).map_or(is_label_value(name), |(head, _)| shaped(head)) {
        broken.push(QUALIFIED_NAME_RULE.to_owned());
    }
    broken
}

fn shaped(head: &str) -> bool {
    is_label_value(head.trim_end_matches(['-', '_', '.']))
}

/// Values of labels.
pub(in crate::registry) fn label_value(value: &str) -> Vec<String> {
    if value.len() > LABEL_MAX {
        return vec![format!("must be no more than {LABEL_MAX} characters")];
    }
    if is_label_value(value) { Vec::new() } else { vec![LABEL_VALUE_RULE.to_owned()] }
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
