//! Operations by example, and what must hold of every JSON patch.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::Patch;
use crate::patch::tests::any_object;

fn patched(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    Patch::json(patch.to_string().as_bytes())?.apply(target, "")
}

fn check(patch: &Value, expected: Expect) {
    let target = json!({"data": {"a": "1", "list": [1, 2]}, "metadata": {"labels": {"x": "y"}}});
    let shown = match patched(&target, patch) {
        Ok(object) => object.to_string(),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&shown);
}

fn one(op: &str, path: &str, value: Value) -> Value {
    json!([{"op": op, "path": path, "value": value}])
}

#[test]
fn operations_do_what_upstream_does() {
    check(
        &one("add", "/data/c", json!("3")),
        expect![[r#"{"data":{"a":"1","c":"3","list":[1,2]},"metadata":{"labels":{"x":"y"}}}"#]],
    );
    check(
        &one("add", "/data/list/-", json!(3)),
        expect![[r#"{"data":{"a":"1","list":[1,2,3]},"metadata":{"labels":{"x":"y"}}}"#]],
    );
    check(
        &one("add", "/data/list/0", json!(0)),
        expect![[r#"{"data":{"a":"1","list":[0,1,2]},"metadata":{"labels":{"x":"y"}}}"#]],
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
fn an_index_may_count_from_the_end() {
    check(
        &one("replace", "/data/list/-1", json!(9)),
        expect![[r#"{"data":{"a":"1","list":[1,9]},"metadata":{"labels":{"x":"y"}}}"#]],
    );
    check(
        &json!([{"op": "add", "path": "/data/list/-1", "value": 9}, {"op": "remove", "path": "/data/list/-3"}]),
        expect![[r#"{"data":{"a":"1","list":[2,9]},"metadata":{"labels":{"x":"y"}}}"#]],
    );
    check(&one("remove", "/data/list/-3", json!(null)), expect!["operation 0: the index is none of the list"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    check(&one("test", "/data/a", json!("9")), expect!["operation 0: the value is another one"]);
    check(&one("remove", "/data/nope", json!(null)), expect!["operation 0: there is nothing at the path"]);
    check(&one("add", "/nope/x", json!(1)), expect!["operation 0: the path leads nowhere"]);
    check(&one("add", "/data/a/x", json!(1)), expect!["operation 0: the path leads nowhere"]);
    check(&one("add", "", json!({})), expect!["operation 0: the path leads nowhere"]);
    check(&one("add", "/data/list/3", json!(1)), expect!["operation 0: the index is none of the list"]);
    check(&one("add", "/data/list/x", json!(1)), expect!["operation 0: the index is none of the list"]);
    check(&one("frob", "/data/a", json!(1)), expect!["operation 0: no such operation"]);
    check(&json!([{"op": "add", "value": 1}]), expect!["operation 0: the path is missing"]);
    check(&json!([{"op": "move", "path": "/a"}]), expect!["operation 0: the path is missing"]);
}

#[test]
fn what_is_no_list_of_operations_is_refused() {
    check(
        &json!({"op": "add"}),
        expect!["error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"],
    );
    check(
        &json!(["x"]),
        expect!["error decoding patch: json: cannot unmarshal string into Go value of type handlers.jsonPatchOp"],
    );
    check(
        &json!([{"op": 1}]),
        expect![
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"
        ],
    );
    expect!["error decoding patch: unexpected end of JSON input"]
        .assert_eq(&Patch::json(br#"[{"op":"add""#).unwrap_err().to_string());
}

#[test]
fn fields_that_no_operation_has_and_that_stand_twice_are_told() {
    let patch = Patch::json(br#"[{"op":"add","path":"/a","path":"/b","value":{"x":1,"x":2},"frob":1}]"#).unwrap();
    expect![[r#"
        json patch duplicate field "[0].path"
        json patch duplicate field "[0].value.x"
        json patch unknown field "[0].frob""#]]
    .assert_eq(&patch.problems().join("\n"));
}

#[test]
fn a_patch_is_bounded() {
    let many: Vec<Value> = (0..=OPERATIONS_MAX).map(|_| json!({"op": "test", "path": "/a", "value": null})).collect();
    expect!["Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"]
        .assert_eq(&patched(&json!({}), &many.into()).unwrap_err().to_string());
    let bomb: Vec<Value> = (0..100).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
    assert!(matches!(patched(&json!({"a": {"x": "y"}}), &bomb.into()), Err(PatchError::Unfit(_))));
}

#[test]
fn insertions_at_the_front_of_a_long_list_are_bounded() {
    let long = json!({"a": vec![1; 500_000]});
    let inserts: Vec<Value> = (0..OPERATIONS_MAX).map(|_| json!({"op": "add", "path": "/a/0", "value": 1})).collect();
    let started = Instant::now();
    assert!(matches!(patched(&long, &inserts.into()), Err(PatchError::Unfit(_))));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Operations that mostly fit what [`any_object`] makes.
fn any_operation() -> impl Strategy<Value = Value> {
    let path = || "(/([a-d]|[0-2]|-|-1|~0|~1)){0,3}";
    let op = prop_oneof![
        Just("add"),
        Just("remove"),
        Just("replace"),
        Just("move"),
        Just("copy"),
        Just("test"),
        Just("frob")
    ];
    (op, path(), path(), any_object())
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
}

proptest! {
    #[test]
    fn an_empty_patch_changes_nothing(object in any_object()) {
        prop_assert_eq!(patched(&object, &json!([])), Ok(object));
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
        prop_assert_eq!(patched(&a, &operations.into()), Ok(b));
    }

    #[test]
    fn what_was_added_is_there(object in any_object(), value in any_object()) {
        let patch = json!([{"op": "add", "path": "/a", "value": value}, {"op": "test", "path": "/a", "value": value}]);
        prop_assert!(patched(&object, &patch).is_ok());
    }

    #[test]
    fn no_operations_make_it_fail_otherwise_than_by_an_error(
        object in any_object(),
        operations in prop::collection::vec(any_operation(), 0..8),
    ) {
        let _ = patched(&object, &operations.into());
    }
}
