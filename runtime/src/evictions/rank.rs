//! Which pod a node that is short of something can do without: the kubelet's order. Pure.
//!
//! First those that use more than they asked for, then those of lower priority, then those that use most beyond what
//! they asked for. Pods that the system cannot do without are never chosen.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use coracle_api::quantity;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::limits::EPHEMERAL_STORAGE;
use crate::node::Room;
use crate::stats::PodFigures;
use crate::stats::summary::PodDisk;
use crate::stats::usage::bytes_text;

/// From this priority on the system cannot do without a pod (`system-cluster-critical`).
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// What a node is short of, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortage {
    /// Of disk.
    Disk { least: u64, available: u64 },
    /// Of memory.
    Memory { least: u64, available: u64 },
}

impl Shortage {
    /// What the node is short of; memory first, as it cannot wait.
    pub(super) fn of(room: &Room) -> Option<Self> {
        if let Some(available) = room.memory.shortage() {
            return Some(Self::Memory { least: room.memory.least, available });
        }
        room.disk.shortage().map(|available| Self::Disk { least: room.disk.least, available })
    }

    /// The kubelet's name for it.
    pub(super) fn signal(self) -> &'static str {
        match self {
            Self::Disk { .. } => "nodefs.available",
            Self::Memory { .. } => "memory.available",
        }
    }

    /// The resource that is short.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Disk { .. } => EPHEMERAL_STORAGE,
            Self::Memory { .. } => "memory",
        }
    }
}

/// What a pod uses of the resource, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Used {
    total: u64,
    containers: BTreeMap<String, u64>,
}

impl Used {
    /// On disk.
    pub(super) fn of_disk(disk: &PodDisk) -> Self {
        let mut containers: BTreeMap<String, u64> = BTreeMap::new();
        for (name, usage) in disk.roots.iter().chain(&disk.logs) {
            *containers.entry(name.clone()).or_default() += usage.bytes;
        }
        Self { total: disk.total().bytes, containers }
    }

    /// In memory.
    pub(super) fn of_memory(pod: &PodFigures) -> Self {
        let containers = pod.containers.iter().map(|c| (c.name.clone(), c.usage.memory_bytes)).collect();
        Self { total: pod.memory(), containers }
    }
}

/// A pod that might go.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) pod: Arc<Pod>,
    pub(super) used: Used,
}

/// The one that goes.
pub(super) fn first(candidates: Vec<Candidate>, shortage: Shortage) -> Option<Candidate> {
    let order = |candidate: &Candidate| {
        let asked = asked(&candidate.pod, shortage.resource());
        let used = candidate.used.total;
        let beyond = i128::from(used) - i128::from(asked);
        (Reverse(used > asked), priority(&candidate.pod), Reverse(beyond))
    };
    candidates.into_iter().filter(|c| priority(&c.pod) < CRITICAL_PRIORITY).min_by_key(order)
}

/// What a pod that goes is told.
pub(super) fn message(candidate: &Candidate, shortage: Shortage) -> String {
    let (Shortage::Disk { least, available } | Shortage::Memory { least, available }) = shortage;
    let resource = shortage.resource();
    let mut message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        bytes_text(least),
        bytes_text(available)
    );
    for container in containers(&candidate.pod) {
        let used = candidate.used.containers.get(&container.name).copied().unwrap_or(0);
        let (asked, text) = request(container, resource);
        if used > asked {
            let _ = write!(
                message,
                "Container {} was using {}, request is {text}, has larger consumption of {resource}. ",
                container.name,
                bytes_text(used)
            );
        }
    }
    message
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers))
}

/// What a container asked for, and how it wrote that.
fn request<'a>(container: &'a Container, resource: &str) -> (u64, &'a str) {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let Some(text) = requests.and_then(|r| r.get(resource)).map(|q| q.0.as_str()) else { return (0, "0") };
    (quantity::units(text).ok().and_then(|n| u64::try_from(n).ok()).unwrap_or(0), text)
}

/// What the pod's own containers asked for together.
fn asked(pod: &Pod, resource: &str) -> u64 {
    pod.spec.iter().flat_map(|s| &s.containers).map(|c| request(c, resource).0).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn candidate(name: &str, priority: i32, asked: &str, used: u64) -> Candidate {
        let requests = json!({"requests": {"memory": asked, "ephemeral-storage": asked}});
        let spec = json!({"priority": priority, "containers": [{"name": "c", "image": "i", "resources": requests}]});
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        let containers = BTreeMap::from([("c".to_owned(), used * MIB)]);
        Candidate { pod: Arc::new(pod), used: Used { total: used * MIB, containers } }
    }

    fn check(candidates: &[Candidate], expected: Option<&str>) {
        let shortage = Shortage::Memory { least: 100 * MIB, available: 50 * MIB };
        let chosen = first(candidates.to_vec(), shortage);
        assert_eq!(chosen.and_then(|c| c.pod.metadata.name.clone()).as_deref(), expected);
    }

    #[test]
    fn who_exceeds_its_request_goes_first_then_who_matters_least_then_who_uses_most() {
        let modest = candidate("modest", 0, "100Mi", 90);
        let greedy = candidate("greedy", 10, "1Mi", 2);
        check(&[modest.clone(), greedy.clone()], Some("greedy"));
        check(&[greedy.clone(), candidate("lesser", 5, "1Mi", 2)], Some("lesser"));
        check(&[greedy, candidate("larger", 10, "1Mi", 3)], Some("larger"));
        check(&[modest.clone(), candidate("below", 0, "100Mi", 10)], Some("modest"));
        check(&[modest, candidate("lower", -1, "100Mi", 1)], Some("lower"));
    }

    #[test]
    fn what_the_system_needs_stays() {
        check(&[candidate("dns", CRITICAL_PRIORITY, "0", 500)], None);
    }

    #[test]
    fn a_pod_is_told_in_the_kubelets_words() {
        let shortage = Shortage::Disk { least: 256 * MIB, available: 100 * MIB };
        assert_eq!(
            message(&candidate("p", 0, "0", 20), shortage),
            "The node was low on resource: ephemeral-storage. Threshold quantity: 256Mi, available: 100Mi. \
             Container c was using 20Mi, request is 0, has larger consumption of ephemeral-storage. "
        );
        let within = message(&candidate("p", 0, "30Mi", 20), shortage);
        assert_eq!(
            within,
            "The node was low on resource: ephemeral-storage. Threshold quantity: 256Mi, available: 100Mi. "
        );
    }
}
