//! The rules for volumes: each has a name of its own and just one source.

mod files;
mod remote;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::field::FieldError;
use coracle_api::quantity::nanos;
use k8s_openapi::api::core::v1::{PodSpec, Volume};

use super::container;
use super::spec::Holder;
use crate::registry::check::names::{self, require};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required, text};

/// A source of volumes: its field, whether a volume has it, and its rules.
struct Source {
    field: &'static str,
    /// How upstream names it where there is another already, if that is different.
    told_as: &'static str,
    is_there: fn(&Volume) -> bool,
    rules: fn(&mut Errors, Path<'_>, &Volume),
}

/// A source that both names agree on.
const fn source(
    field: &'static str,
    is_there: fn(&Volume) -> bool,
    rules: fn(&mut Errors, Path<'_>, &Volume),
) -> Source {
    Source { field, told_as: field, is_there, rules }
}

/// All sources, in the order in which upstream looks at them.
const SOURCES: [Source; 30] = [
    source("emptyDir", |v| v.empty_dir.is_some(), empty_dir),
    source("hostPath", |v| v.host_path.is_some(), host_path),
    source("gitRepo", |v| v.git_repo.is_some(), remote::git_repo),
    source("gcePersistentDisk", |v| v.gce_persistent_disk.is_some(), remote::gce_persistent_disk),
    source("awsElasticBlockStore", |v| v.aws_elastic_block_store.is_some(), remote::aws_elastic_block_store),
    source("secret", |v| v.secret.is_some(), files::secret),
    source("nfs", |v| v.nfs.is_some(), remote::nfs),
    source("iscsi", |v| v.iscsi.is_some(), remote::iscsi),
    source("glusterfs", |v| v.glusterfs.is_some(), remote::glusterfs),
    source("flocker", |v| v.flocker.is_some(), remote::flocker),
    source("persistentVolumeClaim", |v| v.persistent_volume_claim.is_some(), claim),
    source("rbd", |v| v.rbd.is_some(), remote::rbd),
    source("cinder", |v| v.cinder.is_some(), remote::cinder),
    Source { told_as: "cephFS", ..source("cephfs", |v| v.cephfs.is_some(), remote::cephfs) },
    source("quobyte", |v| v.quobyte.is_some(), remote::quobyte),
    Source { told_as: "downwarAPI", ..source("downwardAPI", |v| v.downward_api.is_some(), files::downward_api) },
    source("fc", |v| v.fc.is_some(), remote::fibre_channel),
    source("flexVolume", |v| v.flex_volume.is_some(), remote::flex_volume),
    source("configMap", |v| v.config_map.is_some(), files::config_map),
    source("azureFile", |v| v.azure_file.is_some(), remote::azure_file),
    source("vsphereVolume", |v| v.vsphere_volume.is_some(), remote::vsphere),
    source("photonPersistentDisk", |v| v.photon_persistent_disk.is_some(), remote::photon),
    source("portworxVolume", |v| v.portworx_volume.is_some(), remote::portworx),
    source("azureDisk", |v| v.azure_disk.is_some(), remote::azure_disk),
    source("storageos", |v| v.storageos.is_some(), remote::storage_os),
    source("projected", |v| v.projected.is_some(), files::projected),
    source("scaleIO", |v| v.scale_io.is_some(), remote::scale_io),
    source("csi", |v| v.csi.is_some(), storage::csi),
    source("ephemeral", |v| v.ephemeral.is_some(), storage::ephemeral),
    source("image", |v| v.image.is_some(), image),
];

/// Whether a volume names a source at all.
pub(super) fn has_source(volume: &Volume) -> bool {
    SOURCES.iter().any(|source| (source.is_there)(volume))
}

/// The rules for all volumes of a spec; gives those that keep them, which containers may mount.
pub(super) fn validate<'a>(
    errors: &mut Errors,
    path: Path<'_>,
    spec: &'a PodSpec,
    holder: Holder<'_>,
) -> BTreeMap<&'a str, &'a Volume> {
    let pod = match holder {
        Holder::Pod(name) => name,
        Holder::Template => "",
    };
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let made: BTreeSet<String> = volumes
        .iter()
        .filter(|v| !pod.is_empty() && v.ephemeral.is_some())
        .map(|v| format!("{pod}-{}", v.name))
        .collect();
    let mut known = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let before = errors.len();
        validate_source(errors, path, volume, holder);
        let place = path.field("name");
        if volume.name.is_empty() {
            errors.push(FieldError::required(place, ""));
        } else {
            require(errors, place, &volume.name, names::label);
        }
        if known.contains_key(volume.name.as_str()) {
            errors.push(FieldError::duplicate(place, volume.name.as_str()));
        }
        if errors.len() == before {
            known.insert(volume.name.as_str(), volume);
        }
        if let Some(claim) = volume.persistent_volume_claim.as_ref().filter(|c| made.contains(&c.claim_name)) {
            let path = path.field("persistentVolumeClaim");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(path.field("claimName"), claim.claim_name.as_str(), detail));
        }
    }
    known
}

fn validate_source(errors: &mut Errors, path: Path<'_>, volume: &Volume, holder: Holder<'_>) {
    let mut found = false;
    for source in SOURCES.iter().filter(|source| (source.is_there)(volume)) {
        if found {
            errors.push(FieldError::forbidden(path.field(source.told_as), "may not specify more than 1 volume type"));
        } else {
            (source.rules)(errors, path.field(source.field), volume);
            if let Holder::Pod(pod) = holder {
                of_pod(errors, path, volume, pod);
            }
        }
        found = true;
        remote::iscsi_name(errors, path, volume, source.field);
    }
    if !found {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// The rules that need a pod, rather than a template.
fn of_pod(errors: &mut Errors, path: Path<'_>, volume: &Volume, pod: &str) {
    if volume.ephemeral.is_some() && !pod.is_empty() && !volume.name.is_empty() {
        let name = format!("{pod}-{}", volume.name);
        for rule in names::subdomain(&name) {
            let detail = format!("PVC name {name:?}: {rule}");
            errors.push(FieldError::invalid(path.field("name"), volume.name.as_str(), detail));
        }
    }
    if volume.image.as_ref().is_some_and(|image| text(&image.reference).is_empty()) {
        let path = path.field("image");
        errors.push(FieldError::required(path.field("reference"), ""));
    }
}

fn empty_dir(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let limit = volume.empty_dir.as_ref().and_then(|e| e.size_limit.as_ref());
    if limit.is_some_and(|limit| nanos(&limit.0).unwrap_or(0) < 0) {
        let detail = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(path.field("sizeLimit"), detail));
    }
}

fn host_path(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    const KINDS: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let Some(host) = &volume.host_path else { return };
    if host.path.is_empty() {
        errors.push(FieldError::required(path.field("path"), ""));
        return;
    }
    no_parents(errors, path.field("path"), &host.path);
    let kind = text(&host.type_);
    if !KINDS.contains(&kind) {
        errors.push(FieldError::not_supported(path.field("type"), kind, &KINDS));
    }
}

fn claim(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let name = volume.persistent_volume_claim.as_ref().map_or("", |c| c.claim_name.as_str());
    required(errors, path.field("claimName"), name);
}

fn image(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let policy = volume.image.as_ref().and_then(|i| i.pull_policy.as_deref());
    container::pull_policy(errors, path.field("pullPolicy"), policy);
}

/// A path that stays where it starts.
pub(super) fn relative(errors: &mut Errors, path: Path<'_>, value: &str) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    no_parents(errors, path, value);
}

/// A path that stays where it starts, and does not look as if it was the volume's own.
pub(super) fn local_path(errors: &mut Errors, path: Path<'_>, value: &str) {
    relative(errors, path, value);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(FieldError::invalid(path, value, "must not start with '..'"));
    }
}

/// Whether a path leads up anywhere.
pub(super) fn has_parents(value: &str) -> bool {
    value.split('/').any(|part| part == "..")
}

fn no_parents(errors: &mut Errors, path: Path<'_>, value: &str) {
    if has_parents(value) {
        errors.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}
