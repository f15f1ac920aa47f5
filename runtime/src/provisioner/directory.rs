//! The directories of volumes: one for each, under one root, named as the volume.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Only the node may look into them; guests are given them by it.
const MODE: u32 = 0o700;

/// Makes the directory of a volume, and has the disk remember it. One that is there already is kept as it is.
pub(super) fn make(root: &Path, name: &str) -> Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(root)?;
    match DirBuilder::new().mode(MODE).create(root.join(name)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(root)?.sync_all()
}

/// Deletes the directory of a volume with all that is in it, and has the disk forget it. Links in it are deleted, not
/// followed.
pub(super) fn remove(root: &Path, name: &str) -> Result<()> {
    let dir = root.join(name);
    match std::fs::symlink_metadata(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(_) => crate::volumes::remove_tree(&dir)?,
    }
    File::open(root)?.sync_all()
}

/// Removes directories that hold nothing and that `speaks_for` knows nothing of: their making was cut off. Returns the
/// names of those that hold something, which nobody may delete but a person.
pub(super) fn sweep(root: &Path, speaks_for: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with(super::plan::PREFIX) || speaks_for(&name) {
            continue;
        }
        if std::fs::remove_dir(entry.path()).is_err() {
            kept.push(name);
        }
    }
    kept.sort();
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_made_for_the_node_alone_and_what_is_in_it_stays() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("volumes");
        make(&root, "pvc-a").unwrap();
        assert_eq!(std::fs::metadata(root.join("pvc-a")).unwrap().permissions().mode() & 0o7777, MODE);
        std::fs::write(root.join("pvc-a/data"), "kept").unwrap();
        make(&root, "pvc-a").unwrap();
        assert_eq!(std::fs::read(root.join("pvc-a/data")).unwrap(), b"kept");
    }

    #[test]
    fn what_a_link_points_at_survives_the_deletion_of_the_link() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("volumes"), dir.path().join("outside"));
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("data"), "kept").unwrap();
        make(&root, "pvc-a").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("pvc-a/link")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("pvc-b")).unwrap();
        remove(&root, "pvc-a").unwrap();
        remove(&root, "pvc-b").unwrap();
        remove(&root, "pvc-c").unwrap();
        assert_eq!(std::fs::read(outside.join("data")).unwrap(), b"kept");
        assert!(!root.join("pvc-a").exists());
    }

    #[test]
    fn the_sweep_removes_what_is_empty_and_nobodys() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pvc-claimed", "pvc-empty", "pvc-full", "other"] {
            make(root.path(), name).unwrap();
        }
        std::fs::write(root.path().join("pvc-full/data"), "kept").unwrap();
        assert_eq!(sweep(root.path(), |name| name == "pvc-claimed").unwrap(), ["pvc-full"]);
        let mut left: Vec<_> =
            std::fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["other", "pvc-claimed", "pvc-full"]);
        assert!(sweep(&root.path().join("missing"), |_| false).unwrap().is_empty());
    }
}
