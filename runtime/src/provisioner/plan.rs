//! What the provisioner does about a claim or a volume. Plain functions.

use std::path::Path;

use coracle_api::storage::{
    ANNOTATION_NODE, ANNOTATION_PROVISIONED_BY, ANNOTATION_PROVISIONER, ANNOTATION_SELECTED_NODE,
    FINALIZER_PROVISIONED, PROVISIONER, annotation, claim_phase, has_finalizer, volume_name, volume_phase,
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

/// How the names of our volumes begin; the claim's UID follows.
pub(super) const PREFIX: &str = "pvc-";

/// The access modes that a directory of one node has.
const MODES: [&str; 2] = ["ReadWriteOnce", "ReadWriteOncePod"];

/// What is done about a claim.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ForClaim {
    /// Nothing: it is bound, another's, or going away.
    Leave,
    /// It is told why no volume can be made for it.
    Refuse(String),
    /// A volume is made for it.
    Make,
}

/// What is done about a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForVolume {
    /// Nothing: it is used, another's, or kept.
    Leave,
    /// It is marked for deletion.
    Mark,
    /// It is marked: its data go, and then it does.
    Delete,
    /// It is marked and retained: it goes, and its data stay.
    LetGo,
}

/// The name of the volume of a claim; empty if the claim has no UID.
pub(super) fn name_for(claim: &PersistentVolumeClaim) -> String {
    claim.metadata.uid.as_ref().map(|uid| format!("{PREFIX}{uid}")).unwrap_or_default()
}

/// Decides on a claim that has no volume yet.
pub(super) fn for_claim(claim: &PersistentVolumeClaim, class: Option<&StorageClass>, node: &str) -> ForClaim {
    let meta = &claim.metadata;
    let is_ours = annotation(meta, ANNOTATION_PROVISIONER) == Some(PROVISIONER)
        && annotation(meta, ANNOTATION_SELECTED_NODE) == Some(node);
    let waits = volume_name(claim).is_empty() && matches!(claim_phase(claim), "" | "Pending");
    if !is_ours || !waits || meta.deletion_timestamp.is_some() || name_for(claim).is_empty() {
        return ForClaim::Leave;
    }
    let Some(class) = class.filter(|class| class.provisioner == PROVISIONER) else { return ForClaim::Leave };
    objection(claim, class).map_or(ForClaim::Make, |why| {
        let class = class.metadata.name.as_deref().unwrap_or_default();
        ForClaim::Refuse(format!("failed to provision volume with StorageClass {class:?}: {why}"))
    })
}

fn objection(claim: &PersistentVolumeClaim, class: &StorageClass) -> Option<String> {
    let spec = claim.spec.clone().unwrap_or_default();
    if let Some(name) = class.parameters.iter().flatten().map(|(name, _)| name).next() {
        return Some(format!("the class has the parameter {name:?}, and {PROVISIONER} knows none"));
    }
    if class.mount_options.as_ref().is_some_and(|options| !options.is_empty()) {
        return Some("the class has mountOptions, which a directory cannot have".to_owned());
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Some("the claim asks for a block device, and volumes of this class are directories".to_owned());
    }
    let modes = spec.access_modes.unwrap_or_default();
    if let Some(mode) = modes.iter().find(|mode| !MODES.contains(&mode.as_str())) {
        let known = MODES.join(" and ");
        return Some(format!("a directory of one node has the access modes {known} only, not {mode}"));
    }
    if spec.selector.is_some() {
        return Some("claim.spec.selector is not supported".to_owned());
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Some("claim.spec.dataSource is not supported: volumes begin empty".to_owned());
    }
    None
}

/// The volume of a claim, with its directory under `root` on the node, whose label `kubernetes.io/hostname` is `host`.
pub(super) fn volume_for(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &str,
    host: &str,
    root: &Path,
) -> Result<PersistentVolume, serde_json::Error> {
    let (meta, spec) = (&claim.metadata, claim.spec.clone().unwrap_or_default());
    let name = name_for(claim);
    let size = spec.resources.and_then(|r| r.requests?.get("storage").cloned());
    let host = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [host]});
    serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION_PROVISIONED_BY: PROVISIONER, ANNOTATION_NODE: node},
            "finalizers": [FINALIZER_PROVISIONED],
        },
        "spec": {
            "accessModes": spec.access_modes,
            "capacity": {"storage": size},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace, "name": meta.name,
                "uid": meta.uid, "resourceVersion": meta.resource_version,
            },
            "local": {"path": root.join(&name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "storageClassName": class.metadata.name,
            "volumeMode": "Filesystem",
        },
    }))
}

/// Decides on a volume.
pub(super) fn for_volume(volume: &PersistentVolume, node: &str) -> ForVolume {
    let meta = &volume.metadata;
    let is_ours = annotation(meta, ANNOTATION_PROVISIONED_BY) == Some(PROVISIONER)
        && annotation(meta, ANNOTATION_NODE) == Some(node)
        && has_finalizer(meta, FINALIZER_PROVISIONED)
        && meta.name.as_deref().is_some_and(|name| name.starts_with(PREFIX) && !name.contains('/'));
    if !is_ours || volume_phase(volume) == "Bound" {
        return ForVolume::Leave;
    }
    let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    match (meta.deletion_timestamp.is_some(), policy) {
        (true, Some("Delete")) => ForVolume::Delete,
        (true, Some(_) | None) => ForVolume::LetGo,
        (false, Some("Delete")) if volume_phase(volume) == "Released" => ForVolume::Mark,
        (false, Some(_) | None) => ForVolume::Leave,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value;

    use super::*;

    fn claim(spec: &Value) -> PersistentVolumeClaim {
        let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let annotations = json!({ANNOTATION_PROVISIONER: PROVISIONER, ANNOTATION_SELECTED_NODE: "n"});
        let meta = json!({"name": "c", "namespace": "a", "uid": "u", "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "spec": all})).unwrap()
    }

    fn class(extra: &Value) -> StorageClass {
        let mut all = json!({"metadata": {"name": "s"}, "provisioner": PROVISIONER});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_volume_is_made_for_a_claim_of_this_node_only() {
        let (plain, usual) = (claim(&json!({})), class(&json!({})));
        assert_eq!(for_claim(&plain, Some(&usual), "n"), ForClaim::Make);
        assert_eq!(for_claim(&plain, Some(&usual), "other"), ForClaim::Leave);
        assert_eq!(for_claim(&plain, None, "n"), ForClaim::Leave);
        assert_eq!(for_claim(&claim(&json!({"volumeName": "v"})), Some(&usual), "n"), ForClaim::Leave);
        let foreign = class(&json!({"provisioner": "example.com/p"}));
        assert_eq!(for_claim(&plain, Some(&foreign), "n"), ForClaim::Leave);
    }

    fn refused(spec: &Value, extra: &Value, expected: &Expect) {
        match for_claim(&claim(spec), Some(&class(extra)), "n") {
            ForClaim::Refuse(why) => expected.assert_eq(&why),
            ForClaim::Leave | ForClaim::Make => panic!("{spec} {extra} was not refused"),
        }
    }

    #[test]
    fn what_a_directory_cannot_be_is_refused_in_words() {
        let none = json!({});
        refused(
            &none,
            &json!({"parameters": {"path": "/x"}}),
            &expect![[
                r#"failed to provision volume with StorageClass "s": the class has the parameter "path", and coracle.dev/local-path knows none"#
            ]],
        );
        refused(
            &none,
            &json!({"mountOptions": ["ro"]}),
            &expect![[
                r#"failed to provision volume with StorageClass "s": the class has mountOptions, which a directory cannot have"#
            ]],
        );
        refused(
            &json!({"volumeMode": "Block"}),
            &none,
            &expect![[
                r#"failed to provision volume with StorageClass "s": the claim asks for a block device, and volumes of this class are directories"#
            ]],
        );
        refused(
            &json!({"accessModes": ["ReadWriteMany"]}),
            &none,
            &expect![[
                r#"failed to provision volume with StorageClass "s": a directory of one node has the access modes ReadWriteOnce and ReadWriteOncePod only, not ReadWriteMany"#
            ]],
        );
        refused(
            &json!({"selector": {}}),
            &none,
            &expect![[r#"failed to provision volume with StorageClass "s": claim.spec.selector is not supported"#]],
        );
    }

    #[test]
    fn a_volume_goes_only_when_nobody_is_bound_to_it() {
        let whole = |phase: &str, policy: &str, leaving: bool| {
            let mut volume =
                volume_for(&claim(&json!({})), &class(&json!({"reclaimPolicy": policy})), "n", "h", Path::new("/v"))
                    .unwrap();
            volume.status.get_or_insert_default().phase = Some(phase.to_owned());
            if leaving {
                volume.metadata.deletion_timestamp = Some(coracle_api::clock::now_time());
            }
            volume
        };
        for (phase, policy, leaving, expected) in [
            ("Bound", "Delete", false, ForVolume::Leave),
            ("Bound", "Delete", true, ForVolume::Leave),
            ("Available", "Delete", false, ForVolume::Leave),
            ("Released", "Delete", false, ForVolume::Mark),
            ("Released", "Delete", true, ForVolume::Delete),
            ("Available", "Delete", true, ForVolume::Delete),
            ("Released", "Retain", false, ForVolume::Leave),
            ("Released", "Retain", true, ForVolume::LetGo),
        ] {
            assert_eq!(for_volume(&whole(phase, policy, leaving), "n"), expected, "{phase} {policy} {leaving}");
        }
        assert_eq!(for_volume(&whole("Released", "Delete", true), "other"), ForVolume::Leave);
        let mut forged = whole("Released", "Delete", true);
        forged.metadata.name = Some("etc".to_owned());
        assert_eq!(for_volume(&forged, "n"), ForVolume::Leave);
    }
}
