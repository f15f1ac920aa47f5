//! What is wrong with a field: the causes inside a 422 `Invalid` answer.
//!
//! Source: the words of `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;
use serde_json::Value;

use crate::quoted::Quoted;

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
    /// Something went wrong that is not the client's doing.
    Internal,
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
    /// How a bad text is shown.
    manner: Manner,
}

/// How a bad text is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// In quotation marks.
    Quoted,
    /// As it stands.
    Bare,
}

impl FieldError {
    fn new(path: impl Into<String>, problem: Problem, detail: impl Into<String>) -> Self {
        Self { path: path.into(), problem, detail: detail.into(), manner: Manner::Quoted }
    }

    /// Shows a bad text without quotation marks, as upstream shows names of resources and times.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.manner = Manner::Bare;
        self
    }

    /// A field that must be there is not.
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, Problem::Required, detail)
    }

    /// A field's value is of the wrong form.
    pub fn invalid(path: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, Problem::Invalid(value.into()), detail)
    }

    /// A field's value is of the wrong form, and is shown as it stands here, without quotation marks.
    pub fn invalid_as(path: impl Into<String>, shown: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, Problem::Invalid(Value::String(shown.into())), detail).bare()
    }

    /// A field's value is of the wrong JSON type.
    pub fn type_invalid(path: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, Problem::TypeInvalid(value.into()), detail)
    }

    /// A field's value is none of `supported`, which are shown in the order that is given.
    pub fn not_supported(path: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| Quoted(s).to_string()).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self::new(path, Problem::NotSupported(value.into()), detail)
    }

    /// A value stands twice.
    pub fn duplicate(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(path, Problem::Duplicate(value.into()), String::new())
    }

    /// A field may not be set or changed.
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, Problem::Forbidden, detail)
    }

    /// A text has more than `max` bytes.
    pub fn too_long(path: impl Into<String>, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(path, Problem::TooLong, format!("may not be more than {max} {unit}"))
    }

    /// A list has more than `max` entries.
    pub fn too_many(path: impl Into<String>, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("{actual}: must have at most {max} {unit}");
        Self::new(path, Problem::TooMany, detail)
    }

    /// Something went wrong that is not the client's doing.
    pub fn internal(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, Problem::Internal, detail)
    }

    /// A field refers to something that does not exist.
    pub fn not_found(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(path, Problem::NotFound(value.into()), String::new())
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
            Problem::Internal => "InternalError",
        }
    }

    /// The message without the path: `Invalid value: "x": must be y`.
    #[must_use]
    pub fn body(&self) -> String {
        let head = match &self.problem {
            Problem::Required => "Required value".to_owned(),
            Problem::Invalid(v) | Problem::TypeInvalid(v) => format!("Invalid value: {}", shown(v, self.manner)),
            Problem::NotSupported(v) => format!("Unsupported value: {}", shown(v, self.manner)),
            Problem::Duplicate(v) => format!("Duplicate value: {}", shown(v, self.manner)),
            Problem::Forbidden => "Forbidden".to_owned(),
            Problem::TooLong => "Too long".to_owned(),
            Problem::TooMany => "Too many".to_owned(),
            Problem::NotFound(v) => format!("Not found: {}", shown(v, self.manner)),
            Problem::Internal => "Internal error".to_owned(),
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

/// A bad value as upstream prints it: texts in quotation marks, numbers and truths bare, and where Go has nothing the
/// word `null` as a text. Lists and objects are shown as JSON; upstream prints its own types there.
fn shown(value: &Value, manner: Manner) -> String {
    match value {
        Value::String(text) if manner == Manner::Bare => text.clone(),
        Value::Null => "\"null\"".to_owned(),
        Value::String(text) => Quoted(text).to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => float.to_string(),
            Some(_) | None => number.to_string(),
        },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Several problems in one sentence, as upstream's aggregate prints them: one bare, more in brackets, and none twice.
#[must_use]
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut sentences: Vec<String> = Vec::with_capacity(errors.len());
    for sentence in errors.iter().map(ToString::to_string) {
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    match sentences.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_read_as_upstreams() {
        let e = FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0");
        assert_eq!(e.to_string(), "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
        let e = FieldError::not_supported("spec.type", "X", &["ClusterIP", "NodePort"]);
        assert_eq!(e.to_string(), r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "NodePort""#);
        let e = FieldError::too_many("a", 2, 1);
        assert_eq!(e.to_string(), "a: Too many: 2: must have at most 1 item");
        assert_eq!(FieldError::too_long("a", 5).to_string(), "a: Too long: may not be more than 5 bytes");
        assert_eq!(FieldError::internal("a", "b").to_string(), "a: Internal error: b");
    }

    #[test]
    fn a_problem_that_is_found_twice_is_told_once() {
        let (required, duplicate) = (FieldError::required("a", ""), FieldError::duplicate("b", "x"));
        assert_eq!(
            aggregate(&[required.clone(), duplicate, required.clone()]),
            r#"[a: Required value, b: Duplicate value: "x"]"#
        );
        assert_eq!(aggregate(&[required.clone(), required]), "a: Required value");
    }

    #[test]
    fn values_are_shown_as_upstream_shows_them() {
        for (value, expected) in [
            (Value::Null, r#""null""#),
            (json!("a\"b\u{1}"), r#""a\"b\x01""#),
            (json!(-3), "-3"),
            (json!(1.5), "1.5"),
            (json!(2.0), "2"),
            (json!(true), "true"),
            (json!({"a": [1]}), r#"{"a":[1]}"#),
        ] {
            assert_eq!(FieldError::duplicate("x", value).body(), format!("Duplicate value: {expected}"));
        }
        assert_eq!(FieldError::duplicate("x", "cpu").bare().body(), "Duplicate value: cpu");
    }
}
