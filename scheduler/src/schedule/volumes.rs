//! What a pod's claims have to say about where it may run, and what must be done for them before it does.
//!
//! A claim whose class waits for its first pod is bound only once that pod has a node: a free volume that is reached
//! from there is set aside for it, or the node is written on the claim, for its provisioner. The pod is bound when all
//! its claims are.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use coracle_api::names::NamespacedName;
use coracle_api::storage::fit::{self, From};
use coracle_api::storage::{
    ANNOTATION_SELECTED_NODE, READ_WRITE_ONCE_POD, annotation, claim_class, claim_phase, claims_of, is_bound,
    is_for_pod, not_for_pod, requested, volume_name, waits_for_consumer,
};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};

use super::verdict::Reason;
use crate::storage::Storage;

/// The provisioner that makes nothing: volumes of its classes are made by hand.
const MAKES_NOTHING: &str = "kubernetes.io/no-provisioner";

/// What a pod needs of the storage there is.
#[derive(Debug, Default)]
pub(crate) struct Needs<'a> {
    /// Bound claims, with their volumes if those exist.
    bound: Vec<Option<&'a PersistentVolume>>,
    /// Claims that wait for the pod's node, the most modest first.
    waiting: Vec<&'a PersistentVolumeClaim>,
    /// A claim is bound, and its status does not say so yet. A node believes the status.
    settling: bool,
    /// Another pod uses a claim that is for one alone.
    taken: bool,
}

/// What is to be done for a claim before its pod is bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Preparation {
    /// The volume of this name is set aside for the claim.
    Give { volume: Box<PersistentVolume>, claim: Box<PersistentVolumeClaim> },
    /// The node is written on the claim.
    Select { claim: Box<PersistentVolumeClaim> },
}

/// What the pod needs, or in upstream's words why it can run nowhere.
pub(crate) fn needs<'a>(pod: &Pod, storage: &'a Storage) -> Result<Needs<'a>, String> {
    let mut needs = Needs::default();
    let mut immediate = false;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for used in claims_of(pod) {
        let key = NamespacedName::new(namespace, used.name.as_str());
        let name = &used.name;
        let Some(claim) = storage.claims.get(&key) else {
            return Err(if used.ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
            } else {
                format!("persistentvolumeclaim {name:?} not found")
            });
        };
        if claim_phase(claim) == "Lost" {
            let volume = volume_name(claim);
            return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if used.ephemeral && !is_for_pod(claim, pod) {
            return Err(not_for_pod(claim, pod));
        }
        let mut modes = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
        needs.taken |= modes.any(|mode| mode == READ_WRITE_ONCE_POD) && storage.is_used(&key);
        if is_bound(claim) {
            needs.settling |= claim_phase(claim) != "Bound";
            needs.bound.push(storage.volumes.get(volume_name(claim)));
        } else if volume_name(claim).is_empty() && waits(claim, storage) {
            needs.waiting.push(claim);
        } else {
            immediate = true;
        }
    }
    if immediate {
        return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
    }
    needs.waiting.sort_by_key(|claim| requested(claim));
    Ok(needs)
}

fn waits(claim: &PersistentVolumeClaim, storage: &Storage) -> bool {
    claim_class(claim).and_then(|class| storage.classes.get(class)).is_some_and(waits_for_consumer)
}

/// Why the node will not do for these needs.
pub(super) fn reasons_against(needs: &Needs<'_>, node: &Node, storage: &Storage) -> Vec<Reason> {
    if needs.taken {
        return vec![Reason::ClaimInUse];
    }
    let mut reasons = BTreeSet::new();
    for volume in &needs.bound {
        match volume {
            None => drop(reasons.insert(Reason::NoSuchVolume)),
            Some(volume) if !fit::reaches(volume, node) => drop(reasons.insert(Reason::VolumeElsewhere)),
            Some(_) => {}
        }
    }
    if prepare(needs, node, storage).is_none() {
        reasons.insert(Reason::NoVolume);
    }
    reasons.into_iter().collect()
}

/// What is to be done for the claims that wait, if the pod goes to this node. Nothing if it cannot be done there.
pub(crate) fn prepare(needs: &Needs<'_>, node: &Node, storage: &Storage) -> Option<Vec<Preparation>> {
    let mut taken = BTreeSet::new();
    let mut preparations = Vec::new();
    for claim in &needs.waiting {
        let selected = annotation(&claim.metadata, ANNOTATION_SELECTED_NODE).filter(|name| !name.is_empty());
        match selected.map(|name| Some(name).cmp(&node.metadata.name.as_deref())) {
            // Its provisioner is at work already.
            Some(Ordering::Equal) => continue,
            Some(Ordering::Less | Ordering::Greater) => return None,
            None => {}
        }
        if let Some(volume) = fit::best(claim, storage.volumes.values(), From::Node(node), &taken) {
            taken.extend(volume.metadata.name.clone());
            if volume.spec.as_ref().is_none_or(|spec| spec.claim_ref.is_none()) {
                let (volume, claim) = (Box::new(volume.clone()), Box::new((*claim).clone()));
                preparations.push(Preparation::Give { volume, claim });
            }
            continue;
        }
        let class = claim_class(claim).and_then(|class| storage.classes.get(class))?;
        if class.provisioner == MAKES_NOTHING || !fit::allows(class, node) {
            return None;
        }
        preparations.push(Preparation::Select { claim: Box::new((*claim).clone()) });
    }
    Some(preparations)
}

impl Needs<'_> {
    /// Whether the pod must wait for any claim before it is bound.
    pub(crate) fn wait(&self) -> bool {
        self.settling || !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
