//! What a container leaves to be read when it has ended: its termination message.
//!
//! Invariant: of what a guest may have put in the file's way nothing leads the node elsewhere: no link is followed,
//! and only a regular file is read.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use coracle_wasm::{Access, Directory};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Container;
use rustix::fs::{Mode, OFlags, openat};

use crate::lifecycle::End;
use crate::logs::{self, Options};

/// Where Kubernetes lets a container leave its last words when nobody says otherwise.
const PATH: &str = "/dev/termination-log";

/// So much of the file is read (the kubelet's): it goes into the status of the pod, which others watch.
const MESSAGE_BYTES_MAX: usize = 4096;

/// So much of the log stands in for a message that is not there (the kubelet's).
const LOG_LINES_MAX: u64 = 80;
/// And at most so many bytes of these lines.
const LOG_BYTES_MAX: usize = 2048;

/// Where the last words of one run are to be found.
#[derive(Debug)]
pub(super) struct LastWords {
    file: Option<Place>,
    log_on_error: bool,
}

/// A file, beneath a directory that a guest may write to.
#[derive(Debug)]
struct Place {
    directory: Directory,
    inside: String,
}

impl LastWords {
    /// Makes an empty file for them, before the guest runs. Where it cannot be made there will be no message.
    pub(super) fn prepare(container: &Container, directories: &[Directory]) -> Self {
        let path = container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or(PATH);
        let file = place(path, directories).filter(|place| {
            let made = place.make();
            if let Err(error) = &made {
                tracing::debug!(%error, path, "no file can be made for a termination message");
            }
            made.is_ok()
        });
        let policy = container.termination_message_policy.as_deref();
        Self { file, log_on_error: policy == Some("FallbackToLogsOnError") }
    }

    /// Adds them to the message of an end.
    pub(super) async fn add_to(&self, end: &mut End, log: &Path, run: u32) {
        let mut words = match self.file.as_ref().map(Place::read) {
            Some(Ok(text)) => text,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.file.as_ref().map(|p| p.inside.as_str()).unwrap_or_default();
                format!("Error on reading termination log {path}: {error}")
            }
            Some(Err(_)) | None => String::new(),
        };
        // What never started wrote no log.
        if words.is_empty() && self.log_on_error && end.code != 0 && end.reason != "ContainerCannotRun" {
            words = last_of_log(log, run).await;
        }
        if !words.is_empty() {
            end.message = Some(match end.message.take() {
                Some(before) => format!("{before}: {words}"),
                None => words,
            });
        }
    }
}

/// The innermost directory of the container that the path is in.
fn place(path: &str, directories: &[Directory]) -> Option<Place> {
    let path = path.trim_matches('/');
    if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    let inside = |d: &&Directory| {
        let place = d.guest_path.trim_matches('/');
        if place.is_empty() {
            return Some(path.to_owned());
        }
        path.strip_prefix(place)?.strip_prefix('/').map(str::to_owned)
    };
    let innermost = directories.iter().filter(|d| inside(d).is_some()).max_by_key(|d| d.guest_path.len())?;
    // The node writes nothing where the guest may not.
    if innermost.access != Access::ReadWrite {
        return None;
    }
    Some(Place { directory: innermost.clone(), inside: inside(&innermost)? })
}

impl Place {
    /// Makes the file, and the directories above it, or empties it.
    fn make(&self) -> io::Result<()> {
        self.open(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, Above::Make).map(drop)
    }

    fn read(&self) -> io::Result<String> {
        let file = self.open(OFlags::RDONLY, Above::Find)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(0)).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Opens the file step by step, so that no link on the way is followed; nor does a pipe keep it waiting.
    fn open(&self, flags: OFlags, above: Above) -> io::Result<File> {
        const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
        let mut directory = OwnedFd::from(self.directory.open()?);
        let (parents, name) = self.inside.rsplit_once('/').unwrap_or(("", &self.inside));
        for parent in parents.split('/').filter(|p| !p.is_empty()) {
            if above == Above::Make {
                match rustix::fs::mkdirat(&directory, parent, Mode::from(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            directory = openat(&directory, parent, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(openat(&directory, name, flags, Mode::from(0o666))?))
    }
}

/// What is done about the directories above a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Find,
    Make,
}

/// The end of a run's log.
async fn last_of_log(dir: &Path, run: u32) -> String {
    let options = Options { tail: Some(LOG_LINES_MAX), ..Options::default() };
    let read = async {
        let stream = logs::read(dir, run, None, options)?;
        let last = stream.try_fold(Vec::new(), |mut last: Vec<u8>, bytes| async move {
            last.extend_from_slice(&bytes);
            let surplus = last.len().saturating_sub(LOG_BYTES_MAX);
            last.drain(..surplus);
            Ok(last)
        });
        last.await
    };
    match read.await {
        Ok(last) => String::from_utf8_lossy(&last).into_owned(),
        Err(error) => {
            tracing::debug!(%error, ?dir, "the log of a container that failed cannot be read");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn directory(guest: &str, host: &Path, access: Access) -> Directory {
        Directory::new(guest, host, access)
    }

    fn prepare(spec: serde_json::Value, directories: &[Directory]) -> LastWords {
        LastWords::prepare(&serde_json::from_value(spec).unwrap(), directories)
    }

    async fn after(words: &LastWords, code: i32, message: Option<&str>) -> Option<String> {
        let mut end = End { message: message.map(str::to_owned), ..End::exited(code) };
        words.add_to(&mut end, Path::new("/there/is/no/log"), 0).await;
        end.message
    }

    #[tokio::test]
    async fn the_file_is_made_empty_and_what_is_written_to_it_is_the_message() {
        let root = tempfile::tempdir().unwrap();
        let words = prepare(json!({"name": "c"}), &[directory("/", root.path(), Access::ReadWrite)]);
        let file = root.path().join("dev/termination-log");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
        assert_eq!(after(&words, 0, None).await, None);
        std::fs::write(&file, "done").unwrap();
        assert_eq!(after(&words, 0, None).await.as_deref(), Some("done"));
        assert_eq!(after(&words, 134, Some("unreachable")).await.as_deref(), Some("unreachable: done"));
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        assert_eq!(after(&words, 0, None).await.unwrap().len(), MESSAGE_BYTES_MAX);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(after(&words, 1, None).await, None);
    }

    #[tokio::test]
    async fn no_link_leads_out_of_the_container() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let words = prepare(
            json!({"name": "c", "terminationMessagePath": "/a/secret"}),
            &[directory("/", root.path(), Access::ReadWrite)],
        );
        std::fs::remove_dir_all(root.path().join("a")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("a")).unwrap();
        let message = after(&words, 0, None).await.unwrap();
        assert!(message.starts_with("Error on reading termination log a/secret: "), "{message}");
        std::fs::remove_file(root.path().join("a")).unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), root.path().join("a/secret")).unwrap();
        let message = after(&words, 0, None).await.unwrap();
        assert!(!message.contains(": secret"), "{message}");
        let again = prepare(
            json!({"name": "c", "terminationMessagePath": "/a/secret"}),
            &[directory("/", root.path(), Access::ReadWrite)],
        );
        assert!(again.file.is_none(), "the node writes through no link either");
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    }

    #[test]
    fn the_file_may_be_in_a_volume_that_the_container_writes_to() {
        let (root, volume) = (Path::new("/r"), Path::new("/v"));
        let all = [directory("/", root, Access::ReadWrite), directory("/data", volume, Access::ReadWrite)];
        let found = |path| place(path, &all).map(|p| (p.directory.guest_path, p.inside));
        assert_eq!(found("/data/words"), Some(("/data".to_owned(), "words".to_owned())));
        assert_eq!(found("/database"), Some(("/".to_owned(), "database".to_owned())));
        assert_eq!(found("/data/../x"), None);
        assert_eq!(found("/"), None);
        let read_only = [directory("/", root, Access::ReadWrite), directory("/data", volume, Access::ReadOnly)];
        assert!(place("/data/words", &read_only).is_none());
    }
}
