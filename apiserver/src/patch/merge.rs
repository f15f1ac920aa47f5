//! Merge patch (RFC 7386): what the patch has takes the place of what was there, null takes it away.
//!
//! As upstream does, nulls are taken out of objects inside lists too.

use serde_json::{Map, Value};

/// The object that a merge patch makes of another.
pub(super) fn apply(target: &Value, patch: &Map<String, Value>) -> Value {
    let mut merged = match target {
        Value::Object(target) => target.clone(),
        _ => Map::new(),
    };
    merge(&mut merged, patch);
    Value::Object(merged)
}

fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, new) in patch {
        match (target.get_mut(name), new) {
            (_, Value::Null) => {
                target.remove(name);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, new) => {
                target.insert(name.clone(), without_nulls(new));
            }
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use crate::patch::tests::{any_object, without_nulls};
    use crate::patch::{Patch, PatchError};

    use super::Value;

    fn merged(target: &Value, patch: &Value) -> Value {
        Patch::merge(patch.to_string().as_bytes()).unwrap().apply(target, "").unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [1, 2]}), json!({"a": [3, null]}), json!({"a": [3, null]})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(&target, &patch), expected);
        }
    }

    #[test]
    fn nulls_are_taken_out_of_objects_in_lists() {
        assert_eq!(merged(&json!({"a": [1]}), &json!({"a": [{"b": null, "c": 1}]})), json!({"a": [{"c": 1}]}));
    }

    #[test]
    fn only_an_object_is_a_merge_patch() {
        for (bad, why) in [
            ("[]", "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
            ("null", "Invalid JSON Patch"),
            ("", "error decoding patch: unexpected end of JSON input"),
            ("{", "error decoding patch: unexpected end of JSON input"),
        ] {
            assert_eq!(Patch::merge(bad.as_bytes()), Err(PatchError::Malformed(why.to_owned())));
        }
        assert!(Patch::merge(b"a: b").is_err());
    }

    proptest! {
        #[test]
        fn an_empty_patch_changes_nothing(object in any_object()) {
            prop_assert_eq!(merged(&object, &json!({})), object);
        }

        #[test]
        fn the_same_patch_twice_is_the_same_as_once(object in any_object(), patch in any_object()) {
            let once = merged(&object, &patch);
            prop_assert_eq!(merged(&once, &patch), once);
        }

        #[test]
        fn a_patch_over_nothing_is_the_patch(patch in any_object()) {
            let patch = without_nulls(&patch);
            prop_assert_eq!(merged(&json!({}), &patch), patch);
        }
    }
}
