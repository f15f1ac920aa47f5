//! Files that change all at once: the kubelet's way of updating a volume while a guest reads it.
//!
//! The files lie in a directory of their own, `..data` is a link to it, and each name at the top is a link through
//! `..data`. An update writes a new directory and moves the link, so that a guest sees all of the old or all of the
//! new. All links are relative, so that they hold inside a guest's sandbox.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use coracle_api::clock;

use super::payload::Payload;

/// The link to the directory that counts.
const DATA: &str = "..data";

/// Brings the directory `root` to `payload`. Tells whether anything had to be written.
pub(super) fn replace(root: &Path, payload: &Payload) -> io::Result<bool> {
    std::fs::create_dir_all(root)?;
    let link = root.join(DATA);
    let before = std::fs::read_link(&link).ok();
    if before.is_some() && holds(&link, payload)? {
        return Ok(false);
    }
    let name = clock::now().strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let fresh = root.join(&name);
    std::fs::create_dir(&fresh)?;
    for (path, file) in payload {
        let place = fresh.join(path);
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut open = options.write(true).create_new(true).mode(file.mode).open(&place)?;
        io::Write::write_all(&mut open, &file.bytes)?;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(file.mode);
        std::fs::set_permissions(&place, permissions)?;
    }
    let moving = root.join("..data_tmp");
    let _ = std::fs::remove_file(&moving);
    symlink(&name, &moving)?;
    std::fs::rename(&moving, &link)?;
    link_names(root, payload)?;
    if let Some(before) = before {
        std::fs::remove_dir_all(root.join(before))?;
    }
    Ok(true)
}

/// One link at the top for each first part of a path; links that lead nowhere go.
fn link_names(root: &Path, payload: &Payload) -> io::Result<()> {
    let names: BTreeSet<&str> = payload.keys().filter_map(|p| p.split('/').next()).collect();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let stale = name.to_str().is_none_or(|n| !n.starts_with("..") && !names.contains(n));
        if stale && entry.file_type()?.is_symlink() {
            std::fs::remove_file(entry.path())?;
        }
    }
    for name in names {
        match symlink(Path::new(DATA).join(name), root.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Whether the directory holds these files and no others.
fn holds(dir: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else {
                found += 1;
            }
        }
    }
    let same = |(path, file): (&String, &super::payload::File)| {
        std::fs::read(dir.join(path)).is_ok_and(|bytes| bytes == file.bytes)
    };
    Ok(found == payload.len() && payload.iter().all(same))
}
