//! JSON patch (RFC 6902): a list of operations, all applied or none.
//!
//! As upstream does, `replace` of what is absent adds it, and a `test` for null holds where nothing is.

use json_patch::{AddOperation, PatchOperation, patch_unsafe};
use serde_json::Value;

use super::{PatchError, read};

/// How many operations a patch may have: upstream's limit, which bounds the work of one request.
pub(super) const OPERATIONS_MAX: usize = 10_000;

/// How many bytes all `copy` operations of a patch may copy together: as much as a request may hold. Else a short
/// patch could double an object again and again.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch.
///
/// # Errors
/// [`PatchError`]: what is no JSON patch, is too long, or does not fit the object.
pub fn json(target: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let Value::Array(operations) = read(patch)? else {
        return Err(PatchError::Undecodable("a JSON patch is a list of operations".to_owned()));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut patched = target.clone();
    let mut copied = 0;
    for (index, operation) in operations.into_iter().enumerate() {
        let refused = |why: &dyn std::fmt::Display| PatchError::Refused(format!("operation {index}: {why}"));
        let operation: PatchOperation = serde_json::from_value(operation).map_err(|e| refused(&e))?;
        apply(&mut patched, operation, &mut copied).map_err(|why| refused(&why))?;
    }
    Ok(patched)
}

fn apply(object: &mut Value, operation: PatchOperation, copied: &mut usize) -> Result<(), String> {
    if operation.path().is_root() && !matches!(operation, PatchOperation::Test(_)) {
        return Err("the object as a whole cannot be changed".to_owned());
    }
    let operation = match operation {
        PatchOperation::Test(test) if test.value.is_null() && test.path.resolve(object).is_err() => return Ok(()),
        PatchOperation::Replace(replace) if replace.path.resolve(object).is_err() => {
            PatchOperation::Add(AddOperation { path: replace.path, value: replace.value })
        }
        PatchOperation::Copy(copy) => {
            let value = copy.from.resolve(object).map_err(|e| e.to_string())?;
            *copied = copied.saturating_add(value.to_string().len());
            if *copied > COPIED_BYTES_MAX {
                return Err(format!("all copies together exceed {COPIED_BYTES_MAX} bytes"));
            }
            PatchOperation::Copy(copy)
        }
        other => other,
    };
    patch_unsafe(object, &[operation]).map_err(|e| e.kind.to_string())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::patch::strategic::tests::any_object;

    fn check(patch: &Value, expected: Expect) {
        let target = json!({"data": {"a": "1", "list": [1, 2]}, "metadata": {"labels": {"x": "y"}}});
        let shown = match json(&target, patch.to_string().as_bytes()) {
            Ok(object) => object.to_string(),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn operations_do_what_upstream_does() {
        let one = |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
        check(
            &one("add", "/data/c", json!("3")),
            expect![[r#"{"data":{"a":"1","c":"3","list":[1,2]},"metadata":{"labels":{"x":"y"}}}"#]],
        );
        check(
            &one("add", "/data/list/-", json!(3)),
            expect![[r#"{"data":{"a":"1","list":[1,2,3]},"metadata":{"labels":{"x":"y"}}}"#]],
        );
        check(
            &one("add", "/metadata/labels/a~1b", json!("c")),
            expect![[r#"{"data":{"a":"1","list":[1,2]},"metadata":{"labels":{"a/b":"c","x":"y"}}}"#]],
        );
        check(
            &one("replace", "/data/nope", json!("x")),
            expect![[r#"{"data":{"a":"1","list":[1,2],"nope":"x"},"metadata":{"labels":{"x":"y"}}}"#]],
        );
        check(
            &one("test", "/data/nope", json!(null)),
            expect![[r#"{"data":{"a":"1","list":[1,2]},"metadata":{"labels":{"x":"y"}}}"#]],
        );
        check(
            &json!([{"op": "copy", "from": "/data/a", "path": "/data/e"}, {"op": "move", "from": "/data/list", "path": "/l"}]),
            expect![[r#"{"data":{"a":"1","e":"1"},"l":[1,2],"metadata":{"labels":{"x":"y"}}}"#]],
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let one = |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
        check(&one("test", "/data/a", json!("9")), expect!["operation 0: value did not match"]);
        check(&one("remove", "/data/nope", json!(null)), expect!["operation 0: path is invalid"]);
        check(&one("add", "/nope/x", json!(1)), expect!["operation 0: path is invalid"]);
        check(&one("add", "", json!({})), expect!["operation 0: the object as a whole cannot be changed"]);
        check(&json!({"op": "add"}), expect!["error decoding patch: a JSON patch is a list of operations"]);
        assert!(matches!(json(&json!({}), br#"[{"op":"frob","path":"/a"}]"#), Err(PatchError::Refused(_))));
        assert_eq!(
            json(&json!({}), br#"[{"op":"add""#),
            Err(PatchError::Undecodable("unexpected end of JSON input".to_owned()))
        );
    }

    #[test]
    fn a_patch_is_bounded() {
        let many: Vec<Value> =
            (0..=OPERATIONS_MAX).map(|_| json!({"op": "test", "path": "/a", "value": null})).collect();
        expect!["Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"]
            .assert_eq(&json(&json!({}), Value::from(many).to_string().as_bytes()).unwrap_err().to_string());
        let bomb: Vec<Value> =
            (0..100).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
        let grown = json(&json!({"a": {"x": "y"}}), Value::from(bomb).to_string().as_bytes());
        assert!(matches!(grown, Err(PatchError::Refused(_))));
    }

    proptest! {
        #[test]
        fn an_empty_patch_changes_nothing(object in any_object()) {
            prop_assert_eq!(json(&object, b"[]"), Ok(object));
        }

        #[test]
        fn a_difference_leads_from_one_to_the_other(a in any_object(), b in any_object()) {
            let mut operations = Vec::new();
            for key in a.as_object().unwrap().keys() {
                operations.push(json!({"op": "remove", "path": format!("/{key}")}));
            }
            for (key, value) in b.as_object().unwrap() {
                operations.push(json!({"op": "add", "path": format!("/{key}"), "value": value}));
            }
            prop_assert_eq!(json(&a, Value::from(operations).to_string().as_bytes()), Ok(b));
        }
    }
}
