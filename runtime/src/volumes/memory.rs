//! Where an emptyDir of medium `Memory` is: in the system's own file system in memory, never on disk.
//!
//! Invariant: its place belongs to this user alone, or there is none. The volume's usual place is a link to it, which
//! is outside of what guests see.

use std::fmt::Write;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{PodSpec, Volume};
use sha2::{Digest, Sha256};

/// Where systems with a file system in memory have one that everybody may write to.
const SHARED_MEMORY: &str = "/dev/shm";

/// Whether the volume is to be kept in memory.
#[must_use]
pub fn is_in_memory(volume: &Volume) -> bool {
    volume.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref() == Some("Memory"))
}

/// What all containers of a pod may have of memory, in bytes, if each of them has a limit.
#[must_use]
pub fn memory_limit(spec: &PodSpec) -> Option<u64> {
    let limit = |c: &k8s_openapi::api::core::v1::Container| {
        let text = &c.resources.as_ref()?.limits.as_ref()?.get("memory")?.0;
        u64::try_from(coracle_api::quantity::units(text).ok()?).ok()
    };
    spec.containers.iter().map(limit).sum()
}

/// The place in memory of the pods under `pods`: another for each node of this machine.
pub(super) fn place(pods: &Path) -> PathBuf {
    let absolute = std::path::absolute(pods).unwrap_or_else(|_| pods.to_owned());
    let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
    let name = digest.iter().take(8).fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    Path::new(SHARED_MEMORY).join(format!("coracle-{name}"))
}

/// Makes the directory `target` in memory, and the link `link` to it.
pub(super) fn make(link: &Path, target: &Path) -> io::Result<()> {
    if !is_mounted(&std::fs::read_to_string("/proc/mounts").unwrap_or_default()) {
        let why = "medium Memory needs a file system in memory at /dev/shm, which this machine does not have";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let own = target.parent().and_then(Path::parent).unwrap_or(target);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(own)?;
    let found = std::fs::symlink_metadata(own)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{own:?} does not belong to this user alone"),
        ));
    }
    std::fs::create_dir_all(target)?;
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match symlink(target, link) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(SHARED_MEMORY) && fields.next() == Some("tmpfs")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mounted_file_system_is_found() {
        assert!(is_mounted("proc /proc proc rw 0 0\nshm /dev/shm tmpfs rw,nosuid 0 0\n"));
        assert!(!is_mounted("/dev/sda /dev/shm ext4 rw 0 0\ntmpfs /dev/shm2 tmpfs rw 0 0\n"));
    }

    #[test]
    fn each_node_has_a_place_of_its_own() {
        let first = place(Path::new("/a/pods"));
        assert!(first.starts_with(SHARED_MEMORY) && first != place(Path::new("/b/pods")));
    }

    #[test]
    fn a_pod_has_a_limit_when_all_its_containers_do() {
        let check = |limits: serde_json::Value| {
            let containers: Vec<_> = limits
                .as_array()
                .unwrap()
                .iter()
                .map(|limit| json!({"name": "c", "resources": {"limits": limit}}))
                .collect();
            memory_limit(&serde_json::from_value(json!({"containers": containers})).unwrap())
        };
        assert_eq!(check(json!([{"memory": "1Ki"}, {"memory": "2Ki"}])), Some(3072));
        assert_eq!(check(json!([{"memory": "1Ki"}, {"cpu": "1"}])), None);
    }
}
