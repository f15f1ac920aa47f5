//! What is written to let a target sleep or wake it.

use coracle_api::names::NamespacedName;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::targets::Known;
use super::wish::{Kind, REPLICAS, Target};

/// Who manages the fields that are written here.
const MANAGER: &str = "coracle-scale-to-zero";

/// Writes for one target.
#[derive(Clone)]
pub(super) struct Scaler {
    client: Client,
    pub(super) namespace: String,
    pub(super) target: Target,
}

impl Scaler {
    pub(super) fn new(client: Client, namespace: String, target: Target) -> Self {
        Self { client, namespace, target }
    }

    /// Scales what is `known`; nothing is written, and what is there now is returned, if that is another state of it.
    pub(super) async fn scale(&self, known: &Known, replicas: i32) -> kube::Result<Known> {
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": known.version }, "spec": { "replicas": replicas },
        }));
        let (name, params) = (
            self.target.name.as_str(),
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() },
        );
        let written = match self.target.kind {
            Kind::Deployment => self.deployments().patch_scale(name, &params, &patch).await,
            Kind::StatefulSet => self.sets().patch_scale(name, &params, &patch).await,
        };
        let scale = match written {
            Err(kube::Error::Api(status)) if status.code == 409 => match self.target.kind {
                Kind::Deployment => self.deployments().get_scale(name).await?,
                Kind::StatefulSet => self.sets().get_scale(name).await?,
            },
            written => written?,
        };
        Ok(seen(scale, known))
    }

    /// Keeps in a Service to how many replicas it wakes.
    pub(super) async fn remember(&self, service: &NamespacedName, replicas: i32) -> kube::Result<()> {
        let services = Api::<Service>::namespaced(self.client.clone(), &service.namespace);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { REPLICAS: replicas.to_string() } } }));
        services.patch(&service.name, &params, &patch).await.map(|_| ())
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn sets(&self) -> Api<StatefulSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn seen(scale: Scale, before: &Known) -> Known {
    Known {
        replicas: scale.spec.and_then(|spec| spec.replicas).unwrap_or_default(),
        version: scale.metadata.resource_version.unwrap_or_default(),
        uid: scale.metadata.uid.unwrap_or_else(|| before.uid.clone()),
    }
}
