//! The kubelet's Summary (`stats/v1alpha1`), as `/stats/summary` tells it. Pure.
//!
//! It leaves out what nobody here can know, as a kubelet does: page faults of guests, swap, process numbers.

use std::collections::BTreeMap;

use coracle_api::clock::whole_seconds;
use coracle_api::quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Map, Value, json};

use super::directory::DiskUsage;
use super::figures::{ContainerFigures, Figures, PodFigures, Rate};
use super::machine::Interface;

/// What a pod's way to others is called.
const POD_INTERFACE: &str = "eth0";

/// Whether a summary tells of disks and networks, which takes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// All there is.
    Whole,
    /// `?only_cpu_and_memory=true`.
    CpuAndMemory,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FileSystem {
    pub(crate) capacity: u64,
    pub(crate) available: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

/// What the disk holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Disk {
    pub(crate) node: FileSystem,
    /// What the images take.
    pub(crate) images: DiskUsage,
    /// By the uids of pods.
    pub(crate) pods: BTreeMap<String, PodDisk>,
}

/// What a pod has on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PodDisk {
    /// The `/` of each container.
    pub(crate) roots: BTreeMap<String, DiskUsage>,
    /// The logs of each container.
    pub(crate) logs: BTreeMap<String, DiskUsage>,
    /// The volumes that are the pod's own.
    pub(crate) volumes: BTreeMap<String, DiskUsage>,
    /// Those of them that take memory and no disk.
    pub(crate) in_memory: Vec<String>,
    /// The volumes that outlast the pod, by the names it gives them.
    pub(crate) claims: BTreeMap<String, ClaimDisk>,
}

/// What a claim's volume holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ClaimDisk {
    /// The claim, in the pod's namespace.
    pub(crate) claim: String,
    pub(crate) used: DiskUsage,
    /// How much it is said to hold.
    pub(crate) capacity: Option<u64>,
}

impl ClaimDisk {
    /// Its capacity and what is left of it, on a file system like this. The disk may end before the claim does.
    pub(crate) fn room(&self, disk: FileSystem) -> (u64, u64) {
        let capacity = self.capacity.unwrap_or(disk.capacity);
        (capacity, capacity.saturating_sub(self.used.bytes).min(disk.available))
    }
}

impl PodDisk {
    /// All of it that takes disk.
    pub(crate) fn total(&self) -> DiskUsage {
        let on_disk = self.volumes.iter().filter(|(name, _)| !self.in_memory.contains(name)).map(|(_, usage)| usage);
        self.roots.values().chain(self.logs.values()).chain(on_disk).copied().sum()
    }
}

/// The summary of a node.
pub(crate) fn summary(figures: &Figures, node: &str, started: Timestamp, disk: &Disk, depth: Depth) -> Value {
    let time = whole_seconds(figures.time).to_string();
    let shown = Shown { time: &time, disk, depth };
    json!({
        "node": shown.node(figures, node, started),
        "pods": figures.pods.iter().map(|pod| shown.pod(pod)).collect::<Vec<Value>>(),
    })
}

struct Shown<'a> {
    time: &'a str,
    disk: &'a Disk,
    depth: Depth,
}

impl Shown<'_> {
    fn node(&self, figures: &Figures, name: &str, started: Timestamp) -> Value {
        let machine = &figures.machine;
        let memory = machine.memory;
        let containers = || figures.pods.iter().flat_map(|pod| &pod.containers);
        let pods_rate = containers().map(|c| c.rate.map_or(0, |r| r.nanocores)).sum();
        let pods_rate = figures.node_rate.map(|rate| Rate { nanocores: pods_rate, window: rate.window });
        let pods_cpu = figures.pods.iter().map(|pod| pod.total.cpu.as_nanos()).sum();
        let pods_memory = figures.pods.iter().map(PodFigures::memory).sum();
        let own = self.cpu(figures.process_rate, machine.process_cpu.as_nanos());
        let mut node = json!({
            "nodeName": name,
            "systemContainers": [
                {
                    "name": "kubelet", "startTime": whole_seconds(started).to_string(),
                    "cpu": own, "memory": self.memory(machine.process_rss, None),
                },
                {
                    "name": "pods", "startTime": whole_seconds(started).to_string(),
                    "cpu": self.cpu(pods_rate, pods_cpu), "memory": self.memory(pods_memory, Some(memory.available)),
                },
            ],
            "startTime": machine.booted.unwrap_or(started).to_string(),
            "cpu": self.cpu(figures.node_rate, machine.cpu.as_nanos()),
            "memory": {
                "time": self.time, "availableBytes": memory.available, "usageBytes": memory.usage,
                "workingSetBytes": memory.working_set, "rssBytes": memory.rss,
            },
        });
        if self.depth == Depth::Whole {
            let used = self.disk.node.capacity.saturating_sub(self.disk.node.available);
            let inodes = self.disk.node.inodes.saturating_sub(self.disk.node.inodes_free);
            if let Some(network) = self.network(&machine.interfaces) {
                put(&mut node, "network", network);
            }
            put(&mut node, "fs", self.fs(DiskUsage { bytes: used, inodes }));
            let images = self.fs(self.disk.images);
            let containers =
                self.fs(self.disk.pods.values().flat_map(|p| p.roots.values().chain(p.logs.values())).copied().sum());
            put(&mut node, "runtime", json!({"imageFs": images, "containerFs": containers}));
        }
        node
    }

    fn pod(&self, pod: &PodFigures) -> Value {
        let meta = &pod.pod.metadata;
        let nothing = PodDisk::default();
        let disk = self.disk.pods.get(&pod.uid).unwrap_or(&nothing);
        let containers: Vec<Value> = pod.containers.iter().map(|c| self.container(pod, c, disk)).collect();
        let mut shown = json!({
            "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "startTime": pod.since.or(meta.creation_timestamp.as_ref().map(|t| t.0)).map(|t| t.to_string()),
            "containers": containers,
            "cpu": self.cpu(pod.rate(), pod.total.cpu.as_nanos()),
            "memory": self.memory(pod.memory(), None),
        });
        if self.depth == Depth::Whole {
            let (received, sent) = (pod.total.received_bytes, pod.total.sent_bytes);
            let way = Interface { rx_bytes: received, tx_bytes: sent, ..Interface::named(POD_INTERFACE) };
            if let Some(network) = self.network(&[way]) {
                put(&mut shown, "network", network);
            }
            let claims = disk.claims.iter().map(|(name, claim)| {
                let (capacity, available) = claim.room(self.disk.node);
                let mut fs = self.fs(claim.used);
                put(&mut fs, "name", json!(name));
                put(&mut fs, "capacityBytes", json!(capacity));
                put(&mut fs, "availableBytes", json!(available));
                put(&mut fs, "pvcRef", json!({"name": claim.claim, "namespace": pod.namespace}));
                fs
            });
            let volumes: Vec<Value> = disk
                .volumes
                .iter()
                .map(|(name, usage)| {
                    let mut fs = self.fs(*usage);
                    put(&mut fs, "name", json!(name));
                    fs
                })
                .chain(claims)
                .collect();
            if !volumes.is_empty() {
                put(&mut shown, "volume", volumes.into());
            }
            put(&mut shown, "ephemeral-storage", self.fs(disk.total()));
        }
        shown
    }

    fn container(&self, pod: &PodFigures, container: &ContainerFigures, disk: &PodDisk) -> Value {
        let used = container.usage.memory_bytes;
        let available = memory_limit(&pod.pod, &container.name).map(|limit| limit.saturating_sub(used));
        let mut shown = json!({
            "name": container.name,
            "startTime": whole_seconds(container.since).to_string(),
            "cpu": self.cpu(container.rate, container.usage.cpu.as_nanos()),
            "memory": self.memory(used, available),
        });
        if self.depth == Depth::Whole {
            let of = |all: &BTreeMap<String, DiskUsage>| self.fs(all.get(&container.name).copied().unwrap_or_default());
            put(&mut shown, "rootfs", of(&disk.roots));
            put(&mut shown, "logs", of(&disk.logs));
        }
        shown
    }

    fn cpu(&self, rate: Option<Rate>, nanoseconds: u128) -> Value {
        let mut cpu =
            json!({"time": self.time, "usageCoreNanoSeconds": u64::try_from(nanoseconds).unwrap_or(u64::MAX)});
        if let Some(rate) = rate {
            put(&mut cpu, "usageNanoCores", json!(rate.nanocores));
        }
        cpu
    }

    /// Memory that all counts as in use: the linear memories of guests are theirs until they end.
    fn memory(&self, used: u64, available: Option<u64>) -> Value {
        let mut memory = json!({"time": self.time, "usageBytes": used, "workingSetBytes": used, "rssBytes": used});
        if let Some(available) = available {
            put(&mut memory, "availableBytes", json!(available));
        }
        memory
    }

    fn fs(&self, used: DiskUsage) -> Value {
        let fs = self.disk.node;
        json!({
            "time": self.time, "availableBytes": fs.available, "capacityBytes": fs.capacity, "usedBytes": used.bytes,
            "inodesFree": fs.inodes_free, "inodes": fs.inodes, "inodesUsed": used.inodes,
        })
    }

    /// The first interface stands for all, as a kubelet's default one does.
    fn network(&self, interfaces: &[Interface]) -> Option<Value> {
        let told = |i: &Interface| {
            json!({"name": i.name, "rxBytes": i.rx_bytes, "rxErrors": i.rx_errors,
                "txBytes": i.tx_bytes, "txErrors": i.tx_errors})
        };
        let mut network = interfaces.first().map(told)?;
        put(&mut network, "time", json!(self.time));
        put(&mut network, "interfaces", interfaces.iter().map(told).collect());
        Some(network)
    }
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        let map: &mut Map<String, Value> = map;
        map.insert(name.to_owned(), value);
    }
}

fn memory_limit(pod: &Pod, container: &str) -> Option<u64> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let container: &Container = all.find(|c| c.name == container)?;
    let limit = container.resources.as_ref()?.limits.as_ref()?.get("memory")?;
    u64::try_from(quantity::units(&limit.0).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::figures::tests::sample;
    use super::*;

    fn told(depth: Depth) -> String {
        let usage = |bytes| DiskUsage { bytes, inodes: 2 };
        let of = |bytes| BTreeMap::from([("web".to_owned(), usage(bytes))]);
        let volumes = BTreeMap::from([("data".to_owned(), usage(300)), ("fast".to_owned(), usage(4000))]);
        let claim = ClaimDisk { claim: "kept-web-0".to_owned(), used: usage(500), capacity: Some(800) };
        let claims = BTreeMap::from([("kept".to_owned(), claim)]);
        let pod = PodDisk { roots: of(10), logs: of(20), volumes, in_memory: vec!["fast".to_owned()], claims };
        let disk = Disk {
            node: FileSystem { capacity: 1000, available: 400, inodes: 50, inodes_free: 20 },
            images: usage(90),
            pods: BTreeMap::from([("a".to_owned(), pod)]),
        };
        let mut figures = sample();
        figures.machine.interfaces = vec![Interface { name: "eth0".to_owned(), rx_bytes: 1, ..Interface::default() }];
        figures.pods.truncate(1);
        figures.pods[0].containers.retain(|c| c.name == "web");
        let told = summary(&figures, "n1", Timestamp::UNIX_EPOCH, &disk, depth);
        let mut lines = Vec::new();
        for part in [&told["node"], &told["pods"][0]] {
            lines.extend(part.as_object().unwrap().iter().map(|(name, value)| format!("{name}: {value}")));
        }
        lines.join("\n").replace("\"time\":\"1970-01-01T00:01:40Z\"", "T")
    }

    #[test]
    fn a_summary_has_the_kubelets_shape() {
        expect![[r#"
            cpu: {T,"usageCoreNanoSeconds":10000000000,"usageNanoCores":1000000000}
            fs: {"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":30,T,"usedBytes":600}
            memory: {"availableBytes":0,"rssBytes":0,T,"usageBytes":0,"workingSetBytes":0}
            network: {"interfaces":[{"name":"eth0","rxBytes":1,"rxErrors":0,"txBytes":0,"txErrors":0}],"name":"eth0","rxBytes":1,"rxErrors":0,T,"txBytes":0,"txErrors":0}
            nodeName: "n1"
            runtime: {"containerFs":{"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":4,T,"usedBytes":30},"imageFs":{"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":2,T,"usedBytes":90}}
            startTime: "1970-01-01T00:00:00Z"
            systemContainers: [{"cpu":{T,"usageCoreNanoSeconds":1000000000,"usageNanoCores":100000000},"memory":{"rssBytes":0,T,"usageBytes":0,"workingSetBytes":0},"name":"kubelet","startTime":"1970-01-01T00:00:00Z"},{"cpu":{T,"usageCoreNanoSeconds":9151000000,"usageNanoCores":100000000},"memory":{"availableBytes":0,"rssBytes":65536,T,"usageBytes":65536,"workingSetBytes":65536},"name":"pods","startTime":"1970-01-01T00:00:00Z"}]
            containers: [{"cpu":{T,"usageCoreNanoSeconds":400000000,"usageNanoCores":100000000},"logs":{"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":2,T,"usedBytes":20},"memory":{"rssBytes":65536,T,"usageBytes":65536,"workingSetBytes":65536},"name":"web","rootfs":{"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":2,T,"usedBytes":10},"startTime":"1970-01-01T00:01:36Z"}]
            cpu: {T,"usageCoreNanoSeconds":9151000000,"usageNanoCores":100000000}
            ephemeral-storage: {"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":6,T,"usedBytes":330}
            memory: {"rssBytes":65536,T,"usageBytes":65536,"workingSetBytes":65536}
            network: {"interfaces":[{"name":"eth0","rxBytes":40,"rxErrors":0,"txBytes":80,"txErrors":0}],"name":"eth0","rxBytes":40,"rxErrors":0,T,"txBytes":80,"txErrors":0}
            podRef: {"name":"a","namespace":"default","uid":"a"}
            startTime: null
            volume: [{"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":2,"name":"data",T,"usedBytes":300},{"availableBytes":400,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":2,"name":"fast",T,"usedBytes":4000},{"availableBytes":300,"capacityBytes":800,"inodes":50,"inodesFree":20,"inodesUsed":2,"name":"kept","pvcRef":{"name":"kept-web-0","namespace":"default"},T,"usedBytes":500}]"#]].assert_eq(&told(Depth::Whole));
    }

    #[test]
    fn a_summary_of_cpu_and_memory_says_nothing_of_disks() {
        let text = told(Depth::CpuAndMemory);
        assert!(text.contains("usageNanoCores") && !text.contains("usedBytes") && !text.contains("network"), "{text}");
    }
}
