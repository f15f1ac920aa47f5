//! The writes by which the claims of a pod learn to which node it will go.

use coracle_api::names::NodeName;
use coracle_api::storage::{ANNOTATION_BOUND_BY_CONTROLLER, ANNOTATION_SELECTED_NODE};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::schedule::Preparation;

/// Writes all of it. A volume is given away only as the version that was looked at: of two claims one gets it.
pub(crate) async fn write(client: Client, node: NodeName, preparations: Vec<Preparation>) -> Result<(), kube::Error> {
    for preparation in preparations {
        match preparation {
            Preparation::Give { volume, claim } => give(&client, &volume, &claim).await?,
            Preparation::Select { claim } => select(&client, &node, &claim).await?,
        }
    }
    Ok(())
}

async fn give(client: &Client, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), kube::Error> {
    let meta = &claim.metadata;
    let patch = json!({
        "metadata": {
            "resourceVersion": volume.resource_version(),
            "annotations": {ANNOTATION_BOUND_BY_CONTROLLER: "yes"},
        },
        "spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace, "name": meta.name,
            "uid": meta.uid, "resourceVersion": meta.resource_version,
        }},
    });
    let api: Api<PersistentVolume> = Api::all(client.clone());
    api.patch(&volume.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

async fn select(client: &Client, node: &NodeName, claim: &PersistentVolumeClaim) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {
        "uid": claim.uid(), "annotations": {ANNOTATION_SELECTED_NODE: node.as_str()},
    }});
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &claim.namespace().unwrap_or_default());
    api.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}
