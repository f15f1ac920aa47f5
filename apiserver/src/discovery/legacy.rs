//! Discovery as it always was: a document a group and a document a version.

use serde_json::{Map, Value, json};

use super::Group;
use crate::registry::{Row, Scope};

/// Whether a group's document stands alone or in a list, which states the type once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A document of its own.
    Alone,
    /// An item of a list.
    Listed,
}

/// The versions of the core group.
pub(crate) fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// The list of groups.
pub(crate) fn group_list<'a>(groups: impl Iterator<Item = &'a Group>) -> Value {
    let groups: Vec<Value> = groups.map(|g| group(g, Standing::Listed)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// One group.
pub(crate) fn group(group: &Group, standing: Standing) -> Value {
    let version = |v: &str| json!({"groupVersion": format!("{}/{v}", group.name), "version": v});
    let versions: Vec<Value> = group.versions.iter().map(|(v, _)| version(v)).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    let mut told = json!({"name": group.name, "versions": versions, "preferredVersion": preferred});
    if standing == Standing::Alone {
        let told = crate::object::map_mut(&mut told);
        told.insert("kind".to_owned(), "APIGroup".into());
        told.insert("apiVersion".to_owned(), "v1".into());
    }
    told
}

/// The resources of one version.
pub(crate) fn resources(group: &str, version: &str, rows: &[std::sync::Arc<Row>]) -> Value {
    let mut resources: Vec<Value> = rows.iter().flat_map(|row| with_subresources(row)).collect();
    if group.is_empty() {
        resources.push(bindings());
    }
    resources.sort_by(|a, b| a.get("name").and_then(Value::as_str).cmp(&b.get("name").and_then(Value::as_str)));
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut told = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    if !group.is_empty() {
        crate::object::map_mut(&mut told).insert("apiVersion".to_owned(), "v1".into());
    }
    told
}

/// The old way to bind a pod: a collection of its own.
fn bindings() -> Value {
    json!({"name": "bindings", "singularName": "binding", "namespaced": true, "kind": "Binding", "verbs": ["create"]})
}

fn with_subresources(row: &Row) -> Vec<Value> {
    let namespaced = row.scope == Scope::Namespaced;
    let mut told = Map::new();
    told.insert("name".to_owned(), row.plural.into());
    told.insert("singularName".to_owned(), row.singular.into());
    told.insert("namespaced".to_owned(), namespaced.into());
    told.insert("kind".to_owned(), row.kind.into());
    told.insert("verbs".to_owned(), json!(row.verbs));
    if !row.short_names.is_empty() {
        told.insert("shortNames".to_owned(), json!(row.short_names));
    }
    if !row.categories.is_empty() {
        told.insert("categories".to_owned(), json!(row.categories));
    }
    let mut all = vec![Value::Object(told)];
    for subresource in row.subresources {
        let (group, version, kind) = subresource.own_kind(row.kind).unwrap_or((row.group, row.version, row.kind));
        let mut told = json!({
            "name": format!("{}/{}", row.plural, subresource.name()),
            "singularName": "",
            "namespaced": namespaced,
            "kind": kind,
            "verbs": subresource.verbs(),
        });
        if (group, version) != (row.group, row.version) {
            let told = crate::object::map_mut(&mut told);
            told.insert("group".to_owned(), group.into());
            told.insert("version".to_owned(), version.into());
        }
        all.push(told);
    }
    all
}
