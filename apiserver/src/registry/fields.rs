//! The texts that a `fieldSelector` compares.
//!
//! A field that is absent compares as its zero value: empty, `0` or `false`, as upstream's typed objects do.

use std::borrow::Cow;

use serde_json::Value;

use super::Row;

/// Fields that every kind offers.
const COMMON: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// Offered fields that are no text, and what they are when absent.
const ZEROS: [(&str, &str); 3] =
    [("spec.hostNetwork", "false"), ("spec.unschedulable", "false"), ("status.replicas", "0")];

/// Whether objects of this kind can be selected by this field.
#[must_use]
pub fn offers(row: &Row, path: &str) -> bool {
    COMMON.contains(&path) || row.fields.contains(&path)
}

/// The text of a field.
#[must_use]
pub fn value<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    let found = path.split('.').try_fold(object, |value, name| value.get(name));
    match found {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Bool(yes)) => Cow::Borrowed(if *yes { "true" } else { "false" }),
        Some(Value::Number(number)) => Cow::Owned(number.to_string()),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => absent(object, path),
    }
}

fn absent<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    // An event's source goes by either of two names.
    if path == "source" {
        return match value(object, "source.component") {
            component if component.is_empty() => value(object, "reportingComponent"),
            component => component,
        };
    }
    Cow::Borrowed(ZEROS.iter().find(|(field, _)| *field == path).map_or("", |(_, zero)| zero))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_compare_as_texts() {
        let object = json!({"metadata": {"name": "x"}, "spec": {"unschedulable": true}, "status": {"replicas": 3},
            "reportingComponent": "r", "source": {}});
        for (path, expected) in [
            ("metadata.name", "x"),
            ("metadata.namespace", ""),
            ("spec.unschedulable", "true"),
            ("spec.hostNetwork", "false"),
            ("status.replicas", "3"),
            ("status.phase", ""),
            ("source", "r"),
        ] {
            assert_eq!(value(&object, path), expected, "{path}");
        }
        assert_eq!(value(&json!({}), "status.replicas"), "0");
    }
}
