//! The component schemas of the OpenAPI v3 documents, built anew when somebody asks for them.
//!
//! They are the schemas of `k8s-openapi` with what those lack: `x-kubernetes-*` and the kinds they stand for.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::facts::{self, Fact};
use super::{Schemas, build};
use crate::registry::{GroupVersionKind, Row};

/// Kinds that no row has, but that requests and answers are made of.
const OTHERS: [(&str, GroupVersionKind); 5] = [
    ("io.k8s.api.autoscaling.v1.Scale", ("autoscaling", "v1", "Scale")),
    ("io.k8s.api.core.v1.Binding", ("", "v1", "Binding")),
    ("io.k8s.api.policy.v1.Eviction", ("policy", "v1", "Eviction")),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", ("", "v1", "DeleteOptions")),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Status", ("", "v1", "Status")),
];

impl Schemas {
    /// The schemas that these rows reach, their lists, and what requests and answers are made of beside them.
    #[must_use]
    pub fn components_for(&self, rows: &[Arc<Row>]) -> Map<String, Value> {
        let mut all = build::definitions();
        let mut wanted = Vec::new();
        for row in rows {
            let kind = json!([{"group": row.group, "version": row.version, "kind": row.kind}]);
            name_kind(&mut all, row.schema, kind);
            all.insert(format!("{}List", row.schema), list(row));
            wanted.extend([row.schema.to_owned(), format!("{}List", row.schema)]);
        }
        for (name, (group, version, kind)) in OTHERS {
            name_kind(&mut all, name, json!([{"group": group, "version": version, "kind": kind}]));
            wanted.push(name.to_owned());
        }
        let mut kept = Map::new();
        let mut seen = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            if seen.insert(name.clone())
                && let Some(mut schema) = all.remove(&name)
            {
                complete(&name, &mut schema, &mut wanted);
                kept.insert(name, schema);
            }
        }
        kept
    }
}

/// The schema of a list, which `k8s-openapi` does not have.
fn list(row: &Row) -> Value {
    let reference = |name: &str| json!({"$ref": format!("{}{name}", build::REFERENCE)});
    json!({
        "description": format!("{} is a list of {}.", row.list_kind(), row.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": "The group and version of the list.", "type": "string"},
            "items": {"description": "The objects.", "type": "array", "items": reference(row.schema)},
            "kind": {"description": "The kind of the list.", "type": "string"},
            "metadata": reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"),
        },
        "x-kubernetes-group-version-kind":
            [{"group": row.group, "version": row.version, "kind": row.list_kind()}],
    })
}

fn name_kind(all: &mut Map<String, Value>, name: &str, kinds: Value) {
    if let Some(schema) = all.get_mut(name).and_then(Value::as_object_mut) {
        schema.insert("x-kubernetes-group-version-kind".to_owned(), kinds);
    }
}

/// Adds to a schema what we know of it, and to `wanted` what it refers to.
fn complete(name: &str, schema: &mut Value, wanted: &mut Vec<String>) {
    if facts::is_atomic(name) {
        extend(schema, &[("x-kubernetes-map-type", json!("atomic"))]);
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (field, schema) in properties.into_iter().flatten() {
        if let Some(fact) = facts::of(name, field) {
            extend(schema, &extensions(fact));
        }
    }
    wrap_references(schema, wanted);
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
    }
}

/// OpenAPI 3.0 ignores whatever stands beside a `$ref`, so a described reference is wrapped in `allOf`.
fn wrap_references(schema: &mut Value, wanted: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str).map(str::to_owned) {
                wanted.extend(reference.rsplit('/').next().map(str::to_owned));
                if map.len() > 1 {
                    map.remove("$ref");
                    map.insert("allOf".to_owned(), json!([{"$ref": reference}]));
                }
                return;
            }
            map.values_mut().for_each(|value| wrap_references(value, wanted));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| wrap_references(item, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use crate::schema::builtin;

    #[test]
    fn a_document_holds_what_its_rows_reach() {
        let rows: Vec<_> = Registry::builtin().rows().iter().filter(|r| r.group == "apps").cloned().collect();
        let schemas = builtin().components_for(&rows);
        assert!(schemas.contains_key("io.k8s.api.apps.v1.DeploymentList"));
        assert!(schemas.contains_key("io.k8s.api.core.v1.Container"));
        assert!(!schemas.contains_key("io.k8s.api.core.v1.NodeSpec"));
        let text = serde_json::to_string(&schemas).unwrap();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} is referred to, but not there");
        }
        expect_test::expect![[r#"[{"group":"apps","kind":"Deployment","version":"v1"}]"#]]
            .assert_eq(&schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"].to_string());
        let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
        assert_eq!(ports["x-kubernetes-patch-merge-key"], json!("containerPort"));
    }
}
