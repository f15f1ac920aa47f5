//! The rules for volumes of storage systems that have a field of their own. Most are of the past, but still known.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{LocalObjectReference, Volume};

use super::relative;
use crate::registry::check::names::{label, require};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required, text};

pub(super) fn git_repo(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(repo) = &volume.git_repo else { return };
    required(errors, path.field("repository"), &repo.repository);
    relative(errors, path.field("directory"), text(&repo.directory));
}

fn partition(errors: &mut Errors, path: Path<'_>, partition: Option<i32>) {
    if let Some(number) = partition.filter(|p| !(0..=255).contains(p)) {
        errors.push(FieldError::invalid(path, number, "must be between 1 and 255, inclusive"));
    }
}

/// Upstream names the field as it was named once.
pub(super) fn gce_persistent_disk(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(disk) = &volume.gce_persistent_disk else { return };
    let path = path.instead("persistentDisk");
    required(errors, path.field("pdName"), &disk.pd_name);
    partition(errors, path.field("partition"), disk.partition);
}

pub(super) fn aws_elastic_block_store(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(store) = &volume.aws_elastic_block_store else { return };
    required(errors, path.field("volumeID"), &store.volume_id);
    partition(errors, path.field("partition"), store.partition);
}

pub(super) fn nfs(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(nfs) = &volume.nfs else { return };
    required(errors, path.field("server"), &nfs.server);
    required(errors, path.field("path"), &nfs.path);
    if !nfs.path.starts_with('/') {
        errors.push(FieldError::invalid(path.field("path"), nfs.path.as_str(), "must be an absolute path"));
    }
}

/// The longest name of a volume and address of its portal together.
const ISCSI_NAME_MAX: usize = 64;

pub(super) fn iscsi(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(iscsi) = &volume.iscsi else { return };
    required(errors, path.field("targetPortal"), &iscsi.target_portal);
    if iscsi.iqn.is_empty() {
        errors.push(FieldError::required(path.field("iqn"), ""));
    } else {
        require(errors, path.field("iqn"), &iscsi.iqn, initiator);
    }
    if !(0..=255).contains(&iscsi.lun) {
        errors.push(FieldError::invalid(path.field("lun"), iscsi.lun, "must be between 0 and 255, inclusive"));
    }
    let authenticates = iscsi.chap_auth_discovery == Some(true) || iscsi.chap_auth_session == Some(true);
    if authenticates && iscsi.secret_ref.is_none() {
        errors.push(FieldError::required(path.field("secretRef"), ""));
    }
    if let Some(name) = &iscsi.initiator_name {
        require(errors, path.field("initiatorname"), name, initiator);
    }
}

/// The rule about an iSCSI volume's own name; it is told after the source's, whichever came first.
pub(super) fn iscsi_name(errors: &mut Errors, path: Path<'_>, volume: &Volume, source: &str) {
    let Some(iscsi) = volume.iscsi.as_ref().filter(|i| source == "iscsi" && i.initiator_name.is_some()) else { return };
    if volume.name.len() + 1 + iscsi.target_portal.len() > ISCSI_NAME_MAX {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        errors.push(FieldError::invalid(path.field("name"), volume.name.as_str(), detail));
    }
}

/// A name of iSCSI: `iqn.2015-02.example.com:disk`, `eui.` and 16 or `naa.` and 32 letters or digits.
fn initiator(name: &str) -> Vec<String> {
    let told = |detail: &str| vec![detail.to_owned()];
    let alphanumeric =
        |text: &str, length: usize| text.len() == length && text.chars().all(|c| c.is_ascii_alphanumeric());
    let valid = match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some("eui") => name.get(4..).is_some_and(|rest| alphanumeric(rest, 16)),
        Some("naa") => name.get(4..).is_some_and(|rest| alphanumeric(rest, 32)),
        _ => return told("must be valid format starting with iqn, eui, or naa"),
    };
    if valid { Vec::new() } else { told("must be valid format") }
}

fn is_iqn(name: &str) -> bool {
    let digits = |text: &str, length: usize| text.len() == length && text.chars().all(|c| c.is_ascii_digit());
    let dated = |rest: &str| -> Option<bool> {
        let (month, rest) = rest.split_once('.')?;
        let (year, month) = month.split_once('-')?;
        let (authority, own) = rest.split_once(':')?;
        let named = !authority.is_empty()
            && authority.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
            && !own.is_empty()
            && !own.contains([',', ';', '*', '&', '$', '|'])
            && !own.contains(char::is_whitespace);
        Some(digits(year, 4) && digits(month, 2) && named)
    };
    name.strip_prefix("iqn.").and_then(dated) == Some(true)
}

pub(super) fn glusterfs(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(gluster) = &volume.glusterfs else { return };
    required(errors, path.field("endpoints"), &gluster.endpoints);
    required(errors, path.field("path"), &gluster.path);
}

pub(super) fn flocker(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(flocker) = &volume.flocker else { return };
    let (name, uuid) = (text(&flocker.dataset_name), text(&flocker.dataset_uuid));
    if name.is_empty() && uuid.is_empty() {
        errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, "resource", detail));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(path.field("datasetName"), name, "must not contain '/'"));
    }
}

pub(super) fn rbd(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(rbd) = &volume.rbd else { return };
    monitors(errors, path, &rbd.monitors);
    required(errors, path.field("image"), &rbd.image);
}

fn monitors(errors: &mut Errors, path: Path<'_>, monitors: &[String]) {
    if monitors.is_empty() {
        errors.push(FieldError::required(path.field("monitors"), ""));
    }
}

fn secret_name(errors: &mut Errors, path: Path<'_>, secret: Option<&LocalObjectReference>) {
    if let Some(secret) = secret {
        let path = path.field("secretRef");
        required(errors, path.field("name"), &secret.name);
    }
}

pub(super) fn cinder(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(cinder) = &volume.cinder else { return };
    required(errors, path.field("volumeID"), &cinder.volume_id);
    secret_name(errors, path, cinder.secret_ref.as_ref());
}

pub(super) fn cephfs(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    if let Some(ceph) = &volume.cephfs {
        monitors(errors, path, &ceph.monitors);
    }
}

/// The longest name of a tenant.
const TENANT_MAX: usize = 64;

pub(super) fn quobyte(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(quobyte) = &volume.quobyte else { return };
    let rule = "must be a host:port pair or multiple pairs separated by commas";
    let place = path.field("registry");
    if quobyte.registry.is_empty() {
        errors.push(FieldError::required(place, rule));
    } else if text(&quobyte.tenant).len() > TENANT_MAX {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(path.field("tenant"), detail));
    } else {
        for _ in quobyte.registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.push(FieldError::invalid(place, quobyte.registry.as_str(), rule));
        }
    }
    required(errors, path.field("volume"), &quobyte.volume);
}

fn is_host_and_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(host, port)| !host.contains('[') && !port.contains(':')),
        None => pair.split_once(':').is_some_and(|(host, port)| !host.contains(']') && !port.contains([':', '[', ']'])),
    }
}

pub(super) fn fibre_channel(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(fc) = &volume.fc else { return };
    let (targets, ids) = (fc.target_wwns.as_deref().unwrap_or_default(), fc.wwids.as_deref().unwrap_or_default());
    let place = path.field("targetWWNs");
    if targets.is_empty() && ids.is_empty() {
        errors.push(FieldError::required(place, "must specify either targetWWNs or wwids, but not both"));
    }
    if !targets.is_empty() && !ids.is_empty() {
        errors.push(FieldError::invalid(place, targets, "targetWWNs and wwids can not be specified simultaneously"));
    }
    if !targets.is_empty() {
        let place = path.field("lun");
        match fc.lun {
            None => errors.push(FieldError::required(place, "lun is required if targetWWNs is specified")),
            Some(lun) if !(0..=255).contains(&lun) => {
                errors.push(FieldError::invalid(place, lun, "must be between 0 and 255, inclusive"));
            }
            Some(_) => {}
        }
    }
}

pub(super) fn flex_volume(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(flex) = &volume.flex_volume else { return };
    required(errors, path.field("driver"), &flex.driver);
    let list = path.field("options");
    for (key, _) in flex.options.iter().flatten() {
        let group = key.split_once('/').map_or(key.as_str(), |(group, _)| group).to_lowercase();
        if [".kubernetes.io", ".k8s.io"].iter().any(|own| format!(".{group}").ends_with(own)) {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(list.key(key), key.as_str(), detail));
        }
    }
}

pub(super) fn azure_file(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(azure) = &volume.azure_file else { return };
    required(errors, path.field("secretName"), &azure.secret_name);
    required(errors, path.field("shareName"), &azure.share_name);
}

pub(super) fn azure_disk(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    const MODES: [&str; 3] = ["None", "ReadOnly", "ReadWrite"];
    const KINDS: [&str; 3] = ["Dedicated", "Managed", "Shared"];
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let Some(disk) = &volume.azure_disk else { return };
    required(errors, path.field("diskName"), &disk.disk_name);
    required(errors, path.field("diskURI"), &disk.disk_uri);
    if let Some(mode) = disk.caching_mode.as_deref().filter(|m| !MODES.contains(m)) {
        errors.push(FieldError::not_supported(path.field("cachingMode"), mode, &MODES));
    }
    if let Some(kind) = disk.kind.as_deref().filter(|k| !KINDS.contains(k)) {
        errors.push(FieldError::not_supported(path.field("kind"), kind, &KINDS));
    }
    let (start, form) = match disk.kind.as_deref() {
        Some("Managed") => ("/subscriptions/", MANAGED),
        Some(_) => ("https://", BLOB),
        None => return,
    };
    if !disk.disk_uri.starts_with(start) {
        errors.push(FieldError::not_supported(path.field("diskURI"), disk.disk_uri.as_str(), &[form]));
    }
}

pub(super) fn vsphere(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    if let Some(disk) = &volume.vsphere_volume {
        required(errors, path.field("volumePath"), &disk.volume_path);
    }
}

pub(super) fn photon(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    if let Some(disk) = &volume.photon_persistent_disk {
        required(errors, path.field("pdID"), &disk.pd_id);
    }
}

pub(super) fn portworx(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    if let Some(portworx) = &volume.portworx_volume {
        required(errors, path.field("volumeID"), &portworx.volume_id);
    }
}

pub(super) fn scale_io(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(scale) = &volume.scale_io else { return };
    required(errors, path.field("gateway"), &scale.gateway);
    required(errors, path.field("system"), &scale.system);
    required(errors, path.field("volumeName"), text(&scale.volume_name));
}

pub(super) fn storage_os(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(storage) = &volume.storageos else { return };
    if text(&storage.volume_name).is_empty() {
        errors.push(FieldError::required(path.field("volumeName"), ""));
    } else {
        require(errors, path.field("volumeName"), text(&storage.volume_name), label);
    }
    if !text(&storage.volume_namespace).is_empty() {
        require(errors, path.field("volumeNamespace"), text(&storage.volume_namespace), label);
    }
    secret_name(errors, path, storage.secret_ref.as_ref());
}
