//! The rules for volumes.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, PodSpec, Volume, VolumeProjection};

use super::environment::validate_field_path;
use crate::registry::check::names::{self, require};
use crate::registry::check::{Errors, at, item};

/// What projected files may come from by field: the names that environment variables have not.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The shortest and the longest life of a projected token: ten minutes, 2³² seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=(1 << 32);

/// The sources that a volume names, in the order in which upstream looks at them.
pub(super) fn sources(volume: &Volume) -> impl Iterator<Item = &'static str> {
    let v = volume;
    [
        ("emptyDir", v.empty_dir.is_some()),
        ("hostPath", v.host_path.is_some()),
        ("gitRepo", v.git_repo.is_some()),
        ("gcePersistentDisk", v.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", v.aws_elastic_block_store.is_some()),
        ("secret", v.secret.is_some()),
        ("nfs", v.nfs.is_some()),
        ("iscsi", v.iscsi.is_some()),
        ("glusterfs", v.glusterfs.is_some()),
        ("flocker", v.flocker.is_some()),
        ("persistentVolumeClaim", v.persistent_volume_claim.is_some()),
        ("rbd", v.rbd.is_some()),
        ("cinder", v.cinder.is_some()),
        ("cephfs", v.cephfs.is_some()),
        ("quobyte", v.quobyte.is_some()),
        ("downwardAPI", v.downward_api.is_some()),
        ("fc", v.fc.is_some()),
        ("flexVolume", v.flex_volume.is_some()),
        ("configMap", v.config_map.is_some()),
        ("azureFile", v.azure_file.is_some()),
        ("vsphereVolume", v.vsphere_volume.is_some()),
        ("photonPersistentDisk", v.photon_persistent_disk.is_some()),
        ("portworxVolume", v.portworx_volume.is_some()),
        ("azureDisk", v.azure_disk.is_some()),
        ("storageos", v.storageos.is_some()),
        ("projected", v.projected.is_some()),
        ("scaleIO", v.scale_io.is_some()),
        ("csi", v.csi.is_some()),
        ("ephemeral", v.ephemeral.is_some()),
        ("image", v.image.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
}

/// Volumes that a wasm pod can have.
pub(super) const OFFERED: [&str; 7] =
    ["emptyDir", "hostPath", "secret", "persistentVolumeClaim", "downwardAPI", "configMap", "projected"];

/// The rules for all volumes of a spec.
pub(super) fn validate(errors: &mut Errors, path: &str, spec: &PodSpec) {
    let mut seen = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = item(path, "volumes", index);
        if volume.name.is_empty() {
            errors.push(FieldError::required(at(&path, "name"), ""));
        } else {
            require(errors, &at(&path, "name"), &volume.name, names::label);
        }
        if !volume.name.is_empty() && !seen.insert(volume.name.as_str()) {
            errors.push(FieldError::duplicate(at(&path, "name"), volume.name.as_str()));
        }
        let mut sources = sources(volume);
        if sources.next().is_none() {
            errors.push(FieldError::required(path.as_str(), "must specify a volume type"));
        }
        for other in sources {
            errors.push(FieldError::forbidden(at(&path, other), "may not specify more than 1 volume type"));
        }
        source(errors, &path, volume, spec);
    }
}

fn source(errors: &mut Errors, path: &str, volume: &Volume, spec: &PodSpec) {
    if let Some(host) = &volume.host_path {
        host_path(errors, &at(path, "hostPath"), &host.path, host.type_.as_deref().unwrap_or_default());
    }
    if let Some(map) = &volume.config_map {
        let path = at(path, "configMap");
        required(errors, at(&path, "name"), &map.name);
        mode(errors, at(&path, "defaultMode"), map.default_mode);
        items(errors, &path, map.items.as_deref());
    }
    if let Some(secret) = &volume.secret {
        let path = at(path, "secret");
        required(errors, at(&path, "secretName"), secret.secret_name.as_deref().unwrap_or_default());
        mode(errors, at(&path, "defaultMode"), secret.default_mode);
        items(errors, &path, secret.items.as_deref());
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        required(errors, at(&at(path, "persistentVolumeClaim"), "claimName"), &claim.claim_name);
    }
    if let Some(downward) = &volume.downward_api {
        let path = at(path, "downwardAPI");
        mode(errors, at(&path, "defaultMode"), downward.default_mode);
        files(errors, &path, downward.items.as_deref());
    }
    if let Some(projected) = &volume.projected {
        let path = at(path, "projected");
        mode(errors, at(&path, "defaultMode"), projected.default_mode);
        for (index, projection) in projected.sources.iter().flatten().enumerate() {
            validate_projection(errors, &item(&path, "sources", index), projection, spec);
        }
    }
}

fn required(errors: &mut Errors, path: String, value: &str) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
}

fn host_path(errors: &mut Errors, path: &str, value: &str, kind: &str) {
    required(errors, at(path, "path"), value);
    no_parents(errors, at(path, "path"), value);
    let kinds = ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(at(path, "type"), kind, &kinds));
    }
}

fn mode(errors: &mut Errors, path: String, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, detail));
    }
}

fn items(errors: &mut Errors, path: &str, items: Option<&[KeyToPath]>) {
    for (index, entry) in items.iter().copied().flatten().enumerate() {
        let path = item(path, "items", index);
        required(errors, at(&path, "key"), &entry.key);
        required(errors, at(&path, "path"), &entry.path);
        relative(errors, &at(&path, "path"), &entry.path);
        mode(errors, at(&path, "mode"), entry.mode);
    }
}

fn files(errors: &mut Errors, path: &str, files: Option<&[DownwardAPIVolumeFile]>) {
    for (index, file) in files.iter().copied().flatten().enumerate() {
        let path = item(path, "items", index);
        required(errors, at(&path, "path"), &file.path);
        relative(errors, &at(&path, "path"), &file.path);
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(field), None) => validate_field_path(errors, &at(&path, "fieldRef"), field, &FILE_FIELDS),
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path.as_str(), "resource", detail));
            }
            (None, None) => {
                let detail = "one of fieldRef and resourceFieldRef is required";
                errors.push(FieldError::required(at(&path, "fieldRef"), detail));
            }
        }
        mode(errors, at(&path, "mode"), file.mode);
    }
}

fn validate_projection(errors: &mut Errors, path: &str, projection: &VolumeProjection, spec: &PodSpec) {
    if let Some(map) = &projection.config_map {
        required(errors, at(&at(path, "configMap"), "name"), &map.name);
        items(errors, &at(path, "configMap"), map.items.as_deref());
    }
    if let Some(secret) = &projection.secret {
        required(errors, at(&at(path, "secret"), "name"), &secret.name);
        items(errors, &at(path, "secret"), secret.items.as_deref());
    }
    if let Some(downward) = &projection.downward_api {
        files(errors, &at(path, "downwardAPI"), downward.items.as_deref());
    }
    if let Some(token) = &projection.service_account_token {
        let path = at(path, "serviceAccountToken");
        if spec.service_account_name.as_deref().is_none_or(str::is_empty) {
            let detail = "must not be specified when serviceAccountName is not set";
            errors.push(FieldError::forbidden(path.as_str(), detail));
        }
        if let Some(seconds) = token.expiration_seconds.filter(|s| !TOKEN_SECONDS.contains(s)) {
            let detail = if seconds < 600 {
                "may not specify a duration less than 10 minutes"
            } else {
                "may not specify a duration larger than 2^32 seconds"
            };
            errors.push(FieldError::invalid(at(&path, "expirationSeconds"), seconds, detail));
        }
        required(errors, at(&path, "path"), &token.path);
        relative(errors, &at(&path, "path"), &token.path);
    }
}

/// A path that stays where it starts.
pub(super) fn relative(errors: &mut Errors, path: &str, value: &str) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    no_parents(errors, path.to_owned(), value);
}

fn no_parents(errors: &mut Errors, path: String, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}
