//! What a container sees: its own `/`, and its volumes where it mounts them.
//!
//! `/` is made anew for each run, before any guest code runs in it. In a volume that guests write to the node goes no
//! way but one that ends inside of it: every such path is resolved by the system, beneath the volume's own directory.

mod file;

use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::place::{Keeps, Place, Places};
use super::{PodDir, sub_path};
use crate::env::{self, EnvError};
use crate::names::Etc;
use coracle_wasm::{Access, Directory};

/// Why a container's directories cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A mount of a volume that the pod does not have.
    #[error("volume {0:?} is mounted but not defined; add it to spec.volumes")]
    NoSuchVolume(String),
    /// A part of a volume that cannot be mounted.
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}: {path:?}: {why}")]
    SubPath {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
        /// The path.
        path: String,
        /// What does not fit, and what to do.
        why: String,
    },
    /// A variable in a `subPathExpr` that the container does not have.
    #[error("failed to expand subPathExpr of volumeMount {volume:?}: {source}")]
    Expression {
        /// The volume.
        volume: String,
        /// Which one.
        source: EnvError,
    },
    /// A single file at a place where no file can be put.
    #[error("the file {path:?} of volume {volume:?} cannot be mounted at {at:?}: {why}")]
    File {
        /// The volume.
        volume: String,
        /// The file in it.
        path: String,
        /// The mount path.
        at: String,
        /// What does not fit, and what to do.
        why: &'static str,
    },
    /// A mount path that leads out of the container.
    #[error("mountPath {0:?} may not contain '..'")]
    Path(String),
    /// The disk failed.
    #[error("cannot make the container's directories")]
    Write(#[from] io::Error),
}

/// A directory that the container sees, while its inner ones are put in their places.
struct Seen {
    directory: Directory,
    /// Where it is in the container, without slashes at its ends.
    at: String,
    keeps: Keeps,
}

/// Makes the container's `/` anew, and lists all that it sees, outer directories first. `env` is its environment;
/// `files` is what it finds in `/etc`, if it looks.
///
/// # Errors
/// [`MountError`] if a mount cannot be made.
pub fn prepare_root(
    dir: &PodDir,
    places: &Places,
    container: &Container,
    env: &[(String, String)],
    files: Option<&Etc>,
) -> Result<Vec<Directory>, MountError> {
    let root = dir.container_root(&container.name);
    super::remove_tree(&root)?;
    std::fs::create_dir_all(root.join("tmp"))?;
    if let Some(files) = files {
        write_etc(&root.join("etc"), files)?;
    }
    let root = Directory::new("/", root, Access::ReadWrite);
    let mut seen = vec![Seen { directory: root, at: String::new(), keeps: Keeps::Ephemeral }];
    let mut mounts: Vec<(String, &VolumeMount)> = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let at = sub_path::clean(&mount.mount_path).ok_or_else(|| MountError::Path(mount.mount_path.clone()))?;
        mounts.push((at, mount));
    }
    mounts.sort_by_key(|(at, _)| at.split('/').count());
    for (at, mount) in mounts {
        let place = places.get(&mount.name).ok_or_else(|| MountError::NoSuchVolume(mount.name.clone()))?;
        let sub = part(mount, env)?;
        let fault = |error: io::Error| MountError::SubPath {
            volume: mount.name.clone(),
            container: container.name.clone(),
            path: sub.clone(),
            why: sub_path::explained(&error),
        };
        let access = if mount.read_only == Some(true) { Access::ReadOnly } else { place.access };
        match place.find(&sub).map_err(fault)? {
            Found::File(found) => file::mount(&found, access, &at, mount, &seen)?,
            Found::Directory(beneath) => {
                // What is made late is shown late: see `show_all`.
                if place.root.exists() {
                    make_mount_point(&seen, &at)?;
                }
                let directory = Directory::new(format!("/{at}"), &place.root, access).part(&beneath);
                seen.push(Seen { directory, at, keeps: place.keeps });
            }
        }
    }
    Ok(seen.into_iter().map(|s| s.directory).collect())
}

/// Makes the mount points of what was made after the container's `/` was prepared. It blocks.
///
/// # Errors
/// An I/O error.
pub fn show_all(directories: &[Directory]) -> io::Result<()> {
    let mut seen: Vec<Seen> = Vec::new();
    for directory in directories {
        let at = directory.guest_path.trim_matches('/').to_owned();
        make_mount_point(&seen, &at)?;
        seen.push(Seen { directory: directory.clone(), at, keeps: Keeps::Ephemeral });
    }
    Ok(())
}

/// Writes the files by which programs that ask nobody know of names.
fn write_etc(etc: &Path, files: &Etc) -> io::Result<()> {
    std::fs::create_dir(etc)?;
    std::fs::write(etc.join("hosts"), &files.hosts)?;
    std::fs::write(etc.join("resolv.conf"), &files.resolv_conf)?;
    std::fs::write(etc.join("hostname"), &files.hostname)
}

/// What a mount shows of its volume.
pub(super) enum Found {
    /// A directory, by its way from the place's root.
    Directory(PathBuf),
    /// A single file.
    File(File),
}

/// A file in a volume.
pub(super) struct File {
    pub(super) dir: Dir,
    pub(super) path: PathBuf,
}

impl Place {
    /// What is at `sub` in the volume: made as a directory if there is nothing and guests may write there.
    fn find(&self, sub: &str) -> io::Result<Found> {
        let path = self.beneath.join(sub);
        if path.as_os_str().is_empty() {
            return Ok(Found::Directory(path));
        }
        let dir = Dir::open_ambient_dir(&self.root, ambient_authority())?;
        match dir.metadata(&path) {
            Ok(meta) if meta.is_dir() => return Ok(Found::Directory(path)),
            Ok(meta) if meta.is_file() => return Ok(Found::File(File { dir, path })),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, sub_path::NEITHER)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.access == Access::ReadWrite => {}
            Err(error) => return Err(error),
        }
        dir.create_dir_all(&path)?;
        Ok(Found::Directory(path))
    }
}

/// The part of the volume that is mounted; empty for all of it.
fn part(mount: &VolumeMount, env: &[(String, String)]) -> Result<String, MountError> {
    let expression = mount.sub_path_expr.as_deref().filter(|e| !e.is_empty());
    let given = match expression {
        Some(text) => env::expand_known(text, env)
            .map_err(|source| MountError::Expression { volume: mount.name.clone(), source })?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    let absolute = given.starts_with('/');
    sub_path::clean(&given).filter(|_| !absolute).ok_or_else(|| MountError::SubPath {
        volume: mount.name.clone(),
        container: String::new(),
        path: given,
        why: "it must be relative and may not contain '..'".to_owned(),
    })
}

/// The directory that a path in the container is in, and the way from there.
fn innermost<'a, 'b>(seen: &'a [Seen], at: &'b str) -> Option<(&'a Seen, &'b str)> {
    let inside = |outer: &'a Seen| {
        let rest = if outer.at.is_empty() { at } else { at.strip_prefix(outer.at.as_str())?.strip_prefix('/')? };
        Some((outer, rest))
    };
    seen.iter().filter_map(inside).max_by_key(|(outer, _)| outer.at.len())
}

/// Makes a directory where a volume is mounted, so that it is seen in the listing of what is around it. Where the
/// container may not write it goes without: the volume is found all the same.
fn make_mount_point(seen: &[Seen], at: &str) -> io::Result<()> {
    match innermost(seen, at) {
        Some((outer, rest)) if outer.directory.access == Access::ReadWrite && !rest.is_empty() => {
            Dir::from_std_file(outer.directory.open()?).create_dir_all(Path::new(rest))
        }
        Some(_) | None => Ok(()),
    }
}
