//! Discovery as it always was: a document a group and a document a version.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Group;
use super::resource::{self, Resource};
use crate::registry::{Row, Scope};

/// Whether a group's document stands alone or in a list, which states the type once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A document of its own.
    Alone,
    /// An item of a list.
    Listed,
}

/// The versions of the core group, and where clients from anywhere reach this server.
pub(crate) fn api_versions<'a>(core: impl Iterator<Item = &'a Group>, address: SocketAddr) -> Value {
    let versions: Vec<&str> = core.flat_map(|group| group.versions.iter().map(|(version, _)| *version)).collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()}],
    })
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
pub(crate) fn resources(group: &str, version: &str, rows: &[Arc<Row>]) -> Value {
    let all = resource::all(rows.iter().map(Arc::as_ref));
    let told: Vec<Value> =
        all.iter().flat_map(|r| std::iter::once(resource(r)).chain(below(group, version, r))).collect();
    if group.is_empty() {
        return json!({"kind": "APIResourceList", "groupVersion": version, "resources": told});
    }
    let group_version = format!("{group}/{version}");
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": told})
}

fn resource(resource: &Resource<'_>) -> Value {
    let mut told = Map::new();
    told.insert("name".to_owned(), resource.name.into());
    told.insert("singularName".to_owned(), resource.singular.into());
    told.insert("namespaced".to_owned(), (resource.scope == Scope::Namespaced).into());
    told.insert("kind".to_owned(), resource.kind.into());
    told.insert("verbs".to_owned(), json!(resource.verbs));
    if !resource.short_names.is_empty() {
        told.insert("shortNames".to_owned(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        told.insert("categories".to_owned(), json!(resource.categories));
    }
    if let Some(hash) = &resource.storage_version_hash {
        told.insert("storageVersionHash".to_owned(), hash.as_str().into());
    }
    Value::Object(told)
}

/// The subresources of a resource. Group and version of their kind are told where they are not the document's.
fn below<'a>(group: &'a str, version: &'a str, resource: &'a Resource<'_>) -> impl Iterator<Item = Value> + use<'a> {
    resource.subresources.iter().map(move |(subresource, (of_group, of_version, kind))| {
        let mut told = json!({
            "name": format!("{}/{}", resource.name, subresource.name()),
            "singularName": "",
            "namespaced": resource.scope == Scope::Namespaced,
            "kind": kind,
            "verbs": subresource.verbs(),
        });
        if (*of_group, *of_version) != (group, version) {
            let told = crate::object::map_mut(&mut told);
            told.insert("group".to_owned(), (*of_group).into());
            told.insert("version".to_owned(), (*of_version).into());
        }
        told
    })
}
