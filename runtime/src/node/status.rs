//! The status of the node, in the kubelet's words. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use coracle_api::clock::whole_seconds;
use coracle_api::names::Digest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::machine::{Health, Machine};
use crate::images::{Listed, Pick};

/// What runs the containers, as `kubectl get nodes -o wide` shows it.
const RUNTIME_VERSION: &str = "wasmtime://48.0.8";

/// How many images a status names (the kubelet's default).
const IMAGES_MAX: usize = 50;

/// How many names of one image a status tells (the kubelet's bound).
const IMAGE_NAMES_MAX: usize = 5;

/// What the status is made of.
pub(super) struct Facts<'a> {
    pub(super) machine: &'a Machine,
    pub(super) version: &'a str,
    pub(super) address: IpAddr,
    pub(super) host_name: &'a str,
    pub(super) images: &'a [Listed],
}

/// The status at `now`; a condition that did not change keeps its time from `before`.
pub(super) fn status(facts: &Facts<'_>, health: Health, before: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    let machine = facts.machine;
    let allocatable = machine.allocatable();
    let quantities = |cpu: String, memory: String, disk: String| -> BTreeMap<String, Quantity> {
        let pods = machine.pods.to_string();
        [("cpu", cpu), ("memory", memory), ("ephemeral-storage", disk), ("pods", pods)]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), Quantity(v)))
            .collect()
    };
    let kib = |bytes: u64| format!("{}Ki", bytes / 1024);
    let whole = |n: i64| u64::try_from(n).unwrap_or(0);
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    NodeStatus {
        capacity: Some(quantities(machine.cpus.to_string(), kib(machine.memory), kib(machine.disk))),
        allocatable: Some(quantities(
            machine.cpus.to_string(),
            kib(whole(allocatable.memory)),
            kib(whole(allocatable.ephemeral_storage)),
        )),
        addresses: Some(vec![
            address("InternalIP", facts.address.to_string()),
            address("Hostname", facts.host_name.to_owned()),
        ]),
        conditions: Some(conditions(health, before, now)),
        images: Some(images(facts.images)),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: RUNTIME_VERSION.to_owned(),
            kernel_version: machine.kernel.clone(),
            kubelet_version: facts.version.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: std::env::consts::OS.to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.machine_id.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// Whether the two differ in nothing but the time of the heartbeat and in what others write.
pub(super) fn is_same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let conditions = |s: &NodeStatus| -> Vec<(String, String, Option<String>)> {
        s.conditions.iter().flatten().map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone())).collect()
    };
    let images = |s: &NodeStatus| s.images.clone().unwrap_or_default();
    a.capacity == b.capacity
        && a.allocatable == b.allocatable
        && a.addresses == b.addresses
        && a.node_info == b.node_info
        && images(a) == images(b)
        && conditions(a) == conditions(b)
}

/// The kubelet's reasons for the conditions that are not as they were.
pub(super) fn changes(before: Option<&NodeStatus>, after: &NodeStatus) -> Vec<&'static str> {
    let was = |type_: &str| {
        let conditions = before.into_iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().find(|c| c.type_ == type_).map(|c| c.status.as_str())
    };
    let changed = after.conditions.iter().flatten().filter(|c| was(&c.type_) != Some(c.status.as_str()));
    let reason = |condition: &NodeCondition| match (condition.type_.as_str(), condition.status.as_str()) {
        ("MemoryPressure", "True") => Some("NodeHasInsufficientMemory"),
        ("MemoryPressure", "False") => Some("NodeHasSufficientMemory"),
        ("DiskPressure", "True") => Some("NodeHasDiskPressure"),
        ("DiskPressure", "False") => Some("NodeHasNoDiskPressure"),
        ("PIDPressure", "False") => Some("NodeHasSufficientPID"),
        ("Ready", "True") => Some("NodeReady"),
        ("Ready", "False") => Some("NodeNotReady"),
        (_, _) => None,
    };
    changed.filter_map(reason).collect()
}

fn conditions(health: Health, before: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let pressure = |type_, short: bool, no: [&'static str; 2], yes: [&'static str; 2]| {
        let [reason, message] = if short { yes } else { no };
        (type_, short, reason, message)
    };
    let all = [
        pressure(
            "MemoryPressure",
            health.short_of_memory,
            ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
            ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
        ),
        pressure(
            "DiskPressure",
            health.short_of_disk,
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
        ),
        // Containers are no processes of the system: they cannot run it out of process numbers.
        ("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
    ];
    let old = |type_: &str| before?.conditions.as_ref()?.iter().find(|c| c.type_ == type_);
    let now = Time(whole_seconds(now));
    all.into_iter()
        .map(|(type_, on, reason, message)| {
            let status = if on { "True" } else { "False" };
            let unchanged = old(type_).filter(|o| o.status == status).and_then(|o| o.last_transition_time.clone());
            NodeCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: Some(now.clone()),
                last_transition_time: Some(unchanged.unwrap_or_else(|| now.clone())),
            }
        })
        .collect()
}

/// The images, largest first, each with its digest before its tags, under their full names.
fn images(listed: &[Listed]) -> Vec<ContainerImage> {
    let mut by_digest: BTreeMap<&Digest, (u64, BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for image in listed {
        let (size, digests, tags) = by_digest.entry(&image.digest).or_default();
        *size = image.size;
        let Some(reference) = &image.reference else { continue };
        digests.insert(format!("{}@{}", reference.repository(), image.digest));
        if matches!(reference.pick(), Pick::Tag(_)) {
            tags.insert(reference.to_string());
        }
    }
    let mut images: Vec<_> = by_digest.into_values().collect();
    images.sort_by_key(|(size, ..)| std::cmp::Reverse(*size));
    let image = |(size, digests, tags): (u64, BTreeSet<String>, BTreeSet<String>)| ContainerImage {
        names: Some(digests.into_iter().chain(tags).take(IMAGE_NAMES_MAX).collect()),
        size_bytes: i64::try_from(size).ok(),
    };
    images.into_iter().take(IMAGES_MAX).map(image).collect()
}

/// The host's architecture as Go names it; that of the pods is a label.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn check(health: Health, before: Option<&NodeStatus>, second: i64) -> NodeStatus {
        let machine = Machine {
            cpus: 2,
            memory: 8 << 30,
            disk: 100 << 30,
            pods: 110,
            kernel: "6.1".into(),
            os_image: "Debian".into(),
            machine_id: "m".into(),
            boot_id: "b".into(),
        };
        let facts = Facts {
            machine: &machine,
            version: "v1.37.0+coracle",
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host_name: "h",
            images: &[],
        };
        status(&facts, health, before, Timestamp::from_second(second).unwrap())
    }

    const WELL: Health = Health { short_of_memory: false, short_of_disk: false };

    #[test]
    fn what_changes_of_the_conditions_is_told_in_the_kubelets_reasons() {
        let first = check(WELL, None, 100);
        let all = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"];
        assert_eq!(changes(None, &first), all);
        let later = check(Health { short_of_disk: true, ..WELL }, Some(&first), 200);
        assert_eq!(changes(Some(&first), &later), ["NodeHasDiskPressure"]);
        assert!(changes(Some(&later), &later).is_empty());
    }

    #[test]
    fn a_status_that_did_not_change_is_the_same_at_another_time() {
        let first = check(WELL, None, 100);
        let second = check(WELL, Some(&first), 200);
        assert!(is_same(&first, &second));
        let full = check(Health { short_of_disk: true, ..WELL }, Some(&first), 200);
        assert!(!is_same(&first, &full));
        let times: Vec<i64> =
            full.conditions.unwrap().into_iter().map(|c| c.last_transition_time.unwrap().0.as_second()).collect();
        assert_eq!(times, [100, 200, 100, 100]);
    }

    #[test]
    fn something_is_kept_from_pods() {
        let status = check(WELL, None, 0);
        let memory = |m: Option<BTreeMap<String, Quantity>>| m.unwrap().get("memory").unwrap().0.clone();
        assert_eq!((memory(status.capacity), memory(status.allocatable)), ("8388608Ki".into(), "8286208Ki".into()));
    }
}
