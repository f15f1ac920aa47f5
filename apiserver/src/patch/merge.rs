//! Merge patch (RFC 7386): what the patch has takes the place of what was there, null takes it away.

use serde_json::Value;

use super::{PatchError, read};

/// Applies a merge patch.
///
/// # Errors
/// [`PatchError::Undecodable`] if the patch is not a JSON object.
pub fn merge(target: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch = read(patch)?;
    if !patch.is_object() {
        return Err(PatchError::Undecodable("a merge patch is an object".to_owned()));
    }
    let mut patched = target.clone();
    json_patch::merge(&mut patched, &patch);
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::patch::strategic::tests::{any_object, without_nulls};

    fn merged(target: &Value, patch: &Value) -> Value {
        merge(target, patch.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [1, 2]}), json!({"a": [{"b": null}]}), json!({"a": [{"b": null}]})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(&target, &patch), expected);
        }
    }

    #[test]
    fn only_an_object_is_a_merge_patch() {
        for bad in ["[]", "\"x\"", "null", "{", "a: b"] {
            assert!(matches!(merge(&json!({}), bad.as_bytes()), Err(PatchError::Undecodable(_))), "{bad}");
        }
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
