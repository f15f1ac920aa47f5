//! The metadata that the machinery keeps: names, uids, timestamps, generations, finalizers.
//!
//! Pure. A kind's strategy never touches `metadata`, and nothing here touches the rest.

pub(crate) mod deletion;
pub(crate) mod members;
pub(crate) mod name;

use coracle_api::clock::whole_seconds;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::policy::{Counted, Policy};
use crate::registry::{Generation, Row, Scope};

/// The metadata of an object, if it has any.
pub(crate) fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata").and_then(Value::as_object)
}

/// A text of the metadata; empty if absent.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object).and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or("")
}

/// The metadata of an object, made if absent. What is no map becomes one: decoding refused such objects before.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    map_mut(map_mut(object).entry("metadata").or_insert(Value::Null))
}

/// A value as a map, made one if it is none.
pub(crate) fn map_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made a map"),
    }
}

/// Sets a text of the metadata.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    metadata_mut(object).insert(field.to_owned(), value.into());
}

/// The finalizers of an object.
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = metadata(object).and_then(|m| m.get("finalizers")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Replaces the finalizers of an object.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        metadata_mut(object).remove("finalizers");
    } else {
        set(object, "finalizers", finalizers);
    }
}

/// Whether the object is on its way out.
pub(crate) fn is_terminating(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// The object's generation; 0 if its kind has none.
pub(crate) fn generation(object: &Value) -> i64 {
    metadata(object).and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or(0)
}

/// A timestamp as objects hold it.
pub(crate) fn time(at: Timestamp) -> String {
    whole_seconds(at).to_string()
}

/// What of the metadata is the server's alone, and what is not kept at all.
const NOT_THE_CLIENTS: [&str; 7] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// Begins an object's life: what the server alone writes, whatever the client sent for it. Who manages which fields is
/// said when it is admitted.
pub(crate) fn begin(object: &mut Value, row: &Row, namespace: &str, uid: String, now: Timestamp) {
    let meta = metadata_mut(object);
    for field in NOT_THE_CLIENTS {
        meta.remove(field);
    }
    match row.scope {
        Scope::Namespaced => meta.insert("namespace".to_owned(), namespace.into()),
        Scope::Cluster => meta.remove("namespace"),
    };
    meta.insert("uid".to_owned(), uid.into());
    meta.insert("creationTimestamp".to_owned(), time(now).into());
    match row.generation {
        Generation::Never => {}
        Generation::OfSpec | Generation::OfContent => {
            meta.insert("generation".to_owned(), 1.into());
        }
    }
    drop_empty(meta);
}

/// Takes over from the old object the metadata that a change leaves out, and what is not the client's at all: when it
/// was made or began to go, whatever the client says. What else a client names wrongly stays, for the validation to
/// refuse.
pub(crate) fn carry_over(new: &mut Value, old: &Value) {
    let Some(old_meta) = metadata(old) else { return };
    let meta = metadata_mut(new);
    for field in ["selfLink", "generation", "resourceVersion"] {
        meta.remove(field);
    }
    for field in ["generation", "resourceVersion"] {
        if let Some(value) = old_meta.get(field) {
            meta.insert(field.to_owned(), value.clone());
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(value) = old_meta.get(field) {
            meta.insert(field.to_owned(), value.clone());
        }
    }
    for field in ["name", "namespace", "uid", "deletionGracePeriodSeconds"] {
        let absent = meta.get(field).is_none_or(|v| v.is_null() || v == "");
        if let Some(value) = old_meta.get(field).filter(|_| absent) {
            meta.insert(field.to_owned(), value.clone());
        }
    }
    drop_empty(meta);
}

/// Empty lists and maps and nulls say nothing: they are not kept.
fn drop_empty(meta: &mut Map<String, Value>) {
    meta.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    });
}

/// Counts the generation up if what it counts has changed.
pub(crate) fn count_generation(row: &Row, new: &mut Value, old: &Value) {
    let content = |object: &Value| {
        let mut content = object.as_object().cloned().unwrap_or_default();
        content.retain(|key, _| !matches!(key.as_str(), "metadata" | "status"));
        content
    };
    let changed = match row.generation {
        Generation::Never => false,
        Generation::OfSpec => new.get("spec") != old.get("spec"),
        Generation::OfContent => content(new) != content(old),
    };
    let annotations = |object: &Value| metadata(object).and_then(|m| m.get("annotations")).cloned();
    let changed = match Policy::of(row).counted {
        Counted::Content => changed,
        Counted::Annotations => changed || annotations(new) != annotations(old),
    };
    if changed {
        set(new, "generation", generation(old) + 1);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_keeps_what_it_leaves_out_and_cannot_set_what_is_the_servers() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3,
            "resourceVersion": "7", "deletionTimestamp": "d", "labels": {"x": "y"}}});
        let mut new = json!({"metadata": {"name": "a", "generation": 9, "resourceVersion": "6", "deletionTimestamp": null,
            "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "x", "finalizers": []}});
        carry_over(&mut new, &old);
        let expected = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3,
            "resourceVersion": "7", "deletionTimestamp": "d"}});
        assert_eq!(new, expected);
    }
}
