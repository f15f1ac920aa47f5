//! The texts that a `fieldSelector` compares.
//!
//! A field that is absent compares as its zero value: empty, `0` or `false`, as upstream's typed objects do.

use std::borrow::Cow;

use super::{Row, Scope};
use crate::object::members;

/// Fields that every kind offers.
const COMMON: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// Offered fields that are no text, and what they are when absent.
const ZEROS: [(&str, &str); 4] = [
    ("spec.hostNetwork", "false"),
    ("spec.unschedulable", "false"),
    ("status.replicas", "0"),
    ("status.succeeded", "0"),
];

/// Fields that are selected by another name than their own, of kinds of which there is one.
const ALIASES: [(&str, &str, &str); 2] =
    [("Pod", "spec.host", "spec.nodeName"), ("Job", "status.successful", "status.succeeded")];

/// Kinds that refuse a field in words of their own: what stands before the field's name, and after it.
const REFUSALS: [(&str, &str, &str); 2] = [
    ("Job", "field label ", " not supported for batchv1.Job"),
    ("CronJob", "field label ", " not supported for \"CronJob\""),
];

/// The field by which objects of this kind can be selected that goes by this name.
///
/// # Errors
/// Upstream's words, when the kind has none.
pub fn offered<'a>(row: &Row, path: &'a str) -> Result<&'a str, String> {
    let alias = ALIASES.iter().find(|(kind, alias, _)| *kind == row.kind && *alias == path);
    if let Some((_, _, path)) = alias {
        return Ok(path);
    }
    // Kinds of the cluster that offer fields of their own do not offer the namespace, which they do not have.
    let of_the_cluster = row.scope == Scope::Cluster && !row.fields.is_empty() && path == COMMON[1];
    if COMMON.contains(&path) && !of_the_cluster || row.fields.contains(&path) {
        return Ok(path);
    }
    if row.fields.is_empty() {
        let [name, namespace] = COMMON;
        return Err(format!("{path:?} is not a known field selector: only {name:?}, {namespace:?}"));
    }
    Err(match REFUSALS.iter().find(|(kind, _, _)| *kind == row.kind) {
        Some((_, before, after)) => format!("{before}{path:?}{after}"),
        None => format!("field label not supported: {path}"),
    })
}

/// The text of a field of an encoded object.
pub(crate) fn text<'a>(object: &'a [u8], path: &str) -> Cow<'a, str> {
    let Some(found) = members::find(object, path) else { return absent(object, path) };
    match found {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => String::from_utf8_lossy(inner),
        [b'"', ..] => Cow::Owned(serde_json::from_slice(found).unwrap_or_default()),
        [b'{' | b'[', ..] | b"null" => absent(object, path),
        bare => String::from_utf8_lossy(bare),
    }
}

fn absent<'a>(object: &'a [u8], path: &str) -> Cow<'a, str> {
    // An event's source goes by either of two names.
    if path == "source" {
        return match text(object, "source.component") {
            component if component.is_empty() => text(object, "reportingComponent"),
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
        let object = json!({"metadata": {"name": "x"}, "spec": {"unschedulable": true, "nodeName": "a\"b"},
            "status": {"replicas": 3, "phase": null}, "reportingComponent": "r", "source": {}})
        .to_string();
        for (path, expected) in [
            ("metadata.name", "x"),
            ("metadata.namespace", ""),
            ("spec.unschedulable", "true"),
            ("spec.hostNetwork", "false"),
            ("status.replicas", "3"),
            ("status.phase", ""),
            ("spec.nodeName", "a\"b"),
            ("source", "r"),
        ] {
            assert_eq!(text(object.as_bytes(), path), expected, "{path}");
        }
        assert_eq!(text(b"{}", "status.replicas"), "0");
    }
}
