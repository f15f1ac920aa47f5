//! Which volume suits which claim, by upstream's rules.
//!
//! A volume that names the claim in its `claimRef` is the claim's, as far as it is large enough; else the smallest
//! free one of the claim's class wins, those with the fewest access modes first.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim,
};
use k8s_openapi::api::storage::v1::StorageClass;

use super::{capacity, claim_class, requested, volume_class, volume_phase};
use crate::node_selector;
use crate::selector::Selector;

/// From where volumes are looked for.
#[derive(Debug, Clone, Copy)]
pub enum From<'a> {
    /// From nowhere in particular, for a claim that is bound at once.
    Anywhere,
    /// From nowhere yet: the claim waits for its first pod, and only a volume that names it will do.
    Unknown,
    /// From the node that the claim's pod may go to.
    Node(&'a Node),
}

/// Why a volume that a claim asks for by name does not suit it; prints in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It holds less than is asked for.
    #[error("requested PV is too small")]
    Small,
    /// It is of another class.
    #[error("storageClassName does not match")]
    Class,
    /// One is a file system and the other a block device.
    #[error("incompatible volumeMode")]
    Mode,
    /// It lacks an access mode.
    #[error("incompatible accessMode")]
    Access,
}

/// Whether the volume's `claimRef` means this claim.
#[must_use]
pub fn names(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(named) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else { return false };
    let meta = &claim.metadata;
    let uid = named.uid.as_deref().unwrap_or_default();
    named.name == meta.name && named.namespace == meta.namespace && (uid.is_empty() || Some(uid) == meta.uid.as_deref())
}

/// Whether the volume is reached from the node.
#[must_use]
pub fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref());
    affinity.and_then(|a| a.required.as_ref()).is_none_or(|required| node_selector::matches(required, node))
}

/// Whether the class lets volumes be made on the node.
#[must_use]
pub fn allows(class: &StorageClass, node: &Node) -> bool {
    let Some(topologies) = class.allowed_topologies.as_ref().filter(|all| !all.is_empty()) else { return true };
    topologies.iter().any(|term| {
        let labels = term.match_label_expressions.iter().flatten();
        let requirements = labels.map(|label| NodeSelectorRequirement {
            key: label.key.clone(),
            operator: "In".to_owned(),
            values: Some(label.values.clone()),
        });
        let term = NodeSelectorTerm { match_expressions: Some(requirements.collect()), match_fields: None };
        node_selector::term_matches(&term, node)
    })
}

/// Whether both are file systems, or both block devices.
#[must_use]
pub fn same_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|s| s.volume_mode.as_deref());
    let of_claim = claim.spec.as_ref().and_then(|s| s.volume_mode.as_deref());
    of_volume.unwrap_or("Filesystem") == of_claim.unwrap_or("Filesystem")
}

fn modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or_default()
}

fn allows_access(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let mut wanted = claim.spec.iter().flat_map(|s| s.access_modes.iter().flatten());
    wanted.all(|mode| modes(volume).contains(mode))
}

/// Whether a volume that a claim asks for by name suits it.
///
/// # Errors
/// [`Mismatch`], the first that is found.
pub fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), Mismatch> {
    if capacity(volume) < requested(claim) {
        return Err(Mismatch::Small);
    }
    if volume_class(volume) != claim_class(claim).unwrap_or_default() {
        return Err(Mismatch::Class);
    }
    if !same_mode(volume, claim) {
        return Err(Mismatch::Mode);
    }
    if !allows_access(volume, claim) {
        return Err(Mismatch::Access);
    }
    Ok(())
}

/// The volume that suits a claim best, but for those that are `taken` by name.
pub fn best<'a>(
    claim: &PersistentVolumeClaim,
    volumes: impl IntoIterator<Item = &'a PersistentVolume>,
    from: From<'_>,
    taken: &BTreeSet<String>,
) -> Option<&'a PersistentVolume> {
    let selector = claim.spec.as_ref().and_then(|s| s.selector.as_ref());
    let selector = selector.map_or_else(|| Ok(Selector::everything()), Selector::from_structured).ok()?;
    let class = claim_class(claim).unwrap_or_default();
    let none = std::collections::BTreeMap::new();
    let mut free: Vec<&PersistentVolume> = Vec::new();
    for volume in volumes {
        let meta = &volume.metadata;
        let is_taken = meta.name.as_ref().is_some_and(|name| taken.contains(name));
        let fits = !is_taken
            && meta.deletion_timestamp.is_none()
            && capacity(volume) >= requested(claim)
            && same_mode(volume, claim)
            && allows_access(volume, claim);
        if !fits {
            continue;
        }
        let is_reached = match from {
            From::Anywhere | From::Unknown => true,
            From::Node(node) => reaches(volume, node),
        };
        if names(volume, claim) {
            return is_reached.then_some(volume);
        }
        let is_free =
            volume.spec.as_ref().is_some_and(|s| s.claim_ref.is_none()) && volume_phase(volume) == "Available";
        if is_free
            && is_reached
            && !matches!(from, From::Unknown)
            && volume_class(volume) == class
            && selector.matches(meta.labels.as_ref().unwrap_or(&none))
        {
            free.push(volume);
        }
    }
    free.into_iter().min_by_key(|v| (modes(v).len(), capacity(v), v.metadata.name.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(spec: &Value) -> PersistentVolumeClaim {
        let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let meta = json!({"name": "c", "namespace": "n", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "spec": all})).unwrap()
    }

    fn volume(name: &str, size: &str, spec: &Value) -> PersistentVolume {
        let mut all = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let meta = json!({"name": name, "labels": {"disk": name}});
        let status = json!({"phase": "Available"});
        serde_json::from_value(json!({"metadata": meta, "spec": all, "status": status})).unwrap()
    }

    fn chosen(claim: &PersistentVolumeClaim, volumes: &[PersistentVolume], from: From<'_>) -> String {
        let found = best(claim, volumes, from, &BTreeSet::new());
        found.and_then(|v| v.metadata.name.clone()).unwrap_or_default()
    }

    #[test]
    fn the_smallest_volume_that_is_large_enough_is_chosen() {
        let plain = json!({});
        let volumes = [
            volume("small", "4Gi", &plain),
            volume("large", "9Gi", &plain),
            volume("right", "5Gi", &plain),
            volume("wide", "5Gi", &json!({"accessModes": ["ReadWriteOnce", "ReadWriteMany"]})),
            volume("fast", "5Gi", &json!({"storageClassName": "fast"})),
            volume("block", "5Gi", &json!({"volumeMode": "Block"})),
            volume("given", "5Gi", &json!({"claimRef": {"name": "other", "namespace": "n"}})),
        ];
        let check = |spec: Value, expected: &str| {
            assert_eq!(chosen(&claim(&spec), &volumes, From::Anywhere), expected, "{spec}");
        };
        check(json!({}), "right");
        check(json!({"resources": {"requests": {"storage": "6Gi"}}}), "large");
        check(json!({"resources": {"requests": {"storage": "10Gi"}}}), "");
        check(json!({"accessModes": ["ReadWriteMany"]}), "wide");
        check(json!({"accessModes": ["ReadOnlyMany"]}), "");
        check(json!({"storageClassName": "fast"}), "fast");
        check(json!({"storageClassName": "slow"}), "");
        check(json!({"volumeMode": "Block"}), "block");
        check(json!({"selector": {"matchLabels": {"disk": "large"}}}), "large");
        assert_eq!(chosen(&claim(&json!({})), &volumes, From::Unknown), "", "it waits for its first pod");
    }

    #[test]
    fn a_volume_that_names_the_claim_goes_before_all_others() {
        let named = |uid: &str| json!({"claimRef": {"name": "c", "namespace": "n", "uid": uid}});
        let free = volume("free", "5Gi", &json!({}));
        for (uid, expected) in [("", "named"), ("u", "named"), ("another", "free")] {
            let volumes = [free.clone(), volume("named", "9Gi", &named(uid))];
            assert_eq!(chosen(&claim(&json!({})), &volumes, From::Anywhere), expected, "{uid}");
        }
        let volumes = [volume("named", "9Gi", &named(""))];
        assert_eq!(chosen(&claim(&json!({})), &volumes, From::Unknown), "named");
    }

    #[test]
    fn a_volume_is_taken_only_where_it_is_reached() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"h": "a"}}})).unwrap();
        let at = |host: &str| {
            let term = json!({"matchExpressions": [{"key": "h", "operator": "In", "values": [host]}]});
            json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}})
        };
        let volumes = [volume("there", "5Gi", &at("b")), volume("here", "7Gi", &at("a"))];
        assert_eq!(chosen(&claim(&json!({})), &volumes, From::Node(&node)), "here");
    }

    #[test]
    fn a_volume_asked_for_by_name_must_suit() {
        let volume = volume("v", "5Gi", &json!({"storageClassName": "s"}));
        for (spec, expected) in [
            (json!({"storageClassName": "s"}), Ok(())),
            (json!({"storageClassName": "s", "resources": {"requests": {"storage": "6Gi"}}}), Err(Mismatch::Small)),
            (json!({}), Err(Mismatch::Class)),
            (json!({"storageClassName": "s", "volumeMode": "Block"}), Err(Mismatch::Mode)),
            (json!({"storageClassName": "s", "accessModes": ["ReadWriteMany"]}), Err(Mismatch::Access)),
        ] {
            assert_eq!(suits(&volume, &claim(&spec)), expected, "{spec}");
        }
    }
}
