//! Removes whole directories that guests have filled.
//!
//! A guest can make a tree as deep as it likes, one level at a time: deeper than any path, than the files a process
//! may have open and than a thread's stack. So nothing here goes deep: what is in a directory below the top is moved
//! up to the top first. No link is followed.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Removes what is at `path`, and all below it. It blocks.
///
/// # Errors
/// An I/O error, but not if there is nothing. What could be removed until then is gone.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(CWD, path, AtFlags::empty())?),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0;
    while empty(&top, |name| sink(&top, name, &mut moved))? == Left::Something {}
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a directory has to be looked at again: what is listed while names come and go may be incomplete.
#[derive(PartialEq, Eq)]
enum Left {
    Nothing,
    Something,
}

fn open<P: rustix::path::Arg>(at: impl AsFd, path: P) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes what is in the directory; what is a directory with something in it is left to `full`.
fn empty(dir: &OwnedFd, mut full: impl FnMut(&CStr) -> Result<(), Errno>) -> Result<Left, Errno> {
    let mut left = Left::Nothing;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                left = Left::Something;
                full(name)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}

/// Removes the directory `name` of `top`, once the directories that are in it have been moved up.
fn sink(top: &OwnedFd, name: &CStr, moved: &mut u64) -> Result<(), Errno> {
    let dir = open(top, name)?;
    let mut raise = |below: &CStr| {
        loop {
            *moved += 1;
            match renameat(&dir, below, top, format!(".raised-{moved}")) {
                // A name of the guest's own.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) => {}
                other => return other,
            }
        }
    };
    while empty(&dir, &mut raise)? == Left::Something {}
    match unlinkat(top, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_goes_and_links_lead_nowhere() {
        /// Far beyond the longest path (4,096) and the files that a process usually has open (1,024).
        const DEPTH: usize = 6000;
        let temp = tempfile::tempdir().unwrap();
        let (top, outside) = (temp.path().join("top"), temp.path().join("outside"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        std::fs::create_dir_all(top.join(".raised-1/x")).unwrap();
        std::fs::create_dir_all(top.join("wide/a/b/c")).unwrap();
        symlink(&outside, top.join("wide/a/out")).unwrap();
        std::fs::write(top.join("wide/a/b/file"), "x").unwrap();
        let mut at = open(CWD, &top).unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&at, "d", Mode::from(0o755)).unwrap();
            at = open(&at, "d").unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        remove_tree(&top).unwrap();
        symlink(&outside, &top).unwrap();
        remove_tree(&top).unwrap();
        assert!(outside.join("kept").exists() && std::fs::symlink_metadata(&top).is_err());
    }
}
