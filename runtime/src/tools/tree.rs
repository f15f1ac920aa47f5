//! A container's directories as one tree, with the names that its guest has for them.
//!
//! A path leads into the innermost directory that is mounted above it, and from there no link leads out. Paths are
//! without `.` and `..`; nothing is above `/`.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use coracle_wasm::{Access, Directory};
use rustix::fs::OFlags;

/// How many names of one directory are held in memory: more than a directory of use has.
const NAMES_MAX: usize = 1_000_000;

/// The tree.
pub(super) struct Tree {
    mounts: Vec<Mount>,
    working: PathBuf,
}

struct Mount {
    at: PathBuf,
    dir: Dir,
    access: Access,
}

/// Where a path leads: a directory and the way from there.
struct Spot<'a> {
    mount: &'a Mount,
    rest: PathBuf,
}

impl Tree {
    /// The tree of these directories, in which relative paths begin at `working`.
    ///
    /// # Errors
    /// An I/O error of a directory that cannot be opened.
    pub(super) fn open(directories: &[Directory], working: Option<&str>) -> io::Result<Self> {
        let mounts = directories.iter().map(|d| {
            let dir = Dir::from_std_file(d.open()?);
            Ok(Mount { at: normal(Path::new(&d.guest_path)), dir, access: d.access })
        });
        let working = normal(Path::new(working.unwrap_or("/")));
        Ok(Self { mounts: mounts.collect::<io::Result<_>>()?, working })
    }

    /// The directory in which relative paths begin.
    pub(super) fn working(&self) -> &Path {
        &self.working
    }

    /// Begins relative paths elsewhere.
    pub(super) fn change(&mut self, to: &Path) {
        self.working = self.absolute(to);
    }

    /// The path from `/`.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        normal(&self.working.join(path))
    }

    /// What is there, a link for itself.
    pub(super) fn look(&self, path: &Path) -> io::Result<Metadata> {
        let Spot { mount, rest } = self.spot(path)?;
        if rest.as_os_str().is_empty() { mount.dir.dir_metadata() } else { mount.dir.symlink_metadata(rest) }
    }

    /// What is there, at the end of all links.
    pub(super) fn look_behind_links(&self, path: &Path) -> io::Result<Metadata> {
        let Spot { mount, rest } = self.spot(path)?;
        if rest.as_os_str().is_empty() { mount.dir.dir_metadata() } else { mount.dir.metadata(rest) }
    }

    /// Where a link leads, as it is written.
    pub(super) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let Spot { mount, rest } = self.spot(path)?;
        mount.dir.read_link_contents(rest)
    }

    /// The names in a directory, sorted: so that it is listed in the same way every time.
    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let Spot { mount, rest } = self.spot(path)?;
        let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { &rest };
        let names = mount.dir.read_dir(rest)?.map(|entry| entry.map(|e| PathBuf::from(e.file_name())));
        let mut names = names.take(NAMES_MAX + 1).collect::<io::Result<Vec<_>>>()?;
        if names.len() > NAMES_MAX {
            return Err(io::Error::other("Too many names in one directory"));
        }
        names.sort();
        Ok(names)
    }

    /// Whether a path may be written.
    pub(super) fn may_write(&self, path: &Path) -> bool {
        self.spot(path).is_ok_and(|spot| spot.mount.access == Access::ReadWrite)
    }

    /// A regular file, for reading. Never waits, as opening a named pipe would.
    pub(super) fn read(&self, path: &Path) -> io::Result<File> {
        let Spot { mount, rest } = self.spot(path)?;
        if self.look_behind_links(path)?.is_dir() {
            return Err(rustix::io::Errno::ISDIR.into());
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags(OFlags::NONBLOCK));
        let file = mount.dir.open_with(rest, &options)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "Not a regular file"));
        }
        Ok(file)
    }

    /// A new file, in place of what was there if that was no directory. The directories above it are made.
    pub(super) fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let Spot { mount, rest } = self.for_writing(path)?;
        self.make_way(mount, &rest)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        mount.dir.open_with(rest, &options)
    }

    /// A directory, unless there is one.
    pub(super) fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let Spot { mount, rest } = self.spot(path)?;
        if rest.as_os_str().is_empty() || self.look_behind_links(path).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        self.for_writing(path)?;
        self.make_way(mount, &rest)?;
        mount.dir.create_dir(&rest)?;
        mount.dir.set_permissions(rest, Permissions::from_mode(mode))
    }

    /// A link. One that would lead out of the directory that it is in is refused.
    pub(super) fn create_link(&self, path: &Path, to: &Path) -> io::Result<()> {
        let Spot { mount, rest } = self.for_writing(path)?;
        if !stays_inside(&rest, to) {
            return Err(rustix::io::Errno::PERM.into());
        }
        self.make_way(mount, &rest)?;
        mount.dir.symlink(to, rest)
    }

    /// One more name of a file.
    pub(super) fn create_name(&self, path: &Path, of: &Path) -> io::Result<()> {
        let (old, new) = (self.spot(of)?, self.for_writing(path)?);
        if old.mount.at != new.mount.at {
            return Err(rustix::io::Errno::XDEV.into());
        }
        if old.rest == new.rest {
            return Ok(());
        }
        self.make_way(new.mount, &new.rest)?;
        old.mount.dir.hard_link(old.rest, &new.mount.dir, new.rest)
    }

    fn spot(&self, path: &Path) -> io::Result<Spot<'_>> {
        let path = self.absolute(path);
        let inside = self.mounts.iter().filter_map(|mount| Some((mount, path.strip_prefix(&mount.at).ok()?)));
        let innermost = inside.max_by_key(|(mount, _)| mount.at.components().count());
        let (mount, rest) = innermost.ok_or(io::ErrorKind::NotFound)?;
        Ok(Spot { mount, rest: rest.to_owned() })
    }

    fn for_writing(&self, path: &Path) -> io::Result<Spot<'_>> {
        let spot = self.spot(path)?;
        match spot.mount.access {
            Access::ReadOnly => Err(rustix::io::Errno::ROFS.into()),
            // The directory itself is there already.
            Access::ReadWrite if spot.rest.as_os_str().is_empty() => Err(rustix::io::Errno::ISDIR.into()),
            Access::ReadWrite => Ok(spot),
        }
    }

    /// Makes the directories above, and removes what is there if that is no directory.
    #[expect(clippy::unused_self, reason = "what changes the tree is asked of the tree")]
    fn make_way(&self, mount: &Mount, rest: &Path) -> io::Result<()> {
        if let Some(above) = rest.parent().filter(|above| !above.as_os_str().is_empty()) {
            mount.dir.create_dir_all(above)?;
        }
        match mount.dir.symlink_metadata(rest) {
            Ok(found) if !found.is_dir() => mount.dir.remove_file(rest),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Sets a file's mode and, if there is one, the time of its last change.
pub(super) fn finish(file: File, mode: u32, modified: Option<u64>) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))?;
    if let Some(modified) = modified {
        let time = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(modified));
        let times = time.map(|time| std::fs::FileTimes::new().set_modified(time));
        times.map_or(Ok(()), |times| file.into_std().set_times(times))?;
    }
    Ok(())
}

/// What is said of a file: its mode, owner, group and time.
pub(super) fn facts(found: &Metadata) -> (u32, u32, u32, i64) {
    (found.mode(), found.uid(), found.gid(), found.mtime())
}

/// Whether a link at `at` that says `to` leads nowhere outside.
fn stays_inside(at: &Path, to: &Path) -> bool {
    let mut depth = at.components().count().saturating_sub(1);
    to.components().all(|component| match component {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir => depth.checked_sub(1).map(|up| depth = up).is_some(),
        Component::RootDir | Component::Prefix(_) => false,
    })
}

/// The path without `.` and `..`; nothing is above `/`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::from("/"), |mut normal, component| {
        match component {
            Component::Normal(part) => normal.push(part),
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
        normal
    })
}
