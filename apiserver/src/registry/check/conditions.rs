//! Rules about conditions in a status.
//!
//! Source of the words: `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::labels::qualified_name;
use super::names::require;
use super::{Errors, at, item};

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of \
                      alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                      'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used \
                      for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// A list of conditions, of which there is one of a type.
pub(in crate::registry) fn conditions(errors: &mut Errors, parent: &str, field: &str, all: &[Condition]) {
    let mut seen = BTreeSet::new();
    for (index, condition) in all.iter().enumerate() {
        let path = item(parent, field, index);
        if !seen.insert(condition.type_.as_str()) {
            errors.push(FieldError::duplicate(at(&path, "type"), condition.type_.as_str()));
        }
        one(errors, &path, condition);
    }
}

fn one(errors: &mut Errors, path: &str, condition: &Condition) {
    require(errors, &at(path, "type"), &condition.type_, qualified_name);
    if !STATUSES.contains(&condition.status.as_str()) {
        errors.push(FieldError::not_supported(at(path, "status"), condition.status.as_str(), &STATUSES));
    }
    if let Some(generation) = condition.observed_generation.filter(|g| *g < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(at(path, "observedGeneration"), generation, detail));
    }
    // A time that is not stated is read as the beginning of all time.
    if condition.last_transition_time.0 == jiff::Timestamp::UNIX_EPOCH {
        errors.push(FieldError::required(at(path, "lastTransitionTime"), "must be set"));
    }
    let reason = condition.reason.as_str();
    if reason.is_empty() {
        errors.push(FieldError::required(at(path, "reason"), "must be set"));
    } else {
        if !is_reason(reason) {
            errors.push(FieldError::invalid(at(path, "reason"), reason, REASON));
        }
        if reason.len() > REASON_BYTES_MAX {
            errors.push(FieldError::too_long(at(path, "reason"), REASON_BYTES_MAX));
        }
    }
    if condition.message.len() > MESSAGE_BYTES_MAX {
        errors.push(FieldError::too_long(at(path, "message"), MESSAGE_BYTES_MAX));
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(word)
        && reason.chars().all(|c| word(c) || matches!(c, ',' | ':'))
}
