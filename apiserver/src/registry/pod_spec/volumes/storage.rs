//! The rules for volumes that a driver provides: inline ones, and claims made with the pod.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::Volume;
use serde_json::{Value, json};

use crate::registry::Registry;
use crate::registry::check::labels::{annotations, labels};
use crate::registry::check::names::{require, subdomain};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required};

/// The longest name of a driver.
const DRIVER_MAX: usize = 63;

pub(super) fn csi(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(csi) = &volume.csi else { return };
    let place = path.field("driver");
    required(errors, place, &csi.driver);
    if csi.driver.len() > DRIVER_MAX {
        errors.push(FieldError::too_long(place, DRIVER_MAX));
    }
    let broken = subdomain(&csi.driver.to_lowercase());
    errors.extend(broken.into_iter().map(|rule| FieldError::invalid(place, csi.driver.as_str(), rule)));
    if let Some(secret) = &csi.node_publish_secret_ref {
        if secret.name.is_empty() {
            let path = path.field("nodePublishSecretRef");
            errors.push(FieldError::required(path.field("name"), ""));
        } else {
            require(errors, path.field("name"), &secret.name, subdomain);
        }
    }
}

pub(super) fn ephemeral(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let path = path.field("volumeClaimTemplate");
    let Some(template) = volume.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref()) else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    if let Some(meta) = &template.metadata {
        let path = path.field("metadata");
        if let Some(map) = &meta.annotations {
            annotations(errors, path.field("annotations"), map);
        }
        if let Some(map) = &meta.labels {
            labels(errors, path.field("labels"), map);
        }
        let shown = serde_json::to_value(meta).unwrap_or_default();
        let fields = shown.as_object().into_iter().flat_map(serde_json::Map::keys);
        for field in fields.filter(|field| !matches!(field.as_str(), "annotations" | "labels")) {
            errors.push(FieldError::forbidden(path.field(field), "cannot be set"));
        }
    }
    let spec = serde_json::to_value(&template.spec).unwrap_or(Value::Null);
    claim_spec(errors, path.field("spec"), &spec);
}

/// The rules for the claim that a pod brings along: those of a claim, told at their place in the volume.
fn claim_spec(errors: &mut Errors, path: Path<'_>, spec: &Value) {
    let Some(row) = Registry::builtin().get("", "v1", "persistentvolumeclaims") else { return };
    for mut error in row.strategy.validate(&json!({"spec": spec})) {
        if let Some(rest) = error.path.strip_prefix("spec") {
            error.path = format!("{path}{rest}");
            errors.push(error);
        }
    }
}
