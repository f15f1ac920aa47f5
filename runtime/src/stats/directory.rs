//! How much disk a directory takes, as `du` counts it.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

/// What the system counts blocks in, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What files take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DiskUsage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl DiskUsage {
    fn of(stat: &Stat) -> Self {
        Self { bytes: u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK_BYTES), inodes: 1 }
    }
}

impl std::ops::Add for DiskUsage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), inodes: self.inodes.saturating_add(other.inodes) }
    }
}

impl std::iter::Sum for DiskUsage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, usage| sum + usage)
    }
}

/// Measures a directory and all below it. Links are not followed, and a file with several names counts once. What
/// vanishes meanwhile counts nothing: guests go on while they are measured. It blocks: call it where that is allowed.
///
/// A tree may be deeper than any path, so it is walked step by step with one directory open. A step back up that does
/// not lead where it came from, since a guest has moved what is measured, ends the walk.
pub(crate) fn measure(path: &Path) -> DiskUsage {
    let Ok(top) = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) else { return DiskUsage::default() };
    let mut usage = DiskUsage::of(&top);
    if FileType::from_raw_mode(top.st_mode) != FileType::Directory {
        return usage;
    }
    let mut seen = HashSet::new();
    let Ok(mut dir) = openat(CWD, path, DIRECTORY, Mode::empty()) else { return usage };
    let mut above: Vec<Level> = Vec::new();
    let mut here = Level::read(&dir, &mut usage, &mut seen);
    loop {
        while let Some(name) = here.below.pop() {
            if let Ok(next) = openat(&dir, name.as_c_str(), DIRECTORY, Mode::empty()) {
                let below = Level::read(&next, &mut usage, &mut seen);
                above.push(std::mem::replace(&mut here, below));
                dir = next;
            }
        }
        let Some(back) = above.pop() else { return usage };
        match openat(&dir, "..", DIRECTORY, Mode::empty()) {
            Ok(parent) if fstat(&parent).ok().as_ref().map(identity) == Some(back.identity) => dir = parent,
            Ok(_) | Err(_) => return usage,
        }
        here = back;
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory on the way, and those in it that have not been measured yet.
struct Level {
    identity: (u64, u64),
    below: Vec<CString>,
}

impl Level {
    /// Counts what is in the directory, and notes the directories in it.
    fn read(dir: &OwnedFd, usage: &mut DiskUsage, seen: &mut HashSet<(u64, u64)>) -> Self {
        let identity = fstat(dir).as_ref().map(identity).unwrap_or_default();
        let mut below = Vec::new();
        for entry in Dir::read_from(dir).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat: Result<Stat, Errno> = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = stat else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                below.push(name.to_owned());
            } else if stat.st_nlink > 1 && !seen.insert(self::identity(&stat)) {
                continue;
            }
            *usage = *usage + DiskUsage::of(&stat);
        }
        Self { identity, below }
    }
}

/// What tells a file from all others.
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let empty = measure(dir.path());
        assert_eq!(empty.inodes, 1);
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let file = dir.path().join("sub/file");
        std::fs::write(&file, vec![7; 64 * 1024]).unwrap();
        std::fs::File::open(&file).unwrap().sync_all().unwrap();
        let one = measure(dir.path());
        assert!(one.bytes >= empty.bytes + 64 * 1024 && one.inodes == 3, "{one:?}");
        std::fs::hard_link(&file, dir.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let linked = measure(dir.path());
        assert!(linked.bytes < one.bytes + 64 * 1024 && linked.inodes == 4, "{linked:?}");
        assert_eq!(measure(&dir.path().join("none")), DiskUsage::default());
    }

    #[test]
    fn nothing_hides_in_a_tree_deeper_than_any_path() {
        /// With names of 200 bytes far beyond the longest path (4,096).
        const DEPTH: u64 = 100;
        let dir = tempfile::tempdir().unwrap();
        let name = "d".repeat(200);
        let mut at = openat(CWD, dir.path(), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&at, name.as_str(), Mode::from(0o755)).unwrap();
            rustix::fs::mkdirat(&at, "beside", Mode::from(0o755)).unwrap();
            at = openat(&at, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
        }
        assert_eq!(measure(dir.path()).inodes, 1 + 2 * DEPTH);
        crate::volumes::remove_tree(dir.path()).unwrap();
    }
}
