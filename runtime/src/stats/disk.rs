//! The disk as it is measured for a summary, and for who evicts pods. It blocks.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::directory::{DiskUsage, measure};
use super::summary::{ClaimDisk, Disk, FileSystem, PodDisk};
use crate::logs::{Logs, Place};
use crate::volumes::claims::Claimed;
use crate::volumes::in_use::InUse;
use crate::volumes::{PodDir, Sort, is_in_memory, sort};

/// Where pods keep their things.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) data_dir: std::path::PathBuf,
    pub(crate) pods_dir: std::path::PathBuf,
    pub(crate) logs: Logs,
    pub(crate) in_use: InUse,
}

impl Places {
    /// Measures everything: the file system, images and these pods.
    pub(crate) fn measure<'a>(&self, pods: impl IntoIterator<Item = &'a Pod>) -> Disk {
        let measured = pods.into_iter().filter_map(|pod| Some((pod.metadata.uid.clone()?, self.pod(pod))));
        Disk {
            node: file_system(&self.data_dir),
            images: measure(&self.data_dir.join("images")),
            pods: measured.collect(),
        }
    }

    /// The file system that everything is on.
    pub(crate) fn file_system(&self) -> FileSystem {
        file_system(&self.data_dir)
    }

    /// Measures the claims of these pods, each with its namespace and once, by how many it may be used.
    pub(crate) fn claims<'a>(&self, pods: impl IntoIterator<Item = &'a Pod>) -> Vec<(String, ClaimDisk)> {
        let mut all = BTreeMap::new();
        for pod in pods {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            for claimed in self.in_use.of(pod.metadata.uid.as_deref().unwrap_or_default()) {
                let key = (namespace.clone(), claimed.claim.clone());
                all.entry(key).or_insert_with(|| claim_disk(claimed));
            }
        }
        all.into_iter().map(|((namespace, _), disk)| (namespace, disk)).collect()
    }

    /// Measures what a pod has on disk.
    pub(crate) fn pod(&self, pod: &Pod) -> PodDisk {
        let meta = &pod.metadata;
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        let uid = text(&meta.uid);
        let dir = PodDir::new(&self.pods_dir, &uid);
        let Some(spec) = &pod.spec else { return PodDisk::default() };
        let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
        let log = |container: &str| {
            let place = Place {
                namespace: text(&meta.namespace),
                pod: text(&meta.name),
                uid: uid.clone(),
                container: container.to_owned(),
            };
            measure(&self.logs.dir(&place))
        };
        let by_container = |of: &dyn Fn(&str) -> DiskUsage| -> BTreeMap<String, DiskUsage> {
            containers().map(|c| (c.name.clone(), of(&c.name))).collect()
        };
        // What is the machine's own is not the pod's to answer for.
        let own = |v: &&Volume| matches!(sort(v), Sort::EmptyDir | Sort::Filled);
        let volumes = || spec.volumes.iter().flatten().filter(own);
        let claim = |claimed: Claimed| (claimed.volume.clone(), claim_disk(claimed));
        let volume = |v: &Volume| {
            let path = if is_in_memory(v) { dir.memory_volume(&v.name) } else { dir.volume(&v.name) };
            (v.name.clone(), measure(&path))
        };
        PodDisk {
            roots: by_container(&|name| measure(&dir.container_root(name))),
            logs: by_container(&log),
            volumes: volumes().map(volume).collect(),
            claims: self.in_use.of(&uid).into_iter().map(claim).collect(),
            in_memory: volumes().filter(|v| is_in_memory(v)).map(|v| v.name.clone()).collect(),
        }
    }
}

fn claim_disk(claimed: Claimed) -> ClaimDisk {
    let used = measure(&claimed.place.root.join(&claimed.place.beneath));
    ClaimDisk { claim: claimed.claim, used, capacity: claimed.capacity }
}

/// What the system says of the file system under a path; nothing known is all zeros.
pub(crate) fn file_system(path: &Path) -> FileSystem {
    let Ok(disk) = rustix::fs::statvfs(path) else { return FileSystem::default() };
    FileSystem {
        capacity: disk.f_blocks.saturating_mul(disk.f_frsize),
        available: disk.f_bavail.saturating_mul(disk.f_frsize),
        inodes: disk.f_files,
        inodes_free: disk.f_ffree,
    }
}
