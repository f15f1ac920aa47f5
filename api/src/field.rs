//! What is wrong with a field: the causes inside a 422 `Invalid` answer.
//!
//! Source: the words of `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;
use serde_json::Value;

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// A value is missing.
    Required,
    /// A value has the wrong form; what it was.
    Invalid(Value),
    /// A value is none of those allowed; what it was.
    NotSupported(Value),
    /// A value stands twice where it must be unique.
    Duplicate(Value),
    /// A field may not be set here, or not be changed.
    Forbidden,
    /// A text is too long.
    TooLong,
    /// A list or map has too many entries.
    TooMany,
    /// Something that is referred to does not exist.
    NotFound(Value),
    /// A value has the wrong JSON type.
    TypeInvalid(Value),
}

/// A problem of one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Where: `spec.containers[0].image`.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
    /// More about it, and what to write instead.
    pub detail: String,
}

impl FieldError {
    /// A field that must be there is not.
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), problem: Problem::Required, detail: detail.into() }
    }

    /// A field's value is of the wrong form.
    pub fn invalid(path: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), problem: Problem::Invalid(value.into()), detail: detail.into() }
    }

    /// A field's value is none of `supported`.
    pub fn not_supported(path: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        Self { path: path.into(), problem: Problem::NotSupported(value.into()), detail }
    }

    /// A value stands twice.
    pub fn duplicate(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { path: path.into(), problem: Problem::Duplicate(value.into()), detail: String::new() }
    }

    /// A field may not be set or changed.
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), problem: Problem::Forbidden, detail: detail.into() }
    }

    /// A text has more than `max` bytes.
    pub fn too_long(path: impl Into<String>, max: usize) -> Self {
        Self { path: path.into(), problem: Problem::TooLong, detail: format!("may not be more than {max} bytes") }
    }

    /// A list has more than `max` entries.
    pub fn too_many(path: impl Into<String>, actual: usize, max: usize) -> Self {
        let detail = format!("{actual}: must have at most {max} items");
        Self { path: path.into(), problem: Problem::TooMany, detail }
    }

    /// A field refers to something that does not exist.
    pub fn not_found(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { path: path.into(), problem: Problem::NotFound(value.into()), detail: String::new() }
    }

    /// The machine-readable reason, as in `Status.details.causes[].reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.problem {
            Problem::Required => "FieldValueRequired",
            Problem::Invalid(_) => "FieldValueInvalid",
            Problem::NotSupported(_) => "FieldValueNotSupported",
            Problem::Duplicate(_) => "FieldValueDuplicate",
            Problem::Forbidden => "FieldValueForbidden",
            Problem::TooLong => "FieldValueTooLong",
            Problem::TooMany => "FieldValueTooMany",
            Problem::NotFound(_) => "FieldValueNotFound",
            Problem::TypeInvalid(_) => "FieldValueTypeInvalid",
        }
    }

    /// The message without the path: `Invalid value: "x": must be y`.
    #[must_use]
    pub fn body(&self) -> String {
        let head = match &self.problem {
            Problem::Required => "Required value".to_owned(),
            Problem::Invalid(v) | Problem::TypeInvalid(v) => format!("Invalid value: {}", shown(v)),
            Problem::NotSupported(v) => format!("Unsupported value: {}", shown(v)),
            Problem::Duplicate(v) => format!("Duplicate value: {}", shown(v)),
            Problem::Forbidden => "Forbidden".to_owned(),
            Problem::TooLong => "Too long".to_owned(),
            Problem::TooMany => "Too many".to_owned(),
            Problem::NotFound(v) => format!("Not found: {}", shown(v)),
        };
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }

    /// The cause that a `Status` carries for it.
    #[must_use]
    pub fn cause(&self) -> StatusCause {
        StatusCause {
            field: Some(self.path.clone()),
            message: Some(self.body()),
            reason: Some(self.reason().to_owned()),
        }
    }
}

/// A bad value as upstream prints it: scalars as JSON, nothing of an object's inside.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Several problems in one sentence, as upstream's aggregate prints them: one bare, more in brackets.
#[must_use]
pub fn aggregate(errors: &[FieldError]) -> String {
    match errors {
        [one] => one.to_string(),
        many => format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_upstreams() {
        let e = FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0");
        assert_eq!(e.to_string(), "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
        let e = FieldError::not_supported("spec.type", "X", &["ClusterIP", "NodePort"]);
        assert_eq!(e.to_string(), r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "NodePort""#);
        let both = [FieldError::required("a", ""), FieldError::duplicate("b", "x")];
        assert_eq!(aggregate(&both), r#"[a: Required value, b: Duplicate value: "x"]"#);
    }
}
