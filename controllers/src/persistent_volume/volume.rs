//! What becomes of a volume, given the claim that it names. A plain function.
//!
//! A volume that was made for a claim is never given to another.

use coracle_api::storage::{ANNOTATION_PROVISIONED_BY, annotation, fit, volume_name, volume_phase};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

/// What becomes of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Leave,
    /// It is in this phase.
    Is(&'static str),
    /// It forgets its claim, which has another volume.
    Unbind,
    /// It cannot be bound to the claim that it names.
    Mismatched,
    /// It cannot be dealt with as its reclaim policy says.
    Failed { reason: &'static str, message: String },
}

/// Decides on a volume. `claim` is the one that its `claimRef` means, if it exists.
pub(super) fn fate(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Fate {
    let Some(named) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Fate::Is("Available");
    };
    if named.uid.as_deref().unwrap_or_default().is_empty() {
        // Set aside for a claim by a person; the claim's turn binds it.
        return match claim {
            Some(claim) if !fit::same_mode(volume, claim) => Fate::Mismatched,
            Some(_) | None => Fate::Is("Available"),
        };
    }
    let Some(claim) = claim else { return released(volume) };
    match volume_name(claim) {
        "" if !fit::same_mode(volume, claim) => Fate::Mismatched,
        // The claim's turn writes the other direction.
        "" => Fate::Leave,
        name if Some(name) == volume.metadata.name.as_deref() => Fate::Is("Bound"),
        _ if made_by(volume).is_some() && policy(volume) == "Delete" => released(volume),
        _ => Fate::Unbind,
    }
}

fn made_by(volume: &PersistentVolume) -> Option<&str> {
    annotation(&volume.metadata, ANNOTATION_PROVISIONED_BY)
}

fn policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// Its claim is gone.
fn released(volume: &PersistentVolume) -> Fate {
    if volume_phase(volume) == "Failed" {
        return Fate::Leave;
    }
    if volume_phase(volume) != "Released" {
        return Fate::Is("Released");
    }
    match policy(volume) {
        "Recycle" => Fate::Failed {
            reason: "VolumeFailedRecycle",
            message: "No recycler plugin found for the volume!".to_owned(),
        },
        "Delete" if made_by(volume).is_none() => {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let why = "no deletable volume plugin matched";
            let message = format!("error getting deleter volume plugin for volume {name:?}: {why}");
            Fate::Failed { reason: "VolumeFailedDelete", message }
        }
        // Who made it deletes it; what is retained waits for a person.
        _ => Fate::Leave,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(phase: &str, spec: &Value, made: bool) -> PersistentVolume {
        let annotations = if made { json!({ANNOTATION_PROVISIONED_BY: "p"}) } else { json!({}) };
        let status = json!({"phase": phase});
        let meta = json!({"name": "v", "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap()
    }

    fn claim(volume: &str) -> PersistentVolumeClaim {
        let meta = json!({"name": "c", "namespace": "n", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "spec": {"volumeName": volume}})).unwrap()
    }

    fn spec(policy: &str, uid: &str) -> Value {
        let claim = json!({"name": "c", "namespace": "n", "uid": uid});
        json!({"persistentVolumeReclaimPolicy": policy, "claimRef": claim})
    }

    #[test]
    fn a_volume_is_what_its_claim_makes_of_it() {
        let free = volume("Pending", &json!({}), false);
        assert_eq!(fate(&free, None), Fate::Is("Available"));
        assert_eq!(fate(&volume("Pending", &spec("Retain", ""), false), None), Fate::Is("Available"));
        let kept = volume("Bound", &spec("Retain", "u"), false);
        assert_eq!(fate(&kept, Some(&claim(""))), Fate::Leave);
        assert_eq!(fate(&kept, Some(&claim("v"))), Fate::Is("Bound"));
        assert_eq!(fate(&kept, Some(&claim("w"))), Fate::Unbind);
        assert_eq!(fate(&kept, None), Fate::Is("Released"));
        let made = volume("Bound", &spec("Delete", "u"), true);
        assert_eq!(fate(&made, Some(&claim("w"))), Fate::Is("Released"));
    }

    #[test]
    fn a_released_volume_goes_the_way_of_its_policy() {
        assert_eq!(fate(&volume("Released", &spec("Retain", "u"), true), None), Fate::Leave);
        assert_eq!(fate(&volume("Released", &spec("Delete", "u"), true), None), Fate::Leave);
        for policy in ["Delete", "Recycle"] {
            let fate = fate(&volume("Released", &spec(policy, "u"), false), None);
            assert!(matches!(fate, Fate::Failed { .. }), "{policy}: nobody can do that here");
        }
        assert_eq!(fate(&volume("Failed", &spec("Delete", "u"), false), None), Fate::Leave);
    }
}
