//! The writes of the PersistentVolume controller.
//!
//! Each may be cut off after any other: the next look finds what is missing and writes that. First the volume names
//! the claim, then the claim the volume, so that a volume is never promised twice.

use std::collections::BTreeMap;

use coracle_api::clock;
use coracle_api::storage::{
    ANNOTATION_BIND_COMPLETED, ANNOTATION_BOUND_BY_CONTROLLER, annotation, claim_phase, volume_name, volume_phase,
};
use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, PersistentVolumeStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use crate::reconcile::ReconcileError;

/// Writes claims and volumes.
pub(super) struct Binder<'a> {
    pub(super) client: &'a Client,
}

impl Binder<'_> {
    fn claims(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &claim.namespace().unwrap_or_default())
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    async fn put_claim(&self, claim: &PersistentVolumeClaim) -> Result<PersistentVolumeClaim, ReconcileError> {
        let written = self.claims(claim).replace(&claim.name_any(), &PostParams::default(), claim).await;
        written.map_err(ReconcileError::api("update claim"))
    }

    async fn put_volume(&self, volume: &PersistentVolume) -> Result<PersistentVolume, ReconcileError> {
        let written = self.volumes().replace(&volume.name_any(), &PostParams::default(), volume).await;
        written.map_err(ReconcileError::api("update volume"))
    }

    /// Binds both to each other, and returns them as they are then.
    pub(super) async fn bind(
        &self,
        volume: &PersistentVolume,
        claim: &PersistentVolumeClaim,
    ) -> Result<(PersistentVolume, PersistentVolumeClaim), ReconcileError> {
        let mut volume = volume.clone();
        if let Some(named) = naming(&volume, claim) {
            volume = self.put_volume(&named).await?;
        }
        volume = self.phase(&volume, "Bound", None).await?;
        let mut claim = claim.clone();
        if let Some(named) = claiming(&claim, &volume) {
            claim = self.put_claim(&named).await?;
        }
        let claim = self.bound(&claim, &volume).await?;
        Ok((volume, claim))
    }

    /// Writes a volume's phase, if it is another, and returns the volume as it is then.
    pub(super) async fn phase(
        &self,
        volume: &PersistentVolume,
        phase: &str,
        message: Option<&str>,
    ) -> Result<PersistentVolume, ReconcileError> {
        if volume_phase(volume) == phase {
            return Ok(volume.clone());
        }
        let mut changed = volume.clone();
        changed.status = Some(PersistentVolumeStatus {
            phase: Some(phase.to_owned()),
            message: message.map(str::to_owned),
            last_phase_transition_time: Some(clock::now_time()),
            ..PersistentVolumeStatus::default()
        });
        let written = self.volumes().replace_status(&volume.name_any(), &PostParams::default(), &changed).await;
        written.map_err(ReconcileError::api("update status of volume"))
    }

    /// Lets a volume forget its claim; what a person set aside stays set aside.
    pub(super) async fn unbind(&self, volume: &PersistentVolume) -> Result<(), ReconcileError> {
        let mut free = volume.clone();
        let ours = annotation(&free.metadata, ANNOTATION_BOUND_BY_CONTROLLER).is_some();
        let spec = free.spec.get_or_insert_default();
        if ours {
            spec.claim_ref = None;
            free.annotations_mut().remove(ANNOTATION_BOUND_BY_CONTROLLER);
        } else if let Some(named) = &mut spec.claim_ref {
            named.uid = None;
            named.resource_version = None;
        }
        let free = self.put_volume(&free).await?;
        self.phase(&free, "Available", None).await.map(drop)
    }

    async fn put_status(
        &self,
        claim: &PersistentVolumeClaim,
        status: PersistentVolumeClaimStatus,
    ) -> Result<PersistentVolumeClaim, ReconcileError> {
        if claim.status.as_ref() == Some(&status) {
            return Ok(claim.clone());
        }
        let changed = PersistentVolumeClaim { status: Some(status), ..claim.clone() };
        let written = self.claims(claim).replace_status(&claim.name_any(), &PostParams::default(), &changed).await;
        written.map_err(ReconcileError::api("update status of claim"))
    }

    async fn bound(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<PersistentVolumeClaim, ReconcileError> {
        let mut status = claim.status.clone().unwrap_or_default();
        let spec = volume.spec.clone().unwrap_or_default();
        if claim_phase(claim) != "Bound" || status.capacity.is_none() {
            status.capacity = spec.capacity;
        }
        status.phase = Some("Bound".to_owned());
        status.access_modes = spec.access_modes;
        self.put_status(claim, status).await
    }

    /// Says that a claim waits.
    pub(super) async fn pending(&self, claim: &PersistentVolumeClaim) -> Result<(), ReconcileError> {
        let status = claim.status.clone().unwrap_or_default();
        let status = PersistentVolumeClaimStatus {
            phase: Some("Pending".to_owned()),
            access_modes: None,
            capacity: None,
            ..status
        };
        self.put_status(claim, status).await.map(drop)
    }

    /// Says that a claim has lost its volume, and whether that is news.
    pub(super) async fn lost(&self, claim: &PersistentVolumeClaim) -> Result<bool, ReconcileError> {
        let status = claim.status.clone().unwrap_or_default();
        let status = PersistentVolumeClaimStatus {
            phase: Some("Lost".to_owned()),
            access_modes: None,
            capacity: None,
            ..status
        };
        self.put_status(claim, status).await?;
        Ok(claim_phase(claim) != "Lost")
    }

    /// Gives a claim annotations, and takes away those without a value.
    pub(super) async fn annotate(
        &self,
        claim: &PersistentVolumeClaim,
        annotations: &BTreeMap<&'static str, Option<String>>,
    ) -> Result<PersistentVolumeClaim, ReconcileError> {
        let mut changed = claim.clone();
        for (name, value) in annotations {
            match value {
                Some(value) => changed.annotations_mut().insert((*name).to_owned(), value.clone()),
                None => changed.annotations_mut().remove(*name),
            };
        }
        self.put_claim(&changed).await
    }

    /// Gives a claim that named no class the default one.
    pub(super) async fn take_class(&self, claim: &PersistentVolumeClaim, class: &str) -> Result<(), ReconcileError> {
        let mut changed = claim.clone();
        changed.spec.get_or_insert_default().storage_class_name = Some(class.to_owned());
        self.put_claim(&changed).await.map(drop)
    }

    /// Makes a volume larger, and then says so of its claim.
    pub(super) async fn resize(
        &self,
        volume: &PersistentVolume,
        claim: &PersistentVolumeClaim,
        size: &Quantity,
    ) -> Result<(), ReconcileError> {
        let mut larger = volume.clone();
        let capacity = larger.spec.get_or_insert_default().capacity.get_or_insert_default();
        if coracle_api::storage::capacity(volume) < coracle_api::storage::requested(claim) {
            capacity.insert("storage".to_owned(), size.clone());
            larger = self.put_volume(&larger).await?;
        }
        let mut status = claim.status.clone().unwrap_or_default();
        status.capacity = larger.spec.and_then(|spec| spec.capacity);
        self.put_status(claim, status).await.map(drop)
    }
}

/// The volume with the claim's name in it; nothing if it is there already.
fn naming(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let mut named = volume.clone();
    let spec = named.spec.get_or_insert_default();
    let chosen_here = spec.claim_ref.is_none();
    let is_whole = spec.claim_ref.as_ref().is_some_and(|r| r.uid.as_deref().is_some_and(|uid| !uid.is_empty()));
    if is_whole {
        return None;
    }
    spec.claim_ref = Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    });
    if chosen_here {
        named.annotations_mut().insert(ANNOTATION_BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    Some(named)
}

/// The claim with the volume's name in it; nothing if it is there already.
fn claiming(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<PersistentVolumeClaim> {
    let mut named = claim.clone();
    if volume_name(claim).is_empty() {
        named.spec.get_or_insert_default().volume_name.clone_from(&volume.metadata.name);
        named.annotations_mut().insert(ANNOTATION_BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    if annotation(&claim.metadata, ANNOTATION_BIND_COMPLETED).is_none() {
        named.annotations_mut().insert(ANNOTATION_BIND_COMPLETED.to_owned(), "yes".to_owned());
    }
    (named != *claim).then_some(named)
}
