//! What a container sees: its own `/`, and its volumes where it mounts them.
//!
//! `/` is made anew for each run, before any guest code runs in it, so that nothing a guest left there can lead the
//! node astray.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, Volume};

use super::payload::is_inside;
use super::{PodDir, Sort, sort};
use coracle_wasm::{Access, Directory};

/// Why a container's directories cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A mount of a volume that the pod does not have.
    #[error("volume {0:?} is mounted but not defined; add it to spec.volumes")]
    NoSuchVolume(String),
    /// A part of a volume that is mounted in a way this node does not have.
    #[error("subPath {path:?} of volume {volume:?} cannot be mounted: {why}")]
    SubPath {
        /// The volume.
        volume: String,
        /// The path.
        path: String,
        /// What does not fit, and what to do.
        why: &'static str,
    },
    /// A mount path that leads out of the container.
    #[error("mountPath {0:?} may not contain '..'")]
    Path(String),
    /// The disk failed.
    #[error("cannot make the container's directories")]
    Write(#[from] std::io::Error),
}

/// Makes the container's `/` anew, and lists all that it sees, outer directories first.
///
/// # Errors
/// [`MountError`] if a mount cannot be made.
pub fn prepare_root(dir: &PodDir, pod: &Pod, container: &Container) -> Result<Vec<Directory>, MountError> {
    let root = dir.container_root(&container.name);
    if root.exists() {
        std::fs::remove_dir_all(&root)?;
    }
    std::fs::create_dir_all(root.join("tmp"))?;
    let mut seen = vec![Directory { guest_path: "/".to_owned(), host_path: root.clone(), access: Access::ReadWrite }];
    let volumes: Vec<&Volume> = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).collect();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes
            .iter()
            .find(|v| v.name == mount.name)
            .ok_or_else(|| MountError::NoSuchVolume(mount.name.clone()))?;
        let place = mount.mount_path.trim_matches('/');
        if place.split('/').any(|part| part == "..") {
            return Err(MountError::Path(mount.mount_path.clone()));
        }
        if mount.sub_path_expr.as_deref().is_some_and(|e| !e.is_empty()) {
            let path = mount.sub_path_expr.clone().unwrap_or_default();
            let why = "this node does not expand subPathExpr; write the path as subPath";
            return Err(MountError::SubPath { volume: volume.name.clone(), path, why });
        }
        let sub = mount.sub_path.as_deref().filter(|s| !s.is_empty());
        let host_path = dir.volume(&volume.name);
        let filled = sort(volume) == Sort::Filled;
        let host_path = match sub {
            Some(sub) => match part_of(&host_path, volume, sub)? {
                Part::Directory(path) => path,
                Part::File(path) => {
                    copy(&path, &root.join(place))?;
                    continue;
                }
            },
            None => host_path,
        };
        std::fs::create_dir_all(root.join(place))?;
        let read_only = filled || mount.read_only == Some(true);
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        seen.push(Directory { guest_path: format!("/{place}"), host_path, access });
    }
    seen.sort_by_key(|d| d.guest_path.trim_end_matches('/').matches('/').count());
    Ok(seen)
}

enum Part {
    Directory(std::path::PathBuf),
    File(std::path::PathBuf),
}

/// A part of a filled volume. A guest cannot have changed what is in one, so following its links is safe; in a volume
/// that guests write to, a link could lead anywhere.
fn part_of(volume_path: &Path, volume: &Volume, sub: &str) -> Result<Part, MountError> {
    let fault = |why| MountError::SubPath { volume: volume.name.clone(), path: sub.to_owned(), why };
    if !is_inside(sub.trim_end_matches('/')) {
        return Err(fault("it must be relative and may not contain '..'"));
    }
    if sort(volume) != Sort::Filled {
        return Err(fault("this node can do so for configMap, secret, downwardAPI and projected volumes only"));
    }
    let path = volume_path.join(sub);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(Part::Directory(std::fs::canonicalize(path)?)),
        Ok(_) => Ok(Part::File(path)),
        Err(_) => Err(fault("there is no such key in it")),
    }
}

/// A single file is copied, once: as upstream, a subPath does not follow later changes.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(from, to).map(drop)
}
