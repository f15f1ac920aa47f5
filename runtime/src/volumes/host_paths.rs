//! What of the machine's own directories pods may have: nothing but what the node's administrator allows.
//!
//! Invariant: a pod's path is one of the allowed ones or beneath it, by its words and again when it is opened: the
//! system resolves it beneath the allowed directory, so that no link leads out.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileTypeExt, Metadata, OpenOptions};

use super::place::{Keeps, Place};
use coracle_wasm::Access;

/// A directory of the machine that pods may mount, with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedPath {
    path: PathBuf,
    access: Access,
}

/// What is no allowed path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no path that pods could be allowed: write an absolute one without '..', and :ro behind it if they may only read"
)]
pub struct NoAllowedPath(String);

impl FromStr for AllowedPath {
    type Err = NoAllowedPath;

    fn from_str(text: &str) -> Result<Self, NoAllowedPath> {
        let (path, access) = match text.rsplit_once(':') {
            Some((path, "ro")) => (path, Access::ReadOnly),
            Some((path, "rw")) => (path, Access::ReadWrite),
            _ => (text, Access::ReadWrite),
        };
        let path = normal(path).ok_or_else(|| NoAllowedPath(text.to_owned()))?;
        Ok(Self { path, access })
    }
}

/// Why a path of the machine is not mounted.
#[derive(Debug, thiserror::Error)]
pub enum HostPathError {
    /// The administrator has not allowed it.
    #[error(
        "hostPath {0:?} is not allowed on this node; whoever runs it allows it by --allowed-host-paths={0} (add :ro to let pods read only)"
    )]
    NotAllowed(String),
    /// There is something else than what was asked for.
    #[error("hostPath type check failed: {path} {what}")]
    Type {
        /// The path.
        path: String,
        /// What it is not, in upstream's words.
        what: &'static str,
    },
    /// There is what was asked for, and no guest can use it.
    #[error("hostPath {path:?} is a {what}: WebAssembly guests can open files and directories only")]
    NoGuest {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// It cannot be opened or made.
    #[error("hostPath {path:?}: {source}")]
    Open {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Where the path is, if it is allowed. The nearest allowed directory above it says what may be done there.
pub(super) fn place(path: &str, allowed: &[AllowedPath]) -> Result<Place, HostPathError> {
    let refused = || HostPathError::NotAllowed(path.to_owned());
    let wanted = normal(path).ok_or_else(refused)?;
    let above = allowed.iter().filter(|a| wanted.starts_with(&a.path));
    let nearest = above.max_by_key(|a| a.path.components().count()).ok_or_else(refused)?;
    let beneath = wanted.strip_prefix(&nearest.path).map(Path::to_owned).unwrap_or_default();
    let mut place = Place { root: nearest.path.clone(), beneath, access: nearest.access, keeps: Keeps::Persistent };
    // A file that is allowed itself is found in its directory.
    if place.beneath.as_os_str().is_empty()
        && std::fs::symlink_metadata(&place.root).is_ok_and(|meta| !meta.is_dir() && !meta.is_symlink())
        && let (Some(parent), Some(name)) = (nearest.path.parent(), nearest.path.file_name())
    {
        place = Place { root: parent.to_owned(), beneath: name.into(), ..place };
    }
    Ok(place)
}

/// Checks what is there against the volume's `type`, and makes what is to be made. It blocks.
pub(super) fn check(place: &Place, path: &str, sort: &str) -> Result<(), HostPathError> {
    let open = |source| HostPathError::Open { path: path.to_owned(), source };
    let wrong = |what| HostPathError::Type { path: path.to_owned(), what };
    let no_guest = |what| HostPathError::NoGuest { path: path.to_owned(), what };
    let dir = Dir::open_ambient_dir(&place.root, ambient_authority()).map_err(open)?;
    let there = || match place.beneath.as_os_str().is_empty() {
        true => dir.dir_metadata().map(Some),
        false => match dir.metadata(&place.beneath) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        },
    };
    let mut found = there().map_err(open)?;
    if found.is_none() {
        match sort {
            "" | "DirectoryOrCreate" => dir.create_dir_all(&place.beneath).map_err(open)?,
            "FileOrCreate" => {
                dir.open_with(&place.beneath, OpenOptions::new().write(true).create(true)).map(drop).map_err(open)?;
            }
            _ => {}
        }
        found = there().map_err(open)?;
    }
    let is = |kind: fn(&Metadata) -> bool| found.as_ref().is_some_and(kind);
    match sort {
        "Directory" | "DirectoryOrCreate" if !is(Metadata::is_dir) => Err(wrong("is not a directory")),
        "File" | "FileOrCreate" if !is(Metadata::is_file) => Err(wrong("is not a file")),
        "Socket" if !is(|m| m.file_type().is_socket()) => Err(wrong("is not a socket file")),
        "CharDevice" if !is(|m| m.file_type().is_char_device()) => Err(wrong("is not a character device")),
        "BlockDevice" if !is(|m| m.file_type().is_block_device()) => Err(wrong("is not a block device")),
        "Socket" => Err(no_guest("socket")),
        "CharDevice" | "BlockDevice" => Err(no_guest("device")),
        _ if is(|m| m.is_dir() || m.is_file()) => Ok(()),
        _ => Err(no_guest("pipe, socket or device")),
    }
}

/// An absolute path without `.`, `..` and empty parts.
fn normal(path: &str) -> Option<PathBuf> {
    let mut normal = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => normal.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    path.starts_with('/').then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(paths: &[&str]) -> Vec<AllowedPath> {
        paths.iter().map(|p| p.parse().unwrap()).collect()
    }

    #[test]
    fn a_path_is_allowed_by_the_nearest_directory_above_it() {
        let all = allowed(&["/srv", "/srv/fixed:ro", "/home/me/data/:rw"]);
        let check = |path: &str| {
            place(path, &all)
                .ok()
                .map(|p| (p.root, p.beneath, p.access))
                .map(|(root, beneath, access)| format!("{} {} {access:?}", root.display(), beneath.display()))
        };
        for (path, expected) in [
            ("/srv", Some("/srv  ReadWrite")),
            ("/srv/a//b/", Some("/srv a/b ReadWrite")),
            ("/srv/fixed/x", Some("/srv/fixed x ReadOnly")),
            ("/home/me/data/x", Some("/home/me/data x ReadWrite")),
            ("/srvx", None),
            ("/home/me", None),
            ("/srv/../etc", None),
            ("srv", None),
            ("/", None),
        ] {
            assert_eq!(check(path).as_deref(), expected, "{path}");
        }
        let refused = place("/etc", &[]).unwrap_err().to_string();
        assert!(refused.contains("--allowed-host-paths=/etc"), "{refused}");
        for text in ["", "srv", "/a/../b", "relative:ro"] {
            assert!(text.parse::<AllowedPath>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_type_is_checked_in_upstreams_words() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("{}/{name}", temp.path().display());
        std::fs::create_dir(path("dir")).unwrap();
        std::fs::write(path("file"), "").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let all = [AllowedPath { path: temp.path().to_owned(), access: Access::ReadWrite }];
        let told = |name: &str, sort: &str| {
            let path = path(name);
            let place = place(&path, &all).unwrap();
            check(&place, &path, sort).map_or_else(|e| e.to_string().replace(&path, "P"), |()| "ok".to_owned())
        };
        for (name, sort, expected) in [
            ("dir", "", "ok"),
            ("file", "", "ok"),
            ("new", "", "ok"),
            ("made/deep", "DirectoryOrCreate", "ok"),
            ("made/deep", "Directory", "ok"),
            ("none", "Directory", "hostPath type check failed: P is not a directory"),
            ("file", "Directory", "hostPath type check failed: P is not a directory"),
            ("made/file", "FileOrCreate", "ok"),
            ("made/file", "File", "ok"),
            ("dir", "File", "hostPath type check failed: P is not a file"),
            ("file", "Socket", "hostPath type check failed: P is not a socket file"),
            ("file", "CharDevice", "hostPath type check failed: P is not a character device"),
            ("file", "BlockDevice", "hostPath type check failed: P is not a block device"),
            ("socket", "Socket", "hostPath \"P\" is a socket: WebAssembly guests can open files and directories only"),
            (
                "pipe",
                "",
                "hostPath \"P\" is a pipe, socket or device: WebAssembly guests can open files and directories only",
            ),
        ] {
            assert_eq!(told(name, sort), expected, "{name} {sort}");
        }
    }

    #[test]
    fn no_link_leads_out_of_what_is_allowed() {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink("/etc", inside.join("out")).unwrap();
        let all = [AllowedPath { path: inside.clone(), access: Access::ReadWrite }];
        for name in ["out", "out/hosts", "out/new"] {
            let path = format!("{}/{name}", inside.display());
            let place = place(&path, &all).unwrap();
            assert!(check(&place, &path, "").is_err(), "{name}");
        }
    }
}
