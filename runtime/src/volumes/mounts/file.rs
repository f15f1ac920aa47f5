//! A mount of a single file: WASI opens directories only, so the file is put into the directory around it.
//!
//! A file that the container may only read is copied, once: as upstream, such a mount does not follow later changes.
//! One that it may write gets a second name there (a hard link), so that what is written is in the volume.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use k8s_openapi::api::core::v1::VolumeMount;
use rustix::fs::{AtFlags, CWD, OFlags, linkat};

use super::{File, Keeps, MountError, Seen, innermost};
use coracle_wasm::Access;

/// Puts the file at `at` in the container.
pub(super) fn mount(
    file: &File,
    access: Access,
    at: &str,
    mount: &VolumeMount,
    seen: &[Seen],
) -> Result<(), MountError> {
    let fault = |why| MountError::File {
        volume: mount.name.clone(),
        path: file.path.to_string_lossy().into_owned(),
        at: mount.mount_path.clone(),
        why,
    };
    let (outer, rest) = innermost(seen, at).filter(|(_, rest)| !rest.is_empty()).ok_or_else(|| fault(AT_ROOT))?;
    if outer.directory.access == Access::ReadOnly {
        return Err(fault("the volume around it is read-only; mount it elsewhere"));
    }
    // What a guest keeps for longer than its pod lives is not covered by what a pod happens to mount.
    if outer.keeps == Keeps::Persistent {
        return Err(fault("it would be kept in the persistent volume around it; mount it elsewhere"));
    }
    let target = Dir::from_std_file(outer.directory.open()?);
    let rest = Path::new(rest);
    if let Some(parent) = rest.parent().filter(|p| !p.as_os_str().is_empty()) {
        target.create_dir_all(parent)?;
    }
    match target.remove_file(rest) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    match access {
        Access::ReadOnly => copy(file, &target, rest).map_err(MountError::from),
        Access::ReadWrite => link(file, &target, rest).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => fault(OTHER_FILE_SYSTEM),
            io::ErrorKind::PermissionDenied => fault(NOT_OURS),
            _ => error.into(),
        }),
    }
}

/// Why `/` cannot be a file.
const AT_ROOT: &str = "'/' is the container's own directory";

/// Why a file has no second name.
const OTHER_FILE_SYSTEM: &str =
    "it is on another file system than the node's data; mount its directory, or the file with readOnly: true";

/// Why a file of another user has no second name (`fs.protected_hardlinks`).
const NOT_OURS: &str = "it belongs to another user than the node; mount its directory, or the file with readOnly: true";

/// Opens the file. Neither a pipe nor a device that somebody puts in its place keeps the node waiting.
fn open(file: &File) -> io::Result<cap_std::fs::File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let open = file.dir.open_with(&file.path, OpenOptions::new().read(true).custom_flags(flags))?;
    if open.metadata()?.is_file() { Ok(open) } else { Err(io::Error::other("it is not a regular file")) }
}

fn copy(file: &File, target: &Dir, path: &Path) -> io::Result<()> {
    let mut from = open(file)?;
    let mut to = target.open_with(path, OpenOptions::new().write(true).create_new(true))?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(from.metadata()?.permissions())
}

/// One more name for the very file that is open: what is at its old name by now does not matter.
fn link(file: &File, target: &Dir, path: &Path) -> io::Result<()> {
    let open = open(file)?;
    let (parent, name) = (path.parent().filter(|p| !p.as_os_str().is_empty()), path.file_name());
    let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let parent = match parent {
        Some(parent) => target.open_dir(parent)?,
        None => target.try_clone()?,
    };
    let held = format!("/proc/self/fd/{}", open.as_raw_fd());
    Ok(linkat(CWD, held, parent.as_fd(), name, AtFlags::SYMLINK_FOLLOW)?)
}
