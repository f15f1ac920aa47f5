//! What is told of a resource, whatever the form of the document: read off its row.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::registry::{GroupVersionKind, Row, Scope, Subresource};

/// A resource of a group and version.
pub(crate) struct Resource<'a> {
    /// Plural name.
    pub(crate) name: &'a str,
    /// Singular name.
    pub(crate) singular: &'a str,
    /// Where its objects live.
    pub(crate) scope: Scope,
    /// Their kind.
    pub(crate) kind: &'a str,
    /// What can be done with them.
    pub(crate) verbs: &'a [&'a str],
    /// Short names.
    pub(crate) short_names: &'a [&'a str],
    /// Categories.
    pub(crate) categories: &'a [&'a str],
    /// Names the version in which objects are kept, for those that are.
    pub(crate) storage_version_hash: Option<String>,
    /// What hangs below an object, by name.
    pub(crate) subresources: Vec<(Subresource, GroupVersionKind)>,
}

/// The old way to bind a pod: a collection of its own, without objects.
const BINDINGS: Resource<'static> = Resource {
    name: "bindings",
    singular: "binding",
    scope: Scope::Namespaced,
    kind: "Binding",
    verbs: &["create"],
    short_names: &[],
    categories: &[],
    storage_version_hash: None,
    subresources: Vec::new(),
};

/// The resources of a group and version, by name.
pub(crate) fn all<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<Resource<'a>> {
    let mut all: Vec<Resource<'a>> = rows.into_iter().flat_map(of_row).collect();
    all.sort_by_key(|resource| resource.name);
    all
}

fn of_row(row: &Row) -> impl Iterator<Item = Resource<'_>> {
    let mut subresources: Vec<_> = row
        .subresources
        .iter()
        .map(|subresource| (*subresource, subresource.own_kind(row.kind).unwrap_or((row.group, row.version, row.kind))))
        .collect();
    subresources.sort_by_key(|(subresource, _)| subresource.name());
    let resource = Resource {
        name: row.plural,
        singular: row.singular,
        scope: row.scope,
        kind: row.kind,
        verbs: row.verbs,
        short_names: row.short_names,
        categories: row.categories,
        storage_version_hash: storage_version_hash(row),
        subresources,
    };
    [Some(resource), row.has(Subresource::Binding).then_some(BINDINGS)].into_iter().flatten()
}

/// Eight bytes of a hash over the kind in which objects are kept: it changes when they would have to be rewritten.
/// What cannot be followed is not kept.
fn storage_version_hash(row: &Row) -> Option<String> {
    let kept = row.verbs.contains(&"watch");
    let (group, version) = row.strategy.conversion().map_or((row.group, row.version), |c| (c.group, c.version));
    let name = format!("{group}/{version}/{}", row.kind);
    let digest = Sha256::digest(name.as_bytes());
    kept.then(|| STANDARD.encode(digest.get(..8).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn the_storage_version_has_upstreams_hash() {
        let hash = |group, plural| storage_version_hash(&Registry::builtin().get(group, "v1", plural).unwrap());
        assert_eq!(hash("", "configmaps").as_deref(), Some("qFsyl6wFWjQ="));
        assert_eq!(hash("coordination.k8s.io", "leases").as_deref(), Some("gqkMMb/YqFM="));
    }
}
