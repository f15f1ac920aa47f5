//! The rules for tolerations.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::Toleration;

use crate::registry::check::labels::{label_value, qualified_name};
use crate::registry::check::names::require;
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, one_of_if_any, text};

/// The rules for a list of them.
pub(in crate::registry) fn validate(errors: &mut Errors, path: Path<'_>, tolerations: &[Toleration]) {
    for (index, toleration) in tolerations.iter().enumerate() {
        one(errors, path.index(index), toleration);
    }
}

fn one(errors: &mut Errors, path: Path<'_>, toleration: &Toleration) {
    let (key, operator) = (text(&toleration.key), text(&toleration.operator));
    let (value, effect) = (text(&toleration.value), text(&toleration.effect));
    let place = path.field("operator");
    if !key.is_empty() {
        require(errors, path.field("key"), key, qualified_name);
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(place, operator, detail));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(path.field("effect"), effect, detail));
    }
    match operator {
        "" | "Equal" => {
            let broken = label_value(value);
            if !broken.is_empty() {
                errors.push(FieldError::invalid(place, value, broken.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.push(FieldError::invalid(place, value, "value must be empty when `operator` is 'Exists'"));
        }
        "Exists" => {}
        other => errors.push(FieldError::not_supported(place, other, &["Equal", "Exists"])),
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    one_of_if_any(errors, path.field("effect"), Some(effect), &effects);
}
