//! What a PersistentVolume is made of: just one of many sources.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::PersistentVolumeSpec;

use crate::registry::check::{Errors, at, domains};

fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.to_owned());
    }
}

/// Fills in a source.
pub(super) fn default(spec: &mut PersistentVolumeSpec) {
    if let Some(source) = &mut spec.host_path {
        source.type_.get_or_insert_default();
    }
    if let Some(source) = &mut spec.iscsi {
        fill(&mut source.iscsi_interface, "default");
    }
    if let Some(source) = &mut spec.rbd {
        fill(&mut source.pool, "rbd");
        fill(&mut source.user, "admin");
        fill(&mut source.keyring, "/etc/ceph/keyring");
    }
    if let Some(source) = &mut spec.scale_io {
        fill(&mut source.storage_mode, "ThinProvisioned");
        fill(&mut source.fs_type, "xfs");
    }
    if let Some(source) = &mut spec.azure_disk {
        fill(&mut source.caching_mode, "ReadWrite");
        fill(&mut source.kind, "Shared");
        fill(&mut source.fs_type, "ext4");
        source.read_only.get_or_insert(false);
    }
}

/// The sources alone.
pub(super) fn only(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    }
}

/// The rules for sources: there is one, and only one, and it says enough.
pub(super) fn validate(errors: &mut Errors, spec: &PersistentVolumeSpec) {
    let present = [
        ("hostPath", spec.host_path.is_some()),
        ("gcePersistentDisk", spec.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", spec.aws_elastic_block_store.is_some()),
        ("glusterfs", spec.glusterfs.is_some()),
        ("flocker", spec.flocker.is_some()),
        ("nfs", spec.nfs.is_some()),
        ("rbd", spec.rbd.is_some()),
        ("quobyte", spec.quobyte.is_some()),
        ("cephfs", spec.cephfs.is_some()),
        ("iscsi", spec.iscsi.is_some()),
        ("cinder", spec.cinder.is_some()),
        ("fc", spec.fc.is_some()),
        ("flexVolume", spec.flex_volume.is_some()),
        ("azureFile", spec.azure_file.is_some()),
        ("vsphereVolume", spec.vsphere_volume.is_some()),
        ("azureDisk", spec.azure_disk.is_some()),
        ("photonPersistentDisk", spec.photon_persistent_disk.is_some()),
        ("portworxVolume", spec.portworx_volume.is_some()),
        ("scaleIO", spec.scale_io.is_some()),
        ("local", spec.local.is_some()),
        ("storageos", spec.storageos.is_some()),
        ("csi", spec.csi.is_some()),
    ];
    let mut present = present.iter().filter(|(_, is)| *is).map(|(name, _)| *name);
    match present.next() {
        None => errors.push(FieldError::required("spec", "must specify a volume type")),
        Some(first) => one(errors, spec, first),
    }
    for other in present {
        errors.push(FieldError::forbidden(at("spec", other), "may not specify more than 1 volume type"));
    }
}

/// The rules for those sources that can be used here or are used most, by the name of the field.
fn one(errors: &mut Errors, spec: &PersistentVolumeSpec, field: &str) {
    let path = at("spec", field);
    if let Some(source) = spec.host_path.as_ref().filter(|_| field == "hostPath") {
        const KINDS: [&str; 8] =
            ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
        some(errors, &path, "path", &source.path);
        climbs(errors, at(&path, "path"), &source.path);
        if let Some(kind) = source.type_.as_deref().filter(|kind| !KINDS.contains(kind)) {
            errors.push(FieldError::not_supported(at(&path, "type"), kind, &KINDS));
        }
    }
    if let Some(source) = spec.nfs.as_ref().filter(|_| field == "nfs") {
        some(errors, &path, "server", &source.server);
        some(errors, &path, "path", &source.path);
        if !source.path.starts_with('/') {
            errors.push(FieldError::invalid(at(&path, "path"), source.path.as_str(), "must be an absolute path"));
        }
    }
    if let Some(source) = spec.local.as_ref().filter(|_| field == "local") {
        some(errors, &path, "path", &source.path);
        climbs(errors, at(&path, "path"), &source.path);
        if spec.node_affinity.is_none() {
            errors.push(FieldError::required("spec.nodeAffinity", "Local volume requires node affinity"));
        }
    }
    if let Some(source) = spec.csi.as_ref().filter(|_| field == "csi") {
        domains::driver(errors, &at(&path, "driver"), &source.driver);
        some(errors, &path, "volumeHandle", &source.volume_handle);
    }
}

fn some(errors: &mut Errors, path: &str, field: &str, value: &str) {
    if value.is_empty() {
        errors.push(FieldError::required(at(path, field), ""));
    }
}

fn climbs(errors: &mut Errors, path: String, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}
