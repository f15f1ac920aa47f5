//! The rules for what a container mounts: volumes as directories and as devices.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::container::Around;
use super::volumes::{has_parents, relative};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, text};

/// Names with their places; of two with one name the last counts.
type Places<'a> = BTreeMap<&'a str, &'a str>;

/// The rules for both.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, container: &Container, around: &Around<'_>) {
    let (mounts, devices) = (container.volume_mounts.as_deref(), container.volume_devices.as_deref());
    let (mounts, devices) = (mounts.unwrap_or_default(), devices.unwrap_or_default());
    if !mounts.is_empty() {
        let taken: Places<'_> = devices.iter().map(|d| (d.name.as_str(), d.device_path.as_str())).collect();
        validate_mounts(errors, path.field("volumeMounts"), container, around, &taken);
    }
    if !devices.is_empty() {
        let taken: Places<'_> = mounts.iter().map(|m| (m.name.as_str(), m.mount_path.as_str())).collect();
        validate_devices(errors, path.field("volumeDevices"), container, around, &taken);
    }
}

fn validate_mounts(
    errors: &mut Errors,
    path: Path<'_>,
    container: &Container,
    around: &Around<'_>,
    devices: &Places<'_>,
) {
    let taken: BTreeSet<&str> = devices.values().copied().collect();
    let mut paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let list = path;
        let path = path.index(index);
        let volume = around.volumes.get(mount.name.as_str());
        if mount.name.is_empty() {
            errors.push(FieldError::required(path.field("name"), ""));
        }
        if volume.is_none() {
            errors.push(FieldError::not_found(path.field("name"), mount.name.as_str()));
        }
        if mount.mount_path.is_empty() {
            errors.push(FieldError::required(path.field("mountPath"), ""));
        }
        let mut clash = |field: &str, value: &str, detail: &str| {
            errors.push(FieldError::invalid(path.field(field), value, detail));
        };
        if !paths.insert(mount.mount_path.as_str()) {
            clash("mountPath", &mount.mount_path, "must be unique");
        }
        if devices.contains_key(mount.name.as_str()) {
            clash("name", &mount.name, "must not already exist in volumeDevices");
        }
        if taken.contains(mount.mount_path.as_str()) {
            clash("mountPath", &mount.mount_path, "must not already exist as a path in volumeDevices");
        }
        let (sub_path, expression) = (text(&mount.sub_path), text(&mount.sub_path_expr));
        if volume.is_some_and(|v| v.image.is_some()) {
            for (field, value) in [("subPath", sub_path), ("subPathExpr", expression)] {
                if !value.is_empty() {
                    clash(field, value, "not allowed in image volume sources");
                }
            }
        }
        // Upstream names the rest without the index.
        relative(errors, list.field("subPath"), sub_path);
        if !sub_path.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(path.field("subPathExpr"), expression, detail));
        }
        relative(errors, list.field("subPathExpr"), expression);
        propagation(errors, list.field("mountPropagation"), mount, container);
        recursive_read_only(errors, list.field("recursiveReadOnly"), mount);
    }
}

fn propagation(errors: &mut Errors, path: Path<'_>, mount: &VolumeMount, container: &Container) {
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    let Some(mode) = mount.mount_propagation.as_deref() else { return };
    if !MODES.contains(&mode) {
        errors.push(FieldError::not_supported(path, mode, &MODES));
    }
    let privileged = container.security_context.as_ref().is_some_and(|s| s.privileged == Some(true));
    if mode == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn recursive_read_only(errors: &mut Errors, path: Path<'_>, mount: &VolumeMount) {
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.read_only != Some(true) {
                errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
            }
            if mount.mount_propagation.as_deref().is_some_and(|mode| mode != "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, detail));
            }
        }
        Some(other) => {
            errors.push(FieldError::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]));
        }
    }
}

fn validate_devices(
    errors: &mut Errors,
    path: Path<'_>,
    container: &Container,
    around: &Around<'_>,
    mounts: &Places<'_>,
) {
    let taken: BTreeSet<&str> = mounts.values().copied().collect();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        let path = path.index(index);
        let (name, place) = (device.name.as_str(), device.device_path.as_str());
        let volume = around.volumes.get(name);
        if name.is_empty() {
            errors.push(FieldError::required(path.field("name"), ""));
        } else if !names.insert(name) {
            errors.push(FieldError::invalid(path.field("name"), name, "must be unique"));
        }
        match volume {
            Some(v) if v.persistent_volume_claim.is_none() && v.ephemeral.is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(path.field("name"), name, detail));
            }
            None => errors.push(FieldError::not_found(path.field("name"), name)),
            Some(_) => {}
        }
        if place.is_empty() {
            errors.push(FieldError::required(path.field("devicePath"), ""));
        }
        let mut clash = |field: &str, value: &str, detail: &str| {
            errors.push(FieldError::invalid(path.field(field), value, detail));
        };
        if paths.contains(place) {
            clash("devicePath", place, "must be unique");
        }
        if has_parents(place) {
            clash("devicePath", place, "can not contain backsteps ('..')");
        } else {
            paths.insert(place);
        }
        if mounts.contains_key(name) {
            clash("name", name, "must not already exist in volumeMounts");
        }
        if taken.contains(place) {
            clash("devicePath", place, "must not already exist as a path in volumeMounts");
        }
    }
}
