//! The resources that the server has, found by aggregated discovery, and the names by which people mean them.

use anyhow::{Context, bail};
use http::{Request, header};
use kube::Client;
use serde::Deserialize;

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One resource in its preferred version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) subresources: Vec<String>,
}

impl Resource {
    /// `deployments.apps`, or `pods`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `deployment.apps/web`, or `pod/web`: how verbs name an object in their answers.
    pub(crate) fn shown(&self, name: &str) -> String {
        if self.group.is_empty() {
            format!("{}/{name}", self.singular)
        } else {
            format!("{}.{}/{name}", self.singular, self.group)
        }
    }

    /// The path of the collection; an empty namespace means all of them.
    pub(crate) fn collection(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/namespaces/{namespace}/{}", self.plural)
        } else {
            format!("{root}/{}", self.plural)
        }
    }

    /// The path of one object.
    pub(crate) fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }
}

/// All resources of the server, in the order of discovery.
#[derive(Debug)]
pub(crate) struct Resources(Vec<Resource>);

impl Resources {
    /// Asks the server.
    pub(crate) async fn discover(client: &Client) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let request = Request::get(path).header(header::ACCEPT, ACCEPT).body(Vec::new())?;
            let groups: Groups =
                crate::call::call(client, request).await.context("the server's resources cannot be read")?;
            all.extend(groups.items.into_iter().flat_map(resources_of));
        }
        Ok(Self(all))
    }

    /// The resources that a word means: a resource in any of its names (`po`, `deployments.apps`, `Pod`), or a category (`all`).
    pub(crate) fn meant_by(&self, word: &str) -> anyhow::Result<Vec<&Resource>> {
        if let Some(one) = self.named(word) {
            return Ok(vec![one]);
        }
        let of_category: Vec<&Resource> = self.0.iter().filter(|r| r.categories.iter().any(|c| c == word)).collect();
        if of_category.is_empty() {
            bail!("the server doesn't have a resource type {word:?}");
        }
        Ok(of_category)
    }

    /// The one resource that a word means.
    pub(crate) fn one(&self, word: &str) -> anyhow::Result<&Resource> {
        self.named(word).with_context(|| format!("the server doesn't have a resource type {word:?}"))
    }

    fn named(&self, word: &str) -> Option<&Resource> {
        let lower = word.to_ascii_lowercase();
        let (name, group) = lower.split_once('.').map_or((lower.as_str(), None), |(n, g)| (n, Some(g)));
        let in_group = |r: &&Resource| group.is_none_or(|g| r.group == g || format!("{}.{}", r.version, r.group) == g);
        let called = |r: &&Resource| r.plural == name || r.singular == name || r.short_names.iter().any(|s| s == name);
        self.0.iter().filter(in_group).find(called)
    }

    /// The resource of an object's `apiVersion` and `kind`.
    pub(crate) fn of_object(&self, api_version: &str, kind: &str) -> anyhow::Result<&Resource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.0.iter().find(|r| r.group == group && r.version == version && r.kind == kind).with_context(|| {
            format!("no matches for kind {kind:?} in version {api_version:?}; ensure CRDs are installed first")
        })
    }
}

#[derive(Deserialize)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Name,
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Discovered>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    resource: String,
    response_kind: Kind,
    scope: String,
    #[serde(default)]
    singular_resource: String,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    subresources: Vec<Subresource>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
struct Subresource {
    subresource: String,
}

fn resources_of(group: Group) -> Vec<Resource> {
    let mut found: Vec<Resource> = Vec::new();
    for version in group.versions {
        for resource in version.resources {
            // Versions stand in order of preference: the first that has the resource wins.
            if found.iter().any(|r| r.plural == resource.resource) {
                continue;
            }
            found.push(Resource {
                group: group.metadata.name.clone(),
                version: version.version.clone(),
                kind: resource.response_kind.kind,
                plural: resource.resource,
                singular: resource.singular_resource,
                short_names: resource.short_names,
                categories: resource.categories,
                namespaced: resource.scope == "Namespaced",
                subresources: resource.subresources.into_iter().map(|s| s.subresource).collect(),
            });
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn some() -> Resources {
        let group = |name: &str, resources: &str| -> Group {
            let text = format!(
                r#"{{"metadata":{{"name":"{name}"}},"versions":[{{"version":"v1","resources":[{resources}]}}]}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let pods = r#"{"resource":"pods","responseKind":{"kind":"Pod"},"scope":"Namespaced","singularResource":"pod","shortNames":["po"],"categories":["all"],"subresources":[{"subresource":"log"}]},
            {"resource":"nodes","responseKind":{"kind":"Node"},"scope":"Cluster","singularResource":"node"}"#;
        let deployments = r#"{"resource":"deployments","responseKind":{"kind":"Deployment"},"scope":"Namespaced","singularResource":"deployment","shortNames":["deploy"],"categories":["all"]}"#;
        let groups = [group("", pods), group("apps", deployments)];
        Resources(groups.into_iter().flat_map(resources_of).collect())
    }

    #[test]
    fn a_resource_is_found_by_each_of_its_names() {
        let all = some();
        for word in ["deploy", "deployment", "deployments", "deployments.apps", "deployments.v1.apps", "Deployment"] {
            assert_eq!(all.one(word).unwrap().kind, "Deployment", "{word}");
        }
        assert_eq!(all.meant_by("all").unwrap().len(), 2);
        assert!(all.meant_by("nonsense").is_err());
    }

    #[test]
    fn paths_name_group_version_and_namespace() {
        let all = some();
        assert_eq!(all.one("po").unwrap().path("n", "a"), "/api/v1/namespaces/n/pods/a");
        assert_eq!(all.one("deploy").unwrap().collection(""), "/apis/apps/v1/deployments");
        assert_eq!(
            all.one("no").map(|_| ()).unwrap_err().to_string(),
            "the server doesn't have a resource type \"no\""
        );
        assert_eq!(all.one("deploy").unwrap().shown("web"), "deployment.apps/web");
    }
}
