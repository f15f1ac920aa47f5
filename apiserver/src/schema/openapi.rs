//! The schemas of the OpenAPI documents, built anew when somebody asks for them.
//!
//! They are the schemas of `k8s-openapi` with what those lack: the kinds they stand for, how lists merge, defaults,
//! words of enumerations, and what is neither one type nor the other.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::facts::{self, Fact};
use super::{build, defaults, enums};
use crate::registry::{GroupVersionKind, Row};

/// Kinds that no row has, but that requests and answers are made of.
const OTHERS: [(&str, GroupVersionKind); 8] = [
    ("io.k8s.api.authentication.v1.TokenRequest", ("authentication.k8s.io", "v1", "TokenRequest")),
    ("io.k8s.api.autoscaling.v1.Scale", ("autoscaling", "v1", "Scale")),
    ("io.k8s.api.core.v1.Binding", ("", "v1", "Binding")),
    ("io.k8s.api.policy.v1.Eviction", ("policy", "v1", "Eviction")),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup", ("", "v1", "APIGroup")),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList", ("", "v1", "APIGroupList")),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList", ("", "v1", "APIResourceList")),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions", ("", "v1", "APIVersions")),
];

/// What every group and version has under the same name.
const EVERYWHERE: [(&str, &str); 2] = [
    ("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", "DeleteOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent", "WatchEvent"),
];

/// The answer when something is refused.
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// A type, the field of it that says which of the others is meant, and field and word of each of these.
type Union = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Types whose fields exclude one another.
#[rustfmt::skip]
const UNIONS: &[Union] = &[
    ("io.k8s.api.core.v1.AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.core.v1.SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.flowcontrol.v1.LimitResponse", "type", &[("queuing", "Queuing")]),
    ("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", "type", &[("exempt", "Exempt"), ("limited", "Limited")]),
    ("io.k8s.api.flowcontrol.v1.Subject", "kind", &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")]),
];

/// The schemas of all kinds, their lists, and what requests and answers are made of beside them.
#[derive(Debug)]
pub struct Definitions(Map<String, Value>);

impl Definitions {
    /// Those of these rows.
    #[must_use]
    pub fn of(rows: &[Arc<Row>]) -> Self {
        let mut all = build::definitions();
        let objects: HashSet<String> =
            all.iter().filter(|(_, schema)| schema.get("properties").is_some()).map(|(name, _)| name.clone()).collect();
        let mut versions = BTreeSet::from([("", "v1")]);
        for row in rows {
            versions.insert((row.group, row.version));
            name_kind(&mut all, row.schema, (row.group, row.version, row.kind));
            all.insert(format!("{}List", row.schema), list(row));
        }
        for (name, kind) in OTHERS.into_iter().chain([(STATUS, ("", "v1", "Status"))]) {
            name_kind(&mut all, name, kind);
        }
        for (name, kind) in EVERYWHERE {
            versions.iter().for_each(|(group, version)| name_kind(&mut all, name, (group, version, kind)));
        }
        for (name, schema) in &mut all {
            if let Some(schema) = schema.as_object_mut() {
                complete(name, schema, &|name: &str| objects.contains(name));
            }
        }
        Self(all)
    }

    /// Those that are reached from what `roots` refers to.
    #[must_use]
    pub fn reached(&self, roots: &Value) -> BTreeMap<&str, &Value> {
        let mut wanted = Vec::new();
        references(roots, &mut wanted);
        let mut kept = BTreeMap::new();
        while let Some(name) = wanted.pop() {
            if let Some((name, schema)) = self.0.get_key_value(name)
                && kept.insert(name.as_str(), schema).is_none()
            {
                references(schema, &mut wanted);
            }
        }
        kept
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_reached(mut self, roots: &Value) -> Map<String, Value> {
        let names: Vec<String> = self.reached(roots).into_keys().map(str::to_owned).collect();
        names.into_iter().filter_map(|name| self.0.remove_entry(&name)).collect()
    }
}

/// The name of the schema of a kind that no row has.
#[must_use]
pub fn name_of(kind: GroupVersionKind) -> Option<&'static str> {
    OTHERS.iter().find(|(_, of)| *of == kind).map(|(name, _)| *name)
}

/// The schema of a list, which `k8s-openapi` does not have.
fn list(row: &Row) -> Value {
    let reference = |name: &str| json!({"$ref": format!("{}{name}", build::REFERENCE)});
    let mut metadata = reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
    extend(&mut metadata, &[("description", json!("Standard list metadata."))]);
    json!({
        "description": format!("{} is a list of {}.", row.list_kind(), row.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": "The group and version of the list.", "type": "string"},
            "items": {"description": "The objects.", "type": "array", "items": reference(row.schema)},
            "kind": {"description": "The kind of the list.", "type": "string"},
            "metadata": metadata,
        },
        "x-kubernetes-group-version-kind":
            [{"group": row.group, "version": row.version, "kind": row.list_kind()}],
    })
}

/// Notes that a schema is that of a kind, perhaps one of several.
fn name_kind(all: &mut Map<String, Value>, name: &str, (group, version, kind): GroupVersionKind) {
    if let Some(schema) = all.get_mut(name).and_then(Value::as_object_mut) {
        let kinds = schema.entry("x-kubernetes-group-version-kind").or_insert_with(|| json!([]));
        if let Some(kinds) = kinds.as_array_mut() {
            kinds.push(json!({"group": group, "version": version, "kind": kind}));
        }
    }
}

/// Adds to a schema what we know of it.
fn complete(name: &str, schema: &mut Map<String, Value>, is_object: &dyn Fn(&str) -> bool) {
    either(name, schema);
    if facts::is_atomic(name) {
        schema.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    if let Some((_, discriminator, fields)) = UNIONS.iter().find(|(of, ..)| *of == name) {
        let fields: Map<String, Value> =
            fields.iter().map(|(field, word)| ((*field).to_owned(), json!(word))).collect();
        let union = json!([{"discriminator": discriminator, "fields-to-discriminateBy": fields}]);
        schema.insert("x-kubernetes-unions".to_owned(), union);
    }
    defaults::state(name, schema, is_object);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        enums::state(name, properties);
        for (field, schema) in properties.iter_mut() {
            if let Some(fact) = facts::of(name, field) {
                extend(schema, &extensions(fact));
            }
        }
    }
    schema.values_mut().for_each(wrap_references);
}

/// What may be of two types.
fn either(name: &str, schema: &mut Map<String, Value>) {
    schema.remove("x-kubernetes-int-or-string");
    let types = match name.rsplit('.').next() {
        Some("IntOrString") => {
            schema.insert("format".to_owned(), json!("int-or-string"));
            ["integer", "string"]
        }
        Some("Quantity") => ["string", "number"],
        _ => return,
    };
    schema.remove("type");
    schema.insert("oneOf".to_owned(), types.map(|of| json!({"type": of})).into_iter().collect());
}

fn extend(schema: &mut Value, extensions: &[(&str, Value)]) {
    if let Some(schema) = schema.as_object_mut() {
        schema.extend(extensions.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
}

fn extensions(fact: Fact) -> Vec<(&'static str, Value)> {
    let list = |kind: &str| ("x-kubernetes-list-type", json!(kind));
    let keys = |keys: &[&str]| ("x-kubernetes-list-map-keys", json!(keys));
    let strategy = |strategy: &str| ("x-kubernetes-patch-strategy", json!(strategy));
    let merge_key = |key: &str| ("x-kubernetes-patch-merge-key", json!(key));
    let first = |keys: &[&'static str]| keys.first().copied().unwrap_or_default();
    match fact {
        Fact::Atomic => vec![list("atomic")],
        Fact::AtomicForApply(key) => vec![list("atomic"), strategy("merge"), merge_key(key)],
        Fact::Keyed(k) => vec![list("map"), keys(k), strategy("merge"), merge_key(first(k))],
        Fact::KeyedRetaining(k) => vec![list("map"), keys(k), strategy("merge,retainKeys"), merge_key(first(k))],
        Fact::KeyedForApply(k) => vec![list("map"), keys(k)],
        Fact::Set => vec![list("set"), strategy("merge")],
        Fact::SetForApply => vec![list("set")],
        Fact::AtomicMap => vec![("x-kubernetes-map-type", json!("atomic"))],
        Fact::GranularMap => vec![("x-kubernetes-map-type", json!("granular"))],
        Fact::RetainKeys => vec![strategy("retainKeys")],
        Fact::Replaced => vec![strategy("replace")],
    }
}

/// OpenAPI 3.0 ignores whatever stands beside a `$ref`, so a described reference is wrapped in `allOf`.
fn wrap_references(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.len() > 1
                && map.get("$ref").is_some_and(Value::is_string)
                && let Some(reference) = map.remove("$ref")
            {
                map.insert("allOf".to_owned(), json!([{"$ref": reference}]));
            }
            map.iter_mut().filter(|(key, _)| *key != "allOf").for_each(|(_, value)| wrap_references(value));
        }
        Value::Array(items) => items.iter_mut().for_each(wrap_references),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names of all schemas that a document refers to.
fn references<'a>(document: &'a Value, into: &mut Vec<&'a str>) {
    match document {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(build::REFERENCE));
            into.extend(name);
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn reached(name: &str) -> Map<String, Value> {
        let root = json!({"$ref": format!("{}{name}", build::REFERENCE)});
        Definitions::of(&Registry::builtin().rows()).into_reached(&root)
    }

    #[test]
    fn what_is_reached_is_there() {
        let schemas = reached("io.k8s.api.apps.v1.DeploymentList");
        assert!(schemas.contains_key("io.k8s.api.core.v1.Container"));
        assert!(!schemas.contains_key("io.k8s.api.core.v1.NodeSpec"));
        let mut names = Vec::new();
        schemas.values().for_each(|schema| references(schema, &mut names));
        for name in names {
            assert!(schemas.contains_key(name), "{name} is referred to, but not there");
        }
    }

    #[test]
    fn schemas_know_what_kubectl_asks_them() {
        let schemas = reached("io.k8s.api.apps.v1.DeploymentList");
        let part = |name: &str, pointer: &str| {
            let mut part = schemas[name].pointer(pointer).cloned().unwrap_or_default();
            if let Some(map) = part.as_object_mut() {
                map.remove("description");
            }
            part.to_string()
        };
        let check = |name: &str, pointer: &str, expected: expect_test::Expect| expected.assert_eq(&part(name, pointer));
        let container = "io.k8s.api.core.v1.Container";
        check(
            "io.k8s.api.apps.v1.Deployment",
            "/x-kubernetes-group-version-kind",
            expect_test::expect![[r#"[{"group":"apps","kind":"Deployment","version":"v1"}]"#]],
        );
        check(
            container,
            "/properties/ports",
            expect_test::expect![[
                r##"{"items":{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.ContainerPort"}],"default":{}},"type":"array","x-kubernetes-list-map-keys":["containerPort","protocol"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"containerPort","x-kubernetes-patch-strategy":"merge"}"##
            ]],
        );
        check(
            container,
            "/properties/resources",
            expect_test::expect![[
                r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.ResourceRequirements"}],"default":{}}"##
            ]],
        );
        check(
            container,
            "/properties/imagePullPolicy",
            expect_test::expect![[r#"{"enum":["Always","IfNotPresent","Never"],"type":"string"}"#]],
        );
        check(
            "io.k8s.api.core.v1.ContainerPort",
            "/properties/protocol",
            expect_test::expect![[r#"{"default":"TCP","enum":["SCTP","TCP","UDP"],"type":"string"}"#]],
        );
        check(
            "io.k8s.api.core.v1.PodSpec",
            "/properties/nodeSelector",
            expect_test::expect![[
                r#"{"additionalProperties":{"default":"","type":"string"},"type":"object","x-kubernetes-map-type":"atomic"}"#
            ]],
        );
        check(
            "io.k8s.apimachinery.pkg.api.resource.Quantity",
            "",
            expect_test::expect![[r#"{"oneOf":[{"type":"string"},{"type":"number"}]}"#]],
        );
        check(
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            "",
            expect_test::expect![[r#"{"format":"int-or-string","oneOf":[{"type":"integer"},{"type":"string"}]}"#]],
        );
    }

    #[test]
    fn every_word_is_of_a_field_that_exists() {
        let all = Definitions::of(&Registry::builtin().rows()).0;
        for (name, field) in enums::subjects() {
            let Some(schema) = all.get(&name) else { continue };
            assert!(schema["properties"].get(field).is_some(), "no field {field} in {name}");
        }
    }
}
