//! A pod's directories: its ephemeral ones and those filled from objects, and where its containers see them.
//!
//! Everything is under `pods/<uid>` of the data directory and goes with the pod. A guest never writes where the node
//! writes or follows links: a filled volume is read-only to guests, and a root directory is made anew for each run.

pub(crate) mod claims;
mod host_paths;
pub(crate) mod in_use;
mod late;
mod memory;
mod mounts;
mod payload;
mod place;
mod removal;
mod sub_path;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::downward::{Facts, NoSuchField};
use crate::sources::{Fetched, Source};
use crate::tokens::Asked;
use claims::Claimed;

pub use host_paths::{AllowedPath, HostPathError, NoAllowedPath};
pub use late::Which;
pub use memory::{is_in_memory, memory_limit};
pub use mounts::{MountError, prepare_root, show_all};
pub use place::{Keeps, Place, Places};
pub use removal::remove_tree;

use coracle_wasm::Access;

/// Why a pod's volumes cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An object or key that it is filled from does not exist.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {what}")]
    Missing {
        /// The volume.
        volume: String,
        /// What is missing, in upstream's words.
        what: String,
    },
    /// A sort of volume that this node does not have.
    #[error(
        "volume {volume:?} is of type {sort}, which this node cannot mount; it has emptyDir, configMap, secret, downwardAPI, projected, hostPath, persistentVolumeClaim and ephemeral"
    )]
    Unsupported {
        /// The volume.
        volume: String,
        /// Its type.
        sort: String,
    },
    /// A path of the machine that cannot be had.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {source}")]
    HostPath {
        /// The volume.
        volume: String,
        /// Why not.
        source: HostPathError,
    },
    /// A path that would lead out of the volume.
    #[error("volume {volume:?} has the path {path:?}, which must be relative and may not contain '..'")]
    Path {
        /// The volume.
        volume: String,
        /// The path.
        path: String,
    },
    /// A field of the downward API that there is not.
    #[error("volume {volume:?}: {source}")]
    Field {
        /// The volume.
        volume: String,
        /// The field.
        source: NoSuchField,
    },
    /// The disk failed.
    #[error("cannot write volume {volume:?}: {source}")]
    Write {
        /// The volume.
        volume: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The directories of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDir {
    root: PathBuf,
    /// Where its volumes in memory are, if it has any.
    memory: PathBuf,
}

/// Deletes what a former process left in memory of the pods under `pods`.
///
/// # Errors
/// An I/O error, but not if there was nothing.
pub fn clear_memory(pods: &Path) -> std::io::Result<()> {
    remove_tree(&memory::place(pods))
}

impl PodDir {
    /// The directories of the pod with this uid, under `pods`.
    #[must_use]
    pub fn new(pods: &Path, uid: &str) -> Self {
        Self { root: pods.join(uid), memory: memory::place(pods).join(uid) }
    }

    /// Where a volume is.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    /// Where a volume in memory is; its usual place is a link to it.
    #[must_use]
    pub fn memory_volume(&self, name: &str) -> PathBuf {
        self.memory.join(name)
    }

    /// The `/` of a container.
    #[must_use]
    pub fn container_root(&self, container: &str) -> PathBuf {
        self.root.join("containers").join(container)
    }

    /// Deletes everything.
    ///
    /// # Errors
    /// An I/O error, but not if there was nothing.
    pub fn remove(&self) -> std::io::Result<()> {
        remove_tree(&self.memory)?;
        remove_tree(&self.root)
    }
}

/// Puts what a former process left of its pods out of the way, in no time, and makes the place anew.
///
/// # Errors
/// An I/O error.
pub fn put_aside(pods: &Path) -> std::io::Result<()> {
    let aside = pods.with_file_name(format!("{ASIDE}{}", uuid::Uuid::new_v4().simple()));
    match std::fs::rename(pods, aside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(pods)
}

/// Deletes what was put aside, now or by a process that was killed before it had done so. It blocks.
///
/// # Errors
/// An I/O error of the first that cannot be deleted.
pub fn sweep(data_dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(ASIDE)) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// How the names of directories begin that are to be deleted.
const ASIDE: &str = "pods-before-";

/// What a volume of a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Empty at first, and the pod's to write.
    EmptyDir,
    /// Filled from objects, and read-only.
    Filled,
    /// A path of the machine.
    HostPath,
    /// What a claim stands for.
    Claim,
    /// None that this node has.
    Unsupported,
}

/// What sort of volume it is.
#[must_use]
pub fn sort(volume: &Volume) -> Sort {
    if volume.empty_dir.is_some() {
        Sort::EmptyDir
    } else if volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
    {
        Sort::Filled
    } else if volume.host_path.is_some() {
        Sort::HostPath
    } else if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() {
        Sort::Claim
    } else {
        Sort::Unsupported
    }
}

/// The objects that these volumes of a pod are filled from, and the claims that others stand for.
#[must_use]
pub fn references(pod: &Pod, which: Which) -> BTreeSet<Source> {
    let claims = coracle_api::storage::claims_of(pod).into_iter().map(|claim| Source::Claim(claim.name));
    which.of(pod).flat_map(payload::references).chain(claims).collect()
}

/// The tokens that these volumes of a pod hold.
#[must_use]
pub fn tokens(pod: &Pod, which: Which) -> BTreeSet<Asked> {
    which.of(pod).flat_map(payload::tokens).collect()
}

/// What a pod's volumes are made of.
#[derive(Debug)]
pub struct Material<'a> {
    /// What the downward API tells.
    pub facts: Facts<'a>,
    /// The objects that it refers to.
    pub fetched: &'a Fetched,
    /// Its claims, each found good for it.
    pub(crate) claims: &'a [Claimed],
    /// What of the machine's own directories pods may have.
    pub allowed: &'a [AllowedPath],
}

/// Makes the volumes of a pod, and tells where they are, those also that are made late. It blocks.
///
/// # Errors
/// [`VolumeError`] of the first that cannot be made.
pub fn set_up(dir: &PodDir, material: &Material<'_>) -> Result<Places, VolumeError> {
    let volumes = material.facts.pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.map(|volume| Ok((volume.name.clone(), make(dir, volume, material)?))).collect()
}

/// Where those volumes of a pod will be that are made late.
#[must_use]
pub fn late_places(dir: &PodDir, pod: &Pod) -> Places {
    Which::Late.of(pod).map(|volume| (volume.name.clone(), own_place(dir, volume, Access::ReadOnly))).collect()
}

/// A directory among the pod's own.
fn own_place(dir: &PodDir, volume: &Volume, access: Access) -> Place {
    Place { root: dir.volume(&volume.name), beneath: PathBuf::new(), access, keeps: Keeps::Ephemeral }
}

/// Brings these of the filled volumes of a pod up to date. Those that did not change are not written. It blocks.
///
/// # Errors
/// [`VolumeError`] of the first that cannot be.
pub fn update(dir: &PodDir, facts: &Facts<'_>, fetched: &Fetched, which: Which) -> Result<(), VolumeError> {
    for volume in which.of(facts.pod).filter(|v| sort(v) == Sort::Filled) {
        fill(dir, volume, facts, fetched)?;
    }
    Ok(())
}

fn make(dir: &PodDir, volume: &Volume, material: &Material<'_>) -> Result<Place, VolumeError> {
    let name = || volume.name.clone();
    let path = dir.volume(&volume.name);
    let write = |source| VolumeError::Write { volume: name(), source };
    let own = |access| own_place(dir, volume, access);
    match sort(volume) {
        Sort::EmptyDir if is_in_memory(volume) => {
            memory::make(&path, &dir.memory_volume(&volume.name)).map_err(write)?;
            Ok(own(Access::ReadWrite))
        }
        Sort::EmptyDir => {
            std::fs::create_dir_all(&path).map_err(write)?;
            Ok(own(Access::ReadWrite))
        }
        Sort::Filled if late::is_late(material.facts.pod, volume) => Ok(own(Access::ReadOnly)),
        Sort::Filled => {
            fill(dir, volume, &material.facts, material.fetched)?;
            Ok(own(Access::ReadOnly))
        }
        Sort::HostPath => {
            let source = volume.host_path.clone().unwrap_or_default();
            let failed = |source| VolumeError::HostPath { volume: name(), source };
            let place = host_paths::place(&source.path, material.allowed).map_err(failed)?;
            host_paths::check(&place, &source.path, source.type_.as_deref().unwrap_or("")).map_err(failed)?;
            Ok(place)
        }
        Sort::Claim => {
            let claim = material.claims.iter().find(|claim| claim.volume == volume.name);
            claim.map(|c| c.place.clone()).ok_or_else(|| unsupported(volume))
        }
        Sort::Unsupported => Err(unsupported(volume)),
    }
}

fn fill(dir: &PodDir, volume: &Volume, facts: &Facts<'_>, fetched: &Fetched) -> Result<(), VolumeError> {
    let payload = payload::payload(volume, facts, fetched)?;
    let written = tree::replace(&dir.volume(&volume.name), &payload);
    written.map(drop).map_err(|source| VolumeError::Write { volume: volume.name.clone(), source })
}

/// What is said of the volume that lacks its token.
#[must_use]
pub fn without_token(pod: &Pod, why: &str) -> String {
    let mut volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let volume = volumes.find(|v| !payload::tokens(v).is_empty()).map(|v| v.name.clone()).unwrap_or_default();
    VolumeError::Missing { volume, what: why.to_owned() }.to_string()
}

fn unsupported(volume: &Volume) -> VolumeError {
    VolumeError::Unsupported { volume: volume.name.clone(), sort: sort_name(volume) }
}

/// Where persistent volumes are that a node's provisioner makes: a directory for each, by its name.
#[must_use]
pub fn persistent(data_dir: &Path) -> PathBuf {
    std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned()).join("volumes")
}

/// The field of the spec that says what the volume is.
fn sort_name(volume: &Volume) -> String {
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::to_value(volume).ok().and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
    fields.into_keys().find(|k| k != "name").unwrap_or_else(|| "none".to_owned())
}

#[cfg(test)]
mod tests;
