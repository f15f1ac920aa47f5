//! `PersistentVolumeClaimResize`: a claim may grow if it is bound and its class lets volumes grow.

use coracle_api::quantity;
use serde_json::Value;

use super::attributes::{Attributes, Operation};
use super::plugins::Plugin;
use crate::answer::Refused;

pub(super) const PLUGIN: Plugin = Plugin { validate: Some(validate), ..Plugin::on("PersistentVolumeClaimResize") };

fn validate(attributes: &Attributes<'_>, claim: &Value) -> Result<(), Refused> {
    let Operation::Update { old, .. } = attributes.operation else { return Ok(()) };
    if !attributes.is_of("", "persistentvolumeclaims") || size(claim) <= size(old) {
        return Ok(());
    }
    if old.pointer("/status/phase").and_then(Value::as_str) != Some("Bound") {
        return Err(attributes.forbidden(claim, "Only bound persistent volume claims can be expanded"));
    }
    if !may_grow(attributes, old) {
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc \
                   must support resize";
        return Err(attributes.forbidden(claim, why));
    }
    Ok(())
}

fn size(claim: &Value) -> i128 {
    let asked = claim.pointer("/spec/resources/requests/storage").and_then(Value::as_str);
    asked.and_then(|text| quantity::nanos(text).ok()).unwrap_or(0)
}

fn may_grow(attributes: &Attributes<'_>, claim: &Value) -> bool {
    let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str).unwrap_or_default();
    let class = attributes.stored("storage.k8s.io", "storageclasses", "", class);
    class.is_some_and(|class| class.get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true))
}
