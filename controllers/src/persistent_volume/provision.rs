//! What is asked of whom when a claim of a class finds no volume.
//!
//! The controller makes nothing itself: it writes on the claim who shall, and where. Nodes do the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::storage::{
    ANNOTATION_PROVISIONER, ANNOTATION_PROVISIONER_BETA, ANNOTATION_SELECTED_NODE, PROVISIONER, annotation, fit,
};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::claim::{Say, Step, World};

/// The prefix of provisioners that were part of Kubernetes itself, and of the one that makes nothing.
const IN_TREE: &str = "kubernetes.io/";

/// What happens to a claim of this class that no volume suits.
pub(super) fn step(claim: &PersistentVolumeClaim, name: &str, world: &World<'_>) -> Step {
    let failed = |words: String| Step::Wait(Some(Say::Warning("ProvisioningFailed", words)));
    let Some(class) = world.class(name) else {
        return failed(format!("storageclass.storage.k8s.io {name:?} not found"));
    };
    let provisioner = class.provisioner.as_str();
    if provisioner.starts_with(IN_TREE) {
        return failed(format!("no volume plugin matched name: {provisioner}"));
    }
    let mut wanted = BTreeMap::new();
    for name in [ANNOTATION_PROVISIONER, ANNOTATION_PROVISIONER_BETA] {
        if annotation(&claim.metadata, name) != Some(provisioner) {
            wanted.insert(name, Some(provisioner.to_owned()));
        }
    }
    if provisioner == PROVISIONER {
        match place(claim, class, world) {
            Place::Is => {}
            Place::Should(node) => {
                wanted.insert(ANNOTATION_SELECTED_NODE, Some(node));
            }
            Place::Gone => {
                wanted.insert(ANNOTATION_SELECTED_NODE, None);
            }
            Place::Nowhere => return failed(format!("no node that is ready may hold volumes of class {name:?}")),
        }
    }
    let words = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
         system administrator. If volume creation is delayed, please verify that the provisioner is running and \
         correctly registered."
    );
    let say = Some(Say::Normal("ExternalProvisioning", words));
    if wanted.is_empty() { Step::Wait(say) } else { Step::Annotate(wanted, say) }
}

/// Where a volume of our own is to be made.
enum Place {
    /// Where the claim says.
    Is,
    /// Here.
    Should(String),
    /// Where it says there is no node any more: the scheduler chooses again.
    Gone,
    /// No node will do.
    Nowhere,
}

fn place(claim: &PersistentVolumeClaim, class: &StorageClass, world: &World<'_>) -> Place {
    let selected = annotation(&claim.metadata, ANNOTATION_SELECTED_NODE).filter(|name| !name.is_empty());
    let waits = coracle_api::storage::waits_for_consumer(class);
    match selected {
        Some(node) if !(world.is_gone)(node) => return Place::Is,
        Some(_) if waits => return Place::Gone,
        Some(_) | None => {}
    }
    let mut names = world.nodes.iter().filter(|node| fit::allows(class, node)).filter_map(name_of);
    names.next().map_or(Place::Nowhere, Place::Should)
}

fn name_of(node: &Arc<Node>) -> Option<String> {
    node.metadata.name.clone()
}
