//! How much disk a directory takes, as `du` counts it.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the system counts blocks in, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What files take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DiskUsage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
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
pub(crate) fn measure(path: &Path) -> DiskUsage {
    let Ok(top) = std::fs::symlink_metadata(path) else { return DiskUsage::default() };
    let mut usage = DiskUsage { bytes: top.blocks().saturating_mul(BLOCK_BYTES), inodes: 1 };
    let mut seen: HashSet<(u64, u64)> = HashSet::new();
    let mut pending = if top.is_dir() { vec![path.to_owned()] } else { Vec::new() };
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                pending.push(entry.path());
            } else if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) {
                continue;
            }
            usage = usage + DiskUsage { bytes: meta.blocks().saturating_mul(BLOCK_BYTES), inodes: 1 };
        }
    }
    usage
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
}
