//! Aggregated discovery: all groups, versions and resources in one document, as newer clients ask for.

use serde_json::{Value, json};

use super::Group;
use crate::registry::{Row, Scope};

/// The media type of the document.
pub(crate) const MEDIA_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The document of these groups.
pub(crate) fn list<'a>(groups: impl Iterator<Item = &'a Group>) -> Value {
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups.map(group).collect::<Vec<_>>(),
    })
}

fn group(group: &Group) -> Value {
    let metadata = if group.name.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": group.name, "creationTimestamp": null})
    };
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, rows)| {
            let mut resources: Vec<Value> = rows.iter().map(|row| resource(row)).collect();
            if group.name.is_empty() {
                resources.insert(0, bindings());
            }
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    json!({"metadata": metadata, "versions": versions})
}

fn bindings() -> Value {
    let kind = json!({"group": "", "version": "", "kind": "Binding"});
    json!({"resource": "bindings", "responseKind": kind, "scope": "Namespaced", "singularResource": "binding",
        "verbs": ["create"]})
}

fn resource(row: &Row) -> Value {
    let scope = match row.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    let mut told = json!({
        "resource": row.plural,
        "responseKind": {"group": "", "version": "", "kind": row.kind},
        "scope": scope,
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    let map = crate::object::map_mut(&mut told);
    if !row.short_names.is_empty() {
        map.insert("shortNames".to_owned(), json!(row.short_names));
    }
    if !row.categories.is_empty() {
        map.insert("categories".to_owned(), json!(row.categories));
    }
    let subresources: Vec<Value> = row
        .subresources
        .iter()
        .map(|subresource| {
            let (group, version, kind) = match subresource.own_kind(row.kind) {
                Some((group, version, kind)) if (group, version) != (row.group, row.version) => (group, version, kind),
                Some((_, _, kind)) => ("", "", kind),
                None => ("", "", row.kind),
            };
            json!({
                "subresource": subresource.name(),
                "responseKind": {"group": group, "version": version, "kind": kind},
                "verbs": subresource.verbs(),
            })
        })
        .collect();
    if !subresources.is_empty() {
        map.insert("subresources".to_owned(), Value::Array(subresources));
    }
    told
}
