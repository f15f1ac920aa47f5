//! The root CA publisher: every namespace has the certificate of the cluster's authority, for its pods to trust the API.
//!
//! What others make of its ConfigMaps is undone; other ConfigMaps are not even watched.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::names::NamespacedName;
use coracle_api::wellknown::CONFIG_MAP_ROOT_CA as NAME;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, refusal};

/// The key that holds the certificate.
const KEY: &str = "ca.crt";

/// What the ConfigMap is for, for whoever finds it.
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIBED: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                         endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                         guaranteed across distributions of Kubernetes clusters.";

/// The controller.
pub(crate) struct RootCa {
    context: Context,
    queue: Queue<String>,
    /// The certificate, as PEM; empty if nobody said it.
    certificate: String,
}

impl RootCa {
    /// Builds the controller and lets it hear of namespaces and of its own ConfigMaps.
    pub(crate) fn build(context: &Context, certificate: String) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default(), certificate });
        let heard = Arc::clone(&this);
        context.informers.namespaces.on_change(move |change| heard.queue.add(change.latest().name_any()));
        let heard = Arc::clone(&this);
        let on_map = move |change: &crate::informers::Change<ConfigMap>| {
            heard.queue.add(change.latest().namespace().unwrap_or_default());
        };
        context.informers.roots.on_change(on_map);
        this
    }

    async fn create(&self, namespace: &str) -> Result<Next, ReconcileError> {
        let map = with_certificate(ConfigMap::default(), namespace, &self.certificate);
        let api: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), namespace);
        match api.create(&PostParams::default(), &map).await {
            Err(error) => match refusal(&error) {
                Refusal::AlreadyExists | Refusal::NamespaceTerminating => Ok(Next::Done),
                Refusal::NotFound | Refusal::Conflict | Refusal::Other => {
                    Err(ReconcileError::api("create ConfigMap")(error))
                }
            },
            Ok(_) => Ok(Next::Done),
        }
    }
}

impl Controller for RootCa {
    type Key = String;
    const NAME: &'static str = "root-ca-certificate-publisher";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<String> {
        &self.queue
    }

    async fn reconcile(&self, namespace: &String) -> Result<Next, ReconcileError> {
        let informers = &self.context.informers;
        let active = informers.namespaces.get(&NamespacedName::new("", namespace.as_str()));
        let active = active.is_some_and(|ns| ns.metadata.deletion_timestamp.is_none());
        if !active || self.certificate.is_empty() {
            return Ok(Next::Done);
        }
        let Some(map) = informers.roots.get(&NamespacedName::new(namespace.as_str(), NAME)) else {
            return self.create(namespace).await;
        };
        let wanted = with_certificate(ConfigMap::clone(&map), namespace, &self.certificate);
        if wanted == *map {
            return Ok(Next::Done);
        }
        let api: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), namespace);
        match api.replace(NAME, &PostParams::default(), &wanted).await {
            Err(error) => match refusal(&error) {
                // The watch tells how it is now.
                Refusal::NotFound | Refusal::Conflict => Ok(Next::Done),
                Refusal::AlreadyExists | Refusal::NamespaceTerminating | Refusal::Other => {
                    Err(ReconcileError::api("update ConfigMap")(error))
                }
            },
            Ok(_) => Ok(Next::Done),
        }
    }
}

/// The ConfigMap as it should be; what others wrote on it stays where it does no harm.
fn with_certificate(mut map: ConfigMap, namespace: &str, certificate: &str) -> ConfigMap {
    map.data = Some(BTreeMap::from([(KEY.to_owned(), certificate.to_owned())]));
    map.binary_data = None;
    let metadata = std::mem::take(&mut map.metadata);
    map.metadata = ObjectMeta { name: Some(NAME.to_owned()), namespace: Some(namespace.to_owned()), ..metadata };
    map.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.to_owned(), DESCRIBED.to_owned());
    map
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_certificate_is_put_back_and_labels_of_others_stay() {
        let changed: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": NAME, "namespace": "ns", "labels": {"a": "b"}}, "data": {"ca.crt": "forged", "x": "y"}
        }))
        .unwrap();
        let mended = with_certificate(changed, "ns", "real");
        assert_eq!(mended.data, Some(BTreeMap::from([("ca.crt".to_owned(), "real".to_owned())])));
        assert_eq!(mended.metadata.labels.as_ref().unwrap()["a"], "b");
        assert_eq!(with_certificate(mended.clone(), "ns", "real"), mended);
    }
}
