//! Which pod takes more disk than it may: the kubelet's `localStorageEviction`. Pure.

use coracle_api::quantity;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::stats::summary::PodDisk;
use crate::stats::usage::bytes_text;
use crate::volumes::{Sort, memory_limit, sort};

/// The resource that limits what a pod has on disk.
pub(super) const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

/// Whether the pod has to be measured.
pub(crate) fn has_limits(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let mut volumes = spec.volumes.iter().flatten();
    volumes
        .any(|v| sort(v) == Sort::Claim || v.empty_dir.as_ref().is_some_and(|_| volume_limit(spec, &v.name).is_some()))
        || containers(spec).any(|c| limit(c).is_some())
}

/// The signal and what the pod is told, if it takes more than it may.
pub(super) fn exceeded(pod: &Pod, disk: &PodDisk) -> Option<(&'static str, String)> {
    let spec = pod.spec.as_ref()?;
    let volume = |(name, used): (&String, &crate::stats::directory::DiskUsage)| {
        let limit = volume_limit(spec, name).filter(|limit| limit.bytes > 0 && used.bytes > limit.bytes)?;
        Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", limit.text))
    };
    if let Some(message) = disk.volumes.iter().find_map(volume) {
        return Some(("emptydirfs.limit", message));
    }
    if let Some(limit) = pod_limit(spec).filter(|limit| disk.total().bytes > limit.bytes) {
        let text = limit.text;
        let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {text}. ");
        return Some(("ephemeralpodfs.limit", message));
    }
    let container = |container: &Container| {
        let of = |all: &std::collections::BTreeMap<String, crate::stats::directory::DiskUsage>| {
            all.get(&container.name).copied().unwrap_or_default()
        };
        let used = of(&disk.roots) + of(&disk.logs);
        let limit = limit(container).filter(|limit| limit.bytes > 0 && used.bytes > limit.bytes)?;
        Some(format!("Container {} exceeded its local ephemeral storage limit {:?}. ", container.name, limit.text))
    };
    containers(spec).find_map(container).map(|message| ("ephemeralcontainerfs.limit", message))
}

/// So many bytes, and how the spec writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    pub(super) text: String,
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn limit(container: &Container) -> Option<Limit> {
    let text = &container.resources.as_ref()?.limits.as_ref()?.get(EPHEMERAL_STORAGE)?.0;
    Some(Limit { bytes: u64::try_from(quantity::units(text).ok()?).ok()?, text: text.clone() })
}

/// The limit of an emptyDir. One in memory is held to what its pod may have of memory, as the kubelet sizes it.
pub(super) fn volume_limit(spec: &PodSpec, name: &str) -> Option<Limit> {
    let volume = spec.volumes.iter().flatten().find(|v| v.name == name)?;
    let empty_dir = volume.empty_dir.as_ref()?;
    if let Some(text) = &empty_dir.size_limit {
        let bytes = u64::try_from(quantity::units(&text.0).ok()?).ok()?;
        return Some(Limit { bytes, text: text.0.clone() });
    }
    let bytes = memory_limit(spec).filter(|_| crate::volumes::is_in_memory(volume))?;
    Some(Limit { bytes, text: bytes_text(bytes) })
}

/// What all containers together may have: those that run at the same time added, or the largest init container.
fn pod_limit(spec: &PodSpec) -> Option<Limit> {
    let stated: Vec<Limit> = containers(spec).filter_map(limit).collect();
    let bytes = |c: &Container| limit(c).map_or(0, |l| l.bytes);
    let (mut sidecars, mut largest) = (0_u64, 0_u64);
    for init in spec.init_containers.iter().flatten() {
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.saturating_add(bytes(init));
            largest = largest.max(sidecars);
        } else {
            largest = largest.max(sidecars.saturating_add(bytes(init)));
        }
    }
    let bytes = spec.containers.iter().map(bytes).fold(sidecars, u64::saturating_add).max(largest);
    match stated.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        _ => Some(Limit { bytes, text: bytes_text(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::stats::directory::DiskUsage;

    const MIB: u64 = 1 << 20;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    /// What a pod is told whose container `c` has so many MiB in its root, its log and the volume `v`.
    fn check(spec: Value, (root, log, volume): (u64, u64, u64)) -> Option<String> {
        let of = |name: &str, mib: u64| BTreeMap::from([(name.to_owned(), DiskUsage { bytes: mib * MIB, inodes: 1 })]);
        let disk = PodDisk {
            roots: of("c", root),
            logs: of("c", log),
            volumes: of("v", volume),
            in_memory: Vec::new(),
            claims: BTreeMap::new(),
        };
        exceeded(&pod(spec), &disk).map(|(_, message)| message)
    }

    fn limited(limit: &str) -> Value {
        json!({"name": "c", "image": "i", "resources": {"limits": {"ephemeral-storage": limit}}})
    }

    #[test]
    fn an_empty_dir_is_held_to_its_size_limit() {
        let spec = |limit: &str| json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": limit}}]});
        let told = check(spec("1Mi"), (0, 0, 2));
        assert_eq!(told.as_deref(), Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "));
        assert_eq!(check(spec("2Mi"), (9, 9, 2)), None);
        assert_eq!(check(spec("0"), (9, 9, 2)), None, "a limit of zero is none");
    }

    #[test]
    fn a_pod_is_held_to_the_sum_of_its_containers_limits() {
        let spec = |containers: Value| json!({"containers": containers, "volumes": [{"name": "v", "emptyDir": {}}]});
        let told = check(spec(json!([limited("4Mi")])), (1, 1, 3));
        let words = "Pod ephemeral local storage usage exceeds the total limit of containers";
        assert_eq!(told, Some(format!("{words} 4Mi. ")));
        assert_eq!(check(spec(json!([limited("5Mi")])), (1, 1, 3)), None);
        let other = json!({"name": "d", "image": "i", "resources": {"limits": {"ephemeral-storage": "2Mi"}}});
        assert_eq!(check(spec(json!([limited("2Mi"), other])), (1, 0, 4)), Some(format!("{words} 4Mi. ")));
    }

    #[test]
    fn a_container_is_held_to_its_own_limit_within_its_pods() {
        let other = json!({"name": "d", "image": "i", "resources": {"limits": {"ephemeral-storage": "9Mi"}}});
        let told = check(json!({"containers": [limited("1Mi"), other]}), (1, 1, 0));
        assert_eq!(told.as_deref(), Some("Container c exceeded its local ephemeral storage limit \"1Mi\". "));
    }

    #[test]
    fn a_directory_in_memory_is_held_to_the_memory_of_its_pod() {
        let container = json!({"name": "c", "image": "i", "resources": {"limits": {"memory": "1Mi"}}});
        let spec = json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]});
        assert!(has_limits(&pod(spec.clone())));
        let told = check(spec, (0, 0, 2));
        assert_eq!(told.as_deref(), Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "));
    }

    #[test]
    fn a_pod_without_limits_is_not_measured() {
        let spec = json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]});
        assert!(!has_limits(&pod(spec.clone())));
        assert_eq!(check(spec, (99, 99, 99)), None);
    }
}
