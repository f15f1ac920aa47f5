//! Whether a bound claim asks for more than its volume holds, and who makes it larger.

use coracle_api::storage::{ANNOTATION_PROVISIONED_BY, PROVISIONER, annotation, capacity, requested};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What there is to grow.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Growth {
    /// Nothing.
    None,
    /// The volume is not ours.
    ByOthers,
    /// A directory takes what it is given: its size is what is said of it, and what its usage is measured against.
    To(Quantity),
}

/// Decides on a claim and the volume that it is bound to.
pub(super) fn growth(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Growth {
    let asked = claim.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
    let held = claim.status.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage"));
    let Some(asked) = asked else { return Growth::None };
    let held = held.and_then(|q| coracle_api::quantity::nanos(&q.0).ok()).unwrap_or_else(|| capacity(volume));
    if requested(claim) <= capacity(volume).min(held) {
        return Growth::None;
    }
    match annotation(&volume.metadata, ANNOTATION_PROVISIONED_BY) {
        Some(PROVISIONER) => Growth::To(asked.clone()),
        Some(_) | None => Growth::ByOthers,
    }
}
