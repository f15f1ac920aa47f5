//! The three-way merge patch: additions and changes from the difference between server and file,
//! deletions from what was applied last and is no longer in the file. Pure.

use serde_json::{Map, Value};

/// The JSON merge patch (RFC 7386) that brings `current` to what `modified` says, given what `original` said before.
pub(super) fn merge_patch(original: &Value, modified: &Value, current: &Value) -> Value {
    let empty = Map::new();
    let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let Some(modified) = modified.as_object() else { return modified.clone() };
    let (original, current) = (map(original), current.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for (key, wanted) in modified {
        match (wanted, current.get(key)) {
            (Value::Null, None) => {}
            (Value::Object(_), Some(is @ Value::Object(_))) => {
                let inner = merge_patch(original.get(key).unwrap_or(&Value::Null), wanted, is);
                if inner.as_object().is_some_and(|m| !m.is_empty()) {
                    patch.insert(key.clone(), inner);
                }
            }
            (wanted, Some(is)) if wanted == is => {}
            (wanted, _) => {
                patch.insert(key.clone(), wanted.clone());
            }
        }
    }
    for key in original.keys() {
        if !modified.contains_key(key) && current.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_file_dropped_goes_and_what_others_set_stays() {
        let original = json!({"spec": {"replicas": 3, "paused": true, "list": [1]}});
        let modified = json!({"spec": {"list": [1, 2]}});
        let current = json!({"spec": {"replicas": 5, "list": [1], "others": "x"}, "status": {}});
        assert_eq!(merge_patch(&original, &modified, &current), json!({"spec": {"replicas": null, "list": [1, 2]}}));
    }

    #[test]
    fn nothing_to_do_is_an_empty_patch() {
        let file = json!({"a": {"b": [1, {"c": 2}]}});
        let current = json!({"a": {"b": [1, {"c": 2}], "d": 1}});
        assert_eq!(merge_patch(&file, &file, &current), json!({}));
    }
}
