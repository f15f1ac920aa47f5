//! What the core of server-side apply promises, on objects of real kinds.

use serde_json::{Value, json};

use super::config::{ApplyError, Force, apply};
use super::entries::{self, Entry};
use super::update::track;
use super::{Reset, Typed, Writer, conflict};

mod properties;

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const POD: &str = "io.k8s.api.core.v1.Pod";
const SERVICE: &str = "io.k8s.api.core.v1.Service";

/// An object and those who write it.
struct Story {
    typed: Typed<'static>,
    api_version: &'static str,
    object: Option<Value>,
    second: i64,
}

impl Story {
    fn of(schema: &str, api_version: &'static str) -> Self {
        let typed = Typed::new(schema, Reset::These(&["status"], &[]));
        Self { typed, api_version, object: None, second: 0 }
    }

    fn writer(&mut self, manager: &str) -> Writer {
        self.second += 1;
        Writer {
            manager: manager.to_owned(),
            api_version: self.api_version.to_owned(),
            subresource: String::new(),
            now: jiff::Timestamp::from_second(1_700_000_000 + self.second).unwrap(),
        }
    }

    fn try_apply(&mut self, manager: &str, config: &Value, force: Force) -> Result<(), String> {
        let writer = self.writer(manager);
        match apply(&self.typed, self.object.as_ref(), config, &writer, force) {
            Ok(object) => {
                self.object = Some(object);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn applies(mut self, manager: &str, config: &Value) -> Self {
        self.try_apply(manager, config, Force::No).unwrap();
        self
    }

    fn forces(mut self, manager: &str, config: &Value) -> Self {
        self.try_apply(manager, config, Force::Yes).unwrap();
        self
    }

    fn refuses(mut self, manager: &str, config: &Value, why: &str) -> Self {
        assert_eq!(self.try_apply(manager, config, Force::No), Err(why.to_owned()));
        self
    }

    fn updates(mut self, manager: &str, mut new: Value) -> Self {
        let writer = self.writer(manager);
        track(&self.typed, self.object.as_ref(), &mut new, None, &writer);
        self.object = Some(new);
        self
    }

    /// Manager, operation, fields; one line for each entry. With the second of the write, if there is one.
    fn owners(&self) -> String {
        let entries = entries::read_stored(self.object.as_ref().unwrap());
        let line = |entry: Entry| {
            let second = entry.time.as_ref().map_or("-", |time| time.get(17..19).unwrap_or("?"));
            format!("{} {:?} {second} {}", entry.manager, entry.operation, entry.fields.into_value())
        };
        entries.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn part(&self, pointer: &str) -> Value {
        self.object.as_ref().unwrap().pointer(pointer).cloned().unwrap_or_default()
    }
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn containers(containers: Value) -> Value {
    deployment(json!({"template": {"spec": {"containers": containers}}}))
}

#[test]
fn equal_values_are_owned_together_and_other_values_are_a_conflict() {
    let story = Story::of(CONFIG_MAP, "v1")
        .applies("one", &config_map(json!({"a": "1", "b": "2"})))
        .applies("two", &config_map(json!({"a": "1"})))
        .refuses("two", &config_map(json!({"a": "9"})), r#"Apply failed with 1 conflict: conflict with "one": .data.a"#)
        .forces("two", &config_map(json!({"a": "9"})));
    expect_test::expect![[r#"
        one Apply 21 {"f:data":{"f:b":{}}}
        two Apply 24 {"f:data":{"f:a":{}}}"#]]
    .assert_eq(&story.owners());
    assert_eq!(story.part("/data"), json!({"a": "9", "b": "2"}));
}

#[test]
fn several_conflicts_are_told_by_manager() {
    let story = Story::of(CONFIG_MAP, "v1")
        .applies("two", &config_map(json!({"a": "1"})))
        .updates("upd", json!({"metadata": {"uid": "u"}, "data": {"a": "1", "c": "4", "u": "1"}}));
    let why = "Apply failed with 3 conflicts: conflicts with \"two\":\n- .data.a\nconflicts with \"upd\" using v1:\n\
               - .data.c\n- .data.u";
    story.refuses("one", &config_map(json!({"a": "7", "c": "5", "u": "3"})), why);
}

#[test]
fn what_a_manager_applies_no_more_goes_unless_somebody_else_owns_it() {
    let story = Story::of(CONFIG_MAP, "v1")
        .applies("one", &config_map(json!({"a": "1", "b": "2"})))
        .applies("two", &config_map(json!({"a": "1"})))
        .applies("one", &config_map(json!({})));
    assert_eq!(story.part("/data"), json!({"a": "1"}));
    expect_test::expect![[r#"
        two Apply - {"f:data":{"f:a":{}}}
        one Apply 23 {"f:data":{}}"#]]
    .assert_eq(&story.owners());
}

#[test]
fn an_update_takes_what_it_changes_and_nothing_else() {
    let story = Story::of(CONFIG_MAP, "v1")
        .updates("creator", json!({"metadata": {"uid": "u"}, "data": {"a": "1", "b": "1"}}))
        .updates("other", json!({"metadata": {"uid": "u", "labels": {"x": "y"}}, "data": {"a": "2", "b": "1"}}));
    expect_test::expect![[r#"
        creator Update 21 {"f:data":{".":{},"f:b":{}}}
        other Update 22 {"f:data":{"f:a":{}},"f:metadata":{"f:labels":{".":{},"f:x":{}}}}"#]]
    .assert_eq(&story.owners());
    let same = story.object.clone().unwrap();
    let owners = story.owners();
    let story = story.updates("third", same);
    assert_eq!(story.owners(), owners, "who changes nothing owns nothing");
    let story = story.updates("fourth", json!({"metadata": {"uid": "u"}}));
    assert_eq!(story.owners(), "", "what is gone is nobody's");
}

#[test]
fn items_are_told_apart_by_their_keys_and_their_defaults() {
    let port = |extra: Value| containers(json!([{"name": "c", "ports": [{"containerPort": 80}, extra]}]));
    let why = r#".spec.template.spec.containers[name="c"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]"#;
    let story = Story::of(DEPLOYMENT, "apps/v1")
        .refuses("one", &port(json!({"containerPort": 80, "protocol": "TCP"})), why)
        .applies("one", &port(json!({"containerPort": 80, "protocol": "UDP"})))
        .applies("two", &containers(json!([{"name": "side", "image": "s"}])))
        .applies("one", &containers(json!([{"name": "c", "image": "i"}])));
    assert_eq!(
        story.part("/spec/template/spec/containers"),
        json!([{"name": "c", "image": "i"}, {"name": "side", "image": "s"}])
    );
    expect_test::expect![[r#"
        two Apply 23 {"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"side\"}":{".":{},"f:image":{},"f:name":{}}}}}}}
        one Apply 24 {"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}}}"#]]
    .assert_eq(&story.owners());
}

#[test]
fn atomic_lists_and_maps_have_one_owner() {
    let service = |selector: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": selector}});
    Story::of(SERVICE, "v1").applies("one", &service(json!({"a": "b"}))).refuses(
        "two",
        &service(json!({"c": "d"})),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.selector"#,
    );
    Story::of(DEPLOYMENT, "apps/v1").applies("one", &containers(json!([{"name": "c", "args": ["a", "b"]}]))).refuses(
        "two",
        &containers(json!([{"name": "c", "args": ["a"]}])),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.template.spec.containers[name="c"].args"#,
    );
}

#[test]
fn a_set_has_an_owner_for_each_item() {
    let with = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": finalizers}});
    let story = Story::of(CONFIG_MAP, "v1")
        .applies("f1", &with(json!(["a/1"])))
        .applies("f2", &with(json!(["a/2"])))
        .refuses("f2", &with(json!(["a/2", "a/2"])), r#".metadata.finalizers: duplicate entries for key [="a/2"]"#)
        .applies("f1", &config_map(json!({})));
    assert_eq!(story.part("/metadata/finalizers"), json!(["a/2"]));
}

#[test]
fn items_keep_the_order_of_who_states_them() {
    let with = |finalizers: &[&str]| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": finalizers}});
    for (live, applied, merged) in [
        (["a", "b", "c"].as_slice(), ["d"].as_slice(), ["a", "b", "c", "d"].as_slice()),
        (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        (&["a", "b", "c"], &["x", "b", "y"], &["a", "x", "b", "c", "y"]),
        (&[], &["b", "a"], &["b", "a"]),
    ] {
        let story = Story::of(CONFIG_MAP, "v1").updates("live", with(live)).forces("one", &with(applied));
        assert_eq!(story.part("/metadata/finalizers"), json!(merged), "{live:?} and {applied:?}");
    }
}

#[test]
fn a_created_object_is_its_creators_but_for_what_is_always_there() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u", "ownerReferences": [{"uid": "o"}]},
        "spec": {"containers": [{"name": "c", "resources": {}, "livenessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "A", "value": "1"}]}], "nodeSelector": {"a": "b"}}, "status": {"phase": "Pending"}});
    let story = Story::of(POD, "v1").updates("kubectl", pod);
    expect_test::expect![[r#"kubectl Update 21 {"f:metadata":{"f:ownerReferences":{".":{},"k:{\"uid\":\"o\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}},"f:livenessProbe":{".":{},"f:httpGet":{".":{},"f:port":{}}},"f:name":{},"f:resources":{}}},"f:nodeSelector":{}}}"#]]
        .assert_eq(&story.owners());
}

#[test]
fn an_object_that_nobody_managed_was_there_before_the_first_apply() {
    let mut story = Story::of(CONFIG_MAP, "v1");
    story.object = Some(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u"}, "data": {"a": ""}}),
    );
    let story = story.updates("upd", json!({"metadata": {"name": "c", "uid": "u"}, "data": {"a": "b"}}));
    assert_eq!(story.owners(), "", "until it is applied, nobody owns anything");
    let story = story.applies("one", &config_map(json!({"n": "1"})));
    expect_test::expect![[r#"
        one Apply 22 {"f:data":{"f:n":{}}}
        before-first-apply Update 22 {"f:data":{".":{},"f:a":{}}}"#]]
    .assert_eq(&story.owners());
}

#[test]
fn a_client_may_forget_the_owners_and_may_not_forge_them() {
    let story = || Story::of(CONFIG_MAP, "v1").applies("one", &config_map(json!({"a": "1"})));
    let sent = |entries: Value| {
        let mut story = story();
        let mut new = story.object.clone().unwrap();
        entries::take(&mut new);
        new["metadata"]["uid"] = "u".into();
        let writer = story.writer("upd");
        track(&story.typed, story.object.as_ref(), &mut new, Some(entries), &writer);
        story.object = Some(new);
        story.owners()
    };
    let kept = r#"one Apply 21 {"f:data":{"f:a":{}}}"#;
    assert_eq!(sent(json!([{}])), "");
    assert_eq!(sent(json!([])), "");
    assert_eq!(
        sent(json!([{"manager": "x", "operation": "Nope", "apiVersion": "v1", "fieldsType": "FieldsV1"}])),
        kept
    );
    assert_eq!(sent(json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1"}])), kept);
    let mine = json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}, "k:{\"b\":1,\"a\": 2}": {}, "z:?": {}}}}]);
    assert_eq!(sent(mine), r#"x Apply - {"f:data":{"f:a":{},"k:{\"a\":2,\"b\":1}":{}}}"#);
}

#[test]
fn the_oldest_of_many_updaters_become_one() {
    let mut story = Story::of(CONFIG_MAP, "v1");
    let mut data = serde_json::Map::new();
    for n in 0..13 {
        data.insert(format!("k{n:02}"), "v".into());
        story = story.updates(&format!("m{n:02}"), json!({"metadata": {"uid": "u"}, "data": data}));
    }
    let owners = story.owners();
    assert_eq!(owners.lines().count(), 10);
    let first = owners.lines().next().unwrap();
    assert_eq!(first, r#"ancient-changes Update 24 {"f:data":{".":{},"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{}}}"#);
}

#[test]
fn kubectl_may_take_over_what_its_client_side_apply_set() {
    let annotated = |value: &str| {
        let last = config_map(json!({"a": "1"})).to_string();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value, "b": "1"},
            "metadata": {"name": "c", "uid": "u", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}})
    };
    let story = || Story::of(CONFIG_MAP, "v1").updates("kubectl-client-side-apply", annotated("1"));
    let taken = story().applies("kubectl", &config_map(json!({"a": "2"})));
    let last = taken.part("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration");
    assert_eq!(last.as_str(), Some(format!("{}\n", config_map(json!({"a": "2"}))).as_str()));
    let by = r#"conflict with "kubectl-client-side-apply" using v1"#;
    let why = |field: &str| format!("Apply failed with 1 conflict: {by}: .data.{field}");
    story().refuses("kubectl", &config_map(json!({"a": "2", "b": "2"})), &why("b"));
    story().refuses("another", &config_map(json!({"a": "2"})), &why("a"));
    story().updates("edit", annotated("5")).refuses(
        "kubectl",
        &config_map(json!({"a": "2"})),
        r#"Apply failed with 1 conflict: conflict with "edit" using v1: .data.a"#,
    );
}

#[test]
fn what_is_not_of_the_type_is_told_where_it_stands() {
    for (config, why) in [
        (json!({"frob": 1}), ".frob: field not declared in schema"),
        (json!({"spec": {"replicas": "x"}}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"spec": {"paused": 1}}), ".spec.paused: expected boolean, got &{1}"),
        (json!({"spec": {"template": []}}), ".spec.template: expected map, got &{[]}"),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            json!({"spec": {"replicas": "x", "paused": 1}}),
            "errors:\n  .spec.paused: expected boolean, got &{1}\n  .spec.replicas: expected numeric (int or float), got string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [5]}}}}),
            ".spec.template.spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (
            json!({"spec": {"template": {"spec": {"tolerations": [{"key": 1}]}}}}),
            ".spec.template.spec.tolerations[0].key: expected string, got &value.valueUnstructured{Value:1}",
        ),
    ] {
        Story::of(DEPLOYMENT, "apps/v1").refuses("one", &config, why);
    }
}

#[test]
fn a_conflict_names_the_subresource() {
    let mut story = Story::of(DEPLOYMENT, "apps/v1").applies("one", &deployment(json!({"replicas": 1})));
    let writer = Writer { subresource: "scale".to_owned(), ..story.writer("hpa") };
    let mut new = story.object.clone().unwrap();
    new["spec"]["replicas"] = 3.into();
    track(&story.typed, story.object.as_ref(), &mut new, None, &writer);
    let writer = story.writer("one");
    let refused = apply(&story.typed, Some(&new), &deployment(json!({"replicas": 1})), &writer, Force::No);
    let Err(ApplyError::Conflicts(conflicts)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        conflict::message(&conflicts),
        r#"Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas"#
    );
    let causes = conflict::causes(&conflicts);
    assert_eq!(causes.first().and_then(|cause| cause.field.as_deref()), Some(".spec.replicas"));
}
