//! Directives by example, and what must hold of every patch.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::Patch;
use crate::patch::tests::{any_object, without_nulls};

const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn patched(target: &Value, patch: &Value, schema: &str) -> Result<Value, PatchError> {
    Patch::strategic(patch.to_string().as_bytes())?.apply(target, schema)
}

fn check(schema: &str, target: Value, patch: Value, expected: Expect) {
    let shown = match patched(&target, &patch, schema) {
        Ok(object) => object.to_string(),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&shown);
}

fn spec() -> Value {
    json!({"containers": [{"name": "a", "image": "a:1", "args": ["x", "y"]}, {"name": "b", "image": "b:1"}]})
}

#[test]
fn some_objects_are_replaced_as_a_whole() {
    check(
        "io.k8s.api.policy.v1.PodDisruptionBudgetSpec",
        json!({"minAvailable": 1, "selector": {"matchLabels": {"a": "1"}}}),
        json!({"selector": {"matchLabels": {"b": "2"}}}),
        expect![[r#"{"minAvailable":1,"selector":{"matchLabels":{"b":"2"}}}"#]],
    );
}

#[test]
fn lists_merge_by_key_and_new_elements_go_to_the_front() {
    check(
        POD_SPEC,
        spec(),
        json!({"containers": [{"name": "a", "image": "a:2"}]}),
        expect![[r#"{"containers":[{"args":["x","y"],"image":"a:2","name":"a"},{"image":"b:1","name":"b"}]}"#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"containers": [{"name": "c", "image": "c:1"}]}),
        expect![[
            r#"{"containers":[{"image":"c:1","name":"c"},{"args":["x","y"],"image":"a:1","name":"a"},{"image":"b:1","name":"b"}]}"#
        ]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"containers": [{"name": "b", "$patch": "delete"}]}),
        expect![[r#"{"containers":[{"args":["x","y"],"image":"a:1","name":"a"}]}"#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"containers": [{"$patch": "replace"}, {"name": "only"}]}),
        expect![[r#"{"containers":[{"name":"only"}]}"#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"containers": [{"name": "a", "args": ["z"]}]}),
        expect![[r#"{"containers":[{"args":["z"],"image":"a:1","name":"a"},{"image":"b:1","name":"b"}]}"#]],
    );
    check(POD_SPEC, spec(), json!({"containers": null}), expect!["{}"]);
}

#[test]
fn elements_stand_in_the_order_that_is_asked_for() {
    check(
        POD_SPEC,
        spec(),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "b:2"}]}),
        expect![[r#"{"containers":[{"image":"b:2","name":"b"},{"args":["x","y"],"image":"a:1","name":"a"}]}"#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        expect![[r#"{"containers":[{"image":"b:1","name":"b"},{"args":["x","y"],"image":"a:1","name":"a"}]}"#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}),
        expect![[r#"
        The order in patch list:
        [map[name:b]]
         doesn't match $setElementOrder list:
        [map[name:a]]
    "#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a", "$patch": "delete"}]}),
        expect![[r#"{"containers":[{"image":"b:1","name":"b"}]}"#]],
    );
}

#[test]
fn lists_of_scalars_are_sets_where_the_schema_says_so() {
    let meta = || json!({"finalizers": ["a/1", "a/2"]});
    check(META, meta(), json!({"finalizers": ["a/3"]}), expect![[r#"{"finalizers":["a/3","a/1","a/2"]}"#]]);
    check(
        META,
        meta(),
        json!({"$deleteFromPrimitiveList/finalizers": ["a/1"]}),
        expect![[r#"{"finalizers":["a/2"]}"#]],
    );
    check(
        META,
        meta(),
        json!({"$setElementOrder/finalizers": ["a/2", "a/1"]}),
        expect![[r#"{"finalizers":["a/2","a/1"]}"#]],
    );
    check(
        META,
        json!({}),
        json!({"finalizers": ["b/1", "b/2"], "$setElementOrder/finalizers": ["b/1", "b/2"]}),
        expect![[r#"{"finalizers":["b/1","b/2"]}"#]],
    );
}

#[test]
fn objects_can_be_replaced_emptied_and_cut() {
    let object = || json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    check(
        DEPLOYMENT,
        object(),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        expect![[r#"{"spec":{"strategy":{"type":"Recreate"}}}"#]],
    );
    check(
        DEPLOYMENT,
        object(),
        json!({"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "x"}}}),
        expect!["invalid patch format of retainKeys"],
    );
    check(
        DEPLOYMENT,
        object(),
        json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}),
        expect![[r#"{"spec":{"strategy":{"type":"Recreate"}}}"#]],
    );
    check(
        DEPLOYMENT,
        object(),
        json!({"spec": {"strategy": {"$patch": "delete"}}}),
        expect![[r#"{"spec":{"strategy":{}}}"#]],
    );
    check(DEPLOYMENT, object(), json!({"$patch": "delete"}), expect!["{}"]);
    check(
        DEPLOYMENT,
        json!({"spec": {"template": {"spec": {"volumes": [{"name": "w", "configMap": {"name": "x"}}]}}}}),
        json!({"spec": {"template": {"spec": {"volumes": [{"name": "w", "emptyDir": {}, "$retainKeys": ["name", "emptyDir"]}]}}}}),
        expect![[r#"{"spec":{"template":{"spec":{"volumes":[{"emptyDir":{},"name":"w"}]}}}}"#]],
    );
}

#[test]
fn directives_that_make_no_sense_are_refused() {
    check(
        POD_SPEC,
        spec(),
        json!({"containers": [{"image": "nokey"}]}),
        expect![[r#"map: map[image:nokey] does not contain declared merge key: name"#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"containers": [{"name": "a", "$patch": "frob"}]}),
        expect![[r#"unknown patch type: frob in map: map[$patch:frob name:a]"#]],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"containers": ["x"]}),
        expect!["list element types are not identical: [[map[args:[x y] image:a:1 name:a] map[image:b:1 name:b]] [x]]"],
    );
    check(POD_SPEC, spec(), json!({"containers": [["x"]]}), expect!["lists of lists are not supported"]);
    check(
        POD_SPEC,
        spec(),
        json!({"$setElementOrder/containers": "a"}),
        expect!["expected a []interface {}, but received a string"],
    );
    check(
        POD_SPEC,
        spec(),
        json!({"$setElementOrder/containers": [{"name": "a"}], "containers": null}),
        expect!["expected a []interface {}, but received a %!s(<nil>)"],
    );
    check(POD_SPEC, spec(), json!({"$setElementOrder": []}), expect!["invalid patch format of setElementOrder list"]);
    check(POD_SPEC, spec(), json!({"$deleteFromPrimitiveList": []}), expect!["invalid patch format of primitive list"]);
    check(
        POD_SPEC,
        spec(),
        json!([]),
        expect!["json: cannot unmarshal array into Go value of type map[string]interface {}"],
    );
    // A wrong type takes the place of the list; the type of the kind refuses it afterwards.
    check(POD_SPEC, spec(), json!({"containers": {"a": "b"}}), expect![[r#"{"containers":{"a":"b"}}"#]]);
}

#[test]
fn what_comes_new_brings_no_directives_and_no_nulls() {
    check(
        POD_SPEC,
        json!({}),
        json!({"securityContext": {"runAsUser": null, "runAsGroup": 1, "seLinuxOptions": {"$patch": "delete"}},
            "nodeSelector": {"$patch": "replace", "a": "b"}, "containers": [{"name": "a"}, {"name": "b", "$patch": "delete"}]}),
        expect![[r#"{"containers":[{"name":"a"}],"securityContext":{"runAsGroup":1}}"#]],
    );
}

#[test]
fn long_lists_merge_in_reasonable_time() {
    let names = |from: usize| (from..from + 50_000).map(|i| json!({"name": i.to_string()})).collect::<Vec<Value>>();
    let (old, new) = (json!({"containers": names(0)}), names(25_000));
    let patch = json!({"containers": new, "$setElementOrder/containers": new});
    let started = std::time::Instant::now();
    let merged = patched(&old, &patch, POD_SPEC).unwrap();
    assert_eq!(merged["containers"].as_array().unwrap().len(), 75_000);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

/// The containers of a pod as `kubectl` could have them: names each once, some with variables.
fn containers() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
    let container = (0..3_u8, env);
    prop::collection::btree_map("[a-d]", container, 0..4).prop_flat_map(|all| {
        let element = |(name, (image, env)): (String, (u8, std::collections::BTreeMap<String, String>))| {
            let env: Vec<Value> = env.into_iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
            json!({"name": name, "image": format!("i:{image}"), "env": env})
        };
        Just(all.into_iter().map(element).collect::<Vec<Value>>()).prop_shuffle().prop_map(|c| json!({"containers": c}))
    })
}

/// The patch that `kubectl` would send to lead from one pod spec to another.
fn difference(from: &Value, to: &Value, list: &str) -> Value {
    let empty = Vec::new();
    let items = |v: &Value| v.get(list).and_then(Value::as_array).unwrap_or(&empty).clone();
    let (old, new) = (items(from), items(to));
    let find = |list: &[Value], name: &Value| list.iter().find(|e| e["name"] == *name).cloned();
    let mut elements: Vec<Value> = Vec::new();
    for element in &new {
        match find(&old, &element["name"]) {
            Some(before) if before == *element => {}
            Some(before) => {
                let mut patch = element.clone();
                if list == "containers" {
                    let env = difference(&before, element, "env");
                    let patch = patch.as_object_mut().unwrap();
                    patch.remove("env");
                    patch.extend(env.as_object().unwrap().clone());
                }
                elements.push(patch);
            }
            None => elements.push(element.clone()),
        }
    }
    for element in &old {
        if find(&new, &element["name"]).is_none() {
            elements.push(json!({"name": element["name"], "$patch": "delete"}));
        }
    }
    let order: Vec<Value> = new.iter().map(|e| json!({"name": e["name"]})).collect();
    json!({list: elements, (format!("$setElementOrder/{list}")): order})
}

/// Upstream's server makes no difference between an empty list and none.
fn without_empty_lists(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, v)| v.as_array().is_none_or(|a| !a.is_empty()));
            kept.map(|(k, v)| (k.clone(), without_empty_lists(v))).collect()
        }
        Value::Array(items) => items.iter().map(without_empty_lists).collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn an_empty_patch_changes_nothing(object in any_object()) {
        prop_assert_eq!(patched(&object, &json!({}), POD_SPEC), Ok(object));
    }

    #[test]
    fn a_difference_leads_from_one_to_the_other(from in containers(), to in containers()) {
        let patch = difference(&from, &to, "containers");
        let result = patched(&from, &patch, POD_SPEC).unwrap();
        prop_assert_eq!(without_empty_lists(&result), without_empty_lists(&to));
    }

    #[test]
    fn the_same_patch_twice_is_the_same_as_once(from in containers(), to in containers()) {
        let patch = json!({"containers": to["containers"]});
        let once = patched(&from, &patch, POD_SPEC).unwrap();
        prop_assert_eq!(patched(&once, &patch, POD_SPEC), Ok(once));
    }

    #[test]
    fn without_a_schema_it_is_a_merge_patch(object in any_object(), patch in any_object()) {
        let ours = patched(&object, &patch, "unknown").unwrap();
        let merged = Patch::merge(patch.to_string().as_bytes()).unwrap().apply(&object, "").unwrap();
        prop_assert_eq!(without_nulls(&ours), without_nulls(&merged));
    }

    #[test]
    fn no_directives_make_it_fail_otherwise_than_by_an_error(object in any_object(), patch in any_directives()) {
        let _ = patched(&object, &patch, META);
        let _ = patched(&json!({"containers": [object]}), &json!({"containers": [patch], "spec": patch}), POD_SPEC);
    }
}

/// Objects with directives in all places, most of them senseless.
fn any_directives() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("$patch".to_owned()),
        Just("$retainKeys".to_owned()),
        "\\$(setElementOrder|deleteFromPrimitiveList)(/(finalizers|a|b))?",
        Just("finalizers".to_owned()),
        "[a-d]",
    ];
    let what =
        prop_oneof![Just(json!("delete")), Just(json!("replace")), Just(json!("merge")), Just(json!(["a", "b"]))];
    let value = prop_oneof![what, any_object(), prop::collection::vec(any_object(), 0..3).prop_map(Value::from)];
    prop::collection::btree_map(key, value, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
}
