//! Claims, volumes and storage classes: the words that the controllers, the scheduler and the nodes share about them.
//!
//! What fits what is in [`fit`]: the binder and the scheduler must never be of two minds about it.

pub mod fit;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::quantity;

/// The provisioner that every node is: directories on its own disk.
pub const PROVISIONER: &str = "coracle.dev/local-path";
/// The storage class that a new cluster has.
pub const CLASS_LOCAL_PATH: &str = "local-path";

/// On a claim: both directions of its binding have been written.
pub const ANNOTATION_BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On a claim or volume: the controller chose the other side, not a person.
pub const ANNOTATION_BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a volume: who made it.
pub const ANNOTATION_PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a claim: who shall make a volume for it.
pub const ANNOTATION_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The same under its older name.
pub const ANNOTATION_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// On a claim: the node that its first pod will run on.
pub const ANNOTATION_SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a claim or volume: its class, from before the spec had it.
pub const ANNOTATION_CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// On a class: it is the one of claims that name none.
pub const ANNOTATION_DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// The same under its older name.
pub const ANNOTATION_DEFAULT_CLASS_BETA: &str = "storageclass.beta.kubernetes.io/is-default-class";
/// On a provisioned volume: the node that has its directory.
pub const ANNOTATION_NODE: &str = "coracle.dev/node";

/// Keeps a claim while a pod uses it.
pub const FINALIZER_CLAIM_IN_USE: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while a claim is bound to it.
pub const FINALIZER_VOLUME_IN_USE: &str = "kubernetes.io/pv-protection";
/// Keeps a provisioned volume until its data have been dealt with as its reclaim policy says.
pub const FINALIZER_PROVISIONED: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// The access mode of a volume that one pod alone may use.
pub const READ_WRITE_ONCE_POD: &str = "ReadWriteOncePod";

/// An annotation of an object.
#[must_use]
pub fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Whether an object carries this finalizer.
#[must_use]
pub fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| finalizer == name)
}

/// The class that a claim asks for: nothing if it leaves that to the default, empty if it wants none.
#[must_use]
pub fn claim_class(claim: &PersistentVolumeClaim) -> Option<&str> {
    let named = || claim.spec.as_ref()?.storage_class_name.as_deref();
    annotation(&claim.metadata, ANNOTATION_CLASS_BETA).or_else(named)
}

/// The class of a volume, empty if none.
#[must_use]
pub fn volume_class(volume: &PersistentVolume) -> &str {
    let named = || volume.spec.as_ref()?.storage_class_name.as_deref();
    annotation(&volume.metadata, ANNOTATION_CLASS_BETA).or_else(named).unwrap_or_default()
}

/// The name of the volume that a claim is bound to or asks for, empty if none.
#[must_use]
pub fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default()
}

/// Whether both directions of the claim's binding have been written.
#[must_use]
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotation(&claim.metadata, ANNOTATION_BIND_COMPLETED).is_some()
}

/// A claim's phase, empty before its first status.
#[must_use]
pub fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// A volume's phase, empty before its first status.
#[must_use]
pub fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Whether volumes of a class wait for the first pod that uses them.
#[must_use]
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// The `storage` of a resource list in billionths of a byte, zero if absent.
#[must_use]
pub fn bytes(list: Option<&BTreeMap<String, Quantity>>) -> i128 {
    list.and_then(|all| all.get("storage")).and_then(|q| quantity::nanos(&q.0).ok()).unwrap_or(0)
}

/// How much a claim asks for, as [`bytes`].
#[must_use]
pub fn requested(claim: &PersistentVolumeClaim) -> i128 {
    bytes(claim.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()))
}

/// How much a volume holds, as [`bytes`].
#[must_use]
pub fn capacity(volume: &PersistentVolume) -> i128 {
    bytes(volume.spec.as_ref().and_then(|s| s.capacity.as_ref()))
}

/// The default class: of several the youngest, and of those the first by name.
pub fn default_class<'a>(classes: impl IntoIterator<Item = &'a StorageClass>) -> Option<&'a StorageClass> {
    let marked = |class: &&StorageClass| {
        let is = |name| annotation(&class.metadata, name) == Some("true");
        is(ANNOTATION_DEFAULT_CLASS) || is(ANNOTATION_DEFAULT_CLASS_BETA)
    };
    let age = |class: &&StorageClass| {
        let born = class.metadata.creation_timestamp.as_ref().map(|t| t.0);
        (std::cmp::Reverse(born), class.metadata.name.clone())
    };
    classes.into_iter().filter(marked).min_by_key(age)
}

/// A claim that a pod uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodClaim {
    /// Its name, in the pod's namespace.
    pub name: String,
    /// Whether it is made for this pod and goes with it.
    pub ephemeral: bool,
}

/// The claim behind a volume of a pod, if there is one.
#[must_use]
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<PodClaim> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(PodClaim { name: source.claim_name.clone(), ephemeral: false });
    }
    volume.ephemeral.as_ref()?;
    let name = format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name);
    Some(PodClaim { name, ephemeral: true })
}

/// All claims that a pod uses, in the order of its volumes.
#[must_use]
pub fn claims_of(pod: &Pod) -> Vec<PodClaim> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| claim_of(pod, volume)).collect()
}

/// Whether a claim was made for this very pod.
#[must_use]
pub fn is_for_pod(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// What is said of a claim that bears the name of a pod's ephemeral volume and is not the pod's.
#[must_use]
pub fn not_for_pod(claim: &PersistentVolumeClaim, pod: &Pod) -> String {
    let name = |meta: &ObjectMeta| {
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    };
    format!("PVC {} was not created for pod {} (pod is not owner)", name(&claim.metadata), name(&pod.metadata))
}
