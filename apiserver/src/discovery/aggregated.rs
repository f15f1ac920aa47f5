//! Aggregated discovery: all groups, versions and resources in one document, as newer clients ask for.

use serde_json::{Map, Value, json};

use super::Group;
use super::resource::{self, Resource};
use crate::registry::{GroupVersionKind, Scope, Subresource};

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
    let version = |(version, rows): &(&'static str, Vec<_>)| {
        let rows = rows.iter().map(std::sync::Arc::as_ref);
        let resources: Vec<Value> = resource::all(rows).iter().map(|r| resource(group, version, r)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    json!({"metadata": metadata, "versions": group.versions.iter().map(version).collect::<Vec<_>>()})
}

fn resource(group: &Group, version: &str, resource: &Resource<'_>) -> Value {
    let mut told = Map::new();
    told.insert("resource".to_owned(), resource.name.into());
    told.insert("responseKind".to_owned(), json!({"group": "", "version": "", "kind": resource.kind}));
    told.insert("scope".to_owned(), scope(resource.scope).into());
    told.insert("singularResource".to_owned(), resource.singular.into());
    told.insert("verbs".to_owned(), json!(resource.verbs));
    if !resource.short_names.is_empty() {
        told.insert("shortNames".to_owned(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        told.insert("categories".to_owned(), json!(resource.categories));
    }
    if !resource.subresources.is_empty() {
        let below: Vec<Value> = resource.subresources.iter().map(|s| subresource(group, version, s)).collect();
        told.insert("subresources".to_owned(), Value::Array(below));
    }
    Value::Object(told)
}

/// Group and version of its kind are told where they are not those of the document.
fn subresource(group: &Group, version: &str, (subresource, kind): &(Subresource, GroupVersionKind)) -> Value {
    let (of_group, of_version, kind) = *kind;
    let foreign = (of_group, of_version) != (group.name, version);
    let (of_group, of_version) = if foreign { (of_group, of_version) } else { ("", "") };
    json!({
        "subresource": subresource.name(),
        "responseKind": {"group": of_group, "version": of_version, "kind": kind},
        "verbs": subresource.verbs(),
    })
}

const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    }
}
