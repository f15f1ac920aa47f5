//! This machine: what it has, and how it is at the moment. Read from the system, never guessed.

use std::path::{Path, PathBuf};

use crate::downward::Allocatable;

/// Kept from pods, so that the node itself and the machine's owner have room (the kubelet's eviction threshold).
const MEMORY_RESERVED: u64 = 100 * 1024 * 1024;

/// A disk with less room than this counts as full: images, logs and the store must still be written.
const DISK_FREE_MIN: u64 = 256 * 1024 * 1024;

/// With how much left, in bytes, the node counts as short, and evicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Of memory.
    pub memory: u64,
    /// Of the disk that holds the data directory.
    pub disk: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { memory: MEMORY_RESERVED, disk: DISK_FREE_MIN }
    }
}

/// Open files of the process that come and go: connections of pods and of clients of the API, logs being written and
/// read, images, the store.
const FILES_RESERVED: u64 = 4096;

/// Open files that a pod takes for as long as it runs: the socket it listens on.
const FILES_PER_POD: u64 = 1;

/// Why the machine cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The data directory's disk cannot be asked how large it is.
    #[error("cannot ask how large the disk of {path:?} is")]
    Disk {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// What the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cpus: u64,
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) pods: u64,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
    pub(crate) machine_id: String,
    pub(crate) boot_id: String,
}

impl Machine {
    /// Describes the machine. It takes as many pods as there is room for `instances` of them and for their open files,
    /// and no more than `pods`.
    pub(crate) fn read(data_dir: &Path, instances: u64, pods: Option<u64>) -> Result<Self, MachineError> {
        let disk = rustix::fs::statvfs(data_dir)
            .map_err(|e| MachineError::Disk { path: data_dir.to_owned(), source: e.into() })?;
        let info = rustix::system::sysinfo();
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let possible = instances.min(files.map_or(u64::MAX, pods_with_files));
        Ok(Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| u64::try_from(n.get()).unwrap_or(1)),
            #[allow(clippy::useless_conversion, reason = "the type differs between architectures")]
            memory: u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit)),
            disk: disk.f_blocks.saturating_mul(disk.f_frsize),
            pods: pods.map_or(possible, |p| p.min(possible)),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            os_image: text_in("/etc/os-release").map(|t| pretty_name(&t)).unwrap_or_default(),
            machine_id: text_in("/etc/machine-id").unwrap_or_default(),
            boot_id: text_in("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        })
    }

    /// What pods may have of it.
    pub(crate) fn allocatable(&self) -> Allocatable {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Allocatable {
            cpu_millis: signed(self.cpus.saturating_mul(1000)),
            memory: signed(self.memory.saturating_sub(MEMORY_RESERVED)),
            ephemeral_storage: signed(self.disk.saturating_sub(self.disk / 10)),
        }
    }
}

/// How the machine is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Health {
    pub(crate) short_of_memory: bool,
    pub(crate) short_of_disk: bool,
}

impl Health {
    /// Whether it is short of anything.
    pub(crate) fn is_short(self) -> bool {
        self.short_of_memory || self.short_of_disk
    }
}

/// What is left of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) memory: Left,
    pub(crate) disk: Left,
}

/// What is left of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// The node is short if less is left.
    pub(crate) least: u64,
    /// What is left; nothing known counts as enough.
    pub(crate) available: Option<u64>,
}

impl Left {
    /// What is left, if that is too little.
    pub(crate) fn shortage(self) -> Option<u64> {
        self.available.filter(|available| *available < self.least)
    }
}

/// Asks the system what is left.
pub(crate) fn room(data_dir: &Path, least: Thresholds) -> Room {
    let memory = text_in("/proc/meminfo").and_then(|t| available_memory(&t));
    let disk = rustix::fs::statvfs(data_dir).ok().map(|d| d.f_bavail.saturating_mul(d.f_frsize));
    Room { memory: Left { least: least.memory, available: memory }, disk: Left { least: least.disk, available: disk } }
}

/// How the machine is with so much left.
pub(crate) fn health(room: &Room) -> Health {
    Health { short_of_memory: room.memory.shortage().is_some(), short_of_disk: room.disk.shortage().is_some() }
}

fn pods_with_files(files: u64) -> u64 {
    files.saturating_sub(FILES_RESERVED) / FILES_PER_POD
}

fn text_in(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
}

fn pretty_name(os_release: &str) -> String {
    let line = os_release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_files_are_understood() {
        assert_eq!(
            pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(available_memory("MemTotal: 5 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(pods_with_files(20_000), 15_904);
        assert_eq!(pods_with_files(10), 0);
    }

    #[test]
    fn this_machine_has_something_to_offer() {
        let machine = Machine::read(Path::new("/"), 1000, Some(110)).unwrap();
        assert!(machine.cpus > 0 && machine.memory > 0 && machine.disk > 0 && machine.pods <= 110);
    }
}
