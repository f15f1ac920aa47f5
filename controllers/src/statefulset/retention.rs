//! Who owns a claim: what the retention policy makes of a claim's owner references.
//!
//! | whenScaled | whenDeleted | of a pod that is wanted | of a pod that is not |
//! |---|---|---|---|
//! | Retain | Retain | nobody | nobody |
//! | Retain | Delete | the set | the set |
//! | Delete | Retain | nobody | the pod |
//! | Delete | Delete | the set | the pod |
//!
//! The garbage collector does the rest. Source: `isClaimOwnerUpToDate` and its neighbours in upstream's
//! `stateful_set_utils.go`.

use k8s_openapi::Resource as Described;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::identity::{is_wanted, ordinal};
use crate::ownership::controller_reference;

const DELETE: &str = "Delete";

/// Which claims go with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    when_scaled: Fate,
    when_deleted: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Retain,
    Delete,
}

impl Policy {
    fn of(set: &StatefulSet) -> Self {
        let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
        let fate = |word: Option<&String>| if word.is_some_and(|w| w == DELETE) { Fate::Delete } else { Fate::Retain };
        Self {
            when_scaled: fate(policy.and_then(|p| p.when_scaled.as_ref())),
            when_deleted: fate(policy.and_then(|p| p.when_deleted.as_ref())),
        }
    }
}

/// The owners that the claim of a pod should have instead of its own, if these are not right.
pub(super) fn owners(set: &StatefulSet, pod: &Pod, claim: &PersistentVolumeClaim) -> Option<Vec<OwnerReference>> {
    let own = claim.metadata.owner_references.as_deref().unwrap_or_default();
    if is_stale(own, set, &set.metadata) || is_stale(own, pod, &pod.metadata) {
        // Of a set or pod that is no more; the garbage collector decides.
        return None;
    }
    let mut right: Vec<_> = own.iter().filter(|o| !names(o, set, &set.metadata)).cloned().collect();
    right.retain(|o| !names(o, pod, &pod.metadata));
    if !has_other_controller(set, pod, claim) {
        let stays = ordinal(set, pod).is_some_and(|ordinal| is_wanted(set, ordinal));
        let policy = Policy::of(set);
        match (policy.when_scaled, policy.when_deleted, stays) {
            (Fate::Retain, Fate::Retain, _) | (Fate::Delete, Fate::Retain, true) => {}
            (Fate::Retain, Fate::Delete, _) | (Fate::Delete, Fate::Delete, true) => {
                right.push(controller_reference(set));
            }
            (Fate::Delete, _, false) => right.push(controller_reference(pod)),
        }
    }
    let same = right.len() == own.len() && right.iter().all(|o| own.iter().any(|p| is_same(o, p)));
    (!same).then_some(right)
}

/// Whether somebody else manages the claim, so that the policy does not hold for it.
pub(super) fn has_other_controller(set: &StatefulSet, pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    if Policy::of(set) == (Policy { when_scaled: Fate::Retain, when_deleted: Fate::Retain }) {
        return false;
    }
    let ours = |o: &OwnerReference| names(o, set, &set.metadata) || names(o, pod, &pod.metadata);
    claim.metadata.owner_references.iter().flatten().any(|o| o.controller == Some(true) && !ours(o))
}

/// Whether the claim goes with a former pod of this name, so that a new pod must wait for a new claim.
pub(super) fn goes_with_former_pod(set: &StatefulSet, pod: &str, claim: &PersistentVolumeClaim) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    Policy::of(set).when_scaled == Fate::Delete
        && owners.into_iter().any(|o| o.kind == Pod::KIND && o.api_version == Pod::API_VERSION && o.name == pod)
}

/// Whether the reference is to an object of this kind and name.
fn names<K: Described>(owner: &OwnerReference, _: &K, meta: &ObjectMeta) -> bool {
    owner.kind == K::KIND && owner.api_version == K::API_VERSION && Some(&owner.name) == meta.name.as_ref()
}

fn is_stale<K: Described>(owners: &[OwnerReference], object: &K, meta: &ObjectMeta) -> bool {
    owners.iter().any(|o| names(o, object, meta) && Some(&o.uid) != meta.uid.as_ref())
}

fn is_same(a: &OwnerReference, b: &OwnerReference) -> bool {
    a.uid == b.uid && a.controller == b.controller
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(scaled: &str, deleted: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "s"},
            "spec": {"replicas": 1, "selector": {}, "template": {},
                "persistentVolumeClaimRetentionPolicy": {"whenScaled": scaled, "whenDeleted": deleted}},
        }))
        .unwrap()
    }

    fn pod(ordinal: i32) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": format!("web-{ordinal}"), "uid": "p"}})).unwrap()
    }

    fn claim(owners: &Value) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "data-web-0", "ownerReferences": owners}})).unwrap()
    }

    fn owner(kind: &str, name: &str, uid: &str) -> Value {
        let version = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true})
    }

    #[test]
    fn the_policy_says_whose_a_claim_is() {
        for (scaled, deleted, ordinal, expected) in [
            ("Retain", "Retain", 0, None),
            ("Retain", "Retain", 1, None),
            ("Retain", "Delete", 0, Some("StatefulSet")),
            ("Retain", "Delete", 1, Some("StatefulSet")),
            ("Delete", "Retain", 0, None),
            ("Delete", "Retain", 1, Some("Pod")),
            ("Delete", "Delete", 0, Some("StatefulSet")),
            ("Delete", "Delete", 1, Some("Pod")),
        ] {
            let case = format!("{scaled} {deleted} {ordinal}");
            let (set, pod) = (set(scaled, deleted), pod(ordinal));
            let fresh = claim(&json!([]));
            let right = owners(&set, &pod, &fresh);
            let kinds: Vec<_> = right.iter().flatten().map(|o| o.kind.as_str()).collect();
            assert_eq!(kinds, Vec::from_iter(expected), "{case}");
            let mut done = fresh.clone();
            done.metadata.owner_references = Some(right.unwrap_or_default());
            assert_eq!(owners(&set, &pod, &done), None, "{case}: at rest");
            // Whatever the policy was before, the claim ends up the same.
            for before in [owner("StatefulSet", "web", "s"), owner("Pod", &format!("web-{ordinal}"), "p")] {
                let mut changed = claim(&json!([before]));
                if let Some(right) = owners(&set, &pod, &changed) {
                    changed.metadata.owner_references = Some(right);
                }
                let kinds: Vec<_> =
                    changed.metadata.owner_references.iter().flatten().map(|o| o.kind.as_str()).collect();
                assert_eq!(kinds, Vec::from_iter(expected), "{case}: from {before}");
            }
        }
    }

    #[test]
    fn the_claims_of_others_are_left_alone() {
        let (set, pod) = (set("Delete", "Delete"), pod(0));
        let others = claim(&json!([owner("Boat", "b", "x")]));
        assert!(has_other_controller(&set, &pod, &others));
        assert_eq!(owners(&set, &pod, &others), None);
        let both = claim(&json!([owner("Boat", "b", "x"), owner("StatefulSet", "web", "s")]));
        let right = owners(&set, &pod, &both).unwrap();
        assert_eq!(right.iter().map(|o| o.kind.as_str()).collect::<Vec<_>>(), ["Boat"]);
        let former = claim(&json!([owner("StatefulSet", "web", "before")]));
        assert_eq!(owners(&set, &pod, &former), None);
    }

    #[test]
    fn a_new_pod_waits_for_its_predecessor_s_claim_to_go() {
        let former = claim(&json!([owner("Pod", "web-0", "before")]));
        assert!(goes_with_former_pod(&set("Delete", "Retain"), "web-0", &former));
        assert!(!goes_with_former_pod(&set("Retain", "Retain"), "web-0", &former));
        assert!(!goes_with_former_pod(&set("Delete", "Retain"), "web-0", &claim(&json!([]))));
    }
}
