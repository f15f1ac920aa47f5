//! All resources that the API server has, as it says itself: what there is to empty and to collect.

use kube::Client;
use kube::api::ApiResource;
use kube::discovery::{ApiCapabilities, Discovery, Scope};

/// A resource and what can be done with it.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) api: ApiResource,
    pub(crate) is_namespaced: bool,
    verbs: Vec<String>,
    subresources: Vec<String>,
}

impl Resource {
    fn new((api, can): (ApiResource, ApiCapabilities)) -> Self {
        let subresources = can.subresources.into_iter().map(|(below, _)| below.plural).collect();
        Self { api, is_namespaced: can.scope == Scope::Namespaced, verbs: can.operations, subresources }
    }

    /// Whether the resource has all these verbs.
    pub(crate) fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|v| v == verb))
    }

    /// Whether the resource has this subresource.
    pub(crate) fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|s| s.rsplit('/').next() == Some(name))
    }

    /// Whether it is the resource of this group and plural.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.api.group == group && self.api.plural == plural
    }
}

/// Every resource, each group in its preferred version.
pub(crate) async fn resources(client: &Client) -> Result<Vec<Resource>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    Ok(discovery.groups().flat_map(|group| group.recommended_resources()).map(Resource::new).collect())
}
